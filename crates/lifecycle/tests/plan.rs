//! Plans: frozen before an operation's first effect.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use lifecycle::{
    event::{Event, HookEvent},
    plan::{Claims, Crds, Plan, PlannedHook, plan_hooks},
    source::{Author, Desired},
    testing,
};
use manifests::placed::Placed;
use serde_json::{Value, json};

fn crd(name: &str) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
           "metadata": {"name": name}})
}

fn desired() -> Desired {
    let mut hook = crd("hook");
    hook["metadata"]["annotations"] =
        json!({"helm.sh/hook": "pre-install,pre-upgrade", "helm.sh/hook-weight": "-5"});
    let mut desired = Desired::parse(&Placed::inline(&[hook]), "prod", Author::User).unwrap();
    desired.add_crds(&Placed::inline(&[crd("a"), crd("b")]), "prod").unwrap();
    desired
}

#[test]
fn what_stands_in_crds_comes_before_all_hooks_where_it_is_not_skipped() {
    for (event, at) in
        [(Event::Install, HookEvent::PreInstall), (Event::Upgrade, HookEvent::PreUpgrade)]
    {
        for (crds, names, left_alone) in [
            (Crds::Skip, &["hook"][..], &[false][..]),
            (Crds::Create, &["a", "b", "hook"], &[true, true, false]),
            (Crds::CreateReplace, &["a", "b", "hook"], &[false, false, false]),
        ] {
            let hooks = plan_hooks(&desired(), event, crds);
            let found: Vec<_> = hooks.iter().map(|hook| hook.object.name.as_str()).collect();
            assert_eq!(found, names, "{event} {crds:?}");
            assert!(hooks.iter().all(|hook| hook.event == at));
            let found: Vec<_> = hooks.iter().map(PlannedHook::leaves_alone).collect();
            assert_eq!(found, left_alone, "{event} {crds:?}");
        }
    }
}

#[test]
fn a_plan_from_before_there_were_claims_has_none_and_keeps_its_digest() {
    let plan = Plan {
        hooks: plan_hooks(&desired(), Event::Install, Crds::Create),
        ..testing::plan(Event::Install)
    };
    let (bytes, digest) = plan.freeze();
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(!text.contains("claims") && !text.contains("replaces"), "{text}");
    assert_eq!(Plan::thaw(&bytes).unwrap(), (plan.clone(), digest));

    let claims = Claims { take_ownership: true, force_conflicts: true };
    let hooks = plan_hooks(&desired(), Event::Install, Crds::CreateReplace);
    let plan = Plan { claims, hooks, ..plan };
    let (bytes, digest) = plan.freeze();
    assert_eq!(Plan::thaw(&bytes).unwrap(), (plan, digest));
}
