use clap::{Args, ValueEnum};
use lifecycle::event::Event;

use super::{Files, Format, Place};

const AFTER: &str = "\
Exit codes:
  0  the plan was shown
  1  the release cannot be run: everything that is wrong is on standard error
  2  wrong usage, a file that cannot be read, no such release, no answer from the cluster

With -f no cluster is asked. The files hold a ReleaseLifecycle and the ConfigMaps and Secrets that
its spec.source.objectsFrom names; or the objects of a release themselves, which are then planned
as `kubectl lifecycle create` would have them. What only the cluster knows is not checked: kinds,
rights, owners; `kubectl apply --dry-run=server` checks the ReleaseLifecycle itself. Without -f,
the ReleaseLifecycle NAME and what it refers to are read from the cluster, with your rights.

-o json and -o yaml write one object, whose fields stay as they are:
  apiVersion: cli.releaselifecycle.dev/v1
  kind: Plan
  namespace, name, releaseName, serviceAccountName: of the release; null where not given
  sources: [where the objects come from]
  notes: [what a reader should know besides]
  events: [{event, when, notes, onFailure, steps}], the steps in the order in which they run:
    {step: hook, hookEvent, apiVersion, kind, namespace, name, generateName, weight, timeout,
     deletePolicies, ends, reason}
    {step: apply | delete | keep, reason, objects: [{apiVersion, kind, namespace, name}]}
    {step: wait, timeout, reason}
    {step: prune | none, reason}

Examples:
  kubectl lifecycle plan -f shop.yaml
  kubectl lifecycle plan -f manifests/ --event upgrade
  kubectl lifecycle plan shop -n shop -o json";

/// Show what would run at each event, in which order and why: hooks, objects, tests, and what
/// happens when something fails
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct Plan {
    /// The ReleaseLifecycle; with -f only needed where the files hold several
    #[arg(required_unless_present = "files")]
    pub(crate) name: Option<String>,

    #[command(flatten)]
    pub(crate) files: Files,

    /// Only this event; may be repeated
    #[arg(short, long = "event", value_enum, value_name = "EVENT", value_delimiter = ',')]
    pub(crate) events: Vec<PlannedEvent>,

    /// What is written
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
