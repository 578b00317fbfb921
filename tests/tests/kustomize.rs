//! `spec.patches` beside the real kustomize, the one in kubectl: the same objects and patches, and
//! the results compared object by object. No cluster.

#![expect(clippy::expect_used, reason = "a test may end where it stands")]

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, anyhow, bail, ensure};
use manifests::{
    patches::{self, Patch, Target},
    placed::Placed,
};
use serde_json::{Value, json};
use testkit::cluster::bin;

/// The objects that every case changes.
const OBJECTS: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: shop, tier: web}
  annotations: {note: x, helm.sh/resource-policy: keep}
  finalizers: [x.io/a, x.io/b]
spec:
  replicas: 2
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1}}
  template:
    spec:
      nodeSelector: {disk: ssd}
      tolerations: [{key: a, operator: Exists}]
      hostAliases: [{ip: 10.0.0.1, hostnames: [a]}, {ip: 10.0.0.2, hostnames: [b]}]
      imagePullSecrets: [{name: one}, {name: two}]
      schedulingGates: [{name: one}, {name: two}]
      topologySpreadConstraints:
      - {topologyKey: zone, whenUnsatisfiable: DoNotSchedule, maxSkew: 1}
      - {topologyKey: host, whenUnsatisfiable: ScheduleAnyway, maxSkew: 1}
      volumes: [{name: data, emptyDir: {}}, {name: conf, configMap: {name: conf}}]
      initContainers: [{name: init, image: "init:1"}, {name: wait, image: "wait:1"}]
      containers:
      - name: web
        image: web:1
        args: [serve, -v]
        env: [{name: A, value: "1"}, {name: B, value: "yes"}]
        ports: [{containerPort: 80, name: http}, {containerPort: 90, name: admin}]
        volumeMounts: [{name: data, mountPath: /data}, {name: conf, mountPath: /conf}]
        resources: {limits: {memory: 1Gi}}
      - name: side
        image: side:1
        env: [{name: A, value: "1"}, {name: B, value: "2"}]
        ports: [{containerPort: 80, name: http}, {containerPort: 90, name: admin}]
        volumeMounts: [{name: data, mountPath: /data}, {name: conf, mountPath: /conf}]
        volumeDevices: [{name: a, devicePath: /dev/a}, {name: b, devicePath: /dev/b}]
      ephemeralContainers: [{name: debug, image: "debug:1"}, {name: trace, image: "trace:1"}]
---
apiVersion: batch/v1
kind: Job
metadata:
  name: migrate
  namespace: prod
  annotations: {helm.sh/hook: pre-upgrade}
spec:
  backoffLimit: 3
  template: {spec: {restartPolicy: Never, containers: [{name: m, image: "m:1"}]}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: "@daily"
  jobTemplate:
    spec: {template: {spec: {containers: [{name: p, image: "p:1"}, {name: o, image: "o:1"}]}}}
---
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: shop}}
spec:
  ports: [{port: 80, protocol: TCP, targetPort: 8080}, {port: 53, protocol: UDP}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: web}
secrets: [{name: one}, {name: two}]
imagePullSecrets: [{name: one}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: conf, labels: {app: shop}}
data: {a: "1", b: "2"}
---
apiVersion: shop.io/v1
kind: Shop
metadata: {name: shop, finalizers: [x.io/a]}
spec: {containers: [{name: a}, {name: b}], size: {x: 1, w: 2}}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Secret, metadata: {name: one, labels: {app: db}}, stringData: {a: b}}
- {apiVersion: v1, kind: Secret, metadata: {name: two}, stringData: {a: b}}
"#;

/// A patch for what it names itself.
fn own(patch: &str) -> Patch {
    Patch { target: None, patch: patch.to_owned() }
}

/// A patch with a target as it stands in a spec. A merge patch gets the names that kustomize wants
/// to see though it ignores them.
fn on(target: Value, patch: &str) -> Patch {
    let target: Target = serde_json::from_value(target).expect("a target");
    let names = "{apiVersion: any/v1, kind: Any, metadata: {name: any";
    let patch = if let Some(metadata) = patch.strip_prefix("{metadata: {") {
        format!("{names}, {metadata}")
    } else if let Some(fields) = patch.strip_prefix('{') {
        format!("{names}}}, {fields}")
    } else {
        patch.to_owned()
    };
    Patch { target: Some(target), patch }
}

