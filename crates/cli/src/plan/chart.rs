//! A chart: its place, its download, and its rendering by Helm's engine.

use std::{
    convert::Infallible,
    env, fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use engine::{
    Answer, EngineError, Limits, Puller, Renderer,
    protocol::{self, Credentials, Origin, Pull, Release, Rendered, Verify},
};
use lifecycle::{digest::digest, plan::Crds};
use serde_json::Value;
use sources::{
    Content, ResolvedChart, chart::MOST_BYTES, refusal, values::Values, without_secrets,
};

use super::Found;
use crate::{
    args::{Input, Template},
    cluster::AGENT,
};

const PROGRAM: &str = "releaselifecycle-engine";
/// The most that a person waits for, and more than any chart needs.
pub(super) const LIMITS: Limits =
    Limits { memory: 1 << 30, cpu_seconds: 60, time: Duration::from_mins(1) };
const PULL_SECONDS: u64 = 60;

/// The place of a chart.
pub(super) enum ChartOrigin {
    Folder {
        path: PathBuf,
        /// The title for people.
        title: String,
    },
    Archive {
        bytes: Vec<u8>,
        /// The title for people.
        title: String,
    },
    Server {
        origin: Origin,
        /// The keys of those who may have signed it.
        verify: Option<Verify>,
    },
}

impl ChartOrigin {
    /// Returns the chart that an argument names: a folder, an archive, or a chart in a registry.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn named(argument: &str, template: &Template) -> anyhow::Result<Self> {
        if argument.starts_with("oci://") {
            let origin = Origin::Oci {
                url: argument.to_owned(),
                version: template.version.clone().unwrap_or_default(),
                digest: None,
                plain_http: template.plain_http,
            };
            return Ok(Self::Server { origin, verify: None });
        }
        if argument.contains("://") {
            bail!(
                "chart {argument}: charts are fetched from oci://… alone; fetch it with `helm \
                 pull`, and name the archive"
            );
        }
        if template.is_for_registries() {
            bail!(
                "--version, --plain-http, --username and --ca-file are for a chart at oci://…, not \
                 for {argument}"
            );
        }
        let reading = || {
            format!(
                "chart {argument}: a folder, an archive (.tgz) or oci://… is wanted; reading it"
            )
        };
        let path = Path::new(argument);
        if fs::metadata(path).with_context(reading)?.is_dir() {
            // The engine has another working directory.
            let path = fs::canonicalize(path).with_context(reading)?;
            return Ok(Self::Folder { path, title: argument.to_owned() });
        }
        let mut bytes = Vec::new();
        let file = fs::File::open(path).with_context(reading)?;
        file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes).with_context(reading)?;
        if bytes.len() > MOST_BYTES {
            bail!("chart {argument}: an archive may have {} MiB", MOST_BYTES >> 20);
        }
        Ok(Self::Archive { bytes, title: argument.to_owned() })
    }

    /// Returns the chart as a command line names it, if one can.
    pub(super) fn argument(&self) -> Option<&str> {
        match self {
            Self::Folder { title, .. } => Some(title),
            // One in the cluster has a title, and is not a file.
            Self::Archive { title, .. } if is_file(title) => Some(title),
            Self::Server { origin: Origin::Oci { url, .. }, .. } => Some(url),
            Self::Archive { .. } | Self::Server { .. } => None,
        }
    }

    /// Returns the title for people.
    pub(super) fn title(&self) -> String {
        let versioned = |name: &str, version: &str| match version {
            "" => name.to_owned(),
            version => format!("{name} {version}"),
        };
        let origin = match self {
            Self::Folder { title, .. } | Self::Archive { title, .. } => return title.clone(),
            Self::Server { origin, .. } => origin,
        };
        match origin {
            Origin::Oci { url, digest: Some(digest), .. } => versioned(url, digest),
            Origin::Oci { url, version, .. } => versioned(url, version),
            Origin::Repository { url, name, version } => {
                versioned(&format!("{name} in {}", without_secrets(url)), version)
            }
            Origin::Artifact { url, .. } => without_secrets(url),
        }
    }
}

