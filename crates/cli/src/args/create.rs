use std::time::Duration;

use clap::Args;

use super::{Files, duration};

const AFTER: &str = "\
Exit codes:
  0  the manifests were written
  1  the objects cannot be a release: standard error lists all problems
  2  wrong usage, a file that cannot be read, no manifests

The objects are inline, in spec.source.objects. If there are Secrets among them, or so many objects
that `kubectl apply` would refuse them, they are in a ConfigMap and the Secrets in a Secret, which
spec.source.objectsFrom names. The ServiceAccount must be able to read both.

Each of these is called NAME-source-HASH, with a hash of its content. So a change creates new ones,
and takes effect only when the ReleaseLifecycle, which comes last, is applied: one upgrade, never to
half of the change. The old ones stay until you remove them, at any time after that. They have the
label releaselifecycle.dev/source-of, and this removes those that the file no longer has:
  kubectl apply -n shop -f shop.yaml --prune -l releaselifecycle.dev/source-of=shop \\
    --prune-allowlist core/v1/ConfigMap --prune-allowlist core/v1/Secret
If the file no longer has any, `kubectl delete cm,secret` with the same label removes all.

Examples:
  kubectl lifecycle create shop -n shop -f manifests/ --service-account shop-deployer > shop.yaml
  kubectl lifecycle plan -f shop.yaml
  kubectl apply -f shop.yaml
  kubectl kustomize overlays/prod | kubectl lifecycle create shop -f - | kubectl apply -f -";

/// Write a ReleaseLifecycle from a folder of manifests, with Secrets in a separate Secret, ready
/// for `kubectl apply`; needs no cluster
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct Create {
    /// Name of the ReleaseLifecycle
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) files: Files,

    /// Namespace in the written manifests; default: none
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,

    /// ServiceAccount that manages the release (spec.serviceAccountName)
    #[arg(long, value_name = "NAME")]
    pub(crate) service_account: Option<String>,

    /// Name of the release in `helm list` (spec.releaseName); default: NAME
    #[arg(long, value_name = "NAME")]
    pub(crate) release_name: Option<String>,

    /// Timeout of each hook and of the wait for readiness (spec.timeout); default: 5m
    #[arg(long, value_parser = duration)]
    pub(crate) timeout: Option<Duration>,

    /// Run post hooks right after the objects are applied, ready or not (spec.wait: false)
    #[arg(long)]
    pub(crate) no_wait: bool,

    /// Run the test hooks after each install, upgrade and rollback (spec.test.enable)
    #[arg(long)]
    pub(crate) test: bool,

    /// Prefix of the names of the `ConfigMap` and the Secret with the objects (see below); default:
    /// NAME-source
    #[arg(long, value_name = "NAME")]
    pub(crate) source_name: Option<String>,
}
