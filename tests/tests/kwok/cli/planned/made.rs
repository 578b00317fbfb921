//! Releases that look random, and are the same each time.

use e2e::manifests::{Manifest, config_map};
use serde_json::{Value, json};

const EVENTS: [&str; 14] = [
    "pre-install",
    "post-install",
    "pre-upgrade",
    "post-upgrade",
    "pre-rollback",
    "post-rollback",
    "pre-delete",
    "post-delete",
    "test",
    "pre-install,pre-upgrade",
    "post-install,post-upgrade,test",
    "pre-rollback,pre-delete",
    "post-rollback,post-delete",
    "pre-upgrade,pre-rollback,test,pre-delete",
];
const POLICIES: [&str; 4] =
    ["", "before-hook-creation", "hook-succeeded", "hook-failed,hook-succeeded"];
const KINDS: [&str; 4] = ["ConfigMap", "Secret", "ServiceAccount", "Service"];

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % limit
    }
}

/// Some objects and hooks, in an order of their own; the second revision has others.
pub(super) fn objects(number: u32, revision: u32) -> Vec<Value> {
    let mut dice = Dice(u64::from(number) * 2 + u64::from(revision));
    let mut all = Vec::new();
    for index in 0..=dice.below(6) {
        all.push(object(&mut dice, &format!("r{number}-o{index}")));
    }
    for index in 0..dice.below(10) {
        let hook = hook(&mut dice, &format!("r{number}-h{index}-{revision}"));
        let place = dice.below(all.len() + 1);
        all.insert(place, hook);
    }
    all
}

/// The rest of the spec, for all revisions: the hooks of a rollback, the tests that run, the time.
pub(super) fn rest(number: u32) -> Value {
    let mut dice = Dice(u64::from(number));
    let hooks_from = ["Target", "Current"][dice.below(2)];
    let left_out = |revision| json!({"name": format!("r{number}-h1-{revision}"), "exclude": true});
    let filters = if dice.below(2) == 0 { vec![] } else { vec![left_out(1), left_out(2)] };
    // Patches move some hooks to the end, and have an object kept.
    let annotated = |name: String, key: &str, value: &str| {
        let patch = json!({"metadata": {"annotations": {key: value}}});
        json!({"target": {"name": name}, "patch": patch.to_string()})
    };
    let patches = [
        annotated(format!("r{number}-(o0|h[0-4]-.*)"), "helm.sh/hook-weight", "9"),
        annotated(format!("r{number}-o0"), "helm.sh/resource-policy", "keep"),
    ];
    let patches = if number % 3 == 1 { &patches[..] } else { &[] };
    json!({
        "patches": patches,
        "timeout": format!("{}m", dice.below(9) + 1),
        "wait": dice.below(4) > 0,
        "rollback": {"hooksFrom": hooks_from},
        "test": {"filters": filters},
    })
}

fn object(dice: &mut Dice, name: &str) -> Value {
    let kind = KINDS[dice.below(KINDS.len())];
    let mut object = of_kind(kind, name);
    if kind == "Service" {
        object = object.set("/spec", json!({"ports": [{"port": 80}]}));
    }
    if dice.below(4) == 0 {
        object = object.set("/metadata/annotations", json!({"helm.sh/resource-policy": "keep"}));
    }
    object
}

fn hook(dice: &mut Dice, name: &str) -> Value {
    let weight = dice.below(7).to_string();
    let weight = if dice.below(2) == 0 { weight } else { format!("-{weight}") };
    let mut annotations = json!({
        "helm.sh/hook": EVENTS[dice.below(EVENTS.len())],
        "helm.sh/hook-weight": weight,
    });
    let policy = POLICIES[dice.below(POLICIES.len())];
    if !policy.is_empty() {
        annotations["helm.sh/hook-delete-policy"] = json!(policy);
    }
    let kind = if dice.below(3) == 0 { "ServiceAccount" } else { "ConfigMap" };
    let mut metadata = json!({"name": name});
    if dice.below(6) == 0 {
        metadata = json!({"generateName": format!("{name}-")});
    }
    metadata["annotations"] = annotations;
    of_kind(kind, name).set("/metadata", metadata)
}

fn of_kind(kind: &str, name: &str) -> Value {
    let mut object = config_map(name, "1").set("/kind", kind);
    if kind != "ConfigMap"
        && let Some(object) = object.as_object_mut()
    {
        object.remove("data");
    }
    object
}
