use std::{net::SocketAddr, path::PathBuf, time::Duration};

use api::names::STATUS_MANAGER;
use clap::{Parser, ValueEnum, builder::NonEmptyStringValueParser};
use election::Candidacy;
use engine::Limits;
use kube::Config;

use crate::{
    cluster::tenancy::Tenancy,
    health::Pages,
    release::context::Options,
    rendering::{charts::Cache, renderers::Settings},
    watches::Limits as WatchLimits,
};

/// The default name of the lease. An operator that serves one namespace appends this namespace.
const LEASE: &str = "releaselifecycle-controller";
/// The token file of an operator that runs in a Pod, as the Pod's ServiceAccount.
const POD_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// The ReleaseLifecycle operator: runs Helm's hooks around installs and upgrades, durably.
///
/// In a cluster it uses the ServiceAccount of its Pod; outside, the current kube context.
#[derive(Parser, Debug)]
#[command(name = "releaselifecycle-controller", version)]
pub(crate) struct Args {
    /// Path of a kubeconfig; default: $KUBECONFIG or ~/.kube/config if there is one, otherwise the
    /// Pod's ServiceAccount
    #[arg(long, env = "RELEASELIFECYCLE_KUBECONFIG")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// Serve only the ReleaseLifecycles of this namespace; default: of all namespaces
    #[arg(long, env = "RELEASELIFECYCLE_NAMESPACE")]
    pub(crate) namespace: Option<String>,

    /// ServiceAccount for releases without spec.serviceAccountName, in the namespace of the release
    #[arg(
        long,
        env = "RELEASELIFECYCLE_DEFAULT_SERVICE_ACCOUNT",
        conflicts_with = "single_tenant"
    )]
    pub(crate) default_service_account: Option<String>,

    /// Manage releases without spec.serviceAccountName by the operator's own rights
    #[arg(long, env = "RELEASELIFECYCLE_SINGLE_TENANT")]
    pub(crate) single_tenant: bool,

    /// Address to serve /livez and /readyz on, and /metrics unless --metrics-address is set
    #[arg(long, env = "RELEASELIFECYCLE_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,

    /// Address to serve /metrics on; default: that of --listen
    #[arg(long, env = "RELEASELIFECYCLE_METRICS_ADDRESS")]
    metrics_address: Option<SocketAddr>,

    /// Maximum number of releases that are reconciled at once; running hooks do not count
    #[arg(long, env = "RELEASELIFECYCLE_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) concurrency: u16,

    /// Maximum number of objects named by sources that are watched; others are read once in
    /// spec.interval
    #[arg(long, env = "RELEASELIFECYCLE_SOURCE_WATCHES", default_value_t = 500)]
    pub(crate) source_watches: usize,

    /// Maximum number of watches of releases' records, one for each namespace and ServiceAccount;
    /// changes that Helm makes to other releases are noticed when these are reconciled
    #[arg(long, env = "RELEASELIFECYCLE_RECORD_WATCHES", default_value_t = 500)]
    pub(crate) record_watches: usize,

    /// Seconds after which the operator adopts a release that another client has left pending or
    /// half uninstalled, if nothing was written since and none of its hooks runs; must be longer
    /// than the --timeout of your Helm clients
    #[arg(long, env = "RELEASELIFECYCLE_TAKEOVER_SECONDS", default_value_t = 900, value_parser = clap::value_parser!(u32).range(1..=604_800))]
    pub(crate) takeover_seconds: u32,

    #[command(flatten)]
    pub(crate) engine: EngineArgs,

    #[command(flatten)]
    pub(crate) charts: ChartArgs,

    /// Namespace of the lease for leader election; default: in a cluster the namespace of the Pod,
    /// otherwise that of --namespace, otherwise `default`
    #[arg(long, env = "RELEASELIFECYCLE_LEASE_NAMESPACE", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) lease_namespace: Option<String>,

    /// Name of the lease for leader election; default: `releaselifecycle-controller`, and with
    /// --namespace `releaselifecycle-controller-<namespace>`
    #[arg(long, env = "RELEASELIFECYCLE_LEASE_NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) lease_name: Option<String>,

    /// Identity of this replica in the lease, unique among the replicas; default:
    /// `<hostname>_<process id>`
    #[arg(long, env = "RELEASELIFECYCLE_IDENTITY", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) identity: Option<String>,

    /// Seconds after which a lease expires that is not renewed; the leader steps down after two
    /// thirds of them
    #[arg(long, env = "RELEASELIFECYCLE_LEASE_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u16).range(5..=3600))]
    pub(crate) lease_seconds: u16,

    /// Disable leader election; only if there can never be a second replica
    #[arg(long, env = "RELEASELIFECYCLE_NO_LEADER_ELECTION")]
    pub(crate) no_leader_election: bool,

    /// Format of the log on standard error
    #[arg(long, env = "RELEASELIFECYCLE_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,

    /// Filter of the log, such as `info` or `controller=debug,info`
    #[arg(long, env = "RELEASELIFECYCLE_LOG", default_value = "info,kube_client=off")]
    pub(crate) log: String,
}

impl Args {
    /// Returns the candidacy by the flags, with defaults that fit the place where the operator
    /// runs.
    pub(crate) fn candidacy(&self, config: &Config) -> Candidacy {
        let served = self.namespace.as_deref();
        let in_pod = config.auth_info.token_file.as_deref() == Some(POD_TOKEN);
        let namespace = match (&self.lease_namespace, served) {
            (Some(namespace), _) => namespace,
            (None, _) if in_pod => &config.default_namespace,
            (None, Some(served)) => served,
            (None, None) => "default",
        };
        // Operators of several namespaces may run in the same one.
        let name = || served.map_or_else(|| LEASE.to_owned(), |served| format!("{LEASE}-{served}"));
        Candidacy {
            namespace: namespace.to_owned(),
            name: self.lease_name.clone().unwrap_or_else(name),
            identity: self.identity.clone().unwrap_or_else(election::identity),
            field_manager: STATUS_MANAGER.to_owned(),
            duration: Duration::from_secs(self.lease_seconds.into()),
        }
    }

