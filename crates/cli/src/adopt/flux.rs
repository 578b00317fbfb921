//! A `HelmRelease` of Flux as a `ReleaseLifecycle`, field by field. Pure.
//!
//! The fields are those of `helm.toolkit.fluxcd.io/v2`; each is taken out of the spec, and what is left over
//! has no counterpart.

use serde_json::{Value, json};

use crate::plan::Found;

/// A `ReleaseLifecycle`, and what to know of it.
#[derive(Debug)]
pub(super) struct Converted {
    pub(super) release: String,
    pub(super) document: Value,
    pub(super) remarks: Vec<String>,
}

/// Fields of a `HelmRelease` that were not looked at yet.
struct Left(Value);

impl Left {
    /// Takes a field, by its JSON pointer below `spec`; `None` if it is absent.
    fn take(&mut self, pointer: &str) -> Option<Value> {
        let (parent, name) = pointer.rsplit_once('/')?;
        let parent = self.0.pointer_mut(parent)?.as_object_mut()?;
        parent.remove(name).filter(|value| !value.is_null())
    }

    fn text(&mut self, pointer: &str) -> Option<String> {
        self.take(pointer)?.as_str().map(str::to_owned)
    }

    fn is(&mut self, pointer: &str) -> bool {
        self.take(pointer) == Some(Value::Bool(true))
    }

    fn number(&mut self, pointer: &str) -> Option<i64> {
        self.take(pointer)?.as_i64()
    }
}

/// Returns the paths of the fields of `value` that ask for something.
fn paths(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect("spec", value, &mut found);
    found
}

fn collect(path: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Null | Value::Bool(false) => {}
        Value::Object(fields) => {
            for (name, value) in fields {
                collect(&format!("{path}.{name}"), value, found);
            }
        }
        Value::Array(items) if items.is_empty() => {}
        Value::String(text) if text.is_empty() => {}
        _ => found.push(path.to_owned()),
    }
}

/// Returns the name of the `HelmRepository` that holds the chart, and its namespace, if the chart is in one.
pub(super) fn repository(object: &Value) -> Option<(String, String)> {
    let reference = object.pointer("/spec/chart/spec/sourceRef")?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let home = text(&object["metadata"]["namespace"]).unwrap_or_default();
    let namespace = text(&reference["namespace"]).unwrap_or(home);
    (reference["kind"] == "HelmRepository").then(|| Some((text(&reference["name"])?, namespace)))?
}

/// Returns the `ReleaseLifecycle` for a `HelmRelease`; `repository` is the `HelmRepository` that it names.
///
/// # Errors
/// Everything that a `ReleaseLifecycle` cannot do, so that the release would be another one.
pub(super) fn convert(object: &Value, repository: Option<&Value>) -> Found<Converted> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (name, namespace) =
        (text(&object["metadata"]["name"]), text(&object["metadata"]["namespace"]));
    let mut left = Left(object["spec"].clone());
    let (mut problems, mut remarks) = (Vec::new(), Vec::new());
    for field in ["targetNamespace", "storageNamespace"] {
        let there = left.text(&format!("/{field}")).filter(|there| *there != namespace);
        problems.extend(there.map(|there| {
            format!(
                "spec.{field} is {there}, and the HelmRelease is in {namespace}: a ReleaseLifecycle, its \
                 objects and its records are in one namespace"
            )
        }));
    }
    if left.take("/kubeConfig").is_some() {
        problems.push(
            "spec.kubeConfig: the release is in another cluster, which needs an operator of its own"
                .to_owned(),
        );
    }
    let release = left.text("/releaseName").unwrap_or_else(|| name.clone());
    let mut spec = json!({});
    match source(&mut left, &namespace, repository) {
        Ok((source, more)) => {
            spec["source"] = source;
            remarks.extend(more);
        }
        Err(problem) => problems.push(problem),
    }
    if release != name {
        spec["releaseName"] = json!(release);
    }
    for field in ["serviceAccountName", "timeout", "interval", "values", "maxHistory"] {
        if let Some(value) = left.take(&format!("/{field}")) {
            spec[field] = value;
        }
    }
    if spec["maxHistory"].is_null() {
        // The default of Flux.
        spec["maxHistory"] = json!(5);
    }
    values_from(&mut left, &mut spec, &mut problems);
    depends_on(&mut left, &mut spec, &namespace, &mut remarks);
    installs_and_upgrades(&mut left, &mut spec, &mut remarks);
    hooks(&mut left, &mut spec);
    test_hooks(&mut left, &mut spec);
    patches(&mut left, &mut spec);
    for (from, to) in [("driftDetection", "driftDetection"), ("healthCheckExprs", "healthChecks")] {
        if let Some(value) = left.take(&format!("/{from}")) {
            spec[to] = value;
        }
    }
    if let Some(timeout) = left.take("/uninstall/timeout") {
        spec["deletion"]["timeout"] = timeout;
    }
    if left.is("/suspend") {
        remarks
            .push("spec.suspend is left out: it keeps Flux from acting on the release".to_owned());
    } else {
        remarks.push(format!(
            "warning: the HelmRelease is not suspended: Flux acts on the release as well. First: `flux \
             suspend helmrelease {name} -n {namespace}`"
        ));
    }
    remarks.extend(
        paths(&left.0).iter().map(|path| format!("{path} has no counterpart, and is left out")),
    );
    if !problems.is_empty() {
        return Err(problems);
    }
    let document = json!({
        "apiVersion": "releaselifecycle.dev/v1alpha1",
        "kind": "ReleaseLifecycle",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    });
    Ok(Converted { release, document, remarks })
}

