use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lifecycle::event::Event;

use super::{Files, Format, Place};

const AFTER: &str = "\
Exit codes:
  0  the plan was shown, perhaps without the upgrade of a chart that only a cluster can render
  1  the release cannot run: standard error lists all problems. Or the plan has a problem instead of
     the steps of an event, since its chart can only be upgraded
  2  wrong usage, a file that cannot be read, no such release, no answer from the cluster or from a
     registry, no engine

Forms of the command:
  plan NAME             the ReleaseLifecycle NAME of the cluster, and the objects that it names
  plan -f FILE [NAME]   a ReleaseLifecycle in files, or objects without one
  plan [NAME] CHART     a chart, as `helm template [NAME] CHART` takes it

A single argument is a CHART if it has a / in it, begins with oci://, ends with .tgz, or is . or ..;
otherwise it is a NAME. So the chart in folder shop is ./shop.

With -f the cluster is not read. The files have a ReleaseLifecycle and the ConfigMaps and Secrets
that its spec names; or the objects of a release themselves, which are planned as `kubectl lifecycle
create` would write them. If its chart is not among the files, name it with --chart. Kinds, rights
and owners are not checked, which needs the cluster; `kubectl apply --dry-run=server` checks the
ReleaseLifecycle itself. Without -f, the ReleaseLifecycle NAME and the objects that it names are read
from the cluster, with your rights.

With a CHART, -f names files of values, as in `helm template`; --set and --set-string override them.
The chart is a folder, an archive, or oci://… in a registry; the credentials of `helm registry login`
are not used. The name is release-name if none is given, the namespace `default`.

Charts are rendered by Helm's own code, the program releaselifecycle-engine, as by `helm template`:
`lookup` finds nothing, and .Capabilities are Helm's defaults. An install is rendered as revision 1,
and an upgrade as the next one with .Release.IsUpgrade; a chart's hooks may differ between the two.
If one of them cannot be rendered, such as an upgrade that looks for a Secret, the plan shows Helm's
message instead, with the command that reads the cluster.

Notes that begin with \"warning: \" need a change: unknown words and keys of Helm's annotations, and
steps that can only fail, such as a hook that needs an object which the same release creates later.
Objects of an earlier revision are assumed to exist; the operator checks that before it begins.

-o json and -o yaml write one object, whose fields do not change:
  apiVersion: cli.releaselifecycle.dev/v1
  kind: Plan
  namespace, name, releaseName, serviceAccountName: of the release; null if not given
  sources: [the sources of the objects]
  notes: [notes and warnings]
  events: [{event, when, notes, onFailure, steps, problem}], problem only if the event cannot be
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

/// Show the steps of each event in their order, with reasons: hooks, objects, tests, and the
/// actions after a failure
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct Plan {
    /// Name of the ReleaseLifecycle; with -f only needed if the files have several. Before a CHART:
    /// name of the release
    #[arg(required_unless_present = "files")]
    pub(crate) name: Option<String>,

    /// Chart: a folder, an archive, or oci://…
    pub(crate) chart: Option<String>,

    /// Manifests: file, folder (its *.yaml, *.yml and *.json), or - for standard input; with a
    /// CHART: file of values, or -. May be repeated
    #[arg(short, long = "filename", value_name = "FILE|FOLDER|-")]
    files: Vec<PathBuf>,

    /// Read subfolders, too
    #[arg(short = 'R', long, requires = "files")]
    recursive: bool,

    #[command(flatten)]
    pub(crate) template: Template,

    /// Event to plan; may be repeated; default: all events
    #[arg(short, long = "event", value_enum, value_name = "EVENT", value_delimiter = ',')]
    pub(crate) events: Vec<PlannedEvent>,

    /// Output format
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Format,

    #[command(flatten)]
    pub(crate) place: Place,
}

/// The flags for charts, with the names of `helm template`.
#[derive(Args, Default)]
pub(crate) struct Template {
    /// Values for a CHART: file, or - for standard input; the same as -f with a CHART. May be
    /// repeated
    #[arg(long, value_name = "FILE|-", conflicts_with = "files")]
    pub(crate) values: Vec<PathBuf>,

    /// Value for a CHART, such as image.tag=2; several are separated by commas. May be repeated
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,

    /// String value for a CHART, in the syntax of --set. May be repeated
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set_string: Vec<String>,

    /// Version of a chart in a registry, or a range; default: the newest
    #[arg(long)]
    pub(crate) version: Option<String>,

    /// Connect to the registry over HTTP
    #[arg(long)]
    pub(crate) plain_http: bool,

    /// User name for the registry
    #[arg(long, requires = "password")]
    pub(crate) username: Option<String>,

    /// Password for the registry
    #[arg(long, requires = "username")]
    pub(crate) password: Option<String>,

    /// File of certificate authorities (PEM) for the registry, instead of the usual ones
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,

    /// Show the output of a chart's template instead of a plan: a file of the chart such as
    /// templates/web.yaml, a pattern with *, or a folder with a / at its end. May be repeated
    #[arg(short, long, value_name = "TEMPLATE", conflicts_with = "output")]
    pub(crate) show_only: Vec<String>,

    /// Chart for a ReleaseLifecycle, instead of the one in its spec.source
    #[arg(long = "chart", value_name = "CHART", id = "other_chart")]
    pub(crate) other_chart: Option<String>,

    /// Path of the program that renders charts; default: releaselifecycle-engine beside this
    /// program, or in PATH
    #[arg(long, value_name = "PATH")]
    pub(crate) engine: Option<PathBuf>,
}

impl Template {
    /// Returns whether a flag for registries is set.
    pub(crate) fn is_for_registries(&self) -> bool {
        self.version.is_some()
            || self.plain_http
            || self.username.is_some()
            || self.ca_file.is_some()
    }
}

impl Plan {
    /// Returns the files of manifests, unless a CHART is named.
    pub(crate) fn manifests(&self) -> Files {
        Files { files: self.files.clone(), recursive: self.recursive }
    }

    pub(crate) fn has_files(&self) -> bool {
        !self.files.is_empty()
    }

    /// Returns the files with the values of a CHART.
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
