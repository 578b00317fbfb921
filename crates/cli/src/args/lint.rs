use clap::{Args, ValueEnum};

use super::Input;

const AFTER: &str = "\
Exit codes:
  0  nothing was found of the level of --fail-on; standard output lists what else was found
  1  something of that level was found; a file or a chart with a mistake in it is an error
  2  wrong usage, a file or a chart that is not there, no engine

Forms of the command:
  lint -f FILE [NAME]   ReleaseLifecycles in files, or objects without one; without NAME all of them
  lint [NAME] CHART     a chart, as `helm template [NAME] CHART` takes it

The inputs are those of `plan`, and no cluster is contacted. All events are checked: install,
upgrade, rollback, delete and test. Findings have a level:
  error    the operator would refuse the release, or could not read it
  warning  something that can only fail, that loses data, or that has no effect
  note     something that is not checked: an upgrade that looks up a Secret in the cluster, or a
           release whose chart or valuesFrom is elsewhere; name the chart with --chart
Objects of an earlier revision are assumed to exist. Kinds, rights and owners are not checked, which
needs the cluster: the operator does it before an operation begins, see spec.preflight.

-o sarif writes SARIF 2.1.0, which code scanning reads. -o json writes one object, whose fields do
not change:
  apiVersion: cli.releaselifecycle.dev/v1
  kind: Lint
  findings: [{rule, level, message, release, namespace, events, object, file, line}]; release,
    namespace, object, file and line are null if they are not known
  errors, warnings, notes: how many there are

Examples:
  kubectl lifecycle lint -f shop.yaml
  kubectl lifecycle lint -R -f releases/ --fail-on warning
  kubectl lifecycle lint shop ./shop -f values.yaml -o sarif > lint.sarif
  kubectl kustomize overlays/prod | kubectl lifecycle lint -f -";

/// Check releases in files, or a chart, without a cluster: what the operator would refuse, and what
/// can only fail at one of the events
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct Lint {
    #[command(flatten)]
    pub(crate) input: Input,

    /// The lowest level of findings for exit code 1
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "error")]
    pub(crate) fail_on: FailOn,

    /// Output format
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: LintFormat,

    /// Namespace of the releases; default: that in the files, or for a CHART `default`
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,
}

/// The lowest level that makes the command fail.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    Error,
    Warning,
}

/// The output format of findings.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LintFormat {
    Table,
    Json,
    Sarif,
}