/// Returns the source, and remarks on it.
fn source(
    left: &mut Left,
    namespace: &str,
    repository: Option<&Value>,
) -> Result<(Value, Vec<String>), String> {
    if let Some(reference) = left.take("/chartRef") {
        let there = reference["namespace"].as_str().unwrap_or(namespace);
        if there != namespace {
            return Err(elsewhere("spec.chartRef", there, namespace));
        }
        let reference = json!({"kind": reference["kind"], "name": reference["name"]});
        return Ok((json!({"sourceRef": reference}), Vec::new()));
    }
    let chart = left.text("/chart/spec/chart").unwrap_or_default();
    let version = left.text("/chart/spec/version");
    let reference = left.take("/chart/spec/sourceRef").unwrap_or_default();
    // The chart is fetched again as often as the release is reconciled.
    left.take("/chart/spec/interval");
    let there = reference["namespace"].as_str().unwrap_or(namespace);
    let (kind, name) = (reference["kind"].as_str(), reference["name"].as_str().unwrap_or_default());
    if kind != Some("HelmRepository") {
        if there != namespace {
            return Err(elsewhere("spec.chart.spec.sourceRef", there, namespace));
        }
        let mut reference = json!({"kind": kind, "name": name});
        reference["path"] = json!(chart);
        return Ok((json!({"sourceRef": reference}), Vec::new()));
    }
    let Some(repository) = repository else {
        return Err(format!("HelmRepository {name} does not exist in namespace {there}"));
    };
    let url = repository["spec"]["url"].as_str().unwrap_or_default().trim_end_matches('/');
    let mut from = if let Some(registry) = url.strip_prefix("oci://") {
        json!({"url": format!("oci://{registry}/{chart}")})
    } else {
        json!({"url": url, "name": chart})
    };
    let mut remarks = Vec::new();
    if let Some(version) = version.filter(|version| version != "*") {
        from["version"] = json!(version);
    }
    for field in ["secretRef", "certSecretRef", "insecure"] {
        let value = &repository["spec"][field];
        if value.is_null() || *value == Value::Bool(false) {
            continue;
        }
        from[field] = value.clone();
        if let Some(secret) = value["name"].as_str().filter(|_| there != namespace) {
            remarks.push(format!(
                "warning: Secret {secret} of HelmRepository {name} is in namespace {there}: copy it to \
                 {namespace}"
            ));
        }
    }
    if repository["spec"]["provider"].as_str().is_some_and(|provider| provider != "generic") {
        remarks.push(format!(
            "warning: HelmRepository {name} logs in by its provider; a ReleaseLifecycle needs a Secret \
             (secretRef)"
        ));
    }
    let place = if url.starts_with("oci://") { "oci" } else { "repository" };
    Ok((json!({"chart": {place: from}}), remarks))
}