fn is_file(title: &str) -> bool {
    Path::new(title).extension().is_some_and(|it| it == "tgz") && !title.contains(' ')
}

/// Returns the values for a chart on the command line: files, then `--set` flags, as in Helm.
///
/// # Errors
/// If a file cannot be read.
pub(super) fn values(args: &Input) -> anyhow::Result<Found<Values>> {
    let mut values = Vec::new();
    let mut problems = Vec::new();
    for path in args.value_files() {
        let (place, bytes) = if path.as_os_str() == "-" {
            let mut bytes = Vec::new();
            io::stdin().lock().read_to_end(&mut bytes).context("reading standard input")?;
            ("standard input".to_owned(), bytes)
        } else {
            let place = path.display().to_string();
            let bytes = fs::read(path).with_context(|| format!("reading values {place}"))?;
            (place, bytes)
        };
        match String::from_utf8(bytes) {
            Ok(yaml) if is_release(&yaml) => problems.push(format!(
                "{place}: this is a ReleaseLifecycle, and after a CHART -f names values; plan it by \
                 `plan -f {place} --chart CHART`"
            )),
            Ok(yaml) => values.push(protocol::Values::Yaml { place, yaml }),
            Err(_) => problems.push(format!("{place}: this is not text in UTF-8")),
        }
    }
    for (flag, texts, string) in
        [("--set", &args.template.set, false), ("--set-string", &args.template.set_string, true)]
    {
        values.extend(texts.iter().map(|set| protocol::Values::Set {
            place: format!("{flag} {set}"),
            set: set.clone(),
            string,
        }));
    }
    let values = Values { merged: values, ..Values::default() };
    Ok(if problems.is_empty() { Ok(values) } else { Err(problems) })
}

fn is_release(yaml: &str) -> bool {
    yaml.lines().any(|line| line.trim_end() == "kind: ReleaseLifecycle")
}

/// A chart on this machine.
pub(super) struct Fetched {
    pub(super) content: Content,
    digest: String,
    /// Its name and its version, if it came from a server.
    pub(super) named: Option<(String, String)>,
    /// The note on the download, if it came from a server.
    pub(super) note: Option<String>,
}

impl Fetched {
    fn here(content: Content, digest: String) -> Self {
        Self { content, digest, named: None, note: None }
    }

    /// Returns the chart, with the values for it.
    pub(super) fn with(self, values: Values) -> ResolvedChart {
        ResolvedChart::new(self.content, self.digest, None, values)
    }
}

/// Fetches a chart that is not here.
///
/// # Errors
/// If there is no engine, or no answer.
pub(super) async fn fetch(
    origin: &ChartOrigin,
    template: &Template,
) -> anyhow::Result<Found<Fetched>> {
    let title = origin.title();
    let (origin, verify) = match origin {
        ChartOrigin::Archive { bytes, .. } => {
            let content = Content::Archive(bytes.as_slice().into());
            return Ok(Ok(Fetched::here(content, digest(bytes))));
        }
        ChartOrigin::Folder { path, .. } => {
            let folder = path.to_str().with_context(|| format!("{title}: the path is no text"))?;
            // Only a reader of records needs the digest.
            return Ok(Ok(Fetched::here(Content::Folder(folder.to_owned()), String::new())));
        }
        ChartOrigin::Server { origin, verify } => (origin, verify),
    };
    let request = Pull {
        from: origin.clone(),
        credentials: credentials(template)?,
        verify: verify.clone(),
        known: None,
        refuse: Vec::new(),
        // This machine and its networks are the person's own.
        allow: ["0.0.0.0/0", "::/0"].map(str::to_owned).to_vec(),
        private: true,
        https_only: false,
        artifact_hosts: Vec::new(),
        max_bytes: MOST_BYTES as u64,
        seconds: PULL_SECONDS,
        user_agent: AGENT,
    };
    let mut engine = Puller::start(&program(template)).context(NO_ENGINE)?;
    match engine.pull(&request).await {
        Ok(pulled) => {
            let mut note = format!("fetched {} {}, {}", pulled.name, pulled.version, pulled.digest);
            if let Some(verify) = verify {
                note.push_str("; its signature was verified: ");
                note.push_str(verify.provider);
            }
            let archive = pulled.chart.context("the engine fetched no chart")?;
            let named = Some((pulled.name, pulled.version));
            let content = Content::Archive(archive.into());
            Ok(Ok(Fetched { content, digest: pulled.digest, named, note: Some(note) }))
        }
        Err(EngineError::Failed(failure)) if !failure.transient => {
            Ok(Err(vec![format!("chart {title}: {}", failure.message)]))
        }
        Err(error) => Err(error).with_context(|| format!("fetching chart {title}")),
    }
}

