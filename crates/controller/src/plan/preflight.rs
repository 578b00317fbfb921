//! Settings that can only fail, and settings without effect, reported before anything runs.

use std::collections::HashMap;

use api::Preflight;
use lifecycle::{
    conditions,
    event::{Event, Work},
    object::ObjectRef,
    plan::Plan,
    preflight::{self, Holds},
    reason::Reason,
    source::SourceError,
};

use super::{dry_run, make::Planned};
use crate::{cluster::error::Error, release::Release};

/// The maximum number of objects that are looked up.
const MOST_READS: usize = 20;

/// The warnings about an operation that is about to begin.
pub(crate) struct Warnings {
    event: Event,
    fails: Vec<String>,
    meaningless: Vec<String>,
}

impl Warnings {
    /// Returns the warnings about a plan, with those about the rules of its hooks and about rights,
    /// and the remarks on the objects that it is created from; `None` if nothing is checked.
    ///
    /// # Errors
    /// If `spec.preflight` does not let the operation begin with them. A deletion, a test, and the
    /// remediation of a failure always begin.
    pub(crate) async fn of(
        release: &Release<'_>,
        planned: &Planned,
    ) -> Result<Option<Self>, Error> {
        let Planned { plan, remarks, warnings, .. } = planned;
        let mode = release.object.preflight();
        if mode == Preflight::Off {
            return Ok(None);
        }
        let mut fails = found(release, plan).await?;
        fails.extend(warnings.iter().cloned());
        let may_wait = plan.event.facts().work == Work::Apply && plan.remedies.is_none();
        let is_enforced = mode == Preflight::Enforce && may_wait;
        if is_enforced {
            fails.extend(dry_run::refusals(release, plan).await?);
        }
        let meaningless = remarks.iter().map(SourceError::to_string).collect();
        let found = Self { event: plan.event, fails, meaningless };
        match found.fails.iter().chain(&found.meaningless).map(String::as_str).collect::<Vec<_>>() {
            all if is_enforced && !all.is_empty() => Err(refusal(plan.event, &all)),
            _ => Ok(Some(found)),
        }
    }

    /// Adds them to the condition that the next write of the journal sets. A test reports nothing
    /// of the release that it tests.
    pub(crate) fn note(&self, release: &mut Release<'_>) {
        if self.event != Event::Test {
            release.preflight = Some(conditions::preflight(&self.fails, &self.meaningless));
        }
    }

    /// Reports them in one Event object of each kind.
    pub(crate) fn tell(&self, release: &Release<'_>) {
        for (reason, texts) in [
            (Reason::PreflightWarning, &self.fails),
            (Reason::MeaninglessAnnotation, &self.meaningless),
        ] {
            let texts: Vec<_> = texts.iter().map(String::as_str).collect();
            if let Some(text) = conditions::listed(&texts) {
                release.warn(reason, text);
            }
        }
    }
}

/// Returns the reason why nothing begins while there are these findings.
fn refusal(event: Event, findings: &[&str]) -> Error {
    let findings = conditions::listed(findings).unwrap_or_default();
    let message = format!(
        "the {event} does not begin: {findings}. To begin it nevertheless, set spec.preflight: Warn"
    );
    Error::blocked(Reason::PreflightFailed, message)
}

/// Returns the warnings about `plan` that hold in the cluster.
async fn found(release: &Release<'_>, plan: &Plan) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    let mut asked: HashMap<ObjectRef, Presence> = HashMap::new();
    for warning in preflight::warnings(plan, &release.namespace) {
        let (object, wanted) = match &warning.holds {
            Holds::Always => {
                found.push(warning.message);
                continue;
            }
            Holds::Without(object) | Holds::IfMissing(object) => (object, Presence::Missing),
            Holds::With(object) | Holds::IfThere(object) => (object, Presence::There),
        };
        if !asked.contains_key(object) && asked.len() < MOST_READS {
            asked.insert(object.clone(), presence(release, object).await?);
        }
        if asked.get(object) == Some(&wanted) {
            found.push(warning.message);
        }
    }
    Ok(found)
}

/// The presence of an object, as far as the tenant can see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    There,
    Missing,
    /// The tenant may not read it.
    Unknown,
}

async fn presence(release: &Release<'_>, object: &ObjectRef) -> Result<Presence, Error> {
    match release.tenant.get(object).await {
        Ok(Some(_)) => Ok(Presence::There),
        Ok(None) => Ok(Presence::Missing),
        Err(error) if error.is_not_found() => Ok(Presence::Missing),
        Err(error) => match Error::from(error) {
            Error::Blocked(_) => Ok(Presence::Unknown),
            error => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_each_finding_and_fits_into_a_message() {
        let Error::Blocked(failure) = refusal(Event::Upgrade, &["a: b", "c: d"]) else {
            panic!("it blocks")
        };
        assert_eq!(failure.reason, Reason::PreflightFailed);
        assert_eq!(
            failure.message,
            "the upgrade does not begin: a: b; c: d. To begin it nevertheless, set \
             spec.preflight: Warn"
        );
        let long = "x".repeat(400);
        let Error::Blocked(failure) = refusal(Event::Upgrade, &[&*long; 9]) else {
            panic!("it blocks")
        };
        assert!(failure.message.contains("and 7 more"), "{}", failure.message);
        assert!(failure.message.ends_with("set spec.preflight: Warn"), "{}", failure.message);
    }
}
