//! The rule of each hook: the first of `spec.hooks.rules` that matches it, or its own annotations.

use std::{collections::HashMap, time::Duration};

use api::{HookRule, ReleaseLifecycle};
use lifecycle::{
    event::{Event, HookEvent},
    object::{ObjectRef, PlannedObject},
    plan::PlannedHook,
    reason::Reason,
    rule::{ANNOTATIONS, Rule, Run, leave_out},
    source::{Desired, Hook},
};
use manifests::placed::is_list;
use serde_json::Value;

use crate::problems::Blocked;

/// The maximum number of runs of hooks, over all events, for which unused rules are reported.
const MOST_RUNS: usize = 2000;

/// Gives each hook its rule, and the delete policies that the rule has. The objects of a chart's
/// `crds/` are no hooks, and have none. A `List` stands for its items.
pub(crate) fn apply(
    release: &ReleaseLifecycle,
    event: Event,
    desired: &Desired,
    hooks: &mut [PlannedHook],
) -> Result<(), Blocked> {
    // Those of all events: a mistake in a delete hook is not to be found when it blocks a deletion,
    // and nobody can correct a record.
    let problems =
        if event.needs_source() { mistakes(release.hook_rules(), desired) } else { Vec::new() };
    if !problems.is_empty() {
        return Err(Blocked::all(Reason::InvalidRule, &problems));
    }
    let lists: HashMap<&ObjectRef, &Value> = desired
        .hooks
        .iter()
        .filter(|hook| is_list(&hook.manifest))
        .flat_map(|hook| hook.parts.iter().map(|part| (&part.object, &hook.manifest)))
        .collect();
    for hook in hooks.iter_mut().filter(|hook| !hook.in_crds) {
        if let Some((index, rule)) = of_spec(release, hook) {
            set(hook, format!("spec.hooks.rules[{index}]"), rule);
            continue;
        }
        let own = HookRule::of_annotations(&hook.manifest).ok().flatten();
        let of_list = || HookRule::of_annotations(lists.get(&hook.object)?).ok().flatten();
        if let Some(rule) = own.or_else(of_list) {
            set(hook, ANNOTATIONS.to_owned(), &rule);
        }
    }
    Ok(())
}

fn of_spec<'a>(release: &'a ReleaseLifecycle, hook: &PlannedHook) -> Option<(usize, &'a HookRule)> {
    let mut rules = release.hook_rules().iter().enumerate();
    rules.find(|(_, rule)| rule.is_for(hook.event, &hook.object, &hook.manifest))
}

/// Returns the annotations of hooks that are no rules, each with its hook. Rules of the spec replace
/// them.
fn mistakes(rules: &[HookRule], desired: &Desired) -> Vec<String> {
    let is_ruled = |(event, part): (HookEvent, &PlannedObject)| {
        rules.iter().any(|rule| rule.is_for(event, &part.object, &part.manifest))
    };
    let unruled = desired.hooks.iter().filter(|hook| !runs(hook).all(is_ruled));
    let named = unruled.flat_map(|hook| {
        let whole = std::iter::once((&hook.object, &hook.manifest));
        let items = hook.parts.iter().filter(|_| is_list(&hook.manifest));
        whole.chain(items.map(|part| (&part.object, &part.manifest)))
    });
    let mistakes = named.filter_map(|(object, manifest)| {
        let error = HookRule::of_annotations(manifest).err()?;
        Some(format!("hook {object}: {error}"))
    });
    mistakes.collect()
}

fn set(hook: &mut PlannedHook, from: String, rule: &HookRule) {
    if let Some(policies) = &rule.delete_policy {
        hook.delete_policies.clone_from(policies);
    }
    // Each run has a name of its own: nothing would remove the object of the attempt before.
    let is_retried = !hook.is_named_by_run();
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    hook.rule = Rule {
        from: Some(from),
        timeout_seconds: rule.timeout().map(seconds),
        retries: rule.retries.filter(|_| is_retried),
        retry_infrastructure: rule.retry_infrastructure.filter(|_| is_retried),
        fail_fast_seconds: rule.fail_fast().map(seconds),
        on_failure: rule.on_failure.unwrap_or_default(),
        uninterruptible: rule.interruptible == Some(false),
        parallel: rule.parallel == Some(true),
        log_lines: rule.log_lines,
        readiness: rule.readiness.unwrap_or_default(),
        run: rule.run.unwrap_or_default(),
        ..Rule::default()
    };
    if hook.rule.run == Run::Never {
        leave_out(hook, &[]);
    }
}

