//! The commands that request something from the operator. Each reads the release first, so that a
//! pointless request is reported instead of made, and then is one patch of the object.

mod approve;
mod rollback;

use anyhow::{Context as _, bail};
use api::{ReleaseLifecycle, names};
use jiff::Timestamp;
use kube::ResourceExt as _;
use lifecycle::{
    event::Event,
    journal::{Operation, Requests},
};
use serde_json::{Value, json};

pub(crate) use approve::approve;
pub(crate) use rollback::rollback;

use crate::{
    Outcome,
    args::{Cancel, How, Output, Resume, Retry, Skip, Suspend, Test, Wait},
    cluster::Cluster,
    screen,
    state::State,
    watch::{self, Goal, Request, too_late},
};

/// The number of attempts at a request that requires the object to be unchanged since it was read.
const ATTEMPTS: usize = 10;

pub(crate) async fn retry(args: &Retry) -> anyhow::Result<Outcome> {
    let release = Release::find(&args.how).await?;
    let state = State::new(&release.object);
    if args.restart {
        let said = "restart requested: a new revision with every hook";
        let asked = release.request(names::RESTART_AT, |it| &it.restart, said).await?;
        return asked.follow(&args.wait, Goal::answer).await;
    }
    if !state.can_be_retried() {
        let what = match state.running() {
            Some(running) => format!("its {} is running", running.event),
            None => format!("it has not failed ({})", state.ready_words()),
        };
        return release.refuse(&format!(
            "there is nothing to retry: {what}; --restart begins again, as a new revision"
        ));
    }
    let said = "retry requested: it resumes where it failed";
    let asked = release.request(names::RETRY_AT, |it| &it.retry, said).await?;
    asked.follow(&args.wait, Goal::answer).await
}

pub(crate) async fn cancel(args: &Cancel) -> anyhow::Result<Outcome> {
    let mut meant: Option<Operation> = None;
    // Each step of the operation changes the object; a request between two of them may need some
    // attempts.
    for _ in 0..ATTEMPTS {
        let release = Release::find(&args.how).await?;
        let running = match to_cancel(&release.object, meant.as_ref()) {
            Ok(running) => running.clone(),
            Err(why) => return release.refuse(&why),
        };
        let said = format!(
            "cancellation requested: the {} of revision {}",
            running.event, running.revision
        );
        let asked = release.request_as_seen(names::CANCEL_AT, |it| &it.cancel, &said).await?;
        if let Some(asked) = asked {
            let goal = |object: &ReleaseLifecycle, _| Goal::cancelled(object, &running);
            return asked.follow(&args.wait, goal).await;
        }
        meant = Some(running);
    }
    bail!(
        "ReleaseLifecycle {} changed each of the {ATTEMPTS} times it was to be cancelled; try again",
        args.how.name
    )
}

/// Returns the operation that runs and can be cancelled, or why there is none. A request has no
/// name of an operation: it would cancel one that comes after `meant`, the one that ran at the
/// first check.
fn to_cancel<'a>(
    object: &'a ReleaseLifecycle,
    meant: Option<&Operation>,
) -> Result<&'a Operation, String> {
    let state = State::new(object);
    let running = state.running();
    if let Some(meant) = meant.filter(|meant| running.is_none_or(|it| it.id != meant.id)) {
        return Err(too_late(meant));
    }
    match running {
        None => {
            let words = state.ready_words();
            Err(format!("there is nothing to cancel: nothing is running ({words})"))
        }
        Some(running) if running.event == Event::Delete => {
            Err("a deletion cannot be cancelled; `skip` skips its hooks".to_owned())
        }
        Some(running) => Ok(running),
    }
}

pub(crate) async fn test(args: &Test) -> anyhow::Result<Outcome> {
    let release = Release::find(&args.how).await?;
    let asked = release.request(names::TEST_AT, |it| &it.test, "tests requested").await?;
    asked.follow(&args.wait, Goal::tests).await
}

