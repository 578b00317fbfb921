//! etcd, the API server, the controller manager and the scheduler.

use std::{
    fs::File,
    io::Read as _,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    time::Duration,
};

use anyhow::Context as _;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;

use super::{Cluster, bin, certs, process::wait_for};

pub(super) const PROGRAMS: [&str; 6] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok"];

const SERVICES: &str = "10.96.0.0/16";
/// The first address of [`SERVICES`], which the API server takes for itself.
pub(super) const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// With the defaults of 20 and 30 requests a second, a test would only measure those limits.
const RATE: [&str; 2] = ["--kube-api-qps=2000", "--kube-api-burst=4000"];
const DEADLINE: Duration = Duration::from_secs(90);

/// A component that has a user of its own, so that the audit log shows who did what.
#[derive(Clone, Copy)]
pub(super) enum User {
    Admin,
    ControllerManager,
    Scheduler,
    Kubelet,
    Proxy,
    Kwok,
}

impl User {
    const ALL: [Self; 6] = [
        Self::Admin,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Kubelet,
        Self::Proxy,
        Self::Kwok,
    ];

    fn name_and_group(self) -> (&'static str, &'static str) {
        match self {
            Self::Admin => ("admin", "system:masters"),
            Self::ControllerManager => ("system:kube-controller-manager", ""),
            Self::Scheduler => ("system:kube-scheduler", ""),
            Self::Kubelet => ("system:node:node", "system:nodes"),
            Self::Proxy => ("system:kube-proxy", ""),
            Self::Kwok => ("kwok", "system:masters"),
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::Admin => "kubeconfig",
            Self::ControllerManager => "config/controller-manager.kubeconfig",
            Self::Scheduler => "config/scheduler.kubeconfig",
            Self::Kubelet => "config/kubelet.kubeconfig",
            Self::Proxy => "config/proxy.kubeconfig",
            Self::Kwok => "config/kwok.kubeconfig",
        }
    }
}

pub(super) struct ControlPlane {
    pub(super) api: SocketAddr,
    controller_manager: u16,
    scheduler: u16,
    tokens: Vec<(User, String)>,
}

impl ControlPlane {
    /// Starts etcd and the API server. `outside`: the address at which a real node reaches it.
    pub(super) fn begin(
        cluster: &mut Cluster,
        outside: Option<Ipv4Addr>,
        audit_policy: &str,
    ) -> anyhow::Result<Self> {
        let [etcd, peer, api, controller_manager, scheduler] = free_ports()?;
        let bind = outside.map_or(Ipv4Addr::LOCALHOST, |_| Ipv4Addr::UNSPECIFIED);
        let tokens = User::ALL
            .into_iter()
            .map(|user| Ok((user, random()?)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let plane = Self {
            api: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), api),
            controller_manager,
            scheduler,
            tokens,
        };
        plane.write_files(cluster, outside)?;
        certs::write(&cluster.dir.join("config/audit-policy.yaml"), audit_policy)?;
        start_etcd(cluster, etcd, peer)?;

        let dir = cluster.dir.clone();
        let pki = |name: &str| dir.join("pki").join(name).display().to_string();
        let mut args = vec![
            format!("--etcd-servers=http://127.0.0.1:{etcd}"),
            format!("--bind-address={bind}"),
            format!("--secure-port={api}"),
            format!("--service-cluster-ip-range={SERVICES}"),
            format!("--tls-cert-file={}", pki("server.pem")),
            format!("--tls-private-key-file={}", pki("server.key")),
            format!("--client-ca-file={}", pki("ca.pem")),
            format!("--token-auth-file={}", pki("tokens.csv")),
            format!("--service-account-key-file={}", pki("service-accounts.pub")),
            format!("--service-account-signing-key-file={}", pki("service-accounts.key")),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
            format!("--kubelet-client-certificate={}", pki("kubelet-client.pem")),
            format!("--kubelet-client-key={}", pki("kubelet-client.key")),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--anonymous-auth=false".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--max-requests-inflight=4000".to_owned(),
            "--max-mutating-requests-inflight=2000".to_owned(),
            format!("--audit-policy-file={}", dir.join("config/audit-policy.yaml").display()),
            format!("--audit-log-path={}", cluster.audit_log.display()),
            // A request is in the log before it is answered, and the log is one file (0 would mean 100 MB).
            "--audit-log-mode=blocking".to_owned(),
            "--audit-log-maxsize=1000000".to_owned(),
        ];
        args.push(outside.map_or_else(
            // Nothing listens outside, and loopback addresses are refused as endpoints.
            || "--endpoint-reconciler-type=none".to_owned(),
            |ip| format!("--advertise-address={ip}"),
        ));
        cluster.launch("kube-apiserver", &bin("kube-apiserver")?, args)?;
        Ok(plane)
    }

