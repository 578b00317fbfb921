//! Readiness of objects: by the health check of their kind, if it has one.

use std::{collections::HashMap, fmt, mem};

use engine::protocol::{Checked, Verdict, VerdictKind};
use jiff::{SignedDuration, Timestamp};
use lifecycle::plan::Plan;
use live::{
    kstatus::{self, Readiness},
    observe::{quiet, text},
};
use serde_json::Value;
use sources::health;

use crate::{
    cluster::error::Error,
    desired::health::evaluate,
    release::{Release, running::Judged},
};

/// The size of objects that are sent to the engine at once, as text.
const MOST_AT_ONCE: usize = 8 << 20;
/// The time after which a health check is evaluated again for which there was no time.
const AGAIN: SignedDuration = SignedDuration::from_secs(10);
/// The time after which health checks are evaluated again that got no turn.
const TURN: SignedDuration = SignedDuration::from_secs(1);
/// The time after which health checks that took too much are evaluated again.
const REST: SignedDuration = SignedDuration::from_mins(1);

/// The readiness of an object by its health check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Ready,
    /// Not ready yet, and why.
    Waiting(String),
    /// Failed, and why.
    Failed(String),
}

impl Health {
    /// Returns the readiness of an object whose kind has no health check, by its status.
    pub(super) fn of_status(live: &Value) -> Self {
        if kstatus::readiness(live) == Readiness::Current {
            return Self::Ready;
        }
        let told = kstatus::readiness(&quiet::object(live.clone()));
        let why = told.message().unwrap_or("it is not ready").to_owned();
        match told {
            Readiness::Failed { .. } => Self::Failed(why),
            _ => Self::Waiting(why),
        }
    }

    /// Does the same as [`Self::of_status`] for the object of a hook, which was just made: its
    /// controller may not have seen it.
    pub(super) fn of_hook(live: &Value) -> Self {
        let api_version = text(live, "/apiVersion");
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let is_custom = group.contains('.') && !group.ends_with(".k8s.io");
        let has_status = live["status"].as_object().is_some_and(|status| !status.is_empty());
        if is_custom && !has_status {
            let why = "it has no status yet; if its controller writes none, give its kind an \
                       expression in spec.healthChecks";
            return Self::Waiting(why.to_owned());
        }
        Self::of_status(live)
    }

    fn of(check: usize, verdict: &Verdict) -> Self {
        let field = health::field(check, &verdict.field);
        match verdict.verdict {
            VerdictKind::Current => Self::Ready,
            VerdictKind::Failed => Self::Failed(format!("{field} is true")),
            VerdictKind::InProgress | VerdictKind::Unknown if !verdict.message.is_empty() => {
                Self::Waiting(format!("{field}: {}", verdict.message))
            }
            VerdictKind::InProgress | VerdictKind::Unknown => {
                let is = if verdict.field == "current" { "is not true" } else { "is true" };
                Self::Waiting(format!("{field} {is}"))
            }
        }
    }
}