fn elsewhere(field: &str, there: &str, namespace: &str) -> String {
    format!(
        "{field} is in namespace {there}: a ReleaseLifecycle reads sources of its own namespace, \
         {namespace}; copy the source there"
    )
}

fn values_from(left: &mut Left, spec: &mut Value, problems: &mut Vec<String>) {
    let Some(Value::Array(items)) = left.take("/valuesFrom") else { return };
    for (index, item) in items.iter().enumerate() {
        if item["literal"] == true {
            problems.push(format!(
                "spec.valuesFrom[{index}].literal: a ReleaseLifecycle reads values in the notation of \
                 `helm --set`"
            ));
        }
    }
    spec["valuesFrom"] = Value::Array(items);
}

fn depends_on(left: &mut Left, spec: &mut Value, namespace: &str, remarks: &mut Vec<String>) {
    let Some(Value::Array(items)) = left.take("/dependsOn") else { return };
    let mut kept = Vec::new();
    for item in items {
        let name = item["name"].as_str().unwrap_or_default();
        if item["namespace"].as_str().is_some_and(|there| there != namespace) {
            remarks
                .push(format!("spec.dependsOn: {name} is in another namespace, and is left out"));
            continue;
        }
        if !item["readyExpr"].is_null() {
            remarks.push(format!(
                "spec.dependsOn: readyExpr of {name} has no counterpart, and is left out"
            ));
        }
        kept.push(json!({"name": name}));
    }
    if !kept.is_empty() {
        remarks
            .push("spec.dependsOn names ReleaseLifecycles: adopt those releases, too".to_owned());
        spec["dependsOn"] = Value::Array(kept);
    }
}

fn installs_and_upgrades(left: &mut Left, spec: &mut Value, remarks: &mut Vec<String>) {
    for operation in ["install", "upgrade"] {
        let at = |field: &str| format!("/{operation}/{field}");
        if let Some(crds) = left.take(&at("crds")) {
            spec[operation]["crds"] = crds;
        }
        if !left.is(&at("disableTakeOwnership")) {
            spec[operation]["takeOwnership"] = json!(true);
        }
        let retries = left.number(&at("remediation/retries")).unwrap_or_default();
        let last = left.take(&at("remediation/remediateLastFailure"));
        let strategy = left.text(&at("remediation/strategy"));
        let again = left.text(&at("strategy/name")).as_deref() == Some("RetryOnFailure");
        left.take(&at("strategy/retryInterval"));
        let remediates = retries != 0 || last == Some(Value::Bool(true));
        let remedy = if operation == "install" { "Uninstall" } else { "Rollback" };
        if again || retries < 0 {
            spec[operation]["onFailure"] = json!("Retry");
        } else if strategy.as_deref() == Some("uninstall") {
            remarks.push(
                "spec.upgrade.remediation.strategy uninstall has no counterpart: a failed upgrade stays \
                 as it is"
                    .to_owned(),
            );
        } else if remediates {
            spec[operation]["onFailure"] = json!(remedy);
        }
        if retries > 0 && !again {
            spec[operation]["retries"] = json!(retries.min(20));
        }
    }
    let waits =
        ["install", "upgrade"].map(|operation| !left.is(&format!("/{operation}/disableWait")));
    match waits {
        [true, true] => {}
        [false, false] => spec["wait"] = json!(false),
        _ => remarks.push(
            "spec.install.disableWait and spec.upgrade.disableWait differ: spec.wait is for both, and \
             stays true"
                .to_owned(),
        ),
    }
}