/// A patch of the Deployment's Pods.
fn pods(spec: &str) -> Patch {
    on(json!({"kind": "Deployment"}), &format!("{{spec: {{template: {{spec: {spec}}}}}}}"))
}

/// Returns what both do alike.
fn alike() -> Vec<(String, Vec<Patch>)> {
    let deployment = || json!({"kind": "Deployment"});
    let single = [targets(), merges(), list_merges(), operations()].into_iter().flatten();
    let single = single.map(|(name, patch)| (name.to_owned(), vec![patch]));
    let in_turn =
        ["{spec: {replicas: 3}}", "- {op: test, path: /spec/replicas, value: 3}", "{x: z}"];
    let in_turn = in_turn.map(|patch| on(deployment(), patch)).to_vec();
    single.chain([("several patches in turn".to_owned(), in_turn)]).chain(lists()).collect()
}

/// Returns what is patched.
fn targets() -> Vec<(&'static str, Patch)> {
    let deployment = || json!({"kind": "Deployment"});
    vec![
        (
            "own name",
            own("{apiVersion: v1, kind: ConfigMap, metadata: {name: conf}, data: {a: x, c: z}}"),
        ),
        (
            "own name and namespace",
            own("{apiVersion: batch/v1, kind: Job, metadata: {name: migrate, namespace: prod}, \
                 spec: {backoffLimit: 0}}"),
        ),
        (
            "several documents",
            own("apiVersion: v1\nkind: Secret\nmetadata: {name: one}\nstringData: {a: x}\n---\n\
                 apiVersion: v1\nkind: Secret\nmetadata: {name: two}\nstringData: {a: null}\n"),
        ),
        (
            "an object deleted",
            own("{apiVersion: v1, kind: Secret, metadata: {name: one}, $patch: delete}"),
        ),
        ("nothing changed", on(deployment(), "{}")),
        ("everything", on(json!({}), "{metadata: {labels: {all: 'yes'}}}")),
        ("kinds", on(json!({"kind": "Job|CronJob"}), "{metadata: {labels: {x: z}}}")),
        ("kind is whole", on(json!({"kind": "(Cron)?Job"}), "{metadata: {labels: {x: z}}}")),
        ("group", on(json!({"group": "apps"}), "{metadata: {labels: {x: z}}}")),
        ("empty group", on(json!({"group": ""}), "{metadata: {labels: {x: z}}}")),
        ("core group", on(json!({"group": "^$"}), "{metadata: {labels: {x: z}}}")),
        ("version", on(json!({"version": "v1", "name": "web"}), "{metadata: {labels: {x: z}}}")),
        ("namespace", on(json!({"namespace": "pr.*"}), "{metadata: {labels: {x: z}}}")),
        ("labels", on(json!({"labelSelector": "app=shop,tier!=web"}), "{x: z}")),
        ("label sets", on(json!({"labelSelector": "app in (shop, db), !tier"}), "{x: z}")),
        ("no labels", on(json!({"labelSelector": "app notin (shop)"}), "{x: z}")),
        ("annotations", on(json!({"annotationSelector": "note"}), "{x: z}")),
        (
            "a hook's annotations",
            on(
                json!({"annotationSelector": "helm.sh/hook=pre-upgrade"}),
                "{metadata: {annotations: {helm.sh/hook-weight: \"-5\"}}}",
            ),
        ),
    ]
}

/// Merge patches.
fn merges() -> Vec<(&'static str, Patch)> {
    let deployment = || json!({"kind": "Deployment"});
    vec![
        ("null deletes", on(deployment(), "{spec: {replicas: null, template: {spec: null}}}")),
        (
            "null of nothing",
            on(
                deployment(),
                "{spec: {a: null, b: {c: null, d: [null, \
                {e: null}]}}}",
            ),
        ),
        ("a mapping replaced", pods("{nodeSelector: {$patch: replace, a: b}}")),
        ("a mapping deleted", pods("{nodeSelector: {$patch: delete}}")),
        ("strategy", on(deployment(), "{spec: {strategy: {type: Recreate}}}")),
        ("atomic list", pods("{tolerations: [{key: b}]}")),
        ("atomic list emptied", pods("{tolerations: []}")),
        ("atomic list removed", pods("{tolerations: null}")),
        ("finalizers", on(deployment(), "{metadata: {finalizers: [x.io/c, x.io/a]}}")),
    ]
}

