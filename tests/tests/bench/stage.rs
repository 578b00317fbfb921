//! The stage of all scenarios: one control plane, a namespace for each of them, and the way in which
//! each is measured.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use e2e::{Chart, Namespace, kwok_audited, root};
use http::{HeaderValue, header::USER_AGENT};
use jiff::Timestamp;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use testkit::{
    audit::{self, Event},
    cluster::Cluster,
};
use tokio::runtime::Runtime;

use crate::{
    knobs::Knobs,
    measure::{Sampler, Watched},
    requests::{BENCH, Counts, Delays, Tool, count, delays, is_background},
};

/// The operator is at rest when it has sent nothing for so long.
const QUIET: Duration = Duration::from_secs(5);
/// The longest wait until it is.
const PATIENCE: Duration = Duration::from_mins(10);
const PAUSE: Duration = Duration::from_millis(200);

/// A Job of five seconds.
const HOOK: &str = r#"{{ if .Values.hooks }}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ .Release.Name }}-WHEN
  annotations: {helm.sh/hook: "WHEN-install,WHEN-upgrade"}
spec:
  backoffLimit: 0
  template:
    metadata:
      annotations: {releaselifecycle.dev/test-delay: 5s}
    spec:
      restartPolicy: Never
      containers: [{name: main, image: "busybox:1", command: ["true"]}]
{{ end }}
"#;

const OBJECTS: &str = r#"{{ range $n := list "a" "b" "c" }}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ $.Release.Name }}-{{ $n }}}
data: {value: {{ $.Values.value | quote }}}
{{ end }}
"#;

/// The measured figures of one thing that one client did.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) tool: Tool,
    pub(crate) releases: usize,
    /// In seconds, until the last release was done.
    pub(crate) wall: f64,
    /// In seconds, until the client's last request, which may be one that nobody waits for.
    pub(crate) rest: f64,
    /// In seconds.
    pub(crate) cpu: f64,
    pub(crate) peak_mib: f64,
    pub(crate) requests: Counts,
    pub(crate) delays: Delays,
}

impl Figures {
    /// Returns the number of all requests.
    pub(crate) fn total(&self) -> usize {
        self.requests.values().sum()
    }
}

/// The cluster, and what is the same in all scenarios.
pub(crate) struct Stage {
    pub(crate) runtime: Runtime,
    pub(crate) cluster: &'static Cluster,
    pub(crate) knobs: Knobs,
    audit_offset: u64,
}

impl Stage {
    pub(crate) fn set_up(knobs: Knobs) -> Result<Self> {
        let policy = root().join("tests/cluster/audit-policy-bench.yaml");
        let policy = fs::read_to_string(&policy).context("read the audit policy")?;
        // It ends with this process.
        let cluster = Box::leak(Box::new(kwok_audited(&policy)?));
        let runtime = Runtime::new().context("start a runtime")?;
        Ok(Self { runtime, cluster, knobs, audit_offset: 0 })
    }

    /// Makes a namespace, with a client whose requests the audit log names.
    pub(crate) fn namespace(&self, prefix: &str) -> Result<Namespace> {
        eprintln!("bench: {prefix}");
        self.another_namespace(prefix)
    }

    /// Does the same as [`Self::namespace`], and prints nothing.
    pub(crate) fn another_namespace(&self, prefix: &str) -> Result<Namespace> {
        self.runtime.block_on(async {
            let kubeconfig = Kubeconfig::read_from(self.cluster.kubeconfig())?;
            let options = KubeConfigOptions::default();
            let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
            config.headers.push((USER_AGENT, HeaderValue::from_static(BENCH)));
            let mut namespace = Namespace::new(self.cluster, prefix).await?;
            namespace.client = Client::try_from(config)?;
            Ok(namespace)
        })
    }

    /// Returns the requests that were answered since the last call.
    pub(crate) fn requests(&mut self) -> Result<Vec<Event>> {
        let (events, next) = audit::read_from(self.cluster.audit_log(), self.audit_offset)?;
        self.audit_offset = next;
        Ok(events)
    }

    /// Waits until the operator is at rest, or for as long as it may take. Returns the requests since
    /// the last call of [`Self::requests`], and the seconds from `zero` to its last one.
    pub(crate) fn rest(&mut self, zero: Timestamp) -> Result<(Vec<Event>, f64)> {
        let begun = Instant::now();
        let (mut all, mut last) = (Vec::new(), Timestamp::now());
        while Timestamp::now().duration_since(last).unsigned_abs() < QUIET {
            if begun.elapsed() > PATIENCE {
                eprintln!("bench: the operator is not at rest after {PATIENCE:?}");
                break;
            }
            std::thread::sleep(PAUSE);
            let events = self.requests()?;
            let work = events.iter().filter(|it| Tool::Ours.sent(it) && !is_background(it));
            last = work.map(|event| event.completed).max().unwrap_or(last).max(last);
            all.extend(events);
        }
        Ok((all, last.duration_since(zero).as_secs_f64()))
    }

    /// Measures `work` of a client. `cpu` returns the client's CPU time up to now.
    pub(crate) fn measure(
        &mut self,
        tool: Tool,
        names: &[String],
        watched: &Watched,
        cpu: impl Fn() -> Result<f64>,
        work: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<Figures> {
        self.requests()?;
        let zero = Timestamp::now();
        let sampler = Sampler::start(watched.clone());
        let before = cpu()?;
        let begun = Instant::now();
        work(self)?;
        let wall = begun.elapsed().as_secs_f64();
        let (events, rest) = match tool {
            // It goes on by itself.
            Tool::Ours => self.rest(zero)?,
            Tool::Helm | Tool::Floor => (self.requests()?, wall),
        };
        let cpu = cpu()? - before;
        let peak_mib = sampler.stop()?;
        eprintln!("bench: {} of {} releases took {wall:.1} s", tool.name(), names.len());
        Ok(Figures {
            tool,
            releases: names.len(),
            wall,
            rest,
            cpu,
            peak_mib,
            requests: count(events.iter().filter(|event| tool.sent(event))),
            delays: if names.len() <= self.knobs.releases {
                delays(tool, &events, names)
            } else {
                Delays::default()
            },
        })
    }
}

/// Makes the chart: three objects, and with `hooks` a Job before and a Job after them.
pub(crate) fn chart(namespace: &Namespace) -> Result<Chart> {
    Chart::new(namespace, "bench")?
        .file("values.yaml", "hooks: false\nvalue: \"0\"\n")?
        .file("templates/objects.yaml", OBJECTS)?
        .file("templates/pre.yaml", &HOOK.replace("WHEN", "pre"))?
        .file("templates/post.yaml", &HOOK.replace("WHEN", "post"))
}

/// Returns so many names, none of which is a part of another one.
pub(crate) fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("r{n:06}")).collect()
}

/// Returns the path of a program of the release build.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let path = e2e::target().join("release").join(name);
    anyhow::ensure!(path.is_file(), "{name} is missing; `make bench` builds it");
    Ok(path)
}
