//! Reports why a release is blocked.

use kube_runtime::controller::Action;
use lifecycle::reason::Reason;

use crate::{
    cluster::error::Error,
    operation::outside,
    release::{
        Release,
        context::Context,
        finalizer,
        finalizer::while_deleting,
        object::Live,
        report::{write_blocked, write_trouble, write_waiting},
        settled::is_ready,
    },
    support::key::RECHECK,
};

/// Reports why the release is blocked; lets the object go if it need not wait.
pub(crate) async fn left(release: &mut Release<'_>, error: Error) -> Result<Action, Error> {
    let ctx = release.ctx;
    match error {
        // With the namespace everything in it is deleted, and a release that is kept needs no
        // rights.
        Error::Blocked(failure) if release.namespace_goes || release.is_kept() => {
            let text = format!("the release is left as it is: {}", failure.message);
            if release.is_kept() {
                release.warn(Reason::ReleaseLeft, text);
            } else {
                tracing::warn!("{text}");
            }
            outside::let_go(release).await?;
            Ok(Action::await_change())
        }
        // In a terminating namespace, refused or missing objects are being deleted, and so is the
        // release.
        Error::Blocked(_)
            if !release.is_being_deleted() && finalizer::namespace_goes(release).await? =>
        {
            blocked(ctx, &mut release.object, finalizer::nothing_begins(&release.namespace)).await
        }
        error => blocked(ctx, &mut release.object, error).await,
    }
}

/// Reports why the release is blocked, and returns when it is reconciled again.
pub(crate) async fn blocked(
    ctx: &Context,
    object: &mut Live,
    error: Error,
) -> Result<Action, Error> {
    let metrics = &ctx.cluster.metrics;
    match error {
        Error::Stale => Err(error),
        Error::Blocked(failure) => {
            metrics.error(&failure.reason);
            let failure = match object.metadata.deletion_timestamp {
                Some(_) => while_deleting(failure),
                None => failure,
            };
            write_blocked(ctx, object, &failure).await?;
            Ok(Action::requeue(RECHECK))
        }
        Error::RetryAfter(failure, again_in) => {
            metrics.error(&failure.reason);
            // After a start nothing is remembered of servers, and the deployed revision is
            // unchanged.
            if failure.reason != Reason::Fetching || !is_ready(object) {
                write_waiting(&ctx.cluster, object, &failure).await?;
            }
            Ok(Action::requeue(again_in))
        }
        Error::Api(trouble) => {
            metrics.error(Reason::Retrying.as_str());
            write_trouble(&ctx.cluster, object, &trouble).await?;
            Err(Error::Api(trouble))
        }
    }
}