/// Merge patches in lists.
fn list_merges() -> Vec<(&'static str, Patch)> {
    let deployment = || json!({"kind": "Deployment"});
    vec![
        ("args", pods("{containers: [{name: web, args: [a]}]}")),
        (
            "nested lists",
            pods(
                "{containers: [{name: web, env: [{name: B, value: z}, \
                {name: C, value: c}]}]}",
            ),
        ),
        (
            "a variable from elsewhere",
            pods(
                "{containers: [{name: web, env: [{name: A, value: null, valueFrom: \
                    {fieldRef: {}}}]}]}",
            ),
        ),
        (
            "a new container",
            pods(
                "{containers: [{name: new, env: [{name: A, value: \
                null}], x: null}]}",
            ),
        ),
        (
            "all containers deleted",
            pods(
                "{containers: [{name: web, $patch: delete}, \
                {name: side, $patch: delete}]}",
            ),
        ),
        (
            "container ports",
            pods(
                "{containers: [{name: web, ports: [{containerPort: 80, \
                hostPort: 1}]}]}",
            ),
        ),
        (
            "service ports",
            on(
                json!({"kind": "Service"}),
                "{spec: {ports: [{port: 80, protocol: TCP, \
                    name: http}]}}",
            ),
        ),
        (
            "spread",
            pods(
                "{topologySpreadConstraints: [{topologyKey: zone, whenUnsatisfiable: \
                    DoNotSchedule, maxSkew: 2}]}",
            ),
        ),
        (
            "a Job's Pods in a CronJob",
            on(
                json!({"kind": "CronJob"}),
                "{spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: o, \
                        image: x}]}}}}}}",
            ),
        ),
        (
            "a ServiceAccount's lists",
            on(
                json!({"kind": "ServiceAccount"}),
                "{secrets: [{name: c}], \
                    imagePullSecrets: [{name: c}]}",
            ),
        ),
        (
            "a custom resource",
            on(
                json!({"kind": "Shop"}),
                "{metadata: {finalizers: [b]}, spec: {size: {w: null, z: 3}, \
                        containers: [{name: b}]}}",
            ),
        ),
        (
            "numbers and words",
            on(deployment(), "{spec: {replicas: 7, paused: true, x: 1.5, v: 'on', u: 0x10, t: ~}}"),
        ),
    ]
}

/// JSON patches.
fn operations() -> Vec<(&'static str, Patch)> {
    let deployment = || json!({"kind": "Deployment"});
    vec![
        (
            "operations",
            on(
                deployment(),
                "- {op: test, path: /spec/replicas, value: 2}\n\
                 - {op: replace, path: /spec/replicas, value: 5}\n\
                 - {op: add, path: /metadata/annotations/a.io~1b, value: c}\n\
                 - {op: add, path: /spec/template/spec/containers/0/args/-, value: last}\n\
                 - {op: add, path: /spec/template/spec/containers/0/args/0, value: first}\n\
                 - {op: remove, path: /spec/template/spec/tolerations/0}\n\
                 - {op: copy, from: /metadata/labels, path: /spec/selector}\n\
                 - {op: move, from: /spec/template/spec/volumes/1, path: /spec/volume}\n",
            ),
        ),
        ("operations as JSON", on(deployment(), "[\n\t{\"op\":\"remove\",\"path\":\"/spec\"}\n]")),
        (
            "operations on items",
            on(
                json!({"kind": "Secret"}),
                "- {op: remove, path: \
                /stringData/a}",
            ),
        ),
        ("no operations", on(deployment(), "[]")),
    ]
}

