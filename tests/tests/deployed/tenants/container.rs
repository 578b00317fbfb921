//! The operator's container as the machine sees it: its memory, its processor time, its processes.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::operator::Operator;

/// The pause between two samples.
const PAUSE: Duration = Duration::from_millis(200);
/// The kubelet waits for a probe as long.
const PROBE: Duration = Duration::from_secs(1);

/// A container of the operator.
#[derive(Clone)]
pub(super) struct Container {
    address: IpAddr,
    memory: PathBuf,
    cpu: PathBuf,
    processes: PathBuf,
}

impl Container {
    /// Finds the container of this Pod on this machine.
    pub(super) fn find(operator: &Operator, pod: &str) -> Result<Self> {
        let found = operator.kubectl(&["get", "pod", pod, "-o", "json"])?;
        let found: Value = serde_json::from_str(&found)?;
        let id = found["status"]["containerStatuses"][0]["containerID"].as_str();
        let id = id.and_then(|id| id.rsplit('/').next()).context("a container")?;
        let address = found["status"]["podIP"].as_str().context("an address")?.parse()?;
        let of_one = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("cgroup")).ok();
        let cgroups = fs::read_dir("/proc")?.flatten().filter_map(of_one);
        let cgroups = cgroups.into_iter().find(|text| text.contains(id));
        let cgroups = cgroups.with_context(|| format!("no process is in the container {id}"))?;
        let root = Path::new("/sys/fs/cgroup");
        // Such as `4:memory:/a/b`; `0::/a/b` is the one of version 2.
        let path_of = |controller: &str| {
            cgroups.lines().find_map(|line| {
                let (_, rest) = line.split_once(':')?;
                let (controllers, path) = rest.split_once(':')?;
                let path = path.trim_start_matches('/');
                let is = controllers.split(',').any(|it| it == controller);
                is.then(|| root.join(controller).join(path))
            })
        };
        let unified = || {
            let path = cgroups.lines().find_map(|line| line.strip_prefix("0::/"));
            path.map(|path| root.join(path)).context("a cgroup")
        };
        let (memory, cpu) = match (path_of("memory"), path_of("cpuacct")) {
            (Some(memory), Some(cpu)) => (memory, cpu),
            _ => (unified()?, unified()?),
        };
        let processes = memory.join("cgroup.procs");
        Ok(Self { address, memory, cpu, processes })
    }

    /// The processor time that it has used.
    pub(super) fn cpu(&self) -> Result<Duration> {
        if let Ok(nanoseconds) = number(&self.cpu.join("cpuacct.usage")) {
            return Ok(Duration::from_nanos(nanoseconds));
        }
        let text = fs::read_to_string(self.cpu.join("cpu.stat"))?;
        let micros = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
        Ok(Duration::from_micros(micros.context("usage_usec")?.parse()?))
    }

    /// The bytes that the kernel allows it.
    pub(super) fn limit(&self) -> Result<u64> {
        either(&self.memory, ["memory.limit_in_bytes", "memory.max"])
    }

    /// The most bytes that it had, with what it read and wrote of files.
    fn peak(&self) -> Result<u64> {
        either(&self.memory, ["memory.max_usage_in_bytes", "memory.peak"])
    }

    /// The bytes that it has now, without those of files.
    fn anonymous(&self) -> Result<u64> {
        let text = fs::read_to_string(self.memory.join("memory.stat"))?;
        let of = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        Ok(of("total_rss ").or_else(|| of("anon ")).context("memory.stat")?.trim().parse()?)
    }

    /// Lets the kernel count the most memory of each process from now on.
    fn forget_peaks(&self) -> Result<()> {
        for id in fs::read_to_string(&self.processes)?.split_whitespace() {
            // An engine may have ended by now.
            let _ = fs::write(format!("/proc/{id}/clear_refs"), "5");
        }
        Ok(())
    }

    /// Returns the resident memory of each process, its most and its present one, with its id and
    /// whether it is an engine.
    fn processes(&self) -> Result<Vec<(u32, bool, u64, u64)>> {
        let ids = fs::read_to_string(&self.processes)?;
        let of = |id: u32| {
            let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
            let kib = |field: &str| {
                let line =
                    status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
                line?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
            };
            let command = fs::read_to_string(format!("/proc/{id}/cmdline")).ok()?;
            let is_engine = command.contains("engine");
            Some((id, is_engine, kib("VmHWM")? << 10, kib("VmRSS")? << 10))
        };
        Ok(ids.split_whitespace().filter_map(|id| of(id.parse().ok()?)).collect())
    }

    /// Its answer at `path` of this port, and how long that took.
    pub(super) fn ask(&self, port: u16, path: &str) -> Result<(String, Duration)> {
        let asked = Instant::now();
        let address = SocketAddr::new(self.address, port);
        let mut stream = TcpStream::connect_timeout(&address, PROBE * 10)?;
        stream.set_read_timeout(Some(PROBE * 10))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: operator\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let took = asked.elapsed();
        let (head, body) = answer.split_once("\r\n\r\n").context("an HTTP answer")?;
        ensure!(head.split(' ').nth(1) == Some("200"), "{path}: {head}");
        Ok((body.to_owned(), took))
    }
}