pub(crate) async fn skip(args: &Skip) -> anyhow::Result<Outcome> {
    let release = Release::find(&args.how).await?;
    let state = State::new(&release.object);
    let said = match (state.is_being_deleted(), state.is_blocked()) {
        (true, _) => "skip requested: it is deleted without the hooks that remain",
        (false, true) => "skip requested: it continues as if the hook had run",
        (false, false) => {
            return release.refuse(
                "there is nothing to skip: it is not being deleted, and no hook waits for \
                 a request",
            );
        }
    };
    let asked = release.request(names::SKIP_AT, |it| &it.skip, said).await?;
    asked.follow(&args.wait, Goal::answer).await
}

pub(crate) async fn suspend(args: &Suspend) -> anyhow::Result<Outcome> {
    let release = Release::find(&args.how).await?;
    if release.object.suspended() {
        return release.tell("is suspended already");
    }
    let running = |running: &Operation| {
        format!(": the {} of revision {} stops after its hook", running.event, running.revision)
    };
    let more = State::new(&release.object).running().map(running).unwrap_or_default();
    let said = format!("suspended{more}");
    release.change(&json!({"spec": {"suspend": true}}), &said).await?;
    Ok(Outcome::Good)
}

pub(crate) async fn resume(args: &Resume) -> anyhow::Result<Outcome> {
    let release = Release::find(&args.how).await?;
    if !release.object.suspended() {
        return Box::pin(release.follow_as_is("is not suspended", &args.wait)).await;
    }
    let resumed = release.change(&json!({"spec": {"suspend": null}}), "resumed").await?;
    resumed.follow(&args.wait, |object, _| Goal::ready(object)).await
}

/// A release as it was read just now.
struct Release<'a> {
    how: &'a How,
    cluster: Cluster,
    object: ReleaseLifecycle,
}

/// A release from which something was requested.
struct Asked {
    cluster: Cluster,
    object: ReleaseLifecycle,
    request: Option<Request>,
}

impl<'a> Release<'a> {
    async fn find(how: &'a How) -> anyhow::Result<Self> {
        let cluster = Cluster::find(&how.place).await?;
        let object = cluster.get(&how.name).await?;
        Ok(Self { how, cluster, object })
    }

    /// Prints that nothing was requested, since it would have no effect.
    fn refuse(&self, why: &str) -> anyhow::Result<Outcome> {
        let title = State::new(&self.object).title();
        screen::complain(&format!("{title}: {why}\n"))?;
        Ok(Outcome::Failed)
    }

    /// Prints that there is nothing to do: the release is as requested.
    fn tell(&self, what: &str) -> anyhow::Result<Outcome> {
        screen::write(&format!("{} {what}\n", State::new(&self.object).title()))?;
        Ok(Outcome::Good)
    }

    /// Does the same as [`Self::tell`]; an earlier request may still be in progress, or have
    /// failed.
    async fn follow_as_is(self, what: &str, wait: &Wait) -> anyhow::Result<Outcome> {
        self.tell(what)?;
        let asked = Asked { cluster: self.cluster, object: self.object, request: None };
        asked.follow(wait, |object, _| Goal::ready(object)).await
    }

    /// Makes a request by an annotation, whose value is the time: another one each time.
    async fn request(
        self,
        annotation: &str,
        handled: fn(&Requests) -> &Option<String>,
        said: &str,
    ) -> anyhow::Result<Asked> {
        let value = Timestamp::now().to_string();
        let change = json!({"metadata": {"annotations": {annotation: value}}});
        let asked = self.change(&change, &format!("{said} ({annotation}={value})")).await?;
        Ok(Asked { request: Some(Request { value, handled }), ..asked })
    }

