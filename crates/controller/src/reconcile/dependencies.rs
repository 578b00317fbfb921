//! `spec.dependsOn`: the releases that must be Ready before an install or an upgrade begins.

use crate::{
    cluster::error::Error,
    release::{Release, object::find},
    support::key::key,
    watches::dependents::not_ready,
};

/// Returns the dependencies that are not Ready, in a sentence; `None` if all are.
pub(crate) async fn unready(release: &Release<'_>) -> Result<Option<String>, Error> {
    let mut waiting = Vec::new();
    for name in release.object.spec.depends_on.iter().map(|dependency| &dependency.name) {
        // Before it is read, so that no change is missed in between.
        let dependency = format!("{}/{name}", release.namespace);
        release.ctx.watches.dependents.wait(key(&release.object), dependency);
        let why = match find(&release.ctx.cluster, &release.namespace, name).await? {
            None => Some("it does not exist".to_owned()),
            Some(object) => not_ready(&object),
        };
        waiting.extend(why.map(|why| format!("ReleaseLifecycle/{name} ({why})")));
    }
    let text = || format!("waiting until Ready: {}", waiting.join(", "));
    Ok((!waiting.is_empty()).then(text))
}