/// The observed state of a container.
#[derive(Default)]
pub(super) struct Seen {
    /// All processes together, without files.
    pub(super) anonymous: u64,
    /// The same as the kernel counts it, with files.
    pub(super) peak: u64,
    pub(super) operator: u64,
    /// The one that took most, and all at once.
    pub(super) engine: u64,
    pub(super) engines: u64,
    /// How long each answer of `/livez` took.
    pub(super) livez: Vec<Duration>,
    /// How often there was none within the kubelet's patience.
    pub(super) late: usize,
}

/// Watches a container until [`Sampler::end`], on a thread of its own, so that no other work of
/// this program delays it.
pub(super) struct Sampler {
    end: Arc<AtomicBool>,
    thread: JoinHandle<Result<Seen>>,
}

impl Sampler {
    pub(super) fn start(container: Container) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&end);
        let thread = thread::spawn(move || {
            let (mut seen, mut most) = (Seen::default(), BTreeMap::new());
            container.forget_peaks()?;
            while !told.load(Relaxed) {
                seen.look(&container, &mut most)?;
                thread::sleep(PAUSE);
            }
            anyhow::Ok(seen)
        });
        Self { end, thread }
    }

    pub(super) fn end(self) -> Result<Seen> {
        self.end.store(true, Relaxed);
        self.thread.join().ok().context("the sampler panicked")?
    }
}

impl Seen {
    fn look(&mut self, container: &Container, most: &mut BTreeMap<u32, u64>) -> Result<()> {
        match container.ask(8080, "/livez") {
            Ok((_, took)) => {
                self.late += usize::from(took > PROBE);
                self.livez.push(took);
            }
            Err(_) => self.late += 1,
        }
        self.anonymous = self.anonymous.max(container.anonymous()?);
        self.peak = container.peak()?;
        let mut engines = 0;
        for (id, is_engine, peak, now) in container.processes()? {
            let most = most.entry(id).or_default();
            *most = peak.max(*most);
            if is_engine {
                engines += now;
                self.engine = self.engine.max(*most);
            } else {
                self.operator = self.operator.max(*most);
            }
        }
        self.engines = self.engines.max(engines);
        Ok(())
    }
}

fn number(path: &Path) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    // Version 2 says `max` where there is no limit.
    Ok(if text.trim() == "max" { u64::MAX } else { text.trim().parse()? })
}

/// The number in one of two files: each version of cgroups has its own.
fn either(folder: &Path, files: [&str; 2]) -> Result<u64> {
    number(&folder.join(files[0])).or_else(|_| number(&folder.join(files[1])))
}