/// Every way to change a list, each on every list of a Pod that has one key.
fn lists() -> impl Iterator<Item = (String, Vec<Patch>)> {
    const LISTS: [(&str, &str, &str); 10] = [
        ("containers", "name: web", "name: new"),
        ("initContainers", "name: wait", "name: new"),
        ("ephemeralContainers", "name: trace", "name: new"),
        ("hostAliases", "ip: 10.0.0.2", "ip: 10.0.0.3"),
        ("imagePullSecrets", "name: two", "name: new"),
        ("volumes", "name: conf", "name: new"),
        ("containers: [{name: side, env", "name: B", "name: new"),
        ("containers: [{name: side, ports", "containerPort: 90", "containerPort: 99"),
        ("containers: [{name: side, volumeMounts", "mountPath: /conf", "mountPath: /new"),
        ("containers: [{name: side, volumeDevices", "devicePath: /dev/b", "devicePath: /dev/c"),
    ];
    let changes = [
        "[{NEW, x: z}, {KNOWN, x: z}]",
        "[{KNOWN, $patch: delete}]",
        "[{NEW, $patch: delete}]",
        "[{NEW, $patch: merge, x: z}]",
        "[{NEW, x: z}, {$patch: replace}]",
        "[{$patch: delete}]",
        "null",
        "[]",
    ];
    changes.into_iter().map(|change| {
        // The lists within a container come first: the container may be gone after the others.
        let patches = LISTS.into_iter().rev().map(|(list, known, new)| {
            let change = change.replace("KNOWN", known).replace("NEW", new);
            let end = if list.contains('[') { "}]" } else { "" };
            pods(&format!("{{{list}: {change}{end}}}"))
        });
        (format!("every list: {change}"), patches.collect())
    })
}

/// Where kustomize does something else, and what is done here: an error with these words, or
/// something, which the unit tests show.
fn different() -> Vec<(&'static str, Patch, Option<&'static str>)> {
    let deployment = || json!({"kind": "Deployment"});
    vec![
        (
            "matches nothing: ignored",
            on(json!({"kind": "Foo"}), "{x: z}"),
            Some("no object of the source is of kind \"Foo\""),
        ),
        (
            "an item without its key: empties the list",
            pods("{containers: [{image: x}]}"),
            Some("containers has an item without \"name\""),
        ),
        (
            "an item twice: the second is lost",
            pods("{containers: [{name: c}, {name: c, image: x}]}"),
            Some("containers[name=c] stands in the patch more than once"),
        ),
        (
            "an item replaced: ignored",
            pods("{containers: [{name: web, $patch: replace, image: x}]}"),
            Some("containers[name=web] has $patch: replace among other fields"),
        ),
        (
            "$retainKeys: stays in the object",
            pods("{volumes: [{name: data, $retainKeys: [name]}]}"),
            Some("has $retainKeys"),
        ),
        (
            "$setElementOrder: stays in the object",
            pods("{$setElementOrder/volumes: []}"),
            Some("has $setElementOrder/volumes"),
        ),
        (
            "$deleteFromPrimitiveList: stays in the object",
            on(deployment(), "{metadata: {$deleteFromPrimitiveList/finalizers: [x.io/a]}}"),
            Some("has $deleteFromPrimitiveList/finalizers"),
        ),
        (
            "$patch in a list that is replaced: stays in the object",
            pods("{tolerations: [{key: a, $patch: delete}]}"),
            Some("tolerations is replaced as a whole"),
        ),
        (
            "a second document of operations: ignored",
            on(
                deployment(),
                "- {op: remove, path: /spec}\n---\n- {op: remove, path: /metadata/labels}\n",
            ),
            Some("patch has 2 documents"),
        ),
        (
            "a new name: given",
            on(deployment(), "- {op: replace, path: /metadata/name, value: x}"),
            Some("changes metadata.name"),
        ),
        (
            "replace of nothing: adds",
            on(deployment(), "- {op: replace, path: /spec/paused, value: true}"),
            Some("(replace /spec/paused) found nothing there"),
        ),
        (
            "an item counted from the end: found",
            on(deployment(), "- {op: remove, path: /spec/template/spec/volumes/-1}"),
            Some("(remove /spec/template/spec/volumes/-1) found nothing there"),
        ),
        (
            "a target's namespace default: also what has none",
            on(json!({"namespace": "default"}), "{x: z}"),
            Some("no object of the source is of namespace \"default\""),
        ),
        ("a bare yes: a text", on(deployment(), "{spec: {paused: yes}}"), None),
        (
            "a directive for a list that is not there: stays in the object",
            on(json!({"kind": "Job"}), "{spec: {template: {spec: {volumes: [{$patch: delete}]}}}}"),
            None,
        ),
        (
            "a port without protocol, where it has one: ignored",
            on(json!({"kind": "Service"}), "{spec: {ports: [{port: 80, name: http}]}}"),
            None,
        ),
        (
            "lists that Kubernetes 1.21 did not have: replaced",
            pods("{schedulingGates: [{name: new}]}"),
            None,
        ),
        (
            "no name: refused",
            Patch { patch: "spec: {replicas: 9}".into(), ..on(deployment(), "") },
            None,
        ),
    ]
}

