//! The operation that would run once the manifests are applied, and why: decided by the
//! controller's own functions. Pure.

use helm::{adopt, record::Status};
use lifecycle::{
    event::Event,
    journal::Requests,
    next::{self, Next, Record, RecordState, Situation},
};

use super::history::{History, Stored};
use crate::plan::Content;

/// The result of the comparison of the newest revision with the manifests.
#[derive(Debug, PartialEq)]
pub(super) enum Comparison {
    Same,
    /// The differences, in words.
    Differs(String),
    /// The reason why it is unknown here.
    Unknown(String),
}

/// The outcome that is expected.
#[derive(Debug, PartialEq)]
pub(super) struct Verdict {
    /// The outcome in words.
    pub(super) text: String,
    /// The operation that would run.
    pub(super) event: Option<Event>,
}

/// Compares the manifests with the newest record, as the operator does at the adoption.
pub(super) fn compare(newest: &Stored, content: &Content, namespace: &str) -> Comparison {
    let record = &newest.release;
    let revision = record.version;
    let differs = |why: String| Comparison::Differs(why);
    match content {
        Content::Objects(wanted) => match adopt::desired(record, namespace) {
            Ok(recorded) if adopt::is_same(&recorded, wanted) => Comparison::Same,
            Ok(_) => differs(format!("revision {revision} has other objects or hooks than these")),
            Err(error) => differs(error.to_string()),
        },
        Content::Chart { name, version, values } => {
            if adopt::is_of_chart(record, name, version, values) {
                return Comparison::Same;
            }
            let metadata = record.chart.metadata.clone().unwrap_or_default();
            differs(if (&metadata.name, &metadata.version) == (name, version) {
                format!("revision {revision} has other values than these")
            } else {
                format!(
                    "revision {revision} is of chart {} {}, and this is chart {name} {version}",
                    metadata.name, metadata.version
                )
            })
        }
    }
}

/// Returns what the operator would do; `me` is the name of the `ReleaseLifecycle`, `others` are
/// those that are in the cluster.
pub(super) fn of(
    history: &History,
    comparison: &Comparison,
    me: &str,
    others: &[String],
) -> Option<Verdict> {
    let newest = &history.newest()?.release;
    let (release, revision, status) = (&newest.name, newest.version, newest.info.status);
    let is_same = *comparison == Comparison::Same && status == Status::Deployed;
    let mut records: Vec<_> = history.stored.iter().map(|stored| summary(stored, others)).collect();
    if history.newest()?.owner.as_deref() == Some(me) {
        // From then on the operator uses the digest of its given configuration.
        let text = if others.iter().any(|other| other == me) {
            format!(
                "revision {revision} of {release} is that of ReleaseLifecycle {me} already; \
                 `kubectl lifecycle plan` shows the effect of another spec"
            )
        } else {
            format!(
                "revision {revision} of {release} was that of a ReleaseLifecycle {me} which is gone: \
                 nothing would run if this has the same source, word for word; otherwise an upgrade \
                 to revision {} would",
                revision.saturating_add(1)
            )
        };
        return Some(Verdict { text, event: None });
    }
    let mut next = decide(&records, me);
    let mut waits = "";
    if matches!(next, Next::AwaitHelm { .. }) {
        if status == Status::Uninstalling {
            let text = format!(
                "once no client is at work on it any more, revision {revision} of {release} is deployed \
                 again if nothing of it has been deleted; otherwise it is installed anew, with the \
                 install hooks"
            );
            return Some(Verdict { text, event: None });
        }
        waits = "once no client is at work on it any more, ";
        let latest = records.iter_mut().max_by_key(|record| record.revision)?;
        latest.state = RecordState::Failed;
        next = decide(&records, me);
    }
    if matches!(next, Next::Adopt { .. }) {
        let latest = records.iter_mut().max_by_key(|record| record.revision)?;
        latest.owner = Some(me.to_owned());
        latest.matches = is_same;
        next = decide(&records, me);
    }
    Some(match next {
        Next::InSync { revision } => Verdict {
            text: format!("nothing would run: revision {revision} of {release} is the same"),
            event: None,
        },
        Next::Foreign { .. } => Verdict {
            text: format!(
                "nothing would run: revision {revision} of {release} is another \
                 ReleaseLifecycle's, and this one would be Stalled (ForeignRelease)"
            ),
            event: None,
        },
        Next::Begin { event, revision: new, .. } => {
            let why = match comparison {
                _ if status != Status::Deployed => {
                    let deployed = history.deployed().map_or(0, |it| it.release.version);
                    format!(
                        "revision {revision}, the newest, is {status}, and this is the same as \
                         revision {deployed}"
                    )
                }
                Comparison::Differs(why) => why.clone(),
                Comparison::Unknown(why) => {
                    let metadata = newest.chart.metadata.clone().unwrap_or_default();
                    let text = format!(
                        "nothing would run if this is chart {} {}, which is unknown here: {why}; \
                         otherwise an {event} to revision {new} would",
                        metadata.name, metadata.version
                    );
                    return Some(Verdict { text, event: None });
                }
                Comparison::Same => return None,
            };
            let text = format!("{waits}an {event} to revision {new} would run, because {why}");
            Verdict { text, event: Some(event) }
        }
        // A record of another client, without an operation, leads to nothing else.
        _ => return None,
    })
}

