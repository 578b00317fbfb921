//! A plan for people. Pure.

use lifecycle::rule::{OnFailure, Readiness, Run};

use super::events::{EventPlan, HookStep, Named, ReleasePlan, RuleStep, Step};
use crate::words::{Colour, Look, pad_columns, printable};

pub(super) fn render(plan: &ReleasePlan, look: Look) -> String {
    let mut lines = vec![header(plan, look)];
    lines.extend(plan.notes.iter().flat_map(|note| look.wrap("  ", note)));
    for event in &plan.events {
        lines.push(String::new());
        lines.extend(event_lines(event, look));
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn header(plan: &ReleasePlan, look: Look) -> String {
    let title = match &plan.namespace {
        Some(namespace) => format!("{namespace}/{}", plan.name),
        None => plan.name.clone(),
    };
    let mut parts = vec![look.paint(Colour::Bold, &title).into_owned()];
    if plan.release_name != plan.name {
        parts.push(format!("release {}", plan.release_name));
    }
    parts.push(format!("from {}", plan.sources.join(", ")));
    parts.extend(plan.service_account_name.iter().map(|it| format!("as ServiceAccount {it}")));
    parts.join("  ")
}

fn event_lines(event: &EventPlan, look: Look) -> Vec<String> {
    let title = look.paint(Colour::Bold, &event.event).into_owned();
    let mut lines = vec![format!("{title}: when {}", event.when)];
    // The hooks' cells are aligned among themselves: no sentence of another step moves them.
    let hooks = event.steps.iter().filter_map(|step| match step {
        Step::Hook(hook) => Some(hook_cells(hook)),
        _ => None,
    });
    let mut hooks: Vec<_> = hooks.collect();
    pad_columns(&mut hooks);
    let mut hooks = hooks.into_iter().map(|cells| cells.concat());
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (index, step) in event.steps.iter().enumerate() {
        rows.extend(step_rows(index + 1, step, &mut hooks));
    }
    pad_columns(&mut rows);
    let cut = |row: Vec<String>| look.cut(&format!("  {}", row.concat().trim_end()));
    lines.extend(rows.into_iter().map(cut));
    lines.extend(event.notes.iter().flat_map(|note| look.wrap("  ", note)));
    if let Some(problem) = &event.problem {
        lines.extend(look.wrap("  ", problem));
        return lines;
    }
    lines.extend(look.wrap("  ", &format!("if it fails: {}", event.on_failure)));
    lines
}

/// Writes the rows: number, action, and object. The texts of `hooks` are taken in turn.
fn step_rows(
    number: usize,
    step: &Step,
    hooks: &mut impl Iterator<Item = String>,
) -> Vec<Vec<String>> {
    let one = |what: &str, text: &str| vec![row(number, what, text)];
    match step {
        Step::Hook(hook) => one(hook.hook_event.as_str(), &hooks.next().unwrap_or_default()),
        Step::Apply { objects, .. } => object_rows(number, "apply", objects),
        Step::Delete { objects, .. } => object_rows(number, "delete", objects),
        Step::Keep { objects, .. } => object_rows(number, "keep", objects),
        Step::Wait { timeout, reason } => one("wait", &format!("at most {timeout} {reason}")),
        Step::Prune { reason } => one("prune", reason),
        Step::None { reason } => vec![vec![reason.clone()]],
    }
}

fn hook_cells(hook: &HookStep) -> Vec<String> {
    let policies: Vec<_> = hook.delete_policies.iter().map(|policy| policy.as_str()).collect();
    let policies =
        if policies.is_empty() { "never deleted".to_owned() } else { policies.join(",") };
    let made_up = if hook.generate_name { "…" } else { "" };
    vec![
        format!("{}{made_up}", named(&hook.object)),
        format!("weight {}", hook.weight),
        format!("at most {}", hook.timeout),
        policies,
        hook.rule.as_ref().map(rule).unwrap_or_default(),
        hook.reason.clone(),
    ]
}

/// Writes what a rule says beyond the timeout and the delete policies, which are shown anyway.
fn rule(rule: &RuleStep) -> String {
    let parts = [
        rule.retries.map(|retries| format!("retries {retries}")),
        rule.retry_infrastructure.map(|retries| format!("infrastructure retries {retries}")),
        rule.fail_fast.as_ref().map(|time| format!("starts within {time}")),
        (rule.on_failure == OnFailure::Ignore).then(|| "failure ignored".to_owned()),
        match rule.run {
            Run::Always | Run::Never => None,
            Run::WhenChanged => Some("when changed".to_owned()),
            Run::Once => Some("once".to_owned()),
        },
        (rule.readiness == Some(Readiness::Ready)).then(|| "until it is ready".to_owned()),
        (!rule.interruptible).then(|| "not interruptible".to_owned()),
        rule.parallel.then(|| "parallel".to_owned()),
        rule.log_lines.map(|lines| format!("{lines} log lines")),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        rule.from.clone()
    } else {
        format!("{}: {}", rule.from, parts.join(", "))
    }
}

fn object_rows(number: usize, what: &str, objects: &[Named]) -> Vec<Vec<String>> {
    let rows = objects.iter().enumerate().map(|(index, object)| match index {
        0 => row(number, what, &named(object)),
        _ => vec![String::new(), String::new(), named(object)],
    });
    rows.collect()
}

fn row(number: usize, what: &str, text: &str) -> Vec<String> {
    vec![format!("{number:>2}"), what.to_owned(), printable(text)]
}

fn named(Named { kind, namespace, name, .. }: &Named) -> String {
    let place = namespace.as_ref().map_or(String::new(), |it| format!(" in {it}"));
    printable(&format!("{kind}/{name}{place}"))
}

#[cfg(test)]
mod tests {
    use api::ReleaseLifecycle;
    use lifecycle::{
        event::Event,
        source::{Author, Desired},
    };
    use manifests::placed::Placed;
    use serde_json::{Value, json};

    use super::{
        super::{Contents, Material, RenderedInput, events},
        *,
    };

    fn object(kind: &str, name: &str, hook: Option<(&str, &str)>) -> Value {
        let version = if kind == "Job" { "batch/v1" } else { "v1" };
        let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}});
        if let Some((events, weight)) = hook {
            let annotations = json!({"helm.sh/hook": events, "helm.sh/hook-weight": weight});
            object["metadata"]["annotations"] = annotations;
        }
        object
    }

    fn objects() -> Vec<Value> {
        let mut volume = object("PersistentVolumeClaim", "data", None);
        volume["metadata"]["annotations"] = json!({"helm.sh/resource-policy": "keep"});
        vec![
            object("Job", "migrate", Some(("pre-upgrade", "-5"))),
            object("Job", "backup", Some(("pre-upgrade,pre-delete", "-10"))),
            object("Service", "shop", None),
            object("ConfigMap", "shop", None),
            volume,
            object("Pod", "smoke", Some(("test", "0"))),
            object("Pod", "load", Some(("test", "1"))),
        ]
    }

    fn plan(events: &[Event], more: Value) -> ReleasePlan {
        let mut object: Value = json!({"metadata": {"name": "shop", "namespace": "prod"},
            "spec": {"source": {"objects": objects()}, "serviceAccountName": "deployer"}});
        for (key, value) in more.as_object().into_iter().flatten() {
            object["spec"][key] = value.clone();
        }
        let object: ReleaseLifecycle = serde_json::from_value(object).unwrap();
        let material = Material {
            object,
            contents: Contents::Objects(Vec::new()),
            sources: vec!["spec.source.objects".to_owned()],
            notes: Vec::new(),
            place: None,
        };
        let desired = Desired::parse(&Placed::inline(&objects()), "prod", Author::User).unwrap();
        events::plan(
            &material,
            &RenderedInput { desired: Ok(desired), upgrade: None, templates: Vec::new() },
            events,
        )
        .unwrap()
    }

    #[track_caller]
    fn check(event: Event, more: Value, expected: &str) {
        let text = render(&plan(&[event], more), Look::PLAIN);
        let (_, text) = text.split_once("\n\n").unwrap();
        assert!(text == expected, "expected:\n{expected}\nfound:\n{text}");
    }

    #[test]
    fn an_upgrade_has_hooks_around_what_is_applied() {
        check(
            Event::Upgrade,
            json!({"timeout": "90s", "test": {"enable": true}}),
            "\
upgrade: when the source differs from what is deployed
   1  pre-upgrade  Job/backup   weight -10  at most 1m30s  before-hook-creation  the lowest weight
   2  pre-upgrade  Job/migrate  weight -5   at most 1m30s  before-hook-creation  weight -5 comes after -10
   3  apply        ConfigMap/shop
                   PersistentVolumeClaim/data
                   Service/shop
   4  prune        objects of earlier revisions that this one lacks are deleted; the records in the cluster name them
   5  wait         at most 1m30s until the objects are ready; spec.wait: false skips this
  then the tests run (spec.test.enable)
  if it fails: nothing after it runs, what was applied stays, and the record of the revision before stays deployed; `kubectl lifecycle retry shop` resumes at the failed hook, `kubectl lifecycle rollback shop` goes back
",
        );
    }

    #[test]
    fn a_rollback_says_whose_objects_and_hooks_these_are() {
        check(
            Event::Rollback,
            json!({"wait": false, "test": {"enable": true}, "rollback": {"hooksFrom": "Current"}}),
            "\
rollback: when spec.pinRevision names another revision than the deployed one
   1  apply  ConfigMap/shop
             PersistentVolumeClaim/data
             Service/shop
   2  prune  objects of earlier revisions that this one lacks are deleted; the records in the cluster name them
  then the tests run (spec.test.enable)
  a rollback takes objects from the record of the revision that it goes back to, and hooks from that of the deployed one (spec.rollback.hooksFrom: Current); this is the plan if both revisions are the same as the source
  if it fails: nothing after it runs, and the revision is recorded as failed; `kubectl lifecycle retry shop` resumes at the failed hook
",
        );
    }

    #[test]
    fn a_deletion_says_what_stays() {
        check(
            Event::Delete,
            json!({"deletion": {"timeout": "5m", "onTimeout": "SkipHooks"}}),
            "\
delete: when the ReleaseLifecycle is deleted
   1  pre-delete  Job/backup  weight -10  at most 5m  before-hook-creation  the only pre-delete hook
   2  delete      Service/shop
                  ConfigMap/shop
   3  keep        PersistentVolumeClaim/data
  if it fails: a failed hook is tried again for 5m (spec.deletion.timeout); then the hooks that have not succeeded are skipped (spec.deletion.onTimeout: SkipHooks)
",
        );
        let kept = plan(&[Event::Delete], json!({"deletion": {"objects": "Keep"}}));
        assert!(render(&kept, Look::PLAIN).contains("spec.deletion.objects is Keep: no hook runs"));
    }

    #[test]
    fn the_tests_that_run_and_those_that_do_not_are_told_apart() {
        check(
            Event::Test,
            json!({"test": {"filters": [{"name": "load", "exclude": true}], "onFailure": "Fail"}}),
            "\
test: when requested (`kubectl lifecycle test`)
   1  test  Pod/smoke  weight 0  at most 5m  before-hook-creation  the only test hook
  Pod/load does not run: spec.test.filters leaves it out
  if it fails: the conditions TestSuccess and Ready are False (spec.test.onFailure: Fail)
",
        );
    }

    #[test]
    fn what_stands_above_the_events_is_said_once() {
        let plan = plan(&[], json!({"suspend": true, "pinRevision": 3, "releaseName": "store"}));
        let expected = "\
prod/shop  release store  from spec.source.objects  as ServiceAccount deployer
  spec.suspend is true: nothing of this begins until it is false
  spec.pinRevision is 3: the release is held there, and nothing of its source is installed or upgraded until the field is removed
";
        assert_eq!(render(&plan, Look::PLAIN), expected);
    }

    #[test]
    fn the_shape_for_programs_stays() {
        let plan = plan(&[Event::Install, Event::Delete], json!({}));
        let mut value = serde_json::to_value(plan).unwrap();
        let keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        let expected = [
            "apiVersion",
            "events",
            "kind",
            "name",
            "namespace",
            "notes",
            "releaseName",
            "serviceAccountName",
            "sources",
        ];
        assert_eq!(keys, expected);
        assert_eq!(value["events"][0]["event"], "install");
        assert_eq!(value["events"][0]["steps"][0]["step"], "apply");
        assert_eq!(value["events"][0]["steps"][1]["timeout"], "5m");
        let hook = value["events"][1]["steps"][0].take();
        let expected = json!({"step": "hook", "hookEvent": "pre-delete", "apiVersion": "batch/v1",
            "kind": "Job", "namespace": null, "name": "backup", "generateName": false,
            "weight": -10, "timeout": "5m", "deletePolicies": ["before-hook-creation"],
            "ends": "when the Job is Complete or Failed", "reason": "the only pre-delete hook"});
        assert_eq!(hook, expected);
        let keep = json!([{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": null,
            "name": "data"}]);
        assert_eq!(value["events"][1]["steps"][2]["objects"], keep);
    }
}