    /// Does the same as [`Self::request`]; `None` if the object has changed since it was read.
    async fn request_as_seen(
        &self,
        annotation: &str,
        handled: fn(&Requests) -> &Option<String>,
        said: &str,
    ) -> anyhow::Result<Option<Asked>> {
        let value = Timestamp::now().to_string();
        let version = &self.object.metadata.resource_version;
        let metadata = json!({"annotations": {annotation: value}, "resourceVersion": version});
        let said = format!("{said} ({annotation}={value})");
        let asked = self.try_change(&json!({"metadata": metadata}), &said).await?;
        Ok(asked.map(|asked| Asked { request: Some(Request { value, handled }), ..asked }))
    }

    /// Patches the object, and prints what that means.
    async fn change(self, change: &Value, said: &str) -> anyhow::Result<Asked> {
        let changed = self.try_change(change, said).await?;
        let title = State::new(&self.object).title();
        changed.with_context(|| format!("{title} was replaced by another of its name; try again"))
    }

    /// Does the same as [`Self::change`]; `None` if the object is no longer the one in `change`.
    async fn try_change(&self, change: &Value, said: &str) -> anyhow::Result<Option<Asked>> {
        let Self { how, cluster, object } = self;
        let mut change = change.clone();
        // An object that has replaced it since was not checked.
        change["metadata"]["uid"] = json!(object.metadata.uid);
        let changed = cluster.change(&object.name_any(), &change, how.dry_run).await?;
        let Some(object) = changed else { return Ok(None) };
        let dry = if how.dry_run { " (dry run: nothing was changed)" } else { "" };
        screen::write(&format!("{} {said}{dry}\n", State::new(&object).title()))?;
        if object.suspended() && change["spec"]["suspend"].is_null() {
            let hint = "spec.suspend is true: nothing is started before `kubectl lifecycle resume";
            screen::complain(&format!("{hint} {}`\n", object.name_any()))?;
        }
        Ok(Some(Asked { cluster: cluster.clone(), object, request: None }))
    }
}

impl Asked {
    /// With `--wait`, follows the release until `goal` is reached.
    async fn follow(
        self,
        wait: &Wait,
        goal: impl FnOnce(&ReleaseLifecycle, Request) -> Goal,
    ) -> anyhow::Result<Outcome> {
        if !wait.wait {
            return Ok(Outcome::Good);
        }
        // A change of the spec has no annotation to wait for, and its goal reads none.
        let none = Request { value: String::new(), handled: |it| &it.retry };
        let goal = goal(&self.object, self.request.unwrap_or(none));
        watch::follow(&self.cluster, self.object, goal, Output::Text, wait.timeout).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(operation: &str, event: &str, completed: Option<&str>) -> ReleaseLifecycle {
        let operation = json!({"id": operation, "event": event, "revision": 2, "generation": 2,
            "phase": "PreHooks", "startedAt": "2026-11-22T11:02:09Z", "completedAt": completed});
        serde_json::from_value(json!({
            "metadata": {"name": "shop"},
            "spec": {"source": {"objects": []}},
            "status": {"operation": operation},
        }))
        .unwrap()
    }

    #[test]
    fn what_comes_after_an_operation_is_not_cancelled_in_its_place() {
        let running = release("op2", "Upgrade", None);
        let meant = to_cancel(&running, None).unwrap();
        assert_eq!(to_cancel(&running, Some(meant)).unwrap().id, "op2");
        let ended = release("op2", "Upgrade", Some("2026-11-22T11:03:09Z"));
        for later in [&ended, &release("op3", "Upgrade", None), &release("op3", "Delete", None)] {
            let why = to_cancel(later, Some(meant)).unwrap_err();
            assert_eq!(why, "the upgrade of revision 2 ended before it could be cancelled");
        }
        assert!(to_cancel(&ended, None).unwrap_err().starts_with("there is nothing to cancel"));
        let deletion = release("op3", "Delete", None);
        assert!(to_cancel(&deletion, None).unwrap_err().starts_with("a deletion cannot"));
    }
}
