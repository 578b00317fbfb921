//! The whole logs of hooks (`spec.hooks.keepLogs`), kept once an attempt has ended and before anything
//! deletes its object. They explain and decide nothing: that one is lost stops no operation.

use api::KeepLogs;
use helm::hook_log::{HookLog, MOST_BYTES};
use lifecycle::{
    hooks::{LogPolicy, log_policies},
    object::ObjectRef,
    plan::{Plan, PlannedHook},
};
use live::observe::runs::runs;
use serde_json::Value;

use crate::{cluster::error::Error, records::Records, release::Release};

/// The most containers of an attempt whose logs are read.
const MOST_CONTAINERS: usize = 20;

/// An attempt of a hook, with its object and its Pods.
pub(super) struct Attempt<'a> {
    pub(super) plan: &'a Plan,
    pub(super) hook: &'a PlannedHook,
    pub(super) number: i32,
    pub(super) uid: &'a str,
    pub(super) pods: &'a [Value],
    pub(super) has_succeeded: bool,
}

/// Keeps the log of the attempt, if it is wanted and there is one.
pub(super) async fn keep(release: &Release<'_>, attempt: &Attempt<'_>) {
    let policies = log_policies(&attempt.hook.manifest);
    if !is_kept(release.object.keep_logs(), &policies, attempt.has_succeeded)
        || release.ctx.running.has_kept_log(release.uid(), attempt.uid, attempt.has_succeeded)
    {
        return;
    }
    match try_keep(release, attempt).await {
        Ok(()) => release.ctx.running.kept_log(release.uid(), attempt.uid, attempt.has_succeeded),
        Err(error) => {
            tracing::warn!("the log of {} is not kept: {error}", attempt.hook.object);
        }
    }
}

async fn try_keep(release: &Release<'_>, attempt: &Attempt<'_>) -> Result<(), Error> {
    let object = &attempt.hook.object;
    let mut parts: Vec<(String, Vec<u8>)> = Vec::new();
    let mut room = MOST_BYTES;
    // The newest first, since they have the end of what happened.
    for run in runs(attempt.pods).into_iter().rev().take(MOST_CONTAINERS) {
        let pod = ObjectRef {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            namespace: object.namespace.clone(),
            name: run.pod.to_owned(),
        };
        let log = release.tenant.whole_log(&pod, run.container, run.previous, room).await;
        // One whose container is gone is no reason to lose the others.
        let Ok(log) = log else { continue };
        room = room.saturating_sub(log.len());
        if !log.is_empty() {
            parts.push((format!("==> pod/{} container {} <==\n", run.pod, run.container), log));
        }
        if room == 0 {
            break;
        }
    }
    parts.reverse();
    let text = joined(parts);
    if text.is_empty() {
        return Ok(());
    }
    let log = HookLog {
        hook: format!("{}/{}", object.kind, object.name),
        event: attempt.hook.event.to_string(),
        revision: attempt.plan.revision,
        attempt: attempt.number,
        text,
    };
    Records::of(release).keep_log(attempt.uid, &log).await
}

/// Returns whether the log of an attempt that ended so is kept: by the spec, or by the hook's own
/// annotation `helm.sh/hook-output-log-policy`, for which Helm prints it.
fn is_kept(keep: KeepLogs, policies: &[LogPolicy], has_succeeded: bool) -> bool {
    let by_spec = match keep {
        KeepLogs::None => false,
        KeepLogs::Failed => !has_succeeded,
        KeepLogs::All => true,
    };
    let policy = if has_succeeded { LogPolicy::HookSucceeded } else { LogPolicy::HookFailed };
    by_spec || policies.contains(&policy)
}

/// Returns the logs one after the other, each below its title if there are several.
fn joined(parts: Vec<(String, Vec<u8>)>) -> Vec<u8> {
    let several = parts.len() > 1;
    let mut text = Vec::new();
    for (title, log) in parts {
        if several {
            text.extend(title.into_bytes());
        }
        text.extend(&log);
        if several && !text.ends_with(b"\n") {
            text.push(b'\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spec_or_the_hook_says_which_logs_are_kept() {
        let of_hook = [LogPolicy::HookSucceeded];
        for (keep, policies, failed, succeeded) in [
            (KeepLogs::None, &[][..], false, false),
            (KeepLogs::Failed, &[], true, false),
            (KeepLogs::All, &[], true, true),
            (KeepLogs::None, &of_hook, false, true),
            (KeepLogs::Failed, &of_hook, true, true),
        ] {
            let found = [false, true].map(|succeeded| is_kept(keep, policies, succeeded));
            assert_eq!(found, [failed, succeeded], "{keep:?} {policies:?}");
        }
    }

    #[test]
    fn several_logs_have_titles() {
        let part = |title: &str, log: &str| (title.to_owned(), log.as_bytes().to_owned());
        assert_eq!(joined(vec![part("A\n", "one")]), b"one");
        assert_eq!(joined(vec![part("A\n", "one"), part("B\n", "two\n")]), b"A\none\nB\ntwo\n");
        assert!(joined(Vec::new()).is_empty());
    }
}
