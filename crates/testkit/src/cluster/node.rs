//! The real node: containerd and a kubelet in namespaces of their own.
//!
//! Everything inside belongs to one process, the node's process 1. When it dies, the kernel kills
//! the rest of the PID namespace, and the mounts and interfaces are removed with their namespaces;
//! only cgroups have to be removed by hand.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use super::{
    Cluster, bin, certs,
    control_plane::{API_SERVICE, ControlPlane, User},
    ensure, fill, image,
    network::Network,
    prerequisites,
    process::{self, Started, run, wait_for},
    registry, say,
};

const INIT: &str = include_str!("../../../../tests/cluster/node-init.sh");
const CONTAINERD: &str = include_str!("../../../../tests/cluster/containerd.toml");
const KUBELET: &str = include_str!("../../../../tests/cluster/kubelet.yaml");
const CNI: &str = include_str!("../../../../tests/cluster/cni.json");
const SERVICES: &str = include_str!("../../../../tests/cluster/services.sh");
const SOCKET: &str = "/run/containerd/containerd.sock";
const DEADLINE: Duration = Duration::from_mins(1);
const PREFIX: &str = "node-";
const INIT_NAME: &str = "node-init";

/// Returns whether a program is a part of the real node.
pub(super) fn owns(started: &Started) -> bool {
    started.name.starts_with(PREFIX)
}

/// Returns whether a program is the node's process 1.
pub(super) fn is_init(started: &Started) -> bool {
    started.name == INIT_NAME
}

/// Loads the images of an archive into the node with this process 1.
pub(super) fn import(init: u32, archive: &Path) -> anyhow::Result<()> {
    let import = ["images", "import", "--snapshotter=native", "--digests=false"];
    run(ctr(init, &import).arg(archive))
        .with_context(|| format!("loading the images of {}", archive.display()))
        .map(drop)
}

pub(super) struct RealNode {
    pub(super) network: Network,
    dir: PathBuf,
    /// The id of the node's process 1, as seen from here.
    init: u32,
    cgroup: String,
}

impl RealNode {
    /// Makes the namespaces and starts containerd.
    pub(super) fn begin(cluster: &mut Cluster) -> anyhow::Result<Self> {
        prerequisites::ensure_node()?;
        ensure(&["kubelet"])?;
        let dir = cluster.dir.join("node");
        for name in ["kubelet", "log", "cni", "containerd", "images"] {
            fs::create_dir_all(dir.join(name)).context("laying out the node's folder")?;
        }
        let init = start_init(cluster, &dir)?;
        let network = Network::connect(init)?;
        let cgroup = format!("/{}-{init}", network.link);
        cluster.state.cgroup = Some(cgroup.clone());
        let node = Self { network, dir, init, cgroup };
        node.start_containerd(cluster)?;
        Ok(node)
    }

    /// Loads the images and runs one container, which shows the restrictions of this machine better
    /// than a kubelet does.
    pub(super) fn prepare(&self, cluster: &mut Cluster) -> anyhow::Result<()> {
        let busybox = prerequisites::busybox().context("busybox is gone")?;
        let images = image::make(&self.dir.join("images"), &busybox)?;
        wait_for("containerd", DEADLINE, || {
            cluster.check_programs()?;
            Ok(run(&mut ctr(self.init, &["version"])).map(drop).map_err(|e| format!("{e:#}")))
        })?;
        import(self.init, &images.archive)?;
        let probe = ["run", "--rm", "--snapshotter=native", "--cgroup"];
        let cgroup = format!("{}/probe", self.cgroup);
        let rest = [&cgroup, image::BUSYBOX[0], "probe", "true"];
        run(ctr(self.init, &probe).args(rest))
            .context("running a container to see whether it works")?;
        let site = registry::lay_out(&self.dir, &images)?;
        let server = ["httpd", "-f", "-p", registry::ADDRESS, "-h", &site];
        self.launch(cluster, "node-registry", &busybox, server)?;
        fs::remove_dir_all(self.dir.join("images")).context("removing the images' sources")
    }

