//! The content of a record.

use std::borrow::Cow;

use engine::protocol::Document;
use helm::{
    manifest,
    record::{self, ApplyMethod, Chart, Hook, HookRun, Info, Release, Status},
};
use lifecycle::{
    event::Event,
    hooks,
    journal::{HookPhase, HookStatus, Journal},
    object::ObjectRef,
    plan::{Crds, Plan, Remediated, plan_hooks},
    source::Desired,
};
use serde_json::Map;
use sources::{ChartTexts, RenderedRelease};

use crate::support::clock::now;

/// Returns the record of an operation that is about to begin: with the metadata of its chart, or
/// with synthetic metadata if the release has no chart.
pub(super) fn pending(
    plan: &Plan,
    made: &RenderedRelease,
    release: &str,
    namespace: &str,
) -> Release {
    let texts = match &made.texts {
        Some(texts) => Cow::Borrowed(texts),
        None => Cow::Owned(without_chart(plan, &made.desired, release)),
    };
    let hooks = made.desired.hooks.iter().zip(&texts.hooks).map(|(hook, document)| Hook {
        // Empty with `generateName`, as in Helm.
        name: hook.manifest["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
        kind: hook.object.kind.clone(),
        path: document.path.clone(),
        manifest: document.manifest.clone(),
        events: hook.events.iter().map(|event| event.as_str().to_owned()).collect(),
        last_run: HookRun::default(),
        weight: hook.weight,
        delete_policies: hooks::policy_words(&hook.manifest),
        output_log_policies: hooks::log_policy_words(&hook.manifest),
        extra: Map::new(),
    });
    Release {
        name: release.to_owned(),
        namespace: namespace.to_owned(),
        version: plan.revision,
        info: Info { notes: texts.notes.clone(), ..info(plan) },
        chart: texts.chart.clone(),
        config: texts.config.clone(),
        manifest: texts.manifest.clone(),
        hooks: hooks.collect(),
        apply_method: Some(ApplyMethod::Ssa),
        elsewhere: None,
        labels: std::collections::BTreeMap::new(),
        extra: Map::new(),
    }
}

fn without_chart(plan: &Plan, desired: &Desired, release: &str) -> ChartTexts {
    let path = |object: &ObjectRef| format!("{release}/{}-{}.yaml", object.kind, object.name);
    let manifest = plan
        .objects
        .iter()
        .map(|object| manifest::render([&object.manifest], &path(&object.object)))
        .collect();
    let document = |hook: &lifecycle::source::Hook| Document {
        path: path(&hook.object),
        manifest: manifest::to_yaml(&hook.manifest),
    };
    ChartTexts {
        // There is no chart; Helm shows its name and version in its lists.
        chart: Chart::synthetic(release, format!("0.0.{}", plan.revision)),
        config: Map::new(),
        notes: String::new(),
        manifest,
        hooks: desired.hooks.iter().map(document).collect(),
    }
}

/// Returns the plan that a deletion or a test of the revision of `plan` will have, at its largest,
/// as far as is known beforehand.
pub(super) fn later(plan: &Plan, desired: &Desired, event: Event) -> Plan {
    let objects = match event {
        Event::Delete => plan.objects.iter().map(|object| object.object.clone()).collect(),
        _ => Vec::new(),
    };
    Plan {
        event,
        hooks: plan_hooks(desired, event, Crds::Skip),
        objects: Vec::new(),
        prune: [objects, plan.prune.clone()].concat(),
        remedies: Some(Remediated {
            revision: plan.revision,
            config_digest: plan.config_digest.clone(),
        }),
        ..plan.clone()
    }
}

/// Returns the record of a rollback: a copy of its target (Helm's `prepareRollback`), without the
/// part of its chart that is never read, if Helm created the target.
pub(super) fn copied(plan: &Plan, target: &Release) -> Release {
    Release {
        version: plan.revision,
        info: Info {
            notes: target.info.notes.clone(),
            rollback_revision: target.version,
            ..info(plan)
        },
        chart: target.chart.reduced(),
        ..target.clone()
    }
}

/// Returns the info of a revision whose operation begins.
fn info(plan: &Plan) -> Info {
    let (status, description) = at_work(plan);
    let now = now();
    Info {
        first_deployed: Some(plan.first_deployed.unwrap_or(now)),
        last_deployed: Some(now),
        deleted: None,
        description,
        status,
        notes: String::new(),
        rollback_revision: 0,
        extra: Map::new(),
    }
}

/// Returns the status and the description of a record whose operation runs, in Helm's words.
pub(super) fn at_work(plan: &Plan) -> (Status, String) {
    match plan.event {
        Event::Install => (Status::PendingInstall, "Initial install underway".to_owned()),
        Event::Upgrade => (Status::PendingUpgrade, "Preparing upgrade".to_owned()),
        Event::Rollback => {
            (Status::PendingRollback, format!("Rollback to {}", plan.target.unwrap_or_default()))
        }
        Event::Delete | Event::Test => {
            (Status::Uninstalling, "Deletion in progress (or silently failed)".to_owned())
        }
    }
}

/// Returns the description of an operation that has ended.
pub(super) fn description(release: &str, journal: &Journal) -> String {
    let operation = &journal.operation;
    match (&operation.failure, operation.event) {
        (Some(failure), _) => format!("Release {release:?} failed: {}", failure.message),
        (None, Event::Rollback) => {
            format!("Rollback to {}", operation.target.unwrap_or_default())
        }
        (None, event) => format!("{} complete", event.as_str()),
    }
}

/// Records the last run of each hook object, whatever the event, as Helm does.
pub(super) fn note_runs(hooks: &mut [Hook], journal: &Journal) {
    for ran in &journal.hooks {
        let phase = match ran.phase {
            HookPhase::Pending | HookPhase::Skipped => continue,
            HookPhase::Unknown => record::Phase::Unknown,
            HookPhase::Running => record::Phase::Running,
            HookPhase::Succeeded => record::Phase::Succeeded,
            HookPhase::Failed => record::Phase::Failed,
        };
        let twin = hooks.iter_mut().find(|hook| {
            made(hook, ran) && hook.events.iter().any(|event| event == ran.event.as_str())
        });
        if let Some(hook) = twin {
            hook.last_run = HookRun {
                started_at: ran.started_at,
                completed_at: ran.completed_at,
                phase: Some(phase),
            };
        }
    }
}

/// Returns true if `ran` is an object of `hook`: the object itself, an item of a `List`, of which
/// the last one to run counts for all, or one whose name was made from `generateName`.
fn made(hook: &Hook, ran: &HookStatus) -> bool {
    if hook.kind == ran.kind && hook.name == ran.name {
        return true;
    }
    let manifests = manifest::parse(&hook.manifest).unwrap_or_default();
    manifests.iter().any(|manifest| {
        let items = manifest["items"].as_array().map_or(&[][..], Vec::as_slice);
        items.iter().chain([manifest]).any(|object| {
            let metadata = &object["metadata"];
            let prefix = metadata["generateName"].as_str();
            object["kind"] == ran.kind
                && (metadata["name"] == ran.name
                    || prefix.is_some_and(|prefix| ran.name.starts_with(prefix)))
        })
    })
}

#[cfg(test)]
mod tests {
    use lifecycle::{
        event::HookEvent,
        journal::{Failure, Requests},
        plan::Begin,
        reason::Reason,
        testing,
    };
    use serde_json::{Value, json};

    use super::*;

    fn hook(manifest: &Value) -> Hook {
        Hook {
            name: manifest["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            kind: manifest["kind"].as_str().unwrap_or_default().to_owned(),
            path: String::new(),
            manifest: manifest::to_yaml(manifest),
            events: vec!["pre-upgrade".to_owned()],
            last_run: HookRun::default(),
            weight: 0,
            delete_policies: Vec::new(),
            output_log_policies: Vec::new(),
            extra: Map::new(),
        }
    }

    fn journal_of(name: &str, event: HookEvent, phase: HookPhase) -> Journal {
        let begin = Begin {
            id: "op".to_owned(),
            event: Event::Upgrade,
            revision: 2,
            target: None,
            remedies: None,
            generation: 1,
        };
        let mut journal = Journal::begin(begin, String::new(), Requests::default(), now());
        let hook = json!({"index": 0, "event": event, "kind": "Job", "name": name, "weight": 0,
                          "phase": phase, "attempt": 1, "startedAt": "2026-01-01T00:00:00Z"});
        journal.hooks = vec![serde_json::from_value(hook).unwrap()];
        journal
    }

    #[test]
    fn the_status_of_a_record_at_work_is_helms() {
        for (event, status, words) in [
            (Event::Install, Status::PendingInstall, "Initial install underway"),
            (Event::Upgrade, Status::PendingUpgrade, "Preparing upgrade"),
            (Event::Rollback, Status::PendingRollback, "Rollback to 3"),
            (Event::Delete, Status::Uninstalling, "Deletion in progress (or silently failed)"),
        ] {
            let plan = Plan { target: Some(3), ..testing::plan(event) };
            assert_eq!(at_work(&plan), (status, words.to_owned()));
        }
    }

    #[test]
    fn the_description_of_what_ended_is_helms() {
        let mut journal = journal_of("a", HookEvent::PreUpgrade, HookPhase::Succeeded);
        assert_eq!(description("shop", &journal), "Upgrade complete");
        journal.operation.failure = Some(Failure::new(Reason::Timeout, "too late"));
        assert_eq!(description("shop", &journal), "Release \"shop\" failed: too late");
    }

    #[test]
    fn a_run_is_noted_at_the_hook_that_made_the_object() {
        let plain = json!({"kind": "Job", "metadata": {"name": "a"}});
        let named_by_run = json!({"kind": "Job", "metadata": {"generateName": "b-"}});
        let list = json!({"kind": "List", "items": [{"kind": "Job", "metadata": {"name": "c"}}]});
        let phase = |name: &str, event, phase| {
            let mut hooks = [hook(&plain), hook(&named_by_run), hook(&list)];
            note_runs(&mut hooks, &journal_of(name, event, phase));
            hooks.map(|hook| hook.last_run.phase)
        };
        let succeeded = Some(record::Phase::Succeeded);
        let (pre, ok) = (HookEvent::PreUpgrade, HookPhase::Succeeded);
        assert_eq!(phase("a", pre, ok), [succeeded, None, None]);
        assert_eq!(phase("b-x7k2p", pre, ok), [None, succeeded, None]);
        assert_eq!(phase("c", pre, ok), [None, None, succeeded]);
        assert_eq!(phase("d", pre, ok), [None, None, None]);
        assert_eq!(phase("a", HookEvent::PostUpgrade, ok), [None, None, None], "another event");
        // Helm has no word for a hook that never ran.
        assert_eq!(phase("a", pre, HookPhase::Skipped), [None, None, None]);
        assert_eq!(phase("a", pre, HookPhase::Failed)[0], Some(record::Phase::Failed));
    }

    #[test]
    fn a_later_deletion_is_planned_at_its_largest() {
        let mut plan = testing::plan(Event::Upgrade);
        plan.prune = vec![testing::object("ConfigMap", "old")];
        let applied: Vec<_> = plan.objects.iter().map(|it| it.object.clone()).collect();
        let deletion = later(&plan, &Desired::default(), Event::Delete);
        assert!(applied.iter().chain(&plan.prune).all(|it| deletion.prune.contains(it)));
        assert!(deletion.objects.is_empty() && deletion.remedies.is_some());
        let test = later(&plan, &Desired::default(), Event::Test);
        assert_eq!(test.prune, plan.prune);
    }
}