    /// Waits for the API server and starts the programs that need it.
    pub(super) fn wait_for_api(&self, cluster: &mut Cluster) -> anyhow::Result<()> {
        wait_for("the API server", DEADLINE, || {
            cluster.check_programs()?;
            if let Err(error) = TcpStream::connect_timeout(&self.api, Duration::from_secs(1)) {
                return Ok(Err(error.to_string()));
            }
            Ok(cluster.kubectl(["get", "--raw", "/readyz"]).map(drop).map_err(|e| format!("{e:#}")))
        })?;
        let dir = cluster.dir.clone();
        let pki = |name: &str| dir.join("pki").join(name).display().to_string();
        let serving = [
            "--bind-address=127.0.0.1".to_owned(),
            format!("--tls-cert-file={}", pki("server.pem")),
            format!("--tls-private-key-file={}", pki("server.key")),
            "--leader-elect=false".to_owned(),
        ];
        let client = |user: User| {
            let file = dir.join(user.file()).display().to_string();
            [
                format!("--kubeconfig={file}"),
                format!("--authentication-kubeconfig={file}"),
                format!("--authorization-kubeconfig={file}"),
            ]
        };
        let args = [
            format!("--secure-port={}", self.controller_manager),
            format!("--root-ca-file={}", pki("ca.pem")),
            format!("--service-account-private-key-file={}", pki("service-accounts.key")),
            "--use-service-account-credentials=true".to_owned(),
            "--concurrent-job-syncs=50".to_owned(),
        ];
        let args = args.iter().chain(&serving).map(String::as_str).chain(RATE);
        let manager = client(User::ControllerManager);
        let args: Vec<_> = args.chain(manager.iter().map(String::as_str)).collect();
        cluster.launch("kube-controller-manager", &bin("kube-controller-manager")?, args)?;

        let port = format!("--secure-port={}", self.scheduler);
        let scheduler = client(User::Scheduler);
        let args = serving.iter().chain(&scheduler).map(String::as_str).chain(RATE);
        let args: Vec<_> = args.chain([port.as_str()]).collect();
        cluster.launch("kube-scheduler", &bin("kube-scheduler")?, args)?;
        Ok(())
    }

    /// Waits until Pods can be created, scheduled and run.
    pub(super) fn finish(&self, cluster: &mut Cluster) -> anyhow::Result<()> {
        let ports =
            [("controller manager", self.controller_manager), ("scheduler", self.scheduler)];
        for (name, port) in ports {
            let server = format!("https://127.0.0.1:{port}");
            wait_for(&format!("the {name}"), DEADLINE, || {
                cluster.check_programs()?;
                let answer = cluster.kubectl(["--server", &server, "get", "--raw", "/healthz"]);
                Ok(answer.map(drop).map_err(|e| format!("{e:#}")))
            })?;
        }
        // Without it no Pod can be created in the namespace.
        let account = ["--for=create", "serviceaccount/default", "--timeout=60s"];
        cluster.kubectl(["wait", "-n", "default"].iter().chain(&account))?;
        cluster.kubectl(["wait", "--for=condition=Ready", "node", "--all", "--timeout=90s"])?;
        Ok(())
    }

    /// Returns the kubeconfig file of one of the cluster's users.
    pub(super) fn kubeconfig(cluster: &Cluster, user: User) -> std::path::PathBuf {
        cluster.dir.join(user.file())
    }

    fn write_files(&self, cluster: &mut Cluster, outside: Option<Ipv4Addr>) -> anyhow::Result<()> {
        let pki = cluster.dir.join("pki");
        let authority = certs::Authority::new()?;
        let mut ips: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into(), API_SERVICE.into()];
        ips.extend(outside.map(IpAddr::from));
        let service = "kubernetes.default.svc";
        let dns = ["localhost", "kubernetes", "kubernetes.default", service];
        let full = format!("{service}.cluster.local");
        let dns: Vec<&str> = dns.into_iter().chain([full.as_str()]).collect();
        authority.server(&pki, "server", &dns, &ips)?;
        authority.client(&pki, "kubelet-client", "system:masters")?;
        certs::key_pair(&pki, "service-accounts")?;
        certs::write(&pki.join("ca.pem"), &authority.pem())?;

        let line = |(user, token): &(User, String)| {
            let (name, group) = user.name_and_group();
            format!("{token},{name},{name},\"{group}\"\n")
        };
        certs::write(&pki.join("tokens.csv"), &self.tokens.iter().map(line).collect::<String>())?;
        let local = format!("https://{}", self.api);
        for (user, token) in &self.tokens {
            let server = match (user, outside) {
                (User::Kubelet | User::Proxy, Some(ip)) => {
                    format!("https://{ip}:{}", self.api.port())
                }
                _ => local.clone(),
            };
            let path = cluster.dir.join(user.file());
            write_kubeconfig(&path, &server, &authority.pem(), token)?;
            if matches!(user, User::Admin) {
                token.clone_into(&mut cluster.state.token);
            }
        }
        cluster.state.server = local;
        cluster.state.ca_pem = authority.pem();
        Ok(())
    }
}

fn start_etcd(cluster: &mut Cluster, client: u16, peer: u16) -> anyhow::Result<()> {
    let args = [
        format!("--data-dir={}", cluster.dir.join("etcd").display()),
        format!("--listen-client-urls=http://127.0.0.1:{client}"),
        format!("--advertise-client-urls=http://127.0.0.1:{client}"),
        format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
        format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
        format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
        "--unsafe-no-fsync".to_owned(),
        "--quota-backend-bytes=8589934592".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    cluster.launch("etcd", &bin("etcd")?, args)?;
    Ok(())
}

fn write_kubeconfig(path: &Path, server: &str, ca: &str, token: &str) -> anyhow::Result<()> {
    let name = "releaselifecycle-test";
    // JSON is YAML, and needs no quoting.
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {
            "server": server, "certificate-authority-data": BASE64_STANDARD.encode(ca)}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {
            "cluster": name, "user": name, "namespace": "default"}}],
        "current-context": name,
    });
    certs::write(path, &serde_json::to_string_pretty(&config).context("writing a kubeconfig")?)
}

/// Returns ports that are free now, all different: none is released before all are taken.
fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let mut ports = [0; N];
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).context("taking a port")?;
        *port = listener.local_addr().context("reading a port")?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// Returns 128 random bits.
pub(super) fn random() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 16];
    let mut source = File::open("/dev/urandom").context("opening /dev/urandom")?;
    source.read_exact(&mut bytes).context("reading /dev/urandom")?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