/// Evaluates the health checks of a plan. An expression has the same result as long as its object is
/// the same, so that only objects that have changed are sent to the engine.
pub(super) struct Judge<'a> {
    release: &'a Release<'a>,
    plan: &'a Plan,
    now: Timestamp,
    known: HashMap<String, Judged>,
    /// The objects that are sent to the engine together, each with its place and its check.
    pending: Vec<(usize, usize, Value)>,
    size: usize,
    found: Vec<(usize, Health)>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(release: &'a Release<'a>, plan: &'a Plan, now: Timestamp) -> Self {
        let known = release.ctx.running.take_verdicts(release.uid(), &plan.operation);
        Self { release, plan, now, known, pending: Vec::new(), size: 0, found: Vec::new() }
    }

    /// Adds an object, and its place in the result.
    pub(super) async fn add(
        &mut self,
        place: usize,
        check: usize,
        live: Value,
    ) -> Result<(), Error> {
        if let Some(outdated) = kstatus::outdated(&live) {
            let why = outdated.message().unwrap_or_default().to_owned();
            self.found.push((place, Health::Waiting(why)));
            return Ok(());
        }
        if let Some(judged) = self.known.get(text(&live, "/metadata/uid"))
            && judged.version == text(&live, "/metadata/resourceVersion")
            && judged.until.is_none_or(|until| self.now < until)
        {
            self.found.push((place, Health::of(check, &judged.verdict)));
            return Ok(());
        }
        let size = live.to_string().len();
        if self.size.saturating_add(size) > MOST_AT_ONCE {
            self.evaluate().await?;
        }
        self.size = self.size.saturating_add(size);
        self.pending.push((place, check, live));
        Ok(())
    }

    async fn evaluate(&mut self) -> Result<(), Error> {
        let pending = mem::take(&mut self.pending);
        self.size = 0;
        if pending.is_empty() {
            return Ok(());
        }
        let objects = pending.iter().map(|(_, check, object)| Checked { check: *check, object });
        let request = health::request(&self.plan.health_checks, objects.collect());
        let unknown = |message: String| {
            let field = "current".to_owned();
            let verdict = Verdict { verdict: VerdictKind::Unknown, field, message };
            vec![verdict; pending.len()]
        };
        let cannot = |why: &dyn fmt::Display| {
            unknown(format!("the health checks cannot be evaluated: {why}"))
        };
        // Whatever happens to the engine, the operation goes on: its deadline, a cancellation, a skip.
        let (verdicts, again) = match evaluate(self.release, &request).await {
            Ok(Ok(evaluated)) => (evaluated.verdicts, AGAIN),
            Ok(Err(breach)) => (cannot(&breach), REST),
            Err(Error::RetryAfter(failure, _)) => (unknown(failure.message), TURN),
            Err(Error::Api(error)) => (cannot(&error.cause), AGAIN),
            Err(error) => return Err(error),
        };
        for ((place, check, live), verdict) in pending.into_iter().zip(verdicts) {
            self.found.push((place, Health::of(check, &verdict)));
            let is_open = verdict.verdict == VerdictKind::Unknown;
            let until = is_open.then(|| self.now.saturating_add(again).unwrap_or(self.now));
            let version = text(&live, "/metadata/resourceVersion").to_owned();
            let uid = text(&live, "/metadata/uid").to_owned();
            self.known.insert(uid, Judged { version, verdict, until });
        }
        Ok(())
    }

    /// Returns the readiness of each object, with its place.
    pub(super) async fn finish(mut self) -> Result<Vec<(usize, Health)>, Error> {
        self.evaluate().await?;
        let (uid, operation) = (self.release.uid(), &self.plan.operation);
        self.release.ctx.running.keep_verdicts(uid, operation, self.known);
        Ok(self.found)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_just_made_is_not_ready_before_its_controller_has_seen_it() {
        let of = |api_version: &str, status: Value| {
            Health::of_hook(&json!({"apiVersion": api_version, "kind": "Thing", "status": status}))
        };
        for status in [json!(null), json!({})] {
            assert!(matches!(of("backup.example/v1", status), Health::Waiting(_)));
        }
        assert_eq!(of("backup.example/v1", json!({"phase": "Done"})), Health::Ready);
        for built_in in ["v1", "apps/v1", "networking.k8s.io/v1"] {
            assert_eq!(of(built_in, json!(null)), Health::Ready, "{built_in}");
        }
    }

    #[test]
    fn what_is_said_names_the_expression() {
        use VerdictKind::{Current, Failed, InProgress, Unknown};
        let of = |verdict, field: &str, message: &str| {
            let (field, message) = (field.to_owned(), message.to_owned());
            Health::of(2, &Verdict { verdict, field, message })
        };
        let waiting = |text: &str| Health::Waiting(format!("spec.healthChecks[2].{text}"));
        assert_eq!(of(Current, "current", ""), Health::Ready);
        let failed = Health::Failed("spec.healthChecks[2].failed is true".to_owned());
        assert_eq!(of(Failed, "failed", ""), failed);
        assert_eq!(of(InProgress, "current", ""), waiting("current is not true"));
        assert_eq!(of(InProgress, "inProgress", ""), waiting("inProgress is true"));
        assert_eq!(of(InProgress, "failed", "no such key: a"), waiting("failed: no such key: a"));
        assert_eq!(of(Unknown, "current", "late"), waiting("current: late"));
    }
}
