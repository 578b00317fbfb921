//! The scenarios in which all three clients do the same.

use std::slice;

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    floor,
    helm::Run,
    ours::{self, Operator, Restart},
    stage::{self, Figures, Stage, names},
};

/// The figures of each client for one event.
pub(crate) struct Comparison {
    /// Such as `install`.
    pub(crate) event: &'static str,
    pub(crate) hooks: bool,
    pub(crate) releases: usize,
    /// Of the clients in the order of their definition.
    pub(crate) figures: Vec<Figures>,
}

/// Returns the spec of a release with the chart, and no objects of its own.
fn spec(source: &Value, hooks: bool, value: &str) -> (Vec<Value>, Value) {
    let mut more = source.clone();
    more["values"] = json!({"hooks": hooks, "value": value});
    (Vec::new(), more)
}

/// Releases with hooks: installed, upgraded, started again in sync, and deleted.
pub(crate) fn with_hooks(stage: &mut Stage) -> Result<(Vec<Comparison>, Restart)> {
    let names = names(stage.knobs.releases);
    let events = ["install", "upgrade", "delete"];

    let namespace = stage.namespace("hooks-ours")?;
    let chart = stage::chart(&namespace)?;
    stage.runtime.block_on(chart.put(&namespace))?;
    let source = chart.source();
    let operator = Operator::start(slice::from_ref(&namespace))?;
    let deploy = |stage: &Stage, value: &str| {
        ours::deploy(stage, slice::from_ref(&namespace), &names, |_| spec(&source, true, value))
    };
    let installed = operator.measure(stage, &names, |stage| deploy(stage, "1"))?;
    let upgraded = operator.measure(stage, &names, |stage| deploy(stage, "2"))?;
    // After an upgrade the first start writes once that a release is in sync.
    let (operator, _) = ours::restart(stage, slice::from_ref(&namespace), operator, names.len())?;
    let (operator, restart) =
        ours::restart(stage, slice::from_ref(&namespace), operator, names.len())?;
    let deleted =
        operator.measure(stage, &names, |stage| ours::delete(stage, &namespace, &names))?;
    operator.stop()?;
    let ours = [installed, upgraded, deleted];

    let namespace = stage.namespace("hooks-helm")?;
    let chart = stage::chart(&namespace)?;
    let run = Run { namespace: &namespace, chart: chart.folder(), hooks: true };
    let helm =
        [run.install(stage, &names)?, run.upgrade(stage, &names)?, run.delete(stage, &names)?];

    let namespace = stage.namespace("hooks-floor")?;
    let mut floor = Vec::new();
    for event in events {
        floor.push(floor::run(stage, &namespace, &names, true, event)?);
    }
    let all = ours.into_iter().zip(helm).zip(floor).zip(events);
    let comparison = |(((ours, helm), floor), event)| Comparison {
        event,
        hooks: true,
        releases: names.len(),
        figures: vec![ours, helm, floor],
    };
    Ok((all.map(comparison).collect(), restart))
}

/// Releases without hooks: installed.
pub(crate) fn without_hooks(stage: &mut Stage, releases: usize) -> Result<Comparison> {
    let names = names(releases);
    let namespace = stage.namespace("plain-ours")?;
    let chart = stage::chart(&namespace)?;
    stage.runtime.block_on(chart.put(&namespace))?;
    let source = chart.source();
    let operator = Operator::start(slice::from_ref(&namespace))?;
    let ours = operator.measure(stage, &names, |stage| {
        ours::deploy(stage, slice::from_ref(&namespace), &names, |_| spec(&source, false, "1"))
    })?;
    operator.stop()?;

    let namespace = stage.namespace("plain-helm")?;
    let chart = stage::chart(&namespace)?;
    let run = Run { namespace: &namespace, chart: chart.folder(), hooks: false };
    let helm = run.install(stage, &names)?;

    let namespace = stage.namespace("plain-floor")?;
    let floor = floor::run(stage, &namespace, &names, false, "install")?;
    Ok(Comparison { event: "install", hooks: false, releases, figures: vec![ours, helm, floor] })
}
