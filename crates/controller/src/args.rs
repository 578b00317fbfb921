use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use api::names::STATUS_MANAGER;
use clap::{ArgAction, Parser, ValueEnum, builder::NonEmptyStringValueParser};
use election::{Candidacy, Lease};
use engine::Limits;
use kube::Config;
use lifecycle::digest::digest;

use crate::{
    cluster::tenancy::Tenancy,
    health::Pages,
    release::context::Options,
    rendering::{
        charts::{Cache, Reach},
        renderers::Settings,
    },
    watches::Limits as WatchLimits,
};

/// The default name of the lease. An operator that serves one namespace appends this namespace.
const LEASE: &str = "releaselifecycle-controller";
/// The token file of an operator that runs in a Pod, as the Pod's ServiceAccount.
const POD_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// The servers of artifacts of Flux's own controllers, by each of the names that its documentation
/// has for them.
const FLUX_SERVERS: [&str; 4] = [
    "source-controller.flux-system.svc.cluster.local",
    "source-controller.flux-system.svc",
    "source-watcher.flux-system.svc.cluster.local",
    "source-watcher.flux-system.svc",
];

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

    /// Serve only the ReleaseLifecycles with these labels, such as `shard=a`, `shard in (a, b)` or
    /// `!shard`; default: all. Operators with other selectors serve the others; each has a lease of its
    /// own
    #[arg(long, env = "RELEASELIFECYCLE_SELECTOR", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) selector: Option<String>,

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

    /// List the conditions of each release in /metrics, and not only their number; costs Prometheus a
    /// few series for each release
    #[arg(long, value_name = "BOOL", env = "RELEASELIFECYCLE_METRICS_PER_RELEASE", action = ArgAction::Set, default_value_t = false, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) metrics_per_release: bool,

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

    /// Name of the lease for leader election; default: `releaselifecycle-controller`, with --namespace
    /// `releaselifecycle-controller-<namespace>`, and with --selector one that ends with the first 8
    /// digits of the selector's SHA-256
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
        // Operators of several namespaces and selectors may run in the same one.
        let name = || {
            let shard = self.shard().map(|shard| shard.name);
            let parts = [Some(LEASE), served, shard.as_deref()];
            parts.into_iter().flatten().collect::<Vec<_>>().join("-")
        };
        Candidacy {
            namespace: namespace.to_owned(),
            name: self.lease_name.clone().unwrap_or_else(name),
            identity: self.identity.clone().unwrap_or_else(election::identity),
            field_manager: STATUS_MANAGER.to_owned(),
            duration: Duration::from_secs(self.lease_seconds.into()),
        }
    }

    /// Returns the lease of this operator, which is not acquired yet; without an election, that of
    /// the only process.
    pub(crate) fn lease(&self) -> Lease {
        let lease = if self.no_leader_election { Lease::always() } else { Lease::new() };
        match self.shard() {
            Some(shard) => lease.of_shard(shard.number),
            None => lease,
        }
    }

    fn shard(&self) -> Option<Shard> {
        let digest = digest(self.selector.as_ref()?.as_bytes());
        let name: String = digest.chars().skip("sha256:".len()).take(8).collect();
        // The number of a lease's transitions stays far below it.
        let number = i32::from_str_radix(name.get(..4)?, 16).ok()?.saturating_add(1) << 12;
        Some(Shard { name, number })
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

    /// Returns the servers that charts may come from. Where tenants do not trust each other, private
    /// networks are closed to them: they may not be able to reach these by themselves.
    pub(crate) fn reach(&self) -> Reach {
        Reach {
            allow: self.charts.allow.clone(),
            private: self.single_tenant,
            https_only: !self.charts.insecure_allow_http,
            artifact_hosts: self.charts.flux_artifact_hosts.clone(),
        }
    }

    pub(crate) fn watch_limits(&self) -> WatchLimits {
        WatchLimits { sources: self.source_watches, records: self.record_watches }
    }
}

/// The share of an operator that serves the releases of one selector.
struct Shard {
    /// The end of the name of its lease.
    name: String,
    /// The number that tells its leaders from those of other shards.
    number: i32,
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

