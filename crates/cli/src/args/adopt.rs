use std::path::PathBuf;

use clap::Args;

use super::Place;

const AFTER: &str = "\
Exit codes:
  0  the manifests were written
  1  the release cannot be taken over so: everything that is wrong is on standard error
  2  wrong usage, no such release, no answer from the cluster, no right to read Secrets

Nothing is changed in the cluster. What is written is for `kubectl apply`: a ReleaseLifecycle of the
release's name, which takes over what Helm has made once it is applied. Standard error says what
would run then; where nothing is said to run, no hook runs and no object changes.

It is made of the newest revision that is deployed, as its record has it:
  --chart, --repo,     the chart is taken from there, in the version that is recorded, and the user's
  --source-ref         values are put into a Secret of their own, RELEASE-values
  none of these        the objects and the hooks as they were rendered, in the ReleaseLifecycle, or as
                       `kubectl lifecycle create` puts them apart; Secrets always are

Values may be secret, and so may what is rendered: keep the output as you would keep the Secrets.

A chart from --chart or --repo is fetched, to see whether it is what is recorded. With --secret-ref
or --source-ref only the operator can do that.

Examples:
  kubectl lifecycle adopt shop -n shop --service-account shop-deployer \\
    --chart oci://registry.example/charts/shop > shop.yaml
  kubectl lifecycle adopt shop -n shop --repo https://charts.example > shop.yaml
  kubectl lifecycle adopt shop -n shop --source-ref HelmChart/shop-shop > shop.yaml
  kubectl lifecycle adopt shop -n shop --service-account shop-deployer | kubectl apply -f -";

/// Write a ReleaseLifecycle for a release that Helm or Flux has installed, values and Secrets apart,
/// and show that nothing would run
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct Adopt {
    /// The release, as `helm list` has it
    pub(crate) release: String,

    #[command(flatten)]
    pub(crate) source: AdoptedSource,

    /// The ServiceAccount as which everything is done (spec.serviceAccountName)
    #[arg(long, value_name = "NAME")]
    pub(crate) service_account: Option<String>,

    /// The Secret that the user's values are put into; default: RELEASE-values
    #[arg(long, value_name = "NAME")]
    pub(crate) values_secret: Option<String>,

    /// The program that fetches charts; default: releaselifecycle-engine beside this one, or in PATH
    #[arg(long, value_name = "PATH")]
    pub(crate) engine: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) place: Place,
}

/// Where the release's chart is.
#[derive(Args, Default)]
pub(crate) struct AdoptedSource {
    /// The chart in a registry, without a tag: oci://… (spec.source.chart.oci)
    #[arg(long, value_name = "URL", conflicts_with_all = ["repo", "source_ref"])]
    pub(crate) chart: Option<String>,

    /// The chart repository that has the release's chart: https://… (spec.source.chart.repository)
    #[arg(long, value_name = "URL", conflicts_with = "source_ref")]
    pub(crate) repo: Option<String>,

    /// A source of Flux that has the chart: KIND/NAME (spec.source.sourceRef)
    #[arg(long, value_name = "KIND/NAME")]
    pub(crate) source_ref: Option<String>,

    /// The folder of the chart in what the source of Flux has (spec.source.sourceRef.path)
    #[arg(long, requires = "source_ref")]
    pub(crate) path: Option<String>,

    /// The version of the chart, or a range; default: the one that is recorded
    #[arg(long, conflicts_with = "source_ref")]
    pub(crate) version: Option<String>,

    /// The Secret with the login of the registry or the repository (secretRef)
    #[arg(long, value_name = "NAME", conflicts_with = "source_ref")]
    pub(crate) secret_ref: Option<String>,

    /// Ask the registry over HTTP (insecure)
    #[arg(long, requires = "chart")]
    pub(crate) plain_http: bool,
}