/// Hooks that are disabled never run, by rules.
fn hooks(left: &mut Left, spec: &mut Value) {
    let mut rules = Vec::new();
    for (field, events) in [
        ("install", ["pre-install", "post-install"]),
        ("upgrade", ["pre-upgrade", "post-upgrade"]),
        ("rollback", ["pre-rollback", "post-rollback"]),
        ("uninstall", ["pre-delete", "post-delete"]),
    ] {
        if left.is(&format!("/{field}/disableHooks")) {
            rules.push(json!({"match": {"events": events}, "run": "Never"}));
        }
    }
    if !rules.is_empty() {
        spec["hooks"]["rules"] = json!(rules);
    }
}

fn test_hooks(left: &mut Left, spec: &mut Value) {
    if !left.is("/test/enable") {
        left.take("/test");
        return;
    }
    spec["test"]["enable"] = json!(true);
    if let Some(filters) = left.take("/test/filters") {
        spec["test"]["filters"] = filters;
    }
    if !left.is("/test/ignoreFailures") {
        let rolls_back = spec["upgrade"]["onFailure"] == "Rollback";
        spec["test"]["onFailure"] = json!(if rolls_back { "Rollback" } else { "Fail" });
    }
}

fn patches(left: &mut Left, spec: &mut Value) {
    let Some(Value::Array(renderers)) = left.take("/postRenderers") else { return };
    let (mut patches, mut others) = (Vec::new(), Vec::new());
    for mut renderer in renderers {
        if let Some(Value::Array(found)) =
            renderer.pointer_mut("/kustomize/patches").map(Value::take)
        {
            patches.extend(found);
        }
        others.push(renderer);
    }
    // Images, and whatever else there is.
    left.0["postRenderers"] =
        json!(others.into_iter().filter(|it| !paths(it).is_empty()).collect::<Vec<_>>());
    if !patches.is_empty() {
        spec["patches"] = Value::Array(patches);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn helm_release(spec: Value) -> Value {
        json!({"metadata": {"name": "shop", "namespace": "prod"}, "spec": spec})
    }

    fn from_repository(mut more: Value) -> Value {
        more["chart"] = json!({"spec": {"chart": "shop", "version": "1.x",
            "sourceRef": {"kind": "HelmRepository", "name": "charts", "namespace": "flux-system"}}});
        helm_release(more)
    }

    #[test]
    fn a_helm_repository_becomes_the_chart_in_it() {
        let object = from_repository(json!({"suspend": true}));
        assert_eq!(repository(&object), Some(("charts".to_owned(), "flux-system".to_owned())));
        let charts =
            json!({"spec": {"url": "https://charts.example/", "secretRef": {"name": "login"}}});
        let made = convert(&object, Some(&charts)).unwrap();
        let spec = &made.document["spec"];
        let expected = json!({"url": "https://charts.example", "name": "shop", "version": "1.x",
                              "secretRef": {"name": "login"}});
        assert_eq!(spec["source"], json!({"chart": {"repository": expected}}));
        assert!(made.remarks[0].contains("copy it to prod"), "{:?}", made.remarks);
        let oci = json!({"spec": {"type": "oci", "url": "oci://r.example/charts"}});
        let made = convert(&object, Some(&oci)).unwrap();
        let expected = json!({"url": "oci://r.example/charts/shop", "version": "1.x"});
        assert_eq!(made.document["spec"]["source"], json!({"chart": {"oci": expected}}));
        assert!(
            convert(&object, None).unwrap_err()[0].contains("HelmRepository charts does not exist")
        );
    }

    #[test]
    fn each_field_has_its_counterpart() {
        let object = helm_release(json!({
            "chartRef": {"kind": "OCIRepository", "name": "shop"},
            "releaseName": "webshop", "interval": "30m", "timeout": "10m", "serviceAccountName": "deployer",
            "suspend": true, "values": {"a": 1},
            "valuesFrom": [{"kind": "Secret", "name": "v", "valuesKey": "k", "targetPath": "a.b", "optional": true}],
            "dependsOn": [{"name": "db"}, {"name": "far", "namespace": "other"}],
            "install": {"crds": "CreateReplace", "remediation": {"retries": 3}, "disableWait": true},
            "upgrade": {"crds": "Skip", "remediation": {"retries": 2}, "disableWait": true,
                        "disableHooks": true, "cleanupOnFail": true},
            "uninstall": {"timeout": "7m", "keepHistory": false},
            "test": {"enable": true, "filters": [{"name": "slow", "exclude": true}]},
            "driftDetection": {"mode": "warn", "ignore": [{"paths": ["/spec/replicas"]}]},
            "healthCheckExprs": [{"apiVersion": "a/v1", "kind": "B", "current": "true"}],
            "postRenderers": [{"kustomize": {"patches": [{"patch": "[]", "target": {"kind": "Job"}}],
                                             "images": [{"name": "a", "newTag": "1"}]}}],
            "persistentClient": true,
        }));
        let made = convert(&object, None).unwrap();
        let expected = json!({
            "source": {"sourceRef": {"kind": "OCIRepository", "name": "shop"}},
            "releaseName": "webshop", "interval": "30m", "timeout": "10m", "serviceAccountName": "deployer",
            "maxHistory": 5, "values": {"a": 1}, "wait": false,
            "valuesFrom": [{"kind": "Secret", "name": "v", "valuesKey": "k", "targetPath": "a.b", "optional": true}],
            "dependsOn": [{"name": "db"}],
            "install": {"crds": "CreateReplace", "takeOwnership": true, "onFailure": "Uninstall", "retries": 3},
            "upgrade": {"crds": "Skip", "takeOwnership": true, "onFailure": "Rollback", "retries": 2},
            "hooks": {"rules": [{"match": {"events": ["pre-upgrade", "post-upgrade"]}, "run": "Never"}]},
            "deletion": {"timeout": "7m"},
            "test": {"enable": true, "filters": [{"name": "slow", "exclude": true}], "onFailure": "Rollback"},
            "driftDetection": {"mode": "warn", "ignore": [{"paths": ["/spec/replicas"]}]},
            "healthChecks": [{"apiVersion": "a/v1", "kind": "B", "current": "true"}],
            "patches": [{"patch": "[]", "target": {"kind": "Job"}}],
        });
        assert_eq!(made.document["spec"], expected, "{:#}", made.document["spec"]);
        assert_eq!(made.release, "webshop");
        let read: api::ReleaseLifecycle = serde_json::from_value(made.document).unwrap();
        assert_eq!(read.release_name(), "webshop");
        for lost in [
            "far is in another namespace",
            "spec.upgrade.cleanupOnFail has no",
            "spec.persistentClient has no",
            "spec.postRenderers has no",
            "spec.suspend is left out",
        ] {
            assert!(
                made.remarks.iter().any(|remark| remark.contains(lost)),
                "{lost}: {:#?}",
                made.remarks
            );
        }
    }

    #[test]
    fn what_would_be_another_release_is_refused() {
        let source = json!({"kind": "OCIRepository", "name": "shop"});
        for (field, value) in [
            ("targetNamespace", json!("other")),
            ("storageNamespace", json!("flux-system")),
            ("kubeConfig", json!({"secretRef": {"name": "k"}})),
            (
                "valuesFrom",
                json!([{"kind": "Secret", "name": "v", "targetPath": "a", "literal": true}]),
            ),
            (
                "chartRef",
                json!({"kind": "OCIRepository", "name": "shop", "namespace": "flux-system"}),
            ),
        ] {
            let mut object = helm_release(json!({"chartRef": source}));
            object["spec"][field] = value;
            let problems = convert(&object, None).unwrap_err();
            assert!(problems[0].contains(field), "{problems:?}");
        }
        let same = helm_release(json!({"chartRef": source, "targetNamespace": "prod"}));
        let made = convert(&same, None).unwrap();
        assert!(made.remarks[0].contains("is not suspended"), "{:?}", made.remarks);
    }

    #[test]
    fn nothing_in_a_helm_release_stops_the_conversion_with_a_panic() {
        for spec in [
            json!(null),
            json!(1),
            json!([]),
            json!({"chart": 1, "install": [], "test": "x"}),
            json!({"postRenderers": [1], "dependsOn": ["a"], "valuesFrom": [null]}),
        ] {
            let _ = convert(&helm_release(spec), None);
            let _ = convert(&json!({}), Some(&json!(1)));
        }
    }
}
