use std::{net::SocketAddr, path::PathBuf, time::Duration};

use api::names::STATUS_MANAGER;
use clap::{Parser, ValueEnum, builder::NonEmptyStringValueParser};
use election::Candidacy;
use engine::Limits;
use kube::Config;

use crate::{
    cluster::tenancy::Tenancy,
    release::context::Options,
    rendering::{charts::Cache, renderers::Settings},
    watches::Limits as WatchLimits,
};

/// The default name of the lease; that of an operator which serves one namespace ends with this
/// namespace.
const LEASE: &str = "releaselifecycle-controller";
/// Tells that the operator runs in a Pod as this Pod's ServiceAccount.
const POD_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// The ReleaseLifecycle operator: runs Helm's hooks around installs and upgrades, durably.
///
/// Inside a cluster it uses its Pod's ServiceAccount; outside, the current kube context.
#[derive(Parser, Debug)]
#[command(name = "releaselifecycle-controller", version)]
pub(crate) struct Args {
    /// Path of a kubeconfig; default: in the cluster its own, else $KUBECONFIG or ~/.kube/config
    #[arg(long, env = "RELEASELIFECYCLE_KUBECONFIG")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// Serve ReleaseLifecycles of this namespace only; default: of all
    #[arg(long, env = "RELEASELIFECYCLE_NAMESPACE")]
    pub(crate) namespace: Option<String>,

    /// ServiceAccount of the object's namespace to act as where spec.serviceAccountName is absent
    #[arg(
        long,
        env = "RELEASELIFECYCLE_DEFAULT_SERVICE_ACCOUNT",
        conflicts_with = "single_tenant"
    )]
    pub(crate) default_service_account: Option<String>,

    /// Act as the operator itself where spec.serviceAccountName is absent
    #[arg(long, env = "RELEASELIFECYCLE_SINGLE_TENANT")]
    pub(crate) single_tenant: bool,

    /// Address of /livez, /readyz and /metrics
    #[arg(long, env = "RELEASELIFECYCLE_LISTEN", default_value = "0.0.0.0:8080")]
    pub(crate) listen: SocketAddr,

    /// How many releases are worked on at once; a running hook does not count
    #[arg(long, env = "RELEASELIFECYCLE_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) concurrency: u16,

    /// How many of the objects that sources name are watched; further ones are looked at once in
    /// spec.interval
    #[arg(long, env = "RELEASELIFECYCLE_SOURCE_WATCHES", default_value_t = 500)]
    pub(crate) source_watches: usize,

    /// In how many namespaces the records of releases are watched, each for every ServiceAccount; what
    /// Helm does to other releases is noticed when they are looked at again
    #[arg(long, env = "RELEASELIFECYCLE_RECORD_WATCHES", default_value_t = 500)]
    pub(crate) record_watches: usize,

    /// Seconds after which a release that another client has left pending, or half uninstalled, is
    /// gone on with, if nothing was written and none of its hooks runs: longer than the --timeout that
    /// your clients of Helm use
    #[arg(long, env = "RELEASELIFECYCLE_TAKEOVER_SECONDS", default_value_t = 900, value_parser = clap::value_parser!(u32).range(1..=604_800))]
    pub(crate) takeover_seconds: u32,

    #[command(flatten)]
    pub(crate) engine: EngineArgs,

    #[command(flatten)]
    pub(crate) charts: ChartArgs,

    /// Namespace of the lease by which one of several replicas leads; default: in a cluster the
    /// operator's own, else that of --namespace, else `default`
    #[arg(long, env = "RELEASELIFECYCLE_LEASE_NAMESPACE", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) lease_namespace: Option<String>,

    /// Name of the lease; default: `releaselifecycle-controller`, and with --namespace
    /// `releaselifecycle-controller-<namespace>`
    #[arg(long, env = "RELEASELIFECYCLE_LEASE_NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) lease_name: Option<String>,

    /// Who holds the lease, never the same for two replicas; default: `<hostname>_<process id>`
    #[arg(long, env = "RELEASELIFECYCLE_IDENTITY", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) identity: Option<String>,

    /// So many seconds without a renewal end the lease; a leader gives it up after two thirds of them
    #[arg(long, env = "RELEASELIFECYCLE_LEASE_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u16).range(5..=3600))]
    pub(crate) lease_seconds: u16,

    /// Lead without a lease: only where there can never be a second replica
    #[arg(long, env = "RELEASELIFECYCLE_NO_LEADER_ELECTION")]
    pub(crate) no_leader_election: bool,

    /// Format of the log on standard error
    #[arg(long, env = "RELEASELIFECYCLE_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,

    /// Which log lines are written, such as `info` or `controller=debug,info`
    #[arg(long, env = "RELEASELIFECYCLE_LOG", default_value = "info,kube_client=off")]
    pub(crate) log: String,
}

impl Args {
    /// As the flags say, or as fits the place where the operator runs.
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

    pub(crate) fn options(&self) -> Options {
        let tenancy = match &self.default_service_account {
            Some(name) => Tenancy::Default(name.clone()),
            None if self.single_tenant => Tenancy::Single,
            None => Tenancy::Named,
        };
        Options {
            tenancy,
            watched: self.namespace.clone(),
            takeover_after: Duration::from_secs(self.takeover_seconds.into()),
        }
    }

    pub(crate) fn watch_limits(&self) -> WatchLimits {
        WatchLimits { sources: self.source_watches, records: self.record_watches }
    }
}

/// How charts are rendered. Sources of objects never start an engine.
#[derive(clap::Args, Debug)]
pub(crate) struct EngineArgs {
    /// The program that renders charts; default: `releaselifecycle-engine` beside this one
    #[arg(long = "engine", value_name = "PATH", env = "RELEASELIFECYCLE_ENGINE")]
    program: Option<PathBuf>,

    /// How many charts are rendered at once, at most one of a namespace; each by a process that
    /// serves one tenant
    #[arg(long = "engine-processes", env = "RELEASELIFECYCLE_ENGINE_PROCESSES", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    processes: u16,

    /// MiB of memory that an engine may take
    #[arg(long = "engine-memory-mib", env = "RELEASELIFECYCLE_ENGINE_MEMORY_MIB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(128..=65536))]
    memory_mib: u32,

    /// Seconds of processor time that a chart may take
    #[arg(long = "engine-cpu-seconds", env = "RELEASELIFECYCLE_ENGINE_CPU_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=3600))]
    cpu_seconds: u16,

    /// Seconds that a chart may take, with what it looks up in the cluster
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

/// How charts are fetched from servers.
#[derive(clap::Args, Debug)]
pub(crate) struct ChartArgs {
    /// Folder of charts that were fetched, the operator's own (mode 0700); it may be lost at any
    /// time; default: `releaselifecycle-charts` in the folder for temporary files
    #[arg(long = "chart-cache", value_name = "PATH", env = "RELEASELIFECYCLE_CHART_CACHE")]
    cache: Option<PathBuf>,

    /// MiB that this folder may take; 0: no chart is kept
    #[arg(
        long = "chart-cache-mib",
        env = "RELEASELIFECYCLE_CHART_CACHE_MIB",
        default_value_t = 256
    )]
    cache_mib: u32,

    /// Fetch charts from this machine itself, too; for trying things out: in a cluster it would let
    /// tenants reach what listens in the operator's own Pod
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
