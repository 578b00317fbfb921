//! Metrics. Their labels have few values, such as event and outcome; an object is one only with
//! `--metrics-per-release`.

mod releases;

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use lifecycle::reason::Reason;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry},
};

use self::releases::{Lister, Releases};
use crate::support::panics;

/// The label of a namespace. Only namespaces that wait have one.
type InNamespace = [(&'static str, String); 1];

type Labels = [(&'static str, &'static str); 1];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    event: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    verb: &'static str,
    /// The status of the answer, or `0` if there was none.
    code: u16,
}

pub(crate) struct Metrics {
    registry: Registry,
    hooks_started: Family<Labels, Counter>,
    hooks_ended: Family<Ended, Counter>,
    hook_seconds: Histogram,
    operations_ended: Family<Ended, Counter>,
    operation_seconds: Histogram,
    reconciliations: Family<Labels, Counter>,
    reconciliation_seconds: Histogram,
    errors: Family<Labels, Counter>,
    api_requests: Family<Answered, Counter>,
    api_writes: Family<Labels, Counter>,
    renderings: Family<Labels, Counter>,
    rendering_seconds: Histogram,
    chart_fetches: Family<Labels, Counter>,
    releases: Arc<Releases>,
    pub(crate) reconciling: Gauge,
    waiting: Family<InNamespace, Gauge>,
    pub(crate) leader: Gauge,
}

/// Registers a metric, and returns it.
fn added<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

/// Registers a counter or a gauge.
fn plain<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    added(registry, name, help, M::default())
}

fn seconds() -> Histogram {
    Histogram::new([0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 7200.0])
}

fn short_seconds() -> Histogram {
    Histogram::new([0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0])
}

impl Metrics {
    /// Makes the metrics; `per_release`: each release is listed, too.
    pub(crate) fn new(per_release: bool) -> Self {
        let mut registry = Registry::default();
        let all = registry.sub_registry_with_prefix("releaselifecycle");
        let releases = Arc::new(Releases::new(per_release));
        all.register_collector(Box::new(Arc::clone(&releases)));
        let hooks_started = plain(all, "hooks_started", "Hooks started, by hook event");
        let hooks_ended = plain(all, "hooks_ended", "Hooks ended, by hook event and outcome");
        let help = "From a hook's start to its verdict";
        let hook_seconds = added(all, "hook_duration_seconds", help, seconds());
        let operations_ended =
            plain(all, "operations_ended", "Operations ended, by event and outcome");
        let help = "From the decision to the closed record";
        let operation_seconds = added(all, "operation_duration_seconds", help, seconds());
        let reconciliations =
            plain(all, "reconciliations", "Reconciliations that did something, by result");
        let help = "Time of a reconciliation that did something";
        let reconciliation_seconds =
            added(all, "reconciliation_duration_seconds", help, short_seconds());
        let help =
            "Operations that failed, and reconciliations that ended with an error, by reason";
        let errors = plain(all, "errors", help);
        let help = "Requests to the API server, by verb and code; 0: no answer";
        let api_requests = plain(all, "api_requests", help);
        let api_writes = plain(all, "api_writes", "API writes, by outcome");
        let renderings = plain(all, "renderings", "Renderings of charts, by outcome");
        let help = "Time of the rendering of a chart";
        let rendering_seconds = added(all, "rendering_duration_seconds", help, short_seconds());
        let chart_fetches =
            plain(all, "chart_fetches", "Requests to servers of charts, by outcome");
        let reconciling = plain(all, "reconciling", "Releases being worked on now");
        let help = "Releases that wait for their turn, by namespace; only namespaces that wait";
        let waiting = plain(all, "waiting", help);
        all.register(
            "panics",
            "Faults of the operator that were caught, see its log",
            panics::count(),
        );
        let help = "1 for the leader, 0 for a standby replica";
        let leader = plain(all, "leader", help);
        Self {
            registry,
            hooks_started,
            hooks_ended,
            hook_seconds,
            operations_ended,
            operation_seconds,
            reconciliations,
            reconciliation_seconds,
            errors,
            api_requests,
            api_writes,
            renderings,
            rendering_seconds,
            chart_fetches,
            releases,
            reconciling,
            waiting,
            leader,
        }
    }

    /// Lists the releases that `all` gives, from now on.
    pub(crate) fn list(&self, all: Box<Lister>) {
        self.releases.list(all);
    }

    pub(crate) fn hook_started(&self, event: &'static str) {
        self.hooks_started.get_or_create(&[("event", event)]).inc();
    }

    pub(crate) fn hook_ended(&self, event: &'static str, outcome: &'static str, seconds: f64) {
        self.hooks_ended.get_or_create(&Ended { event, outcome }).inc();
        self.hook_seconds.observe(seconds);
    }

    pub(crate) fn operation_ended(&self, event: &'static str, outcome: &'static str, seconds: f64) {
        self.operations_ended.get_or_create(&Ended { event, outcome }).inc();
        self.operation_seconds.observe(seconds);
    }

    pub(crate) fn reconciled(&self, result: &'static str, took: Duration) {
        self.reconciliations.get_or_create(&[("result", result)]).inc();
        self.reconciliation_seconds.observe(took.as_secs_f64());
    }

    /// Counts an operation that failed, or a reconciliation that ended with an error. Only the known
    /// reasons are labels.
    pub(crate) fn error(&self, reason: &str) {
        let reason = Reason::parse(reason).map_or("Other", Reason::as_str);
        self.errors.get_or_create(&[("reason", reason)]).inc();
    }

    /// Counts a rendering that took so long.
    pub(crate) fn rendered(&self, outcome: &'static str, took: Duration) {
        self.renderings.get_or_create(&[("outcome", outcome)]).inc();
        self.rendering_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn chart_fetched(&self, outcome: &'static str) {
        self.chart_fetches.get_or_create(&[("outcome", outcome)]).inc();
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

    /// Counts a request and its answer; `None` if there was none.
    pub(crate) fn answered(&self, verb: &'static str, status: Option<StatusCode>) {
        let code = status.map_or(0, |status| status.as_u16());
        self.api_requests.get_or_create(&Answered { verb, code }).inc();
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
        let metrics = Metrics::new(false);
        metrics.waiting("shop", 2);
        metrics.waiting("blog", 1);
        metrics.waiting("blog", 0);
        let text = metrics.text();
        assert!(text.contains("\nreleaselifecycle_waiting{namespace=\"shop\"} 2\n"), "{text}");
        assert!(!text.contains("blog"), "{text}");
    }

    #[test]
    fn a_request_is_counted_by_its_answer() {
        let metrics = Metrics::new(false);
        metrics.answered("get", Some(StatusCode::NOT_FOUND));
        metrics.answered("get", None);
        let text = metrics.text();
        for code in ["404", "0"] {
            let line =
                format!("releaselifecycle_api_requests_total{{verb=\"get\",code=\"{code}\"}} 1\n");
            assert!(text.contains(&line), "{text}");
        }
    }
}
