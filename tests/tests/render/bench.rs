//! How long rendering takes: a process that is started for it, one that is there already, `kubectl
//! lifecycle plan`, and a chart of a hundred templates, beside `helm template` in the same run. Numbers, no
//! verdicts; the table of `docs/src/benchmarks.md` comes from it.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use e2e::{internals, target};
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
    let cli = programs::build("release")?.join("kubectl-lifecycle");
    let many = generated(100)?;
    let charts = [("hooks", charts::folder().join("hooks")), ("100 templates", many)];
    let mut table =
        "| chart | helm template ÷ warm | helm template ÷ cold | helm template ÷ plan | \
                     helm template | warm | cold | plan |\n|---|--:|--:|--:|--:|--:|--:|--:|\n"
            .to_owned();
    for (name, folder) in charts {
        let request = request(&folder)?;
        let mut warm_engine = Engine::start(Access::Nothing)?;
        warm_engine.render(request.clone(), None).await?;
        let mut times = [const { Vec::new() }; 4];
        for _ in 0..RUNS {
            let [helm, warm, cold, plan] = &mut times;
            let begun = Instant::now();
            run(Command::new(bin("helm")?).args(["template", "shop"]).arg(&folder))?;
            helm.push(begun.elapsed());
            let begun = Instant::now();
            warm_engine.render(request.clone(), None).await?;
            warm.push(begun.elapsed());
            let begun = Instant::now();
            Engine::start(Access::Nothing)?.render(request.clone(), None).await?;
            cold.push(begun.elapsed());
            let begun = Instant::now();
            run(Command::new(&cli).args(["plan", "shop", "--event=install"]).arg(&folder))?;
            plan.push(begun.elapsed());
        }
        let [helm, warm, cold, plan] = times.map(median);
        let _ = writeln!(
            table,
            "| {name} | {:.1} × | {:.2} × | {:.2} × | {helm:.1} ms | {warm:.2} ms | {cold:.1} ms | \
             {plan:.1} ms |",
            helm / warm,
            helm / cold,
            helm / plan,
        );
    }
    println!("medians of {RUNS} runs\n{table}");
    internals::write_in("docs/src/benchmarks.md", "render", &table)
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.stdout(Stdio::null()).status()?;
    ensure!(status.success(), "{command:?}: {status}");
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
