//! The releases, counted by their conditions when somebody asks for the metrics.

use std::{
    collections::BTreeMap,
    fmt::{self, Debug},
    sync::OnceLock,
};

use api::ReleaseLifecycle;
use lifecycle::conditions::{DRIFTED, READY, STALLED, TEST_SUCCESS};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};

/// The conditions that are counted.
const CONDITIONS: [&str; 4] = [READY, STALLED, DRIFTED, TEST_SUCCESS];
const STATUSES: [&str; 3] = ["True", "False", "Unknown"];

/// Gives each release to a function.
pub(crate) type Lister = dyn Fn(&mut dyn FnMut(&ReleaseLifecycle)) + Send + Sync;

/// The releases of this process's watch; none before it leads.
pub(super) struct Releases {
    per_release: bool,
    all: OnceLock<Box<Lister>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRelease {
    namespace: String,
    name: String,
    r#type: &'static str,
    status: String,
    reason: String,
}

impl Releases {
    pub(super) fn new(per_release: bool) -> Self {
        Self { per_release, all: OnceLock::new() }
    }

    pub(super) fn list(&self, all: Box<Lister>) {
        // A process leads once.
        let _ = self.all.set(all);
    }

    /// Calls `each` with every condition of a release.
    fn each(&self, mut each: impl FnMut(&ReleaseLifecycle, &'static str, &str, &str)) {
        let Some(all) = self.all.get() else { return };
        all(&mut |object| {
            let conditions = object.status.as_ref().map_or(&[][..], |status| &status.conditions);
            for type_ in CONDITIONS {
                let found = conditions.iter().find(|condition| condition.type_ == type_);
                match found {
                    Some(found) => each(object, type_, &found.status, &found.reason),
                    // It has not been reconciled yet.
                    None if type_ == READY => each(object, type_, "Unknown", ""),
                    None => {}
                }
            }
        });
    }
}

impl Debug for Releases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Releases").field("per_release", &self.per_release).finish_non_exhaustive()
    }
}

impl Collector for Releases {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut counts = BTreeMap::<(&str, &str), i64>::new();
        if self.all.get().is_some() {
            let all = CONDITIONS.iter().flat_map(|type_| STATUSES.map(|status| (*type_, status)));
            counts.extend(all.map(|key| (key, 0)));
        }
        self.each(|_, type_, status, _| {
            if let Some(status) = STATUSES.iter().find(|known| **known == status) {
                let count = counts.entry((type_, *status)).or_default();
                *count = count.saturating_add(1);
            }
        });
        let help = "Releases by the status of a condition";
        let mut metric = encoder.encode_descriptor("releases", help, None, MetricType::Gauge)?;
        for ((type_, status), count) in counts {
            let labels = [("type", type_), ("status", status)];
            ConstGauge::new(count).encode(metric.encode_family(&labels)?)?;
        }
        if !self.per_release {
            return Ok(());
        }
        let help = "1 for each condition of each release";
        let mut metric =
            encoder.encode_descriptor("release_condition", help, None, MetricType::Gauge)?;
        let mut result = Ok(());
        self.each(|object, type_, status, reason| {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let labels = OfRelease {
                namespace: text(&object.metadata.namespace),
                name: text(&object.metadata.name),
                r#type: type_,
                status: status.to_owned(),
                reason: reason.to_owned(),
            };
            result =
                result.and_then(|()| ConstGauge::new(1_i64).encode(metric.encode_family(&labels)?));
        });
        result
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::Metrics;
    use super::*;

    fn release(name: &str, conditions: &[(&str, &str)]) -> ReleaseLifecycle {
        let conditions = conditions.iter().map(|(type_, status)| {
            json!({"type": type_, "status": status, "reason": "Because", "message": "",
                   "lastTransitionTime": "2026-11-22T11:02:09Z"})
        });
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "prod"},
            "spec": {"source": {"objects": []}},
            "status": {"conditions": conditions.collect::<Value>()},
        }))
        .unwrap()
    }

    fn text(per_release: bool) -> String {
        let metrics = Metrics::new(per_release);
        assert!(!metrics.text().contains("releaselifecycle_releases{"), "{}", metrics.text());
        let all = [
            release("a", &[("Ready", "True"), ("Drifted", "False")]),
            release("b", &[("Ready", "False"), ("Stalled", "True")]),
            release("new \"one\"", &[]),
        ];
        metrics.list(Box::new(move |each| all.iter().for_each(each)));
        metrics.text()
    }

    #[test]
    fn releases_are_counted_by_their_conditions() {
        let text = text(false);
        for line in [
            "releaselifecycle_releases{type=\"Ready\",status=\"True\"} 1",
            "releaselifecycle_releases{type=\"Ready\",status=\"False\"} 1",
            "releaselifecycle_releases{type=\"Ready\",status=\"Unknown\"} 1",
            "releaselifecycle_releases{type=\"Stalled\",status=\"True\"} 1",
            "releaselifecycle_releases{type=\"Drifted\",status=\"True\"} 0",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line}\n{text}");
        }
        assert!(!text.contains("release_condition"), "{text}");
    }

    #[test]
    fn each_release_is_listed_on_request() {
        let text = text(true);
        let line = "releaselifecycle_release_condition{namespace=\"prod\",name=\"b\",type=\"Stalled\",\
                    status=\"True\",reason=\"Because\"} 1\n";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("name=\"new \\\"one\\\"\""), "{text}");
    }
}
