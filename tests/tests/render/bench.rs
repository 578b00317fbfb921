//! How long rendering takes: a process that is started for it, one that is there already, and a
//! chart of a hundred templates, beside `helm template` in the same run. Numbers, no verdicts.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use e2e::target;
use serde_json::{Value, json};
use testkit::{cluster::bin, programs};

use crate::{
    charts,
    engine::{Access, Engine},
    package,
};

/// Of each, in turn, so that what else the machine does slows all alike.
const RUNS: usize = 21;

#[tokio::test]
#[ignore = "a benchmark: make bench-render"]
async fn render_times() -> Result<()> {
    programs::build("dev")?;
    let many = generated(100)?;
    let charts = [("hooks", charts::folder().join("hooks")), ("100 templates", many)];
    println!("medians of {RUNS} runs, ms\n| chart | helm template | cold | | warm | |");
    println!("|---|--:|--:|--:|--:|--:|");
    for (name, folder) in charts {
        let request = request(&folder)?;
        let mut warm_engine = Engine::start(Access::Nothing)?;
        warm_engine.render(request.clone(), None).await?;
        let (mut helm, mut cold, mut warm) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let begun = Instant::now();
            template(&folder)?;
            helm.push(begun.elapsed());
            let begun = Instant::now();
            Engine::start(Access::Nothing)?.render(request.clone(), None).await?;
            cold.push(begun.elapsed());
            let begun = Instant::now();
            warm_engine.render(request.clone(), None).await?;
            warm.push(begun.elapsed());
        }
        let (helm, cold, warm) = (median(helm), median(cold), median(warm));
        println!(
            "| {name} | {helm:.1} | {cold:.1} | {:.2} × | {warm:.2} | {:.3} × |",
            cold / helm,
            warm / helm,
        );
    }
    Ok(())
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

fn template(folder: &Path) -> Result<()> {
    let mut command = Command::new(bin("helm")?);
    command.args(["template", "shop"]).arg(folder).stdout(Stdio::null());
    let status = command.status()?;
    ensure!(status.success(), "helm template {}: {status}", folder.display());
    Ok(())
}

fn request(folder: &Path) -> Result<Value> {
    let dir = target().join("tmp/packages/bench");
    fs::create_dir_all(&dir)?;
    let archive = fs::read(package::packaged(folder, &dir)?)?;
    Ok(json!({
        "chart": BASE64_STANDARD.encode(archive), "values": [], "cluster": false, "addCRDs": false,
        "release": {"name": "shop", "namespace": "default", "revision": 1, "upgrade": false},
    }))
}

/// A chart of so many templates, each with a helper, a loop and a condition.
fn generated(templates: usize) -> Result<PathBuf> {
    let folder = target().join("tmp/charts/bench-many");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(folder.join("templates"))?;
    fs::write(folder.join("Chart.yaml"), "apiVersion: v2\nname: many\nversion: 1.0.0\n")?;
    fs::write(folder.join("values.yaml"), "replicas: 2\nenv: {a: 1, b: two, c: true}\n")?;
    let labels = "{{- define \"labels\" }}\napp: {{ .Release.Name | trunc 63 | quote }}\n\
                  chart: {{ printf \"%s-%s\" .Chart.Name .Chart.Version }}\n{{- end }}\n";
    fs::write(folder.join("templates/_helpers.tpl"), labels)?;
    for index in 0..templates {
        let text = format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {{{{ .Release.Name }}}}-{index}\n  \
             labels: {{{{- include \"labels\" . | nindent 4 }}}}\nspec:\n  \
             replicas: {{{{ .Values.replicas }}}}\n  selector:\n    \
             matchLabels: {{{{- include \"labels\" . | nindent 6 }}}}\n  template:\n    metadata:\n      \
             labels: {{{{- include \"labels\" . | nindent 8 }}}}\n    spec:\n      containers:\n      \
             - name: main\n        image: busybox:{index}\n        env:\n        \
             {{{{- range $name, $value := .Values.env }}}}\n        - name: {{{{ $name | upper }}}}\n          \
             value: {{{{ $value | quote }}}}\n        {{{{- end }}}}\n"
        );
        fs::write(folder.join(format!("templates/{index:03}.yaml")), text)?;
    }
    Ok(folder)
}
