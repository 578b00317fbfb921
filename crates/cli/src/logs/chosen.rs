//! The choice of the attempt whose log is shown. Pure.

use std::fmt;

use anyhow::{Context as _, ensure};
use helm::hook_log::HookLog;
use lifecycle::journal::{HookPhase, HookStatus};

use crate::{args::Logs, state::State};

/// An attempt of a hook.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    event: String,
    pub(super) kind: String,
    pub(super) name: String,
    /// The namespace of the hook's object.
    pub(super) namespace: Option<String>,
    attempt: i32,
    /// The UID of the attempt's object, if that may still be there.
    pub(super) uid: Option<String>,
    /// The lines that status keeps.
    pub(super) lines: Option<String>,
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { event, kind, name, attempt, .. } = self;
        write!(f, "{kind}/{name} ({event}), attempt {attempt}")
    }
}

impl Chosen {
    /// Returns whether the log is one of this attempt, of whichever revision.
    pub(super) fn is_of(&self, log: &HookLog) -> bool {
        let Self { event, kind, name, attempt, .. } = self;
        (&log.event, log.attempt) == (event, *attempt) && log.hook == format!("{kind}/{name}")
    }
}

/// Returns the attempt that is asked for.
pub(super) fn chosen(state: State<'_>, args: &Logs) -> anyhow::Result<Chosen> {
    let hook = match &args.hook {
        None => {
            let hook = best(all(state).filter(|hook| hook.attempt > 0));
            hook.with_context(|| format!("no hook of {} has run yet", state.title()))?
        }
        Some(named) => {
            let is_named = |hook: &&HookStatus| {
                hook.name == *named || format!("{}/{}", hook.kind, hook.name) == *named
            };
            let hook = best(all(state).filter(is_named));
            hook.with_context(|| unknown(state, named))?
        }
    };
    ensure!(hook.attempt > 0, "hook {}/{} has not run yet", hook.kind, hook.name);
    let attempt = match args.attempt {
        Some(attempt) => attempt,
        None if args.previous => hook.attempt - 1,
        None => hook.attempt,
    };
    ensure!(
        (1..=hook.attempt).contains(&attempt),
        "hook {}/{} has no attempt {attempt}; its last one is {}",
        hook.kind,
        hook.name,
        hook.attempt
    );
    let is_last = attempt == hook.attempt;
    let earlier = hook.attempts.iter().find(|it| it.attempt == attempt);
    Ok(Chosen {
        event: hook.event.to_string(),
        kind: hook.kind.clone(),
        name: hook.name.clone(),
        namespace: hook.namespace.clone(),
        attempt,
        uid: hook.uid.clone().filter(|_| is_last),
        lines: if is_last { hook.log.clone() } else { earlier.and_then(|it| it.log.clone()) },
    })
}

/// Returns the hooks of all operations that status keeps.
pub(super) fn all(state: State<'_>) -> impl Iterator<Item = &HookStatus> {
    state.object.status.iter().flat_map(|status| &status.hooks)
}

/// Returns the hook that runs, or that failed last, or that ran last.
fn best<'a>(hooks: impl Iterator<Item = &'a HookStatus>) -> Option<&'a HookStatus> {
    hooks.max_by_key(|hook| {
        let rank = match hook.phase {
            HookPhase::Running => 2,
            HookPhase::Failed => 1,
            _ => 0,
        };
        (rank, hook.started_at)
    })
}

fn unknown(state: State<'_>, hook: &str) -> String {
    const MOST: usize = 10;
    let mut names: Vec<_> = all(state).map(|hook| format!("{}/{}", hook.kind, hook.name)).collect();
    names.sort();
    names.dedup();
    let more = names.len().saturating_sub(MOST);
    names.truncate(MOST);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let there = if names.is_empty() { "there is none".to_owned() } else { names.join(", ") };
    format!("{} has no hook {hook} in its status: {there}{more}", state.title())
}

#[cfg(test)]
mod tests {
    use api::ReleaseLifecycle;
    use clap::Parser as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::args::{Cli, Command};

    fn release(hooks: Value) -> ReleaseLifecycle {
        let mut release: ReleaseLifecycle = serde_json::from_value(json!({
            "apiVersion": "releaselifecycle.dev/v1alpha1", "kind": "ReleaseLifecycle",
            "metadata": {"name": "shop", "namespace": "prod"},
            "spec": {"source": {"objects": []}},
            "status": {},
        }))
        .unwrap();
        release.status.as_mut().unwrap().hooks = serde_json::from_value(hooks).unwrap();
        release
    }

    fn hook(name: &str, phase: &str, attempt: i32, second: u8) -> Value {
        json!({"index": 0, "event": "pre-upgrade", "kind": "Job", "name": name, "weight": 0,
               "namespace": "prod", "phase": phase, "attempt": attempt, "uid": format!("uid-{name}"),
               "startedAt": format!("2026-12-01T00:00:{second:02}Z"), "log": format!("log of {name}"),
               "attempts": [{"attempt": 1, "reason": "r", "message": "m", "log": "the first"}]})
    }

    fn of(hooks: Value, args: &[&str]) -> Result<(String, i32, bool, Option<String>), String> {
        let words = ["kubectl-lifecycle", "logs", "shop"].iter().chain(args);
        let Ok(Cli { command: Command::Logs(args) }) = Cli::try_parse_from(words) else {
            return Err("usage".to_owned());
        };
        let release = release(hooks);
        let found = chosen(State::new(&release), &args).map_err(|error| error.to_string())?;
        Ok((found.name, found.attempt, found.uid.is_some(), found.lines))
    }

    #[test]
    fn the_hook_that_runs_or_failed_last_is_meant() {
        let log = |name: &str| Some(format!("log of {name}"));
        let hooks = |last: &str| {
            json!([
                hook("a", "Failed", 1, 1),
                hook("b", "Failed", 2, 2),
                hook("c", last, 1, 3),
                hook("d", "Pending", 0, 0)
            ])
        };
        assert_eq!(of(hooks("Succeeded"), &[]), Ok(("b".to_owned(), 2, true, log("b"))));
        assert_eq!(of(hooks("Running"), &[]), Ok(("c".to_owned(), 1, true, log("c"))));
        assert_eq!(of(hooks("Running"), &["Job/a"]), Ok(("a".to_owned(), 1, true, log("a"))));
        let first = Some("the first".to_owned());
        for args in [["b", "--previous", ""], ["b", "--attempt", "1"]] {
            let args: Vec<_> = args.into_iter().filter(|arg| !arg.is_empty()).collect();
            assert_eq!(of(hooks("Running"), &args), Ok(("b".to_owned(), 1, false, first.clone())));
        }
    }

    #[test]
    fn what_does_not_exist_is_named() {
        let hooks = || json!([hook("a", "Failed", 1, 1), hook("d", "Pending", 0, 0)]);
        let error = |args: &[&str]| of(hooks(), args).unwrap_err();
        let unknown = "prod/shop has no hook x in its status: Job/a, Job/d";
        assert_eq!(error(&["x"]), unknown);
        assert_eq!(error(&["d"]), "hook Job/d has not run yet");
        assert_eq!(error(&["a", "--previous"]), "hook Job/a has no attempt 0; its last one is 1");
        assert_eq!(error(&["a", "--attempt", "0"]), "usage");
        assert_eq!(of(json!([]), &[]).unwrap_err(), "no hook of prod/shop has run yet");
    }
}
