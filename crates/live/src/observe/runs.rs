//! The runs of containers whose logs can be read.

use serde_json::Value;

use super::text;

/// One run of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run<'a> {
    /// The name of the Pod.
    pub pod: &'a str,
    /// The UID of the Pod.
    pub pod_uid: &'a str,
    /// The name of the container.
    pub container: &'a str,
    /// How often the container was restarted before.
    pub restarts: i64,
    /// True if it is the run before the present one, which has not started.
    pub previous: bool,
    /// True if it has not ended.
    pub is_running: bool,
}

/// Returns the last run of each container of `pods` that has run, in the order in which the Pods were
/// created and the containers start.
pub fn runs(pods: &[Value]) -> Vec<Run<'_>> {
    let mut pods: Vec<_> = pods.iter().collect();
    pods.sort_by_key(|pod| text(pod, "/metadata/creationTimestamp"));
    let mut runs = Vec::new();
    for pod in pods {
        for of in ["/status/initContainerStatuses", "/status/containerStatuses"] {
            let statuses = pod.pointer(of).and_then(Value::as_array).into_iter().flatten();
            runs.extend(statuses.filter_map(|status| run(pod, status)));
        }
    }
    runs
}

fn run<'a>(pod: &'a Value, status: &'a Value) -> Option<Run<'a>> {
    let has = |path| status.pointer(path).is_some();
    let is_running = has("/state/running");
    let present = is_running || has("/state/terminated");
    (present || has("/lastState/terminated")).then(|| Run {
        pod: text(pod, "/metadata/name"),
        pod_uid: text(pod, "/metadata/uid"),
        container: text(status, "/name"),
        restarts: status.get("restartCount").and_then(Value::as_i64).unwrap_or_default(),
        previous: !present,
        is_running,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_container_that_has_run_has_a_log() {
        let pod = |name: &str, at: &str, init: Value, main: Value| {
            json!({"metadata": {"name": name, "creationTimestamp": at},
                   "status": {"initContainerStatuses": init, "containerStatuses": main}})
        };
        let ended = json!({"terminated": {"exitCode": 1}});
        let restarting = json!([
            {"name": "main", "restartCount": 2, "state": {"waiting": {}}, "lastState": ended},
            {"name": "proxy", "state": {"running": {}}},
        ]);
        let waiting = json!([{"name": "main", "state": {"waiting": {}}}]);
        let pods = [
            pod("b", "2026-12-01T00:00:02Z", json!([]), restarting),
            pod("a", "2026-12-01T00:00:01Z", json!([{"name": "init", "state": ended}]), waiting),
        ];
        let found: Vec<_> = runs(&pods)
            .iter()
            .map(|run| (run.pod, run.container, run.restarts, run.previous, run.is_running))
            .collect();
        let expected = [
            ("a", "init", 0, false, false),
            ("b", "main", 2, true, false),
            ("b", "proxy", 0, false, true),
        ];
        assert_eq!(found, expected);
        assert!(runs(&[json!({}), json!({"status": 7})]).is_empty());
    }
}
