//! `plan` shows what the operator then freezes: a hundred releases, planned both ways.

use std::io::Read;

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use e2e::{
    Namespace, kwok,
    manifests::{Manifest, config_map},
};
use flate2::read::GzDecoder;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use helm::secret::KEY_PLAN;
use lifecycle::{hooks::DeletePolicy, plan::Plan};
use serde_json::{Value, json};

use super::Cli;

const RELEASES: u32 = 100;
const EVENTS: [&str; 6] = [
    "pre-install",
    "post-install",
    "pre-upgrade",
    "post-upgrade",
    "pre-install,pre-upgrade",
    "post-install,post-upgrade,test",
];
const POLICIES: [&str; 4] =
    ["", "before-hook-creation", "hook-succeeded", "hook-failed,hook-succeeded"];
const KINDS: [&str; 4] = ["ConfigMap", "Secret", "ServiceAccount", "Service"];

/// Numbers that look random, and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % limit
    }
}

/// A release of some objects and hooks, in an order of their own; its second revision has others.
fn objects(number: u32, revision: u32) -> Vec<Value> {
    let mut dice = Dice(u64::from(number) * 2 + u64::from(revision));
    let mut all = Vec::new();
    for index in 0..=dice.below(6) {
        let kind = KINDS[dice.below(KINDS.len())];
        let mut object = config_map(&format!("r{number}-o{index}"), "1").set("/kind", kind);
        if kind != "ConfigMap"
            && let Some(object) = object.as_object_mut()
        {
            object.remove("data");
        }
        if kind == "Service" {
            object = object.set("/spec", json!({"ports": [{"port": 80}]}));
        }
        if dice.below(4) == 0 {
            object =
                object.set("/metadata/annotations", json!({"helm.sh/resource-policy": "keep"}));
        }
        all.push(object);
    }
    for index in 0..dice.below(8) {
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
        let mut hook = config_map(&format!("r{number}-h{index}-{revision}"), "1")
            .set("/kind", kind)
            .set("/metadata/annotations", annotations);
        if kind != "ConfigMap"
            && let Some(hook) = hook.as_object_mut()
        {
            hook.remove("data");
        }
        let place = dice.below(all.len() + 1);
        all.insert(place, hook);
    }
    all
}

/// The hooks and the objects of an event, as `plan` prints them.
fn shown(plan: &Value) -> (Vec<Value>, Vec<Value>) {
    let steps = plan["events"][0]["steps"].as_array().cloned().unwrap_or_default();
    let is = |step: &&Value, word: &str| step["step"] == word;
    let hooks = steps.iter().filter(|step| is(step, "hook")).map(|step| {
        let fields = ["hookEvent", "kind", "name", "weight", "deletePolicies", "timeout"];
        fields.iter().map(|field| step[*field].clone()).collect()
    });
    let applied = steps.iter().filter(|step| is(step, "apply"));
    let objects = applied.flat_map(|step| step["objects"].as_array().cloned().unwrap_or_default());
    (hooks.collect(), objects.map(|it| json!([it["kind"], it["name"]])).collect())
}

/// The same of the plan that is frozen in the record of a revision.
async fn frozen(
    namespace: &Namespace,
    name: &str,
    revision: u32,
) -> Result<(Vec<Value>, Vec<Value>)> {
    let secret = format!("sh.helm.release.v1.{name}.v{revision}");
    let secret = namespace.object("Secret", &secret).await?.context("the record exists")?;
    let data = secret["data"][KEY_PLAN].as_str().context("the record has a plan")?;
    let mut text = Vec::new();
    GzDecoder::new(&*STANDARD.decode(data)?).read_to_end(&mut text)?;
    let (plan, _) = Plan::thaw(&text)?;
    let hooks = plan.hooks.iter().map(|hook| {
        let policies: Vec<_> =
            DeletePolicy::ALL.into_iter().filter(|policy| hook.has(*policy)).collect();
        let timeout = format!("{}m", plan.timeout_seconds / 60);
        json!([hook.event, hook.object.kind, hook.object.name, hook.weight, policies, timeout])
    });
    let objects = plan.objects.iter().map(|it| json!([it.object.kind, it.object.name]));
    Ok((hooks.collect(), objects.collect()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_plan_shows_is_what_the_operator_freezes() -> Result<()> {
    let namespace = Namespace::new(kwok(), "planned").await?;
    let controller = namespace.controller()?;
    let cli = Cli::new(&namespace)?;
    for revision in [1, 2] {
        let event = if revision == 1 { "install" } else { "upgrade" };
        let compare = async |number: u32| {
            let name = format!("r{number}");
            let objects = objects(number, revision);
            let manifest = json!({
                "apiVersion": "releaselifecycle.dev/v1alpha1", "kind": "ReleaseLifecycle",
                "metadata": {"name": name, "namespace": namespace.name},
                "spec": {"serviceAccountName": "deployer", "source": {"objects": objects}},
            });
            let file = cli.write(&format!("{name}-{revision}.json"), &manifest.to_string())?;
            let file = file.to_string_lossy();
            let shown = shown(&cli.json(&["plan", "-f", &file, "--event", event])?);
            namespace.release(&name, &objects, json!({})).await?;
            namespace
                .wait(&name, &controller, "deployed", |release| {
                    let deployed = release.status.as_ref().and_then(|status| status.revision);
                    deployed == i32::try_from(revision).ok()
                })
                .await?;
            let frozen = frozen(&namespace, &name, revision).await?;
            ensure!(shown == frozen, "{event} of {name}: shown {shown:?}, frozen {frozen:?}");
            Ok(shown.0.len())
        };
        let all = stream::iter(1..=RELEASES).map(compare).buffer_unordered(8);
        let hooks: Vec<usize> = all.try_collect().await?;
        assert!(hooks.iter().sum::<usize>() > 100, "there were few hooks: {hooks:?}");
    }
    Ok(())
}
