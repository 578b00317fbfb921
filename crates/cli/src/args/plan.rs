use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lifecycle::event::Event;

use super::{Files, Format, Place};

const AFTER: &str = "\
Exit codes:
  0  the plan was shown; a chart's upgrade may be left out of it, where only a cluster can render it
  1  the release cannot be run: everything that is wrong is on standard error. Or its chart can only be
     upgraded: what cannot be planned is said in its place
  2  wrong usage, a file that cannot be read, no such release, no answer from the cluster or from a
     registry, no engine

What is planned:
  plan NAME             the ReleaseLifecycle NAME of the cluster, and what it refers to
  plan -f FILE [NAME]   a ReleaseLifecycle in files, or objects without one
  plan [NAME] CHART     a chart, as `helm template [NAME] CHART` takes it

A single argument is a CHART if it has a / in it, begins with oci://, ends with .tgz, or is . or ..;
else it is a NAME. So the chart in folder shop is ./shop.

With -f no cluster is asked. The files hold a ReleaseLifecycle and the ConfigMaps and Secrets that
its spec names; or the objects of a release themselves, which are then planned as `kubectl lifecycle
create` would have them. Where its chart is not among the files, name it with --chart. What only the
cluster knows is not checked: kinds, rights, owners; `kubectl apply --dry-run=server` checks the
ReleaseLifecycle itself. Without -f, the ReleaseLifecycle NAME and what it refers to are read from
the cluster, with your rights.

With a CHART, -f names files of values, as in `helm template`; --set and --set-string come after
them. The chart is a folder, an archive, or oci://… in a registry; what `helm registry login` keeps is
not used. The name is release-name where none is given, the namespace `default`.

Charts are rendered by Helm's own code, the program releaselifecycle-engine, and as `helm template`
does it: `lookup` finds nothing, and .Capabilities are what Helm takes for granted. What an install
does is rendered as revision 1, and an upgrade as the next one with .Release.IsUpgrade; a chart's
hooks may differ between the two. Where one of them fails so, as charts do whose upgrade looks for a
Secret, Helm's message stands in its place, with the command that asks the cluster.

Notes that begin with \"warning: \" ask for a change: words and keys of Helm's that mean nothing, and what
can only fail, such as a hook that needs what the same release makes after it. What an earlier revision
may have made is taken to be there; the operator looks, before it begins.

-o json and -o yaml write one object, whose fields stay as they are:
  apiVersion: cli.releaselifecycle.dev/v1
  kind: Plan
  namespace, name, releaseName, serviceAccountName: of the release; null where not given
  sources: [where the objects come from]
  notes: [what a reader should know besides]
  events: [{event, when, notes, onFailure, steps, problem}], problem only where the event cannot be
    planned; the steps in the order in which they run:
    {step: hook, hookEvent, apiVersion, kind, namespace, name, generateName, weight, timeout,
     deletePolicies, ends, reason}
    {step: apply | delete | keep, reason, objects: [{apiVersion, kind, namespace, name}]}
    {step: wait, timeout, reason}
    {step: prune | none, reason}

Examples:
  kubectl lifecycle plan -f shop.yaml
  kubectl lifecycle plan -f manifests/ --event upgrade
  kubectl lifecycle plan shop -n shop -o json
  kubectl lifecycle plan shop ./shop -f values.yaml --set image.tag=2
  kubectl lifecycle plan shop ./shop --show-only templates/hooks/
  kubectl lifecycle plan shop oci://registry.example/charts/shop --version '>=1.4 <2'
  kubectl lifecycle plan -f release.yaml --chart ./shop --event upgrade";