#[test]
fn patches_do_what_they_do_in_kustomize() -> Result<()> {
    let kubectl = bin("kubectl")?;
    let mut wrong = Vec::new();
    for (index, (name, patches)) in alike().iter().enumerate() {
        let there = kustomize(&kubectl, &format!("alike-{index}"), patches);
        let there = there.with_context(|| format!("{name}: kustomize fails"))?;
        let here = here(patches).with_context(|| format!("{name}: only kustomize does it"))?;
        ensure!(here.len() == there.len(), "{name}: {} objects, not {}", here.len(), there.len());
        for (here, there) in here.iter().zip(&there).filter(|(here, there)| here != there) {
            wrong.push(format!("{name}:\nhere      {here}\nkustomize {there}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn where_kustomize_does_nothing_or_harm_it_is_not_followed() -> Result<()> {
    let kubectl = bin("kubectl")?;
    for (index, (name, patch, error)) in different().into_iter().enumerate() {
        let patches = [patch];
        let there = kustomize(&kubectl, &format!("different-{index}"), &patches).ok();
        match (here(&patches), error) {
            (Ok(here), None) => ensure!(Some(&here) != there.as_ref(), "{name}: it is the same"),
            (Err(problem), Some(expected)) => {
                ensure!(problem.to_string().contains(expected), "{name}: {problem}");
                ensure!(there.is_some(), "{name}: kustomize refuses it too");
            }
            (Ok(_), Some(expected)) => bail!("{name}: did not fail with {expected}"),
            (Err(problem), None) => bail!("{name}: {problem}"),
        }
    }
    Ok(())
}

#[test]
fn what_kustomize_refuses_is_refused() -> Result<()> {
    let kubectl = bin("kubectl")?;
    let deployment = || json!({"kind": "Deployment"});
    let cases = [
        own("{apiVersion: v1, kind: ConfigMap, metadata: {name: none}}"),
        own("{apiVersion: batch/v1, kind: Job, metadata: {name: migrate}}"),
        own("- {op: remove, path: /spec}"),
        own("text"),
        on(deployment(), "{x: 1}\n---\n{apiVersion: v1, kind: A, metadata: {name: a}}"),
        on(deployment(), "{spec: {$patch: none}}"),
        on(deployment(), "{spec: {template: []}}"),
        on(deployment(), "{spec: [a]}"),
        on(deployment(), "- {op: add, path: /spec/a/b, value: 1}"),
        on(deployment(), "- {op: remove, path: /spec/a}"),
        on(deployment(), "- {op: test, path: /spec/replicas, value: 1}"),
        on(json!({"name": "a("}), "{x: z}"),
        on(json!({"labelSelector": "a b"}), "{x: z}"),
    ];
    for (index, patch) in cases.into_iter().enumerate() {
        let patches = [patch];
        let there = kustomize(&kubectl, &format!("refused-{index}"), &patches);
        ensure!(there.is_err(), "kustomize takes {patches:?}");
        ensure!(here(&patches).is_err(), "{patches:?} is taken");
    }
    Ok(())
}

/// The objects as this project patches them.
fn here(patches: &[Patch]) -> Result<Vec<Value>> {
    let objects = patches::apply(patches, Placed::inline(&helm::manifest::parse(OBJECTS)?));
    let objects = objects.map_err(|errors| {
        anyhow!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })?;
    let items = objects.into_iter().flat_map(|Placed { manifest, .. }| match &manifest["items"] {
        Value::Array(items) => items.clone(),
        _ => vec![manifest],
    });
    Ok(sorted(items.collect()))
}

/// The objects as kustomize patches them.
fn kustomize(kubectl: &Path, name: &str, patches: &[Patch]) -> Result<Vec<Value>> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kustomize").join(name);
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("objects.yaml"), OBJECTS)?;
    let kustomization = json!({"resources": ["objects.yaml"], "patches": patches});
    fs::write(dir.join("kustomization.yaml"), kustomization.to_string())?;
    let output = Command::new(kubectl).arg("kustomize").arg(&dir).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(sorted(helm::manifest::parse(&String::from_utf8(output.stdout)?)?))
}

fn sorted(mut objects: Vec<Value>) -> Vec<Value> {
    objects.sort_by_key(|object| format!("{} {}", object["kind"], object["metadata"]["name"]));
    objects
}
