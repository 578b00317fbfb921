//! Settings that can only fail, and settings without effect, reported before anything runs.

use std::collections::HashMap;

use api::Preflight;
use helm::ownership;
use lifecycle::{
    conditions,
    event::Event,
    object::ObjectRef,
    plan::Plan,
    preflight::{self, Holds, MOST_WARNINGS, Warning},
    reason::Reason,
    source::SourceError,
};
use serde_json::Value;

use super::{dry_run, make::Planned};
use crate::{cluster::error::Error, release::Release, support::blocking};

/// The maximum number of objects that are looked up.
const MOST_READS: usize = 100;
/// The number of objects and hooks from which on the checks take long.
const LARGE: usize = 200;

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
    /// If `spec.preflight` does not let the operation begin with them. Only what is made from the
    /// source can be corrected there: a deletion, a rollback, a test, and the remediation of a
    /// failure always begin.
    pub(crate) async fn of(
        release: &mut Release<'_>,
        planned: &Planned,
    ) -> Result<Option<Self>, Error> {
        let Planned { plan, remarks, warnings, .. } = planned;
        let (mode, event) = (release.object.preflight(), plan.event);
        if mode == Preflight::Off {
            return Ok(None);
        }
        let candidates = candidates(release, plan).await;
        let seen = look_up(release, &candidates).await?;
        let Findings { mut certain, mut guesses } = judge(candidates, &seen);
        certain.extend(warnings.iter().cloned());
        let meaningless: Vec<_> = remarks.iter().map(SourceError::to_string).collect();
        if mode == Preflight::Enforce && event.needs_source() && plan.remedies.is_none() {
            let all: Vec<_> = certain.iter().chain(&meaningless).map(String::as_str).collect();
            hold_back(event, &all)?;
            let tried = dry_run::tried(release, plan).await?;
            hold_back(event, &tried.refusals.iter().map(String::as_str).collect::<Vec<_>>())?;
            guesses.extend(tried.untried);
        }
        certain.append(&mut guesses);
        Ok(Some(Self { event, fails: certain, meaningless }))
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

/// Returns the error with which nothing begins while there are these findings.
fn hold_back(event: Event, findings: &[&str]) -> Result<(), Error> {
    let Some(findings) = conditions::listed(findings) else { return Ok(()) };
    let message = format!(
        "the {event} does not begin: {findings}. To begin it nevertheless, set spec.preflight: Warn"
    );
    Err(Error::blocked(Reason::PreflightFailed, message))
}

/// Returns the warnings about `plan`, also those of which only the cluster can tell.
async fn candidates(release: &Release<'_>, plan: &Plan) -> Vec<Warning> {
    if plan.hooks.len() + plan.objects.len() < LARGE {
        return preflight::warnings(plan, &release.namespace);
    }
    let (plan, home) = (plan.clone(), release.namespace.clone());
    blocking::run(&release.namespace, move || preflight::warnings(&plan, &home)).await
}

/// Returns the object on which it depends whether the warning holds.
fn depends_on(warning: &Warning) -> Option<&ObjectRef> {
    match &warning.holds {
        Holds::Always => None,
        Holds::Without(object)
        | Holds::IfMissing(object)
        | Holds::With(object)
        | Holds::IfThere(object)
        | Holds::IfPruned(object) => Some(object),
    }
}

/// An object, as far as the tenant can see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    There {
        /// True if it is kept when the release no longer has it, or is not the release's.
        stays: bool,
    },
    Missing,
    /// The tenant may not read it.
    Unknown,
}

/// Looks up the objects on which the warnings depend, from the first on.
async fn look_up(
    release: &Release<'_>,
    warnings: &[Warning],
) -> Result<HashMap<ObjectRef, Presence>, Error> {
    let mut seen = HashMap::new();
    for object in warnings.iter().filter_map(depends_on) {
        if seen.len() < MOST_READS && !seen.contains_key(object) {
            seen.insert(object.clone(), presence(release, object).await?);
        }
    }
    Ok(seen)
}

async fn presence(release: &Release<'_>, object: &ObjectRef) -> Result<Presence, Error> {
    match release.tenant.get(object).await {
        Ok(Some(live)) => Ok(Presence::There { stays: stays(release, object, &live) }),
        Ok(None) => Ok(Presence::Missing),
        Err(error) if error.is_not_found() => Ok(Presence::Missing),
        Err(error) => match Error::from(error) {
            Error::Blocked(_) => Ok(Presence::Unknown),
            error => Err(error),
        },
    }
}