/// Show what would run at each event, in which order and why: hooks, objects, tests, and what
/// happens when something fails
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct Plan {
    /// The ReleaseLifecycle; with -f only needed where the files hold several. Before a CHART: the
    /// release's name
    #[arg(required_unless_present = "files")]
    pub(crate) name: Option<String>,

    /// A chart: a folder, an archive, or oci://…
    pub(crate) chart: Option<String>,

    /// Manifests: a file, a folder (its *.yaml, *.yml and *.json), or - for standard input; with a
    /// CHART: a file of values, or -. May be repeated
    #[arg(short, long = "filename", value_name = "FILE|FOLDER|-")]
    files: Vec<PathBuf>,

    /// Look into the folders below, too
    #[arg(short = 'R', long, requires = "files")]
    recursive: bool,

    #[command(flatten)]
    pub(crate) template: Template,

    /// Only this event; may be repeated
    #[arg(short, long = "event", value_enum, value_name = "EVENT", value_delimiter = ',')]
    pub(crate) events: Vec<PlannedEvent>,

    /// What is written
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Format,

    #[command(flatten)]
    pub(crate) place: Place,
}

/// What is for charts, by the names that `helm template` gives these flags.
#[derive(Args, Default)]
pub(crate) struct Template {
    /// Values for a CHART: a file, or - for standard input; what -f is there, too. May be repeated
    #[arg(long, value_name = "FILE|-", conflicts_with = "files")]
    pub(crate) values: Vec<PathBuf>,

    /// A value for a CHART, such as image.tag=2; several are parted by commas. May be repeated
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,

    /// The same, and each value is a string
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set_string: Vec<String>,

    /// The version of a chart in a registry, or a range; default: the newest
    #[arg(long)]
    pub(crate) version: Option<String>,

    /// Ask the registry over HTTP
    #[arg(long)]
    pub(crate) plain_http: bool,

    /// For the registry
    #[arg(long, requires = "password")]
    pub(crate) username: Option<String>,

    /// For the registry
    #[arg(long, requires = "username")]
    pub(crate) password: Option<String>,

    /// The authorities that the registry's certificate is held against, instead of the usual ones (PEM)
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,

    /// Instead of a plan show what a chart's template renders to: a file of the chart such as
    /// templates/web.yaml, a pattern with *, or a folder with a / at its end. May be repeated
    #[arg(short, long, value_name = "TEMPLATE", conflicts_with = "output")]
    pub(crate) show_only: Vec<String>,

    /// Take this chart for a ReleaseLifecycle, whatever its spec.source says
    #[arg(long = "chart", value_name = "CHART", id = "other_chart")]
    pub(crate) other_chart: Option<String>,

    /// The program that renders charts; default: releaselifecycle-engine beside this one, or in PATH
    #[arg(long, value_name = "PATH")]
    pub(crate) engine: Option<PathBuf>,
}

impl Template {
    /// Whether anything is said about a registry.
    pub(crate) fn is_for_registries(&self) -> bool {
        self.version.is_some()
            || self.plain_http
            || self.username.is_some()
            || self.ca_file.is_some()
    }
}

impl Plan {
    /// Where manifests are read from, unless a CHART is named.
    pub(crate) fn manifests(&self) -> Files {
        Files { files: self.files.clone(), recursive: self.recursive }
    }

    pub(crate) fn has_files(&self) -> bool {
        !self.files.is_empty()
    }

    /// Where the values of a CHART are read from.
    pub(crate) fn value_files(&self) -> &[PathBuf] {
        if self.files.is_empty() { &self.template.values } else { &self.files }
    }

    pub(crate) fn is_recursive(&self) -> bool {
        self.recursive
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlannedEvent {
    Install,
    Upgrade,
    Rollback,
    Delete,
    Test,
}

impl From<PlannedEvent> for Event {
    fn from(event: PlannedEvent) -> Self {
        match event {
            PlannedEvent::Install => Self::Install,
            PlannedEvent::Upgrade => Self::Upgrade,
            PlannedEvent::Rollback => Self::Rollback,
            PlannedEvent::Delete => Self::Delete,
            PlannedEvent::Test => Self::Test,
        }
    }
}
