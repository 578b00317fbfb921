use std::path::PathBuf;

use clap::Args;

use super::Place;

const AFTER: &str = "\
Exit codes:
  0  the manifests were written
  1  the release cannot be adopted like this: standard error lists all problems
  2  wrong usage, no such release, no answer from the cluster, no right to read Secrets

Nothing is changed in the cluster. The output is for `kubectl apply`: a ReleaseLifecycle with the
release's name, which adopts the release once it is applied. Standard error shows the operation that
would run then; if it shows none, no hook runs and no object changes.

The output is made from the record of the newest deployed revision:
  --chart, --repo,     the chart is read from there, in the recorded version, and the user's values
  --source-ref         are in a separate Secret, RELEASE-values
  none of these        the rendered objects and hooks are in the ReleaseLifecycle, or in separate
                       objects like those of `kubectl lifecycle create`; Secrets always are

  --from-flux          the spec of a HelmRelease is converted, and not the record: its chart, its values, its
                       remediation, tests, drift detection and patches. Suspend the HelmRelease first

Values and rendered objects may be confidential: protect the output like the Secrets.

A chart from --chart or --repo is fetched and compared with the record. With --secret-ref or
--source-ref only the operator can do that.

Examples:
  kubectl lifecycle adopt shop -n shop --service-account shop-deployer \\
    --chart oci://registry.example/charts/shop > shop.yaml
  kubectl lifecycle adopt shop -n shop --repo https://charts.example > shop.yaml
  kubectl lifecycle adopt shop -n shop --source-ref HelmChart/shop-shop > shop.yaml
  kubectl lifecycle adopt shop -n shop --from-flux > shop.yaml
  kubectl lifecycle adopt shop -n shop --service-account shop-deployer | kubectl apply -f -";

/// Write a ReleaseLifecycle for a release that Helm or Flux has installed, with its values and
/// Secrets in separate Secrets, and show whether applying it would run anything
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct Adopt {
    /// Name of the release, as `helm list` shows it; with --from-flux that of the HelmRelease
    pub(crate) release: String,

    /// Convert the HelmRelease of this name, field by field; standard error lists what has no
    /// counterpart
    #[arg(long, conflicts_with_all = ["chart", "repo", "source_ref", "version", "secret_ref", "values_secret"])]
    pub(crate) from_flux: bool,

    #[command(flatten)]
    pub(crate) source: AdoptedSource,

    /// ServiceAccount that manages the release (spec.serviceAccountName)
    #[arg(long, value_name = "NAME")]
    pub(crate) service_account: Option<String>,

    /// Name of the Secret for the user's values; default: RELEASE-values
    #[arg(long, value_name = "NAME")]
    pub(crate) values_secret: Option<String>,

    /// Path of the program that fetches charts; default: releaselifecycle-engine beside this
    /// program, or in PATH
    #[arg(long, value_name = "PATH")]
    pub(crate) engine: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) place: Place,
}

/// The location of the release's chart.
#[derive(Args, Default)]
pub(crate) struct AdoptedSource {
    /// Chart in a registry, without a tag: oci://… (spec.source.chart.oci)
    #[arg(long, value_name = "URL", conflicts_with_all = ["repo", "source_ref"])]
    pub(crate) chart: Option<String>,

    /// Chart repository with the release's chart: https://… (spec.source.chart.repository)
    #[arg(long, value_name = "URL", conflicts_with = "source_ref")]
    pub(crate) repo: Option<String>,

    /// Flux source with the chart: KIND/NAME (spec.source.sourceRef)
    #[arg(long, value_name = "KIND/NAME")]
    pub(crate) source_ref: Option<String>,

    /// Folder of the chart in the artifact of the Flux source (spec.source.sourceRef.path)
    #[arg(long, requires = "source_ref")]
    pub(crate) path: Option<String>,

    /// Version of the chart, or a range; default: the version in the record
    #[arg(long, conflicts_with = "source_ref")]
    pub(crate) version: Option<String>,

    /// Secret with the credentials for the registry or the repository (secretRef)
    #[arg(long, value_name = "NAME", conflicts_with = "source_ref")]
    pub(crate) secret_ref: Option<String>,

    /// Connect to the registry over HTTP (insecure)
    #[arg(long, requires = "chart")]
    pub(crate) plain_http: bool,
}
