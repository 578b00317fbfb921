//! The rule of each hook: the first of `spec.hooks.rules` that matches it, or its own annotations.

use std::time::Duration;

use api::{HookRule, ReleaseLifecycle};
use lifecycle::{
    event::HookEvent,
    object::PlannedObject,
    plan::PlannedHook,
    reason::Reason,
    rule::{Rule, Run, leave_out},
    source::{Desired, Hook},
};

use crate::problems::Blocked;

/// Gives each hook its rule, and the delete policies that the rule has. The objects of a chart's
/// `crds/` are no hooks, and have none.
pub(crate) fn apply(release: &ReleaseLifecycle, hooks: &mut [PlannedHook]) -> Result<(), Blocked> {
    let mut problems = Vec::new();
    for hook in hooks.iter_mut().filter(|hook| !hook.in_crds) {
        let of_spec = release
            .hook_rules()
            .iter()
            .enumerate()
            .find(|(_, rule)| rule.is_for(hook.event, &hook.object, &hook.manifest));
        if let Some((index, rule)) = of_spec {
            set(hook, format!("spec.hooks.rules[{index}]"), rule);
            continue;
        }
        match HookRule::of_annotations(&hook.manifest) {
            Ok(Some(rule)) => set(hook, "annotations".to_owned(), &rule),
            Ok(None) => {}
            Err(error) => {
                problems.push(format!("hook {} ({}): {error}", hook.object, hook.event));
            }
        }
    }
    for hook in hooks.iter_mut() {
        if hook.rule.run == Run::Never {
            leave_out(hook, &[]);
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Blocked::all(Reason::InvalidRule, &problems)) }
}

fn set(hook: &mut PlannedHook, from: String, rule: &HookRule) {
    if let Some(policies) = &rule.delete_policy {
        hook.delete_policies.clone_from(policies);
    }
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    hook.rule = Rule {
        from: Some(from),
        timeout_seconds: rule.timeout().map(seconds),
        retries: rule.retries,
        retry_infrastructure: rule.retry_infrastructure,
        fail_fast_seconds: rule.fail_fast().map(seconds),
        on_failure: rule.on_failure.unwrap_or_default(),
        uninterruptible: rule.interruptible == Some(false),
        log_lines: rule.log_lines,
        run: rule.run.unwrap_or_default(),
        ..Rule::default()
    };
}

/// Returns, in words, the rules of the spec that apply to no hook of `desired`.
pub fn unused(release: &ReleaseLifecycle, desired: &Desired) -> Vec<String> {
    let rules = release.hook_rules();
    let mut used = vec![Use::None; rules.len()];
    for (event, part) in desired.hooks.iter().flat_map(runs) {
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
    use lifecycle::{event::Event, hooks::DeletePolicy, rule::OnFailure, source::Author};
    use manifests::placed::Placed;
    use serde_json::{Value, json};

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
            let desired = desired(&[("a", "pre-install", annotations)]);
            let blocked =
                planned::hooks(&release(json!([])), Event::Install, &desired).unwrap_err();
            assert_eq!(blocked.reason, Reason::InvalidRule);
            let said = blocked.to_string();
            let named = format!(
                "hook Job/a (pre-install): annotation releaselifecycle.dev/hook-{name}: {expected}"
            );
            assert!(said.contains(&named), "{said}");
        }
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
        let said = unused(&release, &desired);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].starts_with("spec.hooks.rules[1] has no effect: each hook"), "{said:?}");
        assert!(
            said[1].starts_with("spec.hooks.rules[2] has no effect: it matches no"),
            "{said:?}"
        );
    }
}