fn decide(records: &[Record], me: &str) -> Next {
    next::next(&Situation {
        operation: None,
        gave_up: false,
        retry: None,
        remediation: None,
        records,
        owner: me,
        generation: 1,
        deletion: None,
        was_ours: false,
        knows_nothing: false,
        pin: None,
        requests: &Requests::default(),
        handled: &Requests::default(),
        test_due: false,
        before_failed_tests: None,
    })
}

/// Returns the record for the choice of the event. A record whose owner no longer exists is
/// unowned.
fn summary(stored: &Stored, others: &[String]) -> Record {
    let release = &stored.release;
    let state = match release.info.status {
        Status::PendingInstall | Status::PendingUpgrade | Status::PendingRollback => {
            RecordState::Pending
        }
        Status::Deployed => RecordState::Deployed,
        Status::Superseded => RecordState::Superseded,
        Status::Uninstalling => RecordState::Uninstalling,
        Status::Uninstalled => RecordState::Uninstalled,
        Status::Failed | Status::Unknown => RecordState::Failed,
    };
    Record {
        revision: release.version,
        origin: release.version,
        state,
        owner: stored.owner.clone().filter(|owner| others.contains(owner)),
        is_known: true,
        matches: false,
        operation: None,
        remedial: false,
    }
}

#[cfg(test)]
mod tests {
    use helm::record::Release;
    use lifecycle::source::Desired;
    use serde_json::{Map, Value, json};

    use super::super::history::Written;
    use super::*;

    fn history(records: &[(Status, Option<&str>)]) -> History {
        let stored = records.iter().enumerate().map(|(index, (status, owner))| {
            let release: Release = serde_json::from_value(json!({
                "name": "shop", "version": index + 1, "info": {"status": status},
                "chart": {"metadata": {"name": "shop", "version": "1.4.2"}},
                "config": {"a": 1},
            }))
            .unwrap();
            Stored { release, owner: owner.map(str::to_owned), written: Written::default() }
        });
        History { stored: stored.collect(), in_config_maps: false, problems: Vec::new() }
    }

    #[track_caller]
    fn check(
        records: &[(Status, Option<&str>)],
        comparison: &Comparison,
        event: Option<Event>,
        part: &str,
    ) {
        let others = ["other".to_owned(), "shop".to_owned()];
        let verdict = of(&history(records), comparison, "shop", &others).unwrap();
        assert!(verdict.text.contains(part), "{}", verdict.text);
        assert_eq!(verdict.event, event);
    }

    #[test]
    fn it_says_what_the_operator_would_do() {
        use Status::{Deployed, Failed, PendingUpgrade, Superseded, Uninstalling};
        let (upgrade, same) = (Some(Event::Upgrade), Comparison::Same);
        let differs = Comparison::Differs("it differs".to_owned());
        let (old, new) = ((Superseded, None), (Deployed, None));
        check(&[old, new], &same, None, "nothing would run: revision 2 of shop is the same");
        check(
            &[old, new],
            &differs,
            upgrade,
            "an upgrade to revision 3 would run, because it diff",
        );
        let unknown = Comparison::Unknown("no answer".to_owned());
        check(&[new], &unknown, None, "if this is chart shop 1.4.2, which is unknown here: no");
        // Not the revision of the manifests, though it has the same content.
        let text = "revision 2, the newest, is failed, and this is the same as revision 1";
        check(&[new, (Failed, None)], &same, upgrade, text);
        let text = "once no client is at work on it any more, an upgrade to revision 3 would run";
        check(&[new, (PendingUpgrade, None)], &same, upgrade, text);
        check(&[new, (Uninstalling, None)], &same, None, "installed anew, with the install hooks");
        check(&[(Deployed, Some("other"))], &same, None, "Stalled (ForeignRelease)");
        check(&[(Deployed, Some("gone"))], &same, None, "revision 1 of shop is the same");
        check(&[(Deployed, Some("shop"))], &same, None, "is that of ReleaseLifecycle shop already");
        let left = of(&history(&[(Deployed, Some("shop"))]), &same, "shop", &[]).unwrap();
        assert!(left.text.contains("which is gone: nothing would run if"), "{}", left.text);
    }

    #[test]
    fn a_chart_differs_by_name_version_or_values() {
        let newest = history(&[(Status::Deployed, None)]).stored.remove(0);
        let compared = |version: &str, values: Value| {
            let values: Map<String, Value> = serde_json::from_value(values).unwrap();
            let (name, version) = ("shop".to_owned(), version.to_owned());
            compare(&newest, &Content::Chart { name, version, values }, "prod")
        };
        assert_eq!(compared("1.4.2", json!({"a": 1})), Comparison::Same);
        for (version, values, part) in [
            ("1.4.2", json!({"a": "hunter2"}), "other values than these"),
            ("1.5.0", json!({"a": 1}), "chart shop 1.4.2, and this is chart shop 1.5.0"),
        ] {
            let Comparison::Differs(why) = compared(version, values) else { panic!("the same") };
            assert!(why.contains(part) && !why.contains("hunter2"), "{why}");
        }
        let objects = Content::Objects(Desired::default());
        assert_eq!(compare(&newest, &objects, "prod"), Comparison::Same);
    }
}