/// Returns, in words, what has no effect in the rules: those of the spec that apply to no hook of
/// `desired`, and retries of hooks without a name. Empty for an event that follows no source.
pub fn warnings(
    release: &ReleaseLifecycle,
    event: Event,
    desired: &Desired,
    hooks: &[PlannedHook],
) -> Vec<String> {
    if !event.needs_source() {
        return Vec::new();
    }
    let nameless = hooks.iter().filter(|hook| hook.is_named_by_run()).filter_map(|hook| {
        let (index, rule) = of_spec(release, hook)?;
        let repeats = rule.retries.is_some() || rule.retry_infrastructure.is_some();
        repeats.then(|| {
            format!(
                "hook {}… ({}) is not retried (spec.hooks.rules[{index}]): only a hook with \
                 metadata.name is",
                hook.object, hook.event
            )
        })
    });
    nameless.chain(unused(release.hook_rules(), desired)).collect()
}

fn unused(rules: &[HookRule], desired: &Desired) -> Vec<String> {
    let all = || desired.hooks.iter().flat_map(runs);
    // Each is compared with each rule.
    if rules.is_empty() || all().count() > MOST_RUNS {
        return Vec::new();
    }
    let mut used = vec![Use::None; rules.len()];
    for (event, part) in all() {
        let matching = rules.iter().zip(&mut used);
        let mut matching =
            matching.filter(|(rule, _)| rule.is_for(event, &part.object, &part.manifest));
        if let Some((_, first)) = matching.next() {
            *first = Use::Applies;
        }
        for (_, later) in matching {
            *later = (*later).max(Use::Hidden);
        }
    }
    let unused = used.iter().enumerate().filter_map(|(index, is_used)| {
        let why = match is_used {
            Use::Applies => return None,
            Use::Hidden => "each hook that it matches has an earlier rule: move it up",
            Use::None => "it matches no hook of this release at the events that the hook has",
        };
        Some(format!("spec.hooks.rules[{index}] has no effect: {why}"))
    });
    unused.collect()
}

/// The use of a rule.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    /// It matches no hook.
    None,
    /// It only matches hooks that an earlier rule matches.
    Hidden,
    /// It is the first that matches a hook.
    Applies,
}

fn runs(hook: &Hook) -> impl Iterator<Item = (HookEvent, &PlannedObject)> {
    hook.events.iter().flat_map(|event| hook.parts.iter().map(|part| (*event, part)))
}

#[cfg(test)]
mod tests {
    use lifecycle::{hooks::DeletePolicy, rule::OnFailure, source::Author};
    use manifests::placed::Placed;
    use serde_json::json;

    use super::*;
    use crate::planned;

    fn release(rules: Value) -> ReleaseLifecycle {
        let spec = json!({"source": {"objects": []}, "hooks": {"rules": rules}});
        serde_json::from_value(json!({
            "apiVersion": "releaselifecycle.dev/v1alpha1", "kind": "ReleaseLifecycle",
            "metadata": {"name": "shop", "namespace": "shop"}, "spec": spec,
        }))
        .unwrap()
    }

    fn desired(hooks: &[(&str, &str, Value)]) -> Desired {
        let objects: Vec<_> = hooks
            .iter()
            .map(|(name, event, annotations)| {
                let mut annotations = annotations.clone();
                annotations["helm.sh/hook"] = json!(event);
                json!({"apiVersion": "batch/v1", "kind": "Job",
                       "metadata": {"name": name, "annotations": annotations}})
            })
            .collect();
        Desired::parse(&Placed::inline(&objects), "shop", Author::User).unwrap()
    }

    #[test]
    fn the_first_rule_that_matches_applies_whole() {
        let release = release(json!([
            {"match": {"name": "*-migration"}, "timeout": "1h", "retries": 2, "interruptible": false,
             "deletePolicy": ["hook-succeeded"]},
            {"onFailure": "Ignore", "logLines": 5},
        ]));
        let annotated = json!({"releaselifecycle.dev/hook-run": "Once"});
        let desired = desired(&[
            ("shop-migration", "pre-install", annotated.clone()),
            ("other", "pre-install", annotated),
        ]);
        let hooks = planned::hooks(&release, Event::Install, &desired).unwrap();
        let named = |name: &str| hooks.iter().find(|hook| hook.object.name == name).unwrap();
        let migration = named("shop-migration");
        assert_eq!(migration.delete_policies, [DeletePolicy::HookSucceeded]);
        let rule = &migration.rule;
        assert_eq!(rule.from.as_deref(), Some("spec.hooks.rules[0]"));
        assert_eq!((rule.timeout_seconds, rule.retries), (Some(3600), Some(2)));
        assert_eq!((rule.on_failure, rule.run), (OnFailure::Fail, Run::Always));
        assert!(rule.uninterruptible);
        let rule = &named("other").rule;
        assert_eq!(rule.from.as_deref(), Some("spec.hooks.rules[1]"));
        assert_eq!((rule.on_failure, rule.log_lines), (OnFailure::Ignore, Some(5)));
        assert_eq!(rule.run, Run::Always, "no field of the annotations");
    }