    /// Starts the kubelet and waits until it has registered the node.
    pub(super) fn join(&self, cluster: &mut Cluster, plane: &ControlPlane) -> anyhow::Result<()> {
        if let Err(error) = self.network.serve_api(self.init, API_SERVICE, plane.api.port()) {
            say(&format!("Pods cannot reach the API server at {API_SERVICE}:443: {error:#}"));
        }
        let config = cluster.dir.join("config/kubelet.yaml");
        let (node, gateway) = (self.network.node.to_string(), self.network.gateway.to_string());
        let ca = cluster.dir.join("pki/ca.pem").display().to_string();
        let values = [
            ("NODE_IP", node.as_str()),
            ("GATEWAY", &gateway),
            ("CA_FILE", &ca),
            ("CGROUP", &self.cgroup),
        ];
        certs::write(&config, &fill(KUBELET, &values))?;
        let args = [
            format!("--config={}", config.display()),
            format!("--kubeconfig={}", ControlPlane::kubeconfig(cluster, User::Kubelet).display()),
            "--root-dir=/run/kubelet".to_owned(),
            "--cert-dir=/run/kubelet-pki".to_owned(),
            format!("--node-ip={node}"),
            "--hostname-override=node".to_owned(),
        ];
        self.launch(cluster, "node-kubelet", &bin("kubelet")?, args)?;
        self.serve_services(cluster)?;
        wait_for("the kubelet to become ready", DEADLINE, || {
            cluster.check_programs()?;
            let query = "jsonpath={.status.conditions[?(@.type=='Ready')]}";
            let answer = cluster.kubectl(["get", "node", "node", "-o", query]);
            Ok(match answer {
                Ok(condition) if condition.contains("\"status\":\"True\"") => Ok(()),
                Ok(condition) => Err(condition),
                Err(error) => Err(format!("{error:#}")),
            })
        })
    }

    /// Lets Pods reach Services by their addresses; there is no DNS.
    fn serve_services(&self, cluster: &mut Cluster) -> anyhow::Result<()> {
        let script = cluster.dir.join("config/services.sh");
        certs::write(&script, SERVICES)?;
        let config = ControlPlane::kubeconfig(cluster, User::Proxy);
        self.launch(cluster, "node-services", Path::new("sh"), [script, bin("kubectl")?, config])
    }

    fn start_containerd(&self, cluster: &mut Cluster) -> anyhow::Result<()> {
        let plugins = prerequisites::cni_dir().context("the CNI plugins are gone")?;
        let config = cluster.dir.join("config/containerd.toml");
        let (dir, plugins) = (self.dir.display().to_string(), plugins.display().to_string());
        let values = [("NODE", dir.as_str()), ("PAUSE_IMAGE", image::PAUSE), ("CNI_BIN", &plugins)];
        certs::write(&config, &fill(CONTAINERD, &values))?;
        let cni = fill(CNI, &[("POD_CIDR", &self.network.pods)]);
        certs::write(&self.dir.join("cni/pods.conflist"), &cni)?;
        let args = ["--config".into(), config.into_os_string()];
        self.launch(cluster, "node-containerd", Path::new("containerd"), args)
    }

    fn launch<S: Into<OsString>, const N: usize>(
        &self,
        cluster: &mut Cluster,
        name: &str,
        program: &Path,
        args: [S; N],
    ) -> anyhow::Result<()> {
        let mut all: Vec<OsString> = enter(self.init).into_iter().map(Into::into).collect();
        all.push(program.into());
        all.extend(args.into_iter().map(Into::into));
        cluster.launch(name, Path::new("nsenter"), all)?;
        Ok(())
    }
}

fn enter(init: u32) -> Vec<String> {
    let target = init.to_string();
    ["-t", &target, "-m", "-n", "-p", "--wd=/", "--"].map(str::to_owned).to_vec()
}

fn ctr(init: u32, args: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command.args(enter(init)).args(["ctr", "-a", SOCKET, "-n", "k8s.io"]).args(args);
    command
}

fn start_init(cluster: &mut Cluster, dir: &Path) -> anyhow::Result<u32> {
    let script = cluster.dir.join("config/node-init.sh");
    certs::write(&script, INIT)?;
    let namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"];
    let mut args: Vec<OsString> = namespaces.map(Into::into).to_vec();
    args.extend(["--".into(), "sh".into(), script.into(), dir.into()]);
    let outer = cluster.launch("node-namespaces", Path::new("unshare"), args)?;
    let up = dir.join("up");
    wait_for("the node's namespaces", DEADLINE, || {
        cluster.check_programs()?;
        Ok(if up.exists() { Ok(()) } else { Err("not set up yet".to_owned()) })
    })?;
    let init = process::children(outer);
    let [init] = init.as_slice() else {
        bail!("the node's namespaces have {} first processes instead of one", init.len())
    };
    // The end of this process, not that of its parent, is the end of everything inside.
    cluster.state.started.push(Started::new(INIT_NAME, *init));
    Ok(*init)
}

/// Removes the cgroups below this one, in every hierarchy.
pub(super) fn remove_cgroups(cgroup: &str) -> anyhow::Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    let name = cgroup.trim_start_matches('/');
    let controllers = fs::read_dir(root).into_iter().flatten().flatten().map(|e| e.path());
    for base in controllers.chain([root.to_owned()]) {
        let path = base.join(name);
        if path.is_dir() {
            remove_cgroup(&path).with_context(|| format!("removing cgroup {}", path.display()))?;
        }
    }
    Ok(())
}

fn remove_cgroup(path: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(path)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_cgroup(&entry.path())?;
        }
    }
    // The kernel counts a killed process as a member for a moment longer.
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match fs::remove_dir(path) {
            Err(e) if e.raw_os_error() == Some(16) && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}
