//! The floor: `crates/floor`, one process for all releases.

use std::{
    fs,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use e2e::{
    Namespace,
    manifests::{Manifest as _, config_map, job},
};
use serde_json::{Value, json};

use crate::{
    measure::{Watched, cpu_of_ended},
    requests::Tool,
    stage::{Figures, Stage, program},
};

/// Returns the same Jobs and objects as the chart has.
fn release(name: &str, hooks: bool, value: &str) -> Value {
    let hook = |when: &str| {
        let delay = "/metadata/annotations/releaselifecycle.dev~1test-delay";
        job(&format!("{name}-{when}")).set_pod(delay, "5s")
    };
    let hooks_of = |when: &str| if hooks { vec![hook(when)] } else { Vec::new() };
    let objects = ["a", "b", "c"].map(|n| config_map(&format!("{name}-{n}"), value));
    json!({
        "before": hooks_of("pre"),
        "objects": objects,
        "after": hooks_of("post"),
    })
}

/// Runs it for one event: `install`, `upgrade` or `delete`.
pub(crate) fn run(
    stage: &mut Stage,
    namespace: &Namespace,
    names: &[String],
    hooks: bool,
    event: &str,
) -> Result<Figures> {
    let value = if event == "install" { "1" } else { "2" };
    let plan: Vec<_> = names.iter().map(|name| release(name, hooks, value)).collect();
    let path = e2e::target().join("tmp").join(format!("{}.json", namespace.name));
    fs::write(&path, serde_json::to_vec(&plan)?).context("write the plan of the floor")?;
    let watched = Watched::default();
    stage.measure(Tool::Floor, names, &watched, cpu_of_ended, |stage| {
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program("floor")?)
            .arg(stage.cluster.kubeconfig())
            .args([&namespace.name, event])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start the floor")?;
        watched.add(child.id());
        let output = child.wait_with_output().context("wait for the floor")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "floor {event}: {said}");
        let peak = String::from_utf8_lossy(&output.stdout);
        watched.report(peak.trim().parse().context("the floor reports its peak")?);
        Ok(())
    })
}
