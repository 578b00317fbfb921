//! The releases that wait for others, by `spec.dependsOn`.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
};

use api::ReleaseLifecycle;
use lifecycle::conditions;

use crate::support::{key::key, sync::lock};

/// The releases that wait for others, by keys.
#[derive(Default)]
pub(crate) struct Dependents(Mutex<HashMap<String, HashSet<String>>>);

impl Dependents {
    pub(crate) fn wait(&self, dependent: String, dependency: String) {
        let mut all = lock(&self.0);
        all.entry(dependency).or_default().insert(dependent);
    }

    /// Forgets the custom resource of this key, which is gone and waits for nothing.
    pub(crate) fn forget(&self, key: &str) {
        lock(&self.0).retain(|_, waiting| {
            waiting.remove(key);
            !waiting.is_empty()
        });
    }

    /// Forgets all custom resources that wait but those of these keys.
    pub(crate) fn retain(&self, keys: &HashSet<String>) {
        lock(&self.0).retain(|_, waiting| {
            waiting.retain(|key| keys.contains(key));
            !waiting.is_empty()
        });
    }

    /// Returns the releases that wait for `dependency`, if it is Ready.
    pub(crate) fn freed_by(&self, dependency: &ReleaseLifecycle) -> HashSet<String> {
        if not_ready(dependency).is_some() {
            return HashSet::new();
        }
        let mut all = lock(&self.0);
        all.remove(&key(dependency)).unwrap_or_default()
    }
}

/// Returns why it is not Ready for its current spec. Only the reason: with messages, releases that
/// wait for each other would quote each other endlessly.
pub(crate) fn not_ready(object: &ReleaseLifecycle) -> Option<String> {
    let status = object.status.as_ref();
    let conditions = status.into_iter().flat_map(|status| &status.conditions);
    let ready = conditions.into_iter().find(|condition| condition.type_ == conditions::READY);
    match ready {
        _ if object.metadata.deletion_timestamp.is_some() => Some("it is being deleted".to_owned()),
        Some(ready) if ready.observed_generation == object.metadata.generation => {
            (ready.status != "True").then(|| ready.reason.clone())
        }
        _ => Some("its newest spec was not observed yet".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(metadata: Value, ready: &str, observed: i64) -> ReleaseLifecycle {
        let condition = json!({"type": "Ready", "status": ready, "reason": "HookFailed",
                               "message": "", "observedGeneration": observed,
                               "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let mut object = json!({"metadata": {"name": "db", "namespace": "ns", "generation": 2},
                                "spec": {"source": {}}, "status": {"conditions": [condition]}});
        if let (Some(all), Value::Object(more)) = (object["metadata"].as_object_mut(), metadata) {
            all.extend(more);
        }
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn a_dependency_is_ready_as_its_newest_spec_is() {
        let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        for (metadata, ready, observed, why) in [
            (json!({}), "True", 2, None),
            (json!({}), "False", 2, Some("HookFailed")),
            (json!({}), "True", 1, Some("its newest spec was not observed yet")),
            (deleted, "True", 2, Some("it is being deleted")),
        ] {
            let object = object(metadata, ready, observed);
            assert_eq!(not_ready(&object).as_deref(), why);
        }
    }

    #[test]
    fn who_waits_is_freed_once_by_what_is_ready() {
        let all = Dependents::default();
        all.wait("ns/a".to_owned(), "ns/db".to_owned());
        all.wait("ns/b".to_owned(), "ns/db".to_owned());
        all.wait("ns/a".to_owned(), "ns/other".to_owned());
        assert!(all.freed_by(&object(json!({}), "False", 2)).is_empty());
        let freed = all.freed_by(&object(json!({}), "True", 2));
        assert_eq!(freed, ["ns/a".to_owned(), "ns/b".to_owned()].into());
        assert!(all.freed_by(&object(json!({}), "True", 2)).is_empty());
    }
}