    /// Server in a private network from which charts may come: an address, a range (10.0.0.0/8), a
    /// host, host:port or *.suffix; repeatable. With --single-tenant all private networks are
    /// allowed, and this is for the operator's own machine, which is allowed by address only. Cloud
    /// metadata services and the API server are always refused
    #[arg(long = "source-allow", value_name = "SERVER", env = "RELEASELIFECYCLE_SOURCE_ALLOW", value_delimiter = ',', value_parser = server)]
    allow: Vec<String>,

    /// Servers of Flux's artifacts, which spec.source.sourceRef may lead to, in private networks
    /// too: a host, host:port, address or *.suffix
    #[arg(long, value_name = "HOST", env = "RELEASELIFECYCLE_FLUX_ARTIFACT_HOSTS", value_delimiter = ',', value_parser = server, default_values = FLUX_SERVERS)]
    flux_artifact_hosts: Vec<String>,

    /// Allow registries and repositories without TLS: http:// and spec.source.chart.oci.insecure
    #[arg(long, value_name = "BOOL", env = "RELEASELIFECYCLE_INSECURE_ALLOW_HTTP", action = ArgAction::Set, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    insecure_allow_http: bool,
}

/// Accepts what names a server; the engine has the last word.
fn server(text: &str) -> Result<String, String> {
    let wanted = "an address, a range such as 10.0.0.0/8, a host, host:port or *.suffix is needed";
    let (host, length) = text.split_once('/').map_or((text, None), |(ip, it)| (ip, Some(it)));
    let is_server = match (host.parse::<IpAddr>(), length) {
        (Ok(IpAddr::V4(_)), Some(length)) => length.parse().is_ok_and(|length: u8| length <= 32),
        (Ok(IpAddr::V6(_)), Some(length)) => length.parse().is_ok_and(|length: u8| length <= 128),
        (Ok(_), None) => true,
        (Err(_), Some(_)) => false,
        (Err(_), None) if host.parse::<SocketAddr>().is_ok() => true,
        (Err(_), None) => {
            let name = host.strip_prefix("*.").unwrap_or(host);
            let (name, port) = name.split_once(':').unwrap_or((name, "1"));
            let fits = |it: u8| it.is_ascii_alphanumeric() || b"-._".contains(&it);
            port.parse::<u16>().is_ok()
                && !name.trim_matches('.').is_empty()
                && name.bytes().all(fits)
        }
    };
    if is_server { Ok(text.to_owned()) } else { Err(wanted.to_owned()) }
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
    fn private_networks_are_closed_where_there_are_tenants() {
        let reach = |flags: &[&str]| Args::parse_from(["controller"].iter().chain(flags)).reach();
        let closed = reach(&[]);
        assert!(!closed.private && closed.allow.is_empty() && !closed.https_only);
        assert_eq!(closed.artifact_hosts, FLUX_SERVERS);
        assert!(!reach(&["--default-service-account=deployer"]).private);
        assert!(reach(&["--single-tenant"]).private);
        let some = ["--source-allow=10.0.0.0/8,a.example:5000", "--source-allow", "*.b.example"];
        assert_eq!(reach(&some).allow, ["10.0.0.0/8", "a.example:5000", "*.b.example"]);
        assert!(reach(&["--insecure-allow-http=false"]).https_only);
        assert!(!reach(&["--insecure-allow-http"]).https_only);
        assert_eq!(reach(&["--flux-artifact-hosts=a.example"]).artifact_hosts, ["a.example"]);
    }

    #[test]
    fn what_names_no_server_is_refused_at_the_start() {
        for good in ["::1", "fd00::/8", "[fd00::1]:80", "10.0.0.1:80", "registry", "a.b.:80"] {
            assert_eq!(server(good).as_deref(), Ok(good));
        }
        for odd in ["", "*", "*.", "10.0.0.0/33", "a/8", "http://a", "a:b", "a b", "*.*.a", "a:"] {
            assert!(server(odd).is_err(), "{odd}");
        }
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
            // printf shard=a | sha256sum
            (&["--selector=shard=a"], None, "default", "releaselifecycle-controller-3d8dfb26"),
            (
                &["--selector=shard=a", "--namespace=shop"],
                None,
                "shop",
                "releaselifecycle-controller-shop-3d8dfb26",
            ),
        ] {
            let found = candidacy(flags, token_file);
            assert_eq!((&*found.namespace, &*found.name), (namespace, name), "{flags:?}");
            assert_eq!(found.identity, "me");
        }
    }
}
