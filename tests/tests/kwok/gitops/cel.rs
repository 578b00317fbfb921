//! Flux's health expressions by the API server's own CEL, which is the library that Flux uses, too.

use anyhow::{Context, Result, ensure};
use e2e::Namespace;
use serde_json::{Value, json};

const EXAMPLE: &str = include_str!("../../../../deploy/flux/kustomization.yaml");
/// Only requests with this annotation meet the policy.
const MARK: &str = "e2e.example.com/evaluate";

/// Flux's expressions, in their order: the first that is true says how the object is.
const ORDER: [(&str, &str); 3] =
    [("InProgress", "inProgress"), ("Failed", "failed"), ("Current", "current")];

/// The expressions of the example, in that order.
fn expressions() -> Result<Vec<String>> {
    let example: Value = serde_saphyr::from_str(EXAMPLE)?;
    let checks = &example["spec"]["healthCheckExprs"][0];
    ensure!(checks["kind"] == "ReleaseLifecycle", "{checks}");
    let text = |field: &str| checks[field].as_str().map(str::to_owned);
    let texts = ORDER.map(|(_, field)| text(field).with_context(|| format!("{field} is missing")));
    texts.into_iter().collect()
}

/// Has the API server refuse what is marked, with what the expressions make of it as the reason.
pub(super) struct Evaluator<'a> {
    namespace: &'a Namespace,
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(namespace: &'a Namespace) -> Result<Self> {
        // The macros bind the object's fields to the names that Flux gives them.
        let answer = |expression: String| {
            format!(
                "string([object.metadata].exists(metadata, [object.status].exists(status, \
                 ({expression}))))"
            )
        };
        let answers: Vec<_> = expressions()?.into_iter().map(answer).collect();
        let name = &namespace.name;
        let kind = |kind: &str| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}});
        let mut policy = kind("ValidatingAdmissionPolicy");
        policy["spec"] = json!({
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["releaselifecycle.dev"], "apiVersions": ["v1alpha1"],
                "operations": ["UPDATE"], "resources": ["releaselifecycles"]}]},
            "matchConditions": [{"name": "marked", "expression": format!(
                "has(object.metadata.annotations) && '{MARK}' in object.metadata.annotations")}],
            "validations": [{
                "expression": "false", "message": "the expressions cannot be evaluated",
                "messageExpression": format!("'verdict:' + {}", answers.join(" + ',' + "))}],
        });
        let mut binding = kind("ValidatingAdmissionPolicyBinding");
        binding["spec"] = json!({
            "policyName": name, "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {
                "matchLabels": {"kubernetes.io/metadata.name": name}}},
        });
        for object in [policy, binding] {
            namespace.cluster().apply(&object.to_string())?;
        }
        Ok(Self { namespace })
    }

    /// Returns what Flux makes of the object `name`, which is `object`.
    pub(super) async fn status(&self, name: &str, object: &Value) -> Result<&'static str> {
        // Flux asks for this before any expression.
        if object["status"]["observedGeneration"] != object["metadata"]["generation"] {
            return Ok("InProgress");
        }
        let verdicts = self.verdicts(name).await?;
        let statuses = ORDER.map(|(status, _)| status);
        let found = statuses.into_iter().zip(verdicts).find(|(_, verdict)| *verdict);
        Ok(found.map_or("InProgress", |(status, _)| status))
    }

    async fn verdicts(&self, name: &str) -> Result<Vec<bool>> {
        let mark = format!("{MARK}=true");
        let args = ["annotate", "rl", name, &mark, "--overwrite", "--dry-run=server"];
        // A new policy is heeded only after a while, and nothing reports when.
        let attempt = async {
            loop {
                match self.namespace.kubectl(&args) {
                    Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
                    Err(refused) => return refused.to_string(),
                }
            }
        };
        let refused = tokio::time::timeout(std::time::Duration::from_mins(1), attempt)
            .await
            .context("the policy is never heeded")?;
        let verdicts = refused.split_once("verdict:").map(|(_, verdicts)| verdicts.trim());
        let verdicts = verdicts.with_context(|| format!("no verdict: {refused}"))?;
        Ok(verdicts.split(',').map(|verdict| verdict.trim() == "true").collect())
    }
}

impl Drop for Evaluator<'_> {
    fn drop(&mut self) {
        let kinds = "validatingadmissionpolicybinding,validatingadmissionpolicy";
        // It concerns this namespace alone, where something is still there.
        let _ = self.namespace.cluster().kubectl(["delete", kinds, &self.namespace.name]);
    }
}
