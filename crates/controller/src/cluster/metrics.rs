//! Metrics. Their labels have few values: event and outcome, never an object.

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::support::panics;

/// The label of a namespace. Only namespaces that wait have one.
type InNamespace = [(&'static str, String); 1];

type Labels = [(&'static str, &'static str); 1];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HookLabels {
    event: &'static str,
    outcome: &'static str,
}

pub(crate) struct Metrics {
    registry: Registry,
    hooks_started: Family<Labels, Counter>,
    hooks_ended: Family<HookLabels, Counter>,
    hook_seconds: Histogram,
    operations_ended: Family<Labels, Counter>,
    operation_seconds: Histogram,
    api_writes: Family<Labels, Counter>,
    pub(crate) reconciling: Gauge,
    waiting: Family<InNamespace, Gauge>,
    pub(crate) leader: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let seconds = || Histogram::new([0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 7200.0]);
        let mut metrics = Self {
            registry: Registry::default(),
            hooks_started: Family::default(),
            hooks_ended: Family::default(),
            hook_seconds: seconds(),
            operations_ended: Family::default(),
            operation_seconds: seconds(),
            api_writes: Family::default(),
            reconciling: Gauge::default(),
            waiting: Family::default(),
            leader: Gauge::default(),
        };
        let registry = metrics.registry.sub_registry_with_prefix("releaselifecycle");
        registry.register(
            "hooks_started",
            "Hooks started, by hook event",
            metrics.hooks_started.clone(),
        );
        registry.register(
            "hooks_ended",
            "Hooks ended, by hook event and outcome",
            metrics.hooks_ended.clone(),
        );
        registry.register(
            "hook_duration_seconds",
            "From a hook's start to its verdict",
            metrics.hook_seconds.clone(),
        );
        registry.register(
            "operations_ended",
            "Operations ended, by outcome",
            metrics.operations_ended.clone(),
        );
        registry.register(
            "operation_duration_seconds",
            "From the decision to the closed record",
            metrics.operation_seconds.clone(),
        );
        registry.register("api_writes", "API writes, by outcome", metrics.api_writes.clone());
        registry.register(
            "reconciling",
            "Releases being worked on now",
            metrics.reconciling.clone(),
        );
        registry.register(
            "waiting",
            "Releases that wait for their turn, by namespace; only namespaces that wait",
            metrics.waiting.clone(),
        );
        registry.register(
            "panics",
            "Faults of the operator that were caught, see its log",
            panics::count(),
        );
        registry.register(
            "leader",
            "1 for the leader, 0 for a standby replica",
            metrics.leader.clone(),
        );
        metrics
    }

    pub(crate) fn hook_started(&self, event: &'static str) {
        self.hooks_started.get_or_create(&[("event", event)]).inc();
    }

    pub(crate) fn hook_ended(&self, event: &'static str, outcome: &'static str, seconds: f64) {
        self.hooks_ended.get_or_create(&HookLabels { event, outcome }).inc();
        self.hook_seconds.observe(seconds);
    }

    pub(crate) fn operation_ended(&self, outcome: &'static str, seconds: f64) {
        self.operations_ended.get_or_create(&[("outcome", outcome)]).inc();
        self.operation_seconds.observe(seconds);
    }

    /// Notes the number of releases of the namespace that wait for their turn.
    pub(crate) fn waiting(&self, namespace: &str, releases: usize) {
        let label = [("namespace", namespace.to_owned())];
        if releases == 0 {
            self.waiting.remove(&label);
        } else {
            let releases = i64::try_from(releases).unwrap_or(i64::MAX);
            self.waiting.get_or_create(&label).set(releases);
        }
    }

    pub(crate) fn api_write(&self, outcome: &'static str) {
        self.api_writes.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// Returns the text of `/metrics`.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaces_that_wait_are_listed() {
        let metrics = Metrics::new();
        metrics.waiting("shop", 2);
        metrics.waiting("blog", 1);
        metrics.waiting("blog", 0);
        let text = metrics.text();
        assert!(text.contains("\nreleaselifecycle_waiting{namespace=\"shop\"} 2\n"), "{text}");
        assert!(!text.contains("blog"), "{text}");
    }
}
