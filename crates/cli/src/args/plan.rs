use clap::{Args, ValueEnum};
use lifecycle::event::Event;

use super::{Format, Input, Place};

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
    #[command(flatten)]
    pub(crate) input: Input,

    /// Show the output of a chart's template instead of a plan: a file of the chart such as
    /// templates/web.yaml, a pattern with *, or a folder with a / at its end. May be repeated
    #[arg(short, long, value_name = "TEMPLATE", conflicts_with = "output")]
    pub(crate) show_only: Vec<String>,

    /// Event to plan; may be repeated; default: all events
    #[arg(short, long = "event", value_enum, value_name = "EVENT", value_delimiter = ',')]
    pub(crate) events: Vec<PlannedEvent>,

    /// Output format
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Format,

    #[command(flatten)]
    pub(crate) place: Place,
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