fn stays(release: &Release<'_>, object: &ObjectRef, live: &Value) -> bool {
    object.is_namespace(&release.namespace)
        || ownership::stays_when_removed(live, &release.name, &release.namespace).is_some()
}

/// The warnings that hold.
#[derive(Debug, Default, PartialEq, Eq)]
struct Findings {
    certain: Vec<String>,
    /// Those that are only reported.
    guesses: Vec<String>,
}

/// Returns the warnings that hold, and how many could not be checked.
fn judge(warnings: Vec<Warning>, seen: &HashMap<ObjectRef, Presence>) -> Findings {
    let mut found = Findings::default();
    let mut unchecked: usize = 0;
    for warning in warnings {
        let object = depends_on(&warning).map(|object| seen.get(object));
        let holds = match (&warning.holds, object) {
            (Holds::Always, _) | (_, None) => true,
            (_, Some(None)) => {
                unchecked += 1;
                false
            }
            (Holds::Without(_) | Holds::IfMissing(_), Some(Some(seen))) => {
                *seen == Presence::Missing
            }
            (Holds::With(_) | Holds::IfThere(_), Some(Some(seen))) => {
                matches!(seen, Presence::There { .. })
            }
            (Holds::IfPruned(_), Some(Some(seen))) => *seen == Presence::There { stays: false },
        };
        if !holds || found.certain.len() + found.guesses.len() >= MOST_WARNINGS {
            continue;
        }
        if warning.check.is_guess() {
            found.guesses.push(warning.message);
        } else {
            found.certain.push(warning.message);
        }
    }
    if unchecked > 0 {
        let text = format!(
            "{unchecked} possible findings could not be checked: at most {MOST_READS} objects are \
             looked up"
        );
        found.guesses.push(text);
    }
    found
}

#[cfg(test)]
mod tests {
    use lifecycle::{preflight::Check, testing};

    use super::*;

    fn refusal(event: Event, findings: &[&str]) -> Error {
        hold_back(event, findings).expect_err("there are findings")
    }

    fn warning(check: Check, message: &str, holds: Holds) -> Warning {
        let about = testing::object("Job", "a");
        Warning { check, about, message: message.to_owned(), holds }
    }

    #[test]
    fn a_warning_holds_by_what_was_seen_and_the_others_are_counted() {
        let object = |name: &str| testing::object("ServiceAccount", name);
        let stays = |stays| Presence::There { stays };
        let states = [
            ("gone", Presence::Missing),
            ("ours", stays(false)),
            ("kept", stays(true)),
            ("x", Presence::Unknown),
        ];
        let seen = states.map(|(name, state)| (object(name), state)).into_iter().collect();
        let holds = |make: fn(ObjectRef) -> Holds| {
            let names = states.iter().map(|(name, _)| *name).filter(|name| {
                let one = warning(Check::NeedsLater, "it", make(object(name)));
                !judge(vec![one], &seen).certain.is_empty()
            });
            names.collect::<Vec<_>>()
        };
        assert_eq!(holds(Holds::Without), ["gone"]);
        assert_eq!(holds(Holds::IfMissing), ["gone"]);
        assert_eq!(holds(Holds::With), ["ours", "kept"]);
        assert_eq!(holds(Holds::IfThere), ["ours", "kept"]);
        assert_eq!(holds(Holds::IfPruned), ["ours"]);
        assert_eq!(holds(|_| Holds::Always), ["gone", "ours", "kept", "x"]);
        let others = ["b", "c"]
            .map(|name| warning(Check::NeedsLater, "unknown", Holds::IfMissing(object(name))));
        let guess = warning(Check::UsesService, "a guess", Holds::Always);
        let found = judge(others.into_iter().chain([guess]).collect(), &seen);
        assert_eq!(found.certain, [""; 0]);
        assert_eq!(found.guesses[0], "a guess");
        assert!(found.guesses[1].starts_with("2 possible findings could not be"), "{found:?}");
    }

    #[test]
    fn the_warnings_are_cut_only_once_it_is_known_which_of_them_hold() {
        let gone = testing::object("Secret", "gone");
        let seen = HashMap::from([(gone.clone(), Presence::There { stays: false })]);
        let mut all = vec![warning(Check::NeedsLater, "no", Holds::IfMissing(gone)); 150];
        all.extend(vec![warning(Check::ShortTtl, "yes", Holds::Always); 150]);
        assert_eq!(judge(all, &seen).certain, ["yes"; MOST_WARNINGS]);
    }

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