/// Returns the credentials that a registry requires.
fn credentials(template: &Template) -> anyhow::Result<Option<Credentials>> {
    if template.username.is_none() && template.ca_file.is_none() {
        return Ok(None);
    }
    let ca = match &template.ca_file {
        Some(path) => fs::read_to_string(path)
            .with_context(|| format!("reading --ca-file {}", path.display()))?,
        None => String::new(),
    };
    Ok(Some(Credentials {
        username: template.username.clone().unwrap_or_default(),
        password: template.password.clone().unwrap_or_default(),
        ca,
        ..Credentials::default()
    }))
}

const NO_ENGINE: &str = "charts are rendered by Helm's own code";

/// Renders charts for one release.
pub(super) struct Engine<'a> {
    renderer: Renderer,
    chart: &'a ResolvedChart,
    name: &'a str,
    namespace: &'a str,
}

impl<'a> Engine<'a> {
    /// Starts the engine.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn start(
        template: &Template,
        chart: &'a ResolvedChart,
        (name, namespace): (&'a str, &'a str),
    ) -> anyhow::Result<Self> {
        let renderer = Renderer::start(&program(template), LIMITS, true).context(NO_ENGINE)?;
        Ok(Self { renderer, chart, name, namespace })
    }

    /// Renders the chart for an install or an upgrade of this revision.
    ///
    /// # Errors
    /// If the engine ends without an answer.
    pub(super) async fn render(
        &mut self,
        revision: i32,
        upgrade: bool,
        crds: Crds,
    ) -> anyhow::Result<Found<Rendered>> {
        let Self { renderer, chart, name, namespace } = self;
        let release = Release { name, namespace, revision, upgrade };
        let request = chart.request(release, None, crds);
        let nothing = |_| async { Ok::<_, Infallible>(Answer::Found(Value::Null)) };
        match renderer.render(&request, nothing).await {
            Ok(Ok(rendered)) => Ok(Ok(rendered)),
            Ok(Err(EngineError::Failed(failure))) => {
                Ok(Err(refusal(&failure, &chart.secrets).problems))
            }
            Ok(Err(EngineError::Breach(breach))) => {
                Ok(Err(vec![format!("the chart cannot be rendered: {breach}")]))
            }
            Ok(Err(error)) => Err(error.into()),
            Err(never) => match never {},
        }
    }
}

/// Returns the engine that was named, or the one beside this program, or the first in PATH.
pub(super) fn program(template: &Template) -> PathBuf {
    if let Some(named) = &template.engine {
        // It is started in another directory.
        return fs::canonicalize(named).unwrap_or_else(|_| named.clone());
    }
    let beside = engine::beside();
    if beside.is_file() {
        return beside;
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|dir| dir.join(PROGRAM)).find(|it| it.is_file());
    found.unwrap_or(beside)
}
