//! Settings that can only fail, and settings without effect, reported before anything runs.

use lifecycle::{
    conditions,
    event::Event,
    object::ObjectRef,
    plan::Plan,
    preflight::{self, Holds},
    reason::Reason,
    source::SourceError,
};

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
    /// Returns the warnings about `plan`, with those about the rules of its hooks, and the remarks on
    /// the objects that it is created from.
    pub(crate) async fn of(
        release: &Release<'_>,
        plan: &Plan,
        remarks: &[SourceError],
        of_rules: Vec<String>,
    ) -> Result<Self, Error> {
        let mut fails = Vec::new();
        let mut asked: Vec<(ObjectRef, bool)> = Vec::new();
        for warning in preflight::warnings(plan, &release.namespace) {
            let holds = match &warning.holds {
                Holds::Always => true,
                Holds::Without(object) | Holds::IfMissing(object) => {
                    match asked.iter().find(|(known, _)| known == object) {
                        Some((_, missing)) => *missing,
                        None if asked.len() == MOST_READS => false,
                        None => {
                            let missing = is_missing(release, object).await?;
                            asked.push((object.clone(), missing));
                            missing
                        }
                    }
                }
            };
            if holds {
                fails.push(warning.message);
            }
        }
        fails.extend(of_rules);
        let meaningless = remarks.iter().map(ToString::to_string).collect();
        Ok(Self { event: plan.event, fails, meaningless })
    }

    /// Adds them to the condition that the next write of the journal sets. A test reports nothing
    /// of the release that it tests.
    pub(crate) fn note(&self, release: &mut Release<'_>) {
        if self.event != Event::Test {
            let warned = conditions::warned(&self.fails, &self.meaningless);
            release.warned = Some(warned.into_iter().collect());
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

/// Returns true if the tenant can confirm that the object does not exist. An object that it may not
/// read may exist.
async fn is_missing(release: &Release<'_>, object: &ObjectRef) -> Result<bool, Error> {
    match release.tenant.get(object).await {
        Ok(found) => Ok(found.is_none()),
        Err(error) if error.is_not_found() => Ok(true),
        Err(error) => match Error::from(error) {
            Error::Blocked(_) => Ok(false),
            error => Err(error),
        },
    }
}
