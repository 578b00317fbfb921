//! `spec.dependsOn`: what has to be Ready before an install or an upgrade begins.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
};

use api::ReleaseLifecycle;
use lifecycle::conditions;

use crate::{
    cluster::error::Error,
    release::{Release, find},
    support::{key::key, sync::lock},
};

/// Who waits for whom, by keys.
#[derive(Default)]
pub(crate) struct Dependents(Mutex<HashMap<String, HashSet<String>>>);

impl Dependents {
    fn wait(&self, dependent: String, dependency: String) {
        let mut all = lock(&self.0);
        all.entry(dependency).or_default().insert(dependent);
    }

    /// Those that wait for `dependency`, where it is what they wait for.
    pub(crate) fn freed_by(&self, dependency: &ReleaseLifecycle) -> HashSet<String> {
        if not_ready(dependency).is_some() {
            return HashSet::new();
        }
        let mut all = lock(&self.0);
        all.remove(&key(dependency)).unwrap_or_default()
    }
}

/// What of the dependencies is not Ready, in a sentence; `None` where all are.
pub(crate) async fn unready(release: &Release<'_>) -> Result<Option<String>, Error> {
    let mut waiting = Vec::new();
    for name in release.object.spec.depends_on.iter().map(|dependency| &dependency.name) {
        // Before it is read, so that nothing happens between.
        let dependency = format!("{}/{name}", release.namespace);
        release.ctx.dependents.wait(key(&release.object), dependency);
        let why = match find(release.ctx, &release.namespace, name).await? {
            None => Some("it does not exist".to_owned()),
            Some(object) => not_ready(&object),
        };
        waiting.extend(why.map(|why| format!("ReleaseLifecycle/{name} ({why})")));
    }
    let text = || format!("waiting until Ready: {}", waiting.join(", "));
    Ok((!waiting.is_empty()).then(text))
}

/// Why it is not Ready as its spec is now. Only the reason: a message that quotes another's, of
/// releases that wait for each other, would never come to rest.
fn not_ready(object: &ReleaseLifecycle) -> Option<String> {
    let status = object.status.as_ref();
    let conditions = status.into_iter().flat_map(|status| &status.conditions);
    let ready = conditions.into_iter().find(|condition| condition.type_ == conditions::READY);
    match ready {
        _ if object.metadata.deletion_timestamp.is_some() => Some("it is being deleted".to_owned()),
        Some(ready) if ready.observed_generation == object.metadata.generation => {
            (ready.status != "True").then(|| ready.reason.clone())
        }
        _ => Some("its newest spec was not looked at yet".to_owned()),
    }
}