    #[test]
    fn a_hook_has_a_rule_by_its_annotations() {
        let annotations = json!({
            "releaselifecycle.dev/hook-timeout": "90s",
            "releaselifecycle.dev/hook-retries": "3",
            "releaselifecycle.dev/hook-on-failure": "Ignore",
            "releaselifecycle.dev/hook-run": "WhenChanged",
            "releaselifecycle.dev/hook-interruptible": "false",
            "releaselifecycle.dev/hook-log-lines": "50",
        });
        let desired =
            desired(&[("a", "pre-install", annotations), ("b", "pre-install", json!({}))]);
        let hooks = planned::hooks(&release(json!([])), Event::Install, &desired).unwrap();
        let expected = Rule {
            from: Some("annotations".to_owned()),
            timeout_seconds: Some(90),
            retries: Some(3),
            on_failure: OnFailure::Ignore,
            uninterruptible: true,
            log_lines: Some(50),
            run: Run::WhenChanged,
            ..Rule::default()
        };
        assert_eq!(hooks[0].rule, expected);
        assert!(hooks[1].rule.is_default());
    }

    #[test]
    fn annotations_that_are_no_rule_are_all_named() {
        let bad = [
            ("timeout", "soon", "must be a duration between 1s and 8760h"),
            ("timeout", "0s", "must be a duration between 1s and 8760h"),
            ("retries", "-1", "must be a number between 0 and 20"),
            ("retries", "21", "must be a number between 0 and 20"),
            ("on-failure", "ignore", "must be Fail or Ignore"),
            ("run", "", "must be Always, WhenChanged, Once or Never"),
            ("interruptible", "no", "must be true or false"),
            ("log-lines", "201", "must be a number between 0 and 200"),
            ("onFailure", "Ignore", "there is no such annotation; there are"),
        ];
        for (name, value, expected) in bad {
            let annotations = json!({format!("releaselifecycle.dev/hook-{name}"): value});
            // Whatever the hook's event is.
            let desired = desired(&[("a", "pre-delete", annotations)]);
            let blocked =
                planned::hooks(&release(json!([])), Event::Install, &desired).unwrap_err();
            assert_eq!(blocked.reason, Reason::InvalidRule);
            let said = blocked.to_string();
            let named =
                format!("hook Job/a: annotation releaselifecycle.dev/hook-{name}: {expected}");
            assert!(said.contains(&named), "{said}");
            let ruled = release(json!([{"match": {"name": "a"}}]));
            assert!(planned::hooks(&ruled, Event::Install, &desired).is_ok());
        }
    }

    #[test]
    fn a_mistake_in_a_record_blocks_no_deletion() {
        let annotations = json!({"releaselifecycle.dev/hook-timout": "1h"});
        let desired = desired(&[("a", "pre-delete", annotations)]);
        let hooks = planned::hooks(&release(json!([])), Event::Delete, &desired).unwrap();
        assert!(hooks[0].rule.is_default());
    }

    #[test]
    fn a_list_stands_for_its_items() {
        let item =
            |name| json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}});
        let list = json!({"apiVersion": "v1", "kind": "List",
            "metadata": {"annotations": {"helm.sh/hook": "pre-install",
                                         "releaselifecycle.dev/hook-retries": "2"}},
            "items": [item("a"), item("b")]});
        let desired = Desired::parse(&Placed::inline(&[list]), "shop", Author::User).unwrap();
        let hooks = planned::hooks(&release(json!([])), Event::Install, &desired).unwrap();
        let retries: Vec<_> = hooks.iter().map(|hook| hook.rule.retries).collect();
        assert_eq!(retries, [Some(2), Some(2)]);
    }

    #[test]
    fn a_hook_without_a_name_is_not_retried() {
        let hook = json!({"apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"generateName": "a-", "annotations": {"helm.sh/hook": "pre-install"}}});
        let desired = Desired::parse(&Placed::inline(&[hook]), "shop", Author::User).unwrap();
        let release = release(json!([{"retries": 2, "timeout": "1h"}]));
        let hooks = planned::hooks(&release, Event::Install, &desired).unwrap();
        let rule = &hooks[0].rule;
        assert_eq!((rule.retries, rule.timeout_seconds), (None, Some(3600)));
        let said = warnings(&release, Event::Install, &desired, &hooks);
        assert!(said[0].contains("is not retried (spec.hooks.rules[0])"), "{said:?}");
    }

    #[test]
    fn rules_without_effect_are_told_apart() {
        let release = release(json!([
            {"match": {"name": "a"}},
            {"match": {"name": "a", "kind": "Job"}},
            {"match": {"name": "b", "events": ["pre-upgrade"]}},
            {"match": {"events": ["post-delete"]}},
        ]));
        let desired = desired(&[
            ("a", "pre-install", json!({})),
            ("b", "pre-install,post-delete", json!({})),
        ]);
        let said = warnings(&release, Event::Install, &desired, &[]);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].starts_with("spec.hooks.rules[1] has no effect: each hook"), "{said:?}");
        assert!(
            said[1].starts_with("spec.hooks.rules[2] has no effect: it matches no"),
            "{said:?}"
        );
    }
}
