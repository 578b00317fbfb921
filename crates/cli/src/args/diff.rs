use clap::Args;

use super::{Format, Input, Place};

const AFTER: &str = "\
Exit codes:
  0  nothing would change
  1  there are changes
  2  wrong usage, no such release, an object that could not be compared, no answer from the cluster

Forms of the command:
  diff NAME             the ReleaseLifecycle NAME of the cluster, as its spec is now
  diff -f FILE [NAME]   a ReleaseLifecycle in files, or objects without one
  diff NAME CHART       a chart, as `helm upgrade NAME CHART` takes it

Each object is applied by a dry run on the API server, with your rights and as the operator would apply it:
so defaults and admission webhooks count. Objects that the newest revision has and the new one has not are
deleted; that is seen only if you may list Secrets. Hooks are no part of it: `kubectl lifecycle plan` shows
which ones run. Nothing is changed.

Sources, files and charts are read as `plan` reads them. A chart is rendered without its lookups. Values
of Secrets are not shown.

-o json and -o yaml write
  {changes: [{action, apiVersion, kind, namespace, name, fields: [{path, before, after}]}], unchanged, notes}
where action is create, update or delete, and path is a JSON pointer; before or after is left out if the
field is not there, and both are hidden in a Secret.

Examples:
  kubectl lifecycle diff shop -n shop
  kubectl lifecycle diff -f shop.yaml
  kubectl lifecycle diff shop ./shop -f values.yaml -n shop";

/// Show what an install or an upgrade would change, field by field
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct Diff {
    #[command(flatten)]
    pub(crate) input: Input,

    /// Output format
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Format,

    #[command(flatten)]
    pub(crate) place: Place,
}
