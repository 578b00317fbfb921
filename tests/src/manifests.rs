//! The objects that tests put into releases, as plain JSON. On simulated nodes Pods of Jobs succeed
//! at once, unless [`Manifest::fails`] or [`Manifest::never_ends`] changes it; on a real node they
//! run the script of [`Manifest::runs`].

use serde_json::{Map, Value, json};

/// A Job whose Pod succeeds; it is not repeated if it fails.
pub fn job(name: &str) -> Value {
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": pod_spec("Never")}},
    })
}

/// A Pod that succeeds.
pub fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod_spec("Never")})
}

/// A `ConfigMap` with one value.
pub fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
           "data": {"value": value}})
}

/// A Deployment of one Pod that does not end.
pub fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod_spec("Always")},
        },
    })
    .runs("sleep 3600")
}

fn pod_spec(restart_policy: &str) -> Value {
    json!({
        "restartPolicy": restart_policy,
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "main", "image": "busybox:1", "command": ["sh", "-c", "true"]}],
    })
}

/// Changes to a manifest, to be chained.
pub trait Manifest: Sized {
    /// Sets the value at a JSON pointer; missing objects on the way are created.
    #[must_use]
    fn set(self, pointer: &str, value: impl Into<Value>) -> Self;

    /// Sets an annotation.
    #[must_use]
    fn annotation(self, name: &str, value: impl Into<Value>) -> Self {
        let name = name.replace('~', "~0").replace('/', "~1");
        self.set(&format!("/metadata/annotations/{name}"), value)
    }

    /// Makes it a hook of these events.
    #[must_use]
    fn hook(self, events: &str) -> Self {
        self.annotation("helm.sh/hook", events)
    }

    /// Gives the hook a weight.
    #[must_use]
    fn weight(self, weight: &str) -> Self {
        self.annotation("helm.sh/hook-weight", weight)
    }

    /// Gives the hook delete policies.
    #[must_use]
    fn policy(self, policies: &str) -> Self {
        self.annotation("helm.sh/hook-delete-policy", policies)
    }

    /// Sets a field of the Pod, or of the template of Pods.
    #[must_use]
    fn set_pod(self, pointer: &str, value: impl Into<Value>) -> Self;

    /// Makes its Pods fail with exit code 1, on a simulated node.
    #[must_use]
    fn fails(self) -> Self {
        self.set_pod("/metadata/annotations/releaselifecycle.dev~1test-outcome", "fail")
    }

    /// Makes its Pods run until they are deleted, on a simulated node.
    #[must_use]
    fn never_ends(self) -> Self {
        self.set_pod("/metadata/annotations/releaselifecycle.dev~1test-outcome", "never")
    }

    /// Makes its Pods request a node that does not exist.
    #[must_use]
    fn unschedulable(self) -> Self {
        self.set_pod("/spec/nodeSelector", json!({"no-such": "node"}))
    }

    /// Makes its container run this script, on a real node.
    #[must_use]
    fn runs(self, script: &str) -> Self {
        self.set_pod("/spec/containers/0/command", json!(["sh", "-c", script]))
    }
}

impl Manifest for Value {
    fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let mut place = &mut self;
        for key in pointer.split('/').skip(1) {
            let key = key.replace("~1", "/").replace("~0", "~");
            if let Value::Array(items) = place {
                let index: usize = key.parse().expect("an index of the array");
                place = items.get_mut(index).expect("an index of the array");
                continue;
            }
            if place.is_null() {
                *place = Value::Object(Map::new());
            }
            place = &mut place[key];
        }
        *place = value.into();
        self
    }

    fn set_pod(self, pointer: &str, value: impl Into<Value>) -> Self {
        let template = if self["kind"] == "Pod" { "" } else { "/spec/template" };
        self.set(&format!("{template}{pointer}"), value)
    }
}