    /// Returns the addresses to listen on, with the flag of each.
    pub(crate) fn listeners(&self) -> Vec<(&'static str, SocketAddr, Pages)> {
        match self.metrics_address {
            None => vec![("--listen", self.listen, Pages::All)],
            Some(metrics) => vec![
                ("--listen", self.listen, Pages::Probes),
                ("--metrics-address", metrics, Pages::Metrics),
            ],
        }
    }

    pub(crate) fn options(&self) -> Options {
        let tenancy = match &self.default_service_account {
            Some(name) => Tenancy::Default(name.clone()),
            None if self.single_tenant => Tenancy::Single,
            None => Tenancy::Named,
        };
        Options {
            tenancy,
            watched: self.namespace.clone(),
            concurrency: self.concurrency.into(),
            takeover_after: Duration::from_secs(self.takeover_seconds.into()),
        }
    }

    pub(crate) fn watch_limits(&self) -> WatchLimits {
        WatchLimits { sources: self.source_watches, records: self.record_watches }
    }
}

/// The flags for rendering charts. Sources of objects never start an engine.
#[derive(clap::Args, Debug)]
pub(crate) struct EngineArgs {
    /// Path of the program that renders charts; default: `releaselifecycle-engine` beside this
    /// program
    #[arg(long = "engine", value_name = "PATH", env = "RELEASELIFECYCLE_ENGINE")]
    program: Option<PathBuf>,

    /// Maximum number of charts that are rendered at once, at most one per namespace; each process
    /// serves one tenant
    #[arg(long = "engine-processes", env = "RELEASELIFECYCLE_ENGINE_PROCESSES", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    processes: u16,

    /// Memory limit of an engine process, in MiB
    #[arg(long = "engine-memory-mib", env = "RELEASELIFECYCLE_ENGINE_MEMORY_MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(128..=65536))]
    memory_mib: u32,

    /// Limit of CPU time to render a chart, in seconds
    #[arg(long = "engine-cpu-seconds", env = "RELEASELIFECYCLE_ENGINE_CPU_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=3600))]
    cpu_seconds: u16,

    /// Timeout to render a chart, in seconds; includes its lookups in the cluster
    #[arg(long = "engine-seconds", env = "RELEASELIFECYCLE_ENGINE_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: u16,
}

impl EngineArgs {
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            program: self.program.clone().unwrap_or_else(engine::beside),
            processes: self.processes.into(),
            limits: Limits {
                memory: u64::from(self.memory_mib) << 20,
                cpu_seconds: self.cpu_seconds.into(),
                time: Duration::from_secs(self.seconds.into()),
            },
        }
    }
}

/// The flags for fetching charts from servers.
#[derive(clap::Args, Debug)]
pub(crate) struct ChartArgs {
    /// Folder for fetched charts, which only the operator may use (mode 0700) and which may be lost
    /// at any time; default: `releaselifecycle-charts` in the folder for temporary files
    #[arg(long = "chart-cache", value_name = "PATH", env = "RELEASELIFECYCLE_CHART_CACHE")]
    cache: Option<PathBuf>,

    /// Maximum size of this folder, in MiB; 0 keeps no chart
    #[arg(
        long = "chart-cache-mib",
        env = "RELEASELIFECYCLE_CHART_CACHE_MIB",
        default_value_t = 256
    )]
    cache_mib: u32,

    /// Allow charts from servers on the operator's own machine, for tests: in a cluster, tenants
    /// could reach servers in the operator's Pod
    #[arg(long = "source-loopback", env = "RELEASELIFECYCLE_SOURCE_LOOPBACK")]
    pub(crate) loopback: bool,
}

impl ChartArgs {
    pub(crate) fn cache(&self) -> Cache {
        let default = || std::env::temp_dir().join("releaselifecycle-charts");
        Cache::new(self.cache.clone().unwrap_or_else(default), u64::from(self.cache_mib) << 20)
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidacy(flags: &[&str], token_file: Option<&str>) -> Candidacy {
        let args = Args::parse_from(["controller", "--identity=me"].iter().chain(flags));
        let mut config = Config::new("https://127.0.0.1:1".parse().unwrap());
        config.default_namespace = "of-the-pod".to_owned();
        config.auth_info.token_file = token_file.map(str::to_owned);
        args.candidacy(&config)
    }

    #[test]
    fn the_lease_is_where_every_replica_looks_for_it() {
        let served = "releaselifecycle-controller-shop";
        for (flags, token_file, namespace, name) in [
            (&[][..], None, "default", LEASE),
            (&[], Some("/a/token"), "default", LEASE),
            (&[], Some(POD_TOKEN), "of-the-pod", LEASE),
            (&["--namespace=shop"], None, "shop", served),
            (&["--namespace=shop"], Some(POD_TOKEN), "of-the-pod", served),
            (&["--lease-namespace=ops"], Some(POD_TOKEN), "ops", LEASE),
            (&["--lease-name=own", "--namespace=shop"], None, "shop", "own"),
        ] {
            let found = candidacy(flags, token_file);
            assert_eq!((&*found.namespace, &*found.name), (namespace, name), "{flags:?}");
            assert_eq!(found.identity, "me");
        }
    }
}
