//! The first thing to do where the newest record is not, or not provably, the custom resource's own.

use super::{Next, Record, RecordState, Situation};

/// The first thing to do if the newest record is not the custom resource's. An uninstalled release
/// is unowned.
pub(super) fn not_ours(situation: &Situation<'_>, latest: &Record) -> Option<Next> {
    let revision = latest.revision;
    let is_lost = |owner: &str| owner == situation.owner && !latest.is_known;
    match latest.owner.as_deref() {
        Some(owner) if !is_lost(owner) || situation.knows_nothing => {
            (owner != situation.owner).then_some(Next::Foreign { revision })
        }
        // By whom its plan was written is unknown, and what it says counts for nothing.
        Some(_) | None => match latest.state {
            RecordState::Uninstalled => None,
            RecordState::Pending | RecordState::Uninstalling => Some(Next::AwaitHelm { revision }),
            RecordState::Deployed | RecordState::Superseded | RecordState::Failed => {
                Some(Next::Adopt { revision })
            }
        },
    }
}

/// The first thing to do if the newest record is the custom resource's by its own words alone,
/// since the status that would prove it was lost. What was deployed is adopted, like Helm's. What
/// was at work resumes if a person vouches for it. What failed, or was rolled back, is not tried
/// again by itself.
pub(super) fn unknown(situation: &Situation<'_>, latest: &Record) -> Option<Next> {
    if latest.is_known {
        return None;
    }
    let revision = latest.revision;
    let is_asked = situation.requests.retry != situation.handled.retry;
    let is_deleted = situation.deletion.is_some();
    match latest.state {
        RecordState::Uninstalled => None,
        RecordState::Pending if is_deleted => Some(Next::Adopt { revision }),
        RecordState::Pending | RecordState::Uninstalling => {
            Some(if is_asked { Next::Trust { revision } } else { Next::PlanUnknown { revision } })
        }
        RecordState::Failed if !is_deleted => None,
        RecordState::Deployed if !is_deleted && latest.remedial => None,
        RecordState::Deployed | RecordState::Superseded | RecordState::Failed => {
            Some(Next::Adopt { revision })
        }
    }
}
