use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::{
    Api,
    api::PostParams,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};

use crate::{Namespace, namespace::PATIENCE};

/// The action of a policy of [`Namespace::admission`].
#[derive(Clone, Copy, Debug)]
pub enum Admission<'a> {
    /// Refuses the objects that it matches, with this message.
    Refuse(&'a str),
    /// Applies the value of this CEL expression, such as `Object{spec: …}`.
    Apply(&'a str),
    /// Applies the JSON patch of this CEL expression, such as `[JSONPatch{op: "remove", …}]`.
    Patch(&'a str),
}

impl Namespace {
    /// Lets the API server check or change each new `Job` or `Pod` of the namespace whose name
    /// begins with `prefix`, as an admission webhook would; waits until it does.
    ///
    /// # Errors
    /// If it does not.
    pub async fn admission(
        &self,
        kind: &str,
        prefix: &str,
        admission: Admission<'_>,
    ) -> Result<()> {
        let name = format!("{}-{}-{prefix}", self.name, kind.to_lowercase());
        let group = if kind == "Job" { "batch" } else { "" };
        let resource = format!("{}s", kind.to_lowercase());
        let rule = json!({"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE"],
                          "resources": [resource]});
        // The API server evaluates the policy before it has made a name from `generateName`.
        let matches = format!(
            "(has(object.metadata.name) ? object.metadata.name : object.metadata.generateName)\
             .startsWith('{prefix}')"
        );
        let mut spec = json!({
            "matchConstraints": {"resourceRules": [rule]},
            "matchConditions": [{"name": "prefix", "expression": matches}],
        });
        let verb = match admission {
            Admission::Refuse(message) => {
                spec["validations"] = json!([{"expression": "false", "message": message}]);
                "Validating"
            }
            Admission::Apply(expression) => {
                spec["reinvocationPolicy"] = json!("Never");
                spec["mutations"] = json!([{"patchType": "ApplyConfiguration",
                                            "applyConfiguration": {"expression": expression}}]);
                "Mutating"
            }
            Admission::Patch(expression) => {
                spec["reinvocationPolicy"] = json!("Never");
                spec["mutations"] =
                    json!([{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}]);
                "Mutating"
            }
        };
        let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": self.name}});
        let mut binding =
            json!({"policyName": name, "matchResources": {"namespaceSelector": selector}});
        if verb == "Validating" {
            binding["validationActions"] = json!(["Deny"]);
        }
        let object = |kind: String, spec: &Value| {
            json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
                   "metadata": {"name": name}, "spec": spec})
            .to_string()
        };
        let policy = object(format!("{verb}AdmissionPolicy"), &spec);
        let binding = object(format!("{verb}AdmissionPolicyBinding"), &binding);
        self.cluster().apply(&format!("{policy}\n---\n{binding}"))?;
        self.until_it_works(kind, prefix).await.with_context(|| format!("try policy {name}"))
    }

    /// Sends dry runs, until the answer differs from the request.
    async fn until_it_works(&self, kind: &str, prefix: &str) -> Result<()> {
        // The volume of a token has a new name each time.
        let spec = json!({"restartPolicy": "Never", "automountServiceAccountToken": false, "containers": [{"name": "main", "image": "x"}],
                          "schedulingGates": [{"name": "releaselifecycle.dev/held"}]});
        let (group, spec) = match kind {
            "Job" => ("batch", json!({"suspend": true, "template": {"spec": spec}})),
            _ => ("", spec),
        };
        let run = "releaselifecycle.dev/run";
        let probe = json!({
            "metadata": {"name": format!("{prefix}-probe"), "labels": {"probe": ""},
                         "annotations": {run: "probe"}},
            "spec": spec,
        });
        let probe: DynamicObject = serde_json::from_value(probe)?;
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.name, &resource);
        // A name that no policy matches shows the answer without one.
        let mut plain = probe.clone();
        plain.metadata.name = Some("plain".to_owned());
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let shape = |object: DynamicObject| {
            let mut spec = object.data["spec"].clone();
            // The API server adds the UID and the name of a Job.
            spec["selector"] = Value::Null;
            spec["template"]["metadata"] = Value::Null;
            let mut labels = object.metadata.labels.unwrap_or_default();
            labels.retain(|label, _| {
                !label.contains("job-name") && !label.contains("controller-uid")
            });
            (labels, object.metadata.annotations, spec)
        };
        let plain = shape(api.create(&params, &plain).await?);
        let start = tokio::time::Instant::now();
        while start.elapsed() < PATIENCE {
            match api.create(&params, &probe).await {
                Ok(answer) if shape(answer.clone()) == plain => {}
                Ok(_) => return Ok(()),
                Err(kube::Error::Api(status)) if status.message.contains("AdmissionPolicy") => {
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("{kind}s are made as before")
    }
}
