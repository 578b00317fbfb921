//! CPU time and memory of processes, by `/proc`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};

/// The pause between two samples of the memory.
const PAUSE: Duration = Duration::from_millis(50);
/// `USER_HZ`, which is the same on every architecture that the project runs on.
const TICKS: u32 = 100;

/// The fields of `/proc/PID/stat` that are used here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stat {
    pub(crate) parent: u32,
    /// User and system time of the process, in ticks.
    own: u64,
    /// That of its children that have ended and were waited for.
    children: u64,
}

impl Stat {
    /// Reads the text of the file.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, which may hold spaces and parentheses.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own: number(11)? + number(12)?,
            children: number(13)? + number(14)?,
        })
    }

    fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }
}

fn seconds(ticks: u64) -> f64 {
    u32::try_from(ticks).map_or(f64::MAX, f64::from) / f64::from(TICKS)
}

/// Returns the CPU time, in seconds, of a process, of its children, and of theirs that have ended.
pub(crate) fn cpu(pid: u32) -> Result<f64> {
    let stat = Stat::of(pid).with_context(|| format!("process {pid} has ended"))?;
    let children = children(pid).into_iter().filter_map(Stat::of);
    let children: u64 = children.map(|it| it.own + it.children).sum();
    Ok(seconds(stat.own + stat.children + children))
}

/// Returns the CPU time, in seconds, of all children of this process that have ended.
pub(crate) fn cpu_of_ended() -> Result<f64> {
    let stat = Stat::of(std::process::id()).context("read /proc/self/stat")?;
    Ok(seconds(stat.children))
}

fn children(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| Stat::of(*pid).is_some_and(|it| it.parent == parent)).collect()
}

/// The memory of a process, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Memory {
    /// Memory of its own.
    anonymous: u64,
    /// Memory that processes of the same program share.
    file: u64,
    /// The peak of both.
    peak: u64,
}

impl Memory {
    /// Reads the text of `/proc/PID/status`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        };
        Some(Self {
            anonymous: field("RssAnon")?,
            file: field("RssFile")? + field("RssShmem")?,
            peak: field("VmHWM")?,
        })
    }

    fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
    }
}

/// Returns the memory of several processes, in KiB: the pages of a program's file, which its processes
/// share, count once.
pub(crate) fn together(processes: &[(PathBuf, Memory)]) -> u64 {
    let mut files = BTreeMap::<_, u64>::new();
    for (program, memory) in processes {
        let file = files.entry(program).or_default();
        *file = memory.file.max(*file);
    }
    processes.iter().map(|(_, memory)| memory.anonymous).sum::<u64>() + files.values().sum::<u64>()
}

/// Returns the memory, in MiB, that a process and its children have now.
pub(crate) fn memory_mib(pid: u32) -> f64 {
    mib(together(&family(&[pid].into())))
}

fn family(roots: &BTreeSet<u32>) -> Vec<(PathBuf, Memory)> {
    let all = roots.iter().flat_map(|pid| [vec![*pid], children(*pid)].concat());
    let read = |pid: u32| Some((fs::read_link(format!("/proc/{pid}/exe")).ok()?, Memory::of(pid)?));
    all.filter_map(read).collect()
}

fn mib(kib: u64) -> f64 {
    u32::try_from(kib).map_or(f64::MAX, f64::from) / 1024.0
}

/// The processes that a [`Sampler`] watches.
#[derive(Clone, Default)]
pub(crate) struct Watched {
    pids: Arc<Mutex<BTreeSet<u32>>>,
    reported: Arc<AtomicU64>,
}

impl Watched {
    pub(crate) fn add(&self, pid: u32) {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner).insert(pid);
    }

    pub(crate) fn remove(&self, pid: u32) {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner).remove(&pid);
    }

    /// Takes note of the peak that a process reported itself, in KiB: it may be too short for samples.
    pub(crate) fn report(&self, kib: u64) {
        self.reported.fetch_max(kib, Ordering::Relaxed);
    }

    fn now(&self) -> BTreeSet<u32> {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The peak of memory of some processes and their children, by samples and by the kernel's own marks.
pub(crate) struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Sampler {
    /// Begins, and has the kernel forget earlier peaks.
    pub(crate) fn start(watched: Watched) -> Self {
        for pid in watched.now() {
            // Without it the peak is that since the process began.
            let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut peak = 0;
            while !stopped.load(Ordering::Relaxed) {
                let found = family(&watched.now());
                let marks = found.iter().map(|(_, memory)| memory.peak);
                peak = peak.max(together(&found)).max(marks.max().unwrap_or_default());
                thread::sleep(PAUSE);
            }
            peak.max(watched.reported.load(Ordering::Relaxed))
        });
        Self { stop, thread }
    }

    /// Ends, and returns the peak in MiB.
    pub(crate) fn stop(self) -> Result<f64> {
        self.stop.store(true, Ordering::Relaxed);
        let peak = self.thread.join().ok().context("the sampler of memory failed")?;
        Ok(mib(peak))
    }
}

#[test]
fn the_times_are_found_behind_any_name() {
    let text = "17 (a (b) c) S 4 17 17 0 -1 4194304 100 200 0 0 7 5 30 2 20 0 4 0 999 1 2";
    assert_eq!(Stat::parse(text), Some(Stat { parent: 4, own: 12, children: 32 }));
    assert_eq!(Stat::parse("17 (a) S 4"), None);
}

#[test]
fn the_memory_is_read_of_its_fields() {
    let text = "Name:\tx\nVmHWM:\t    50 kB\nVmRSS:\t 40 kB\nRssAnon:\t 30 kB\nRssFile:\t 9 kB\nRssShmem:\t 1 kB\n";
    let memory = Memory { anonymous: 30, file: 10, peak: 50 };
    assert_eq!(Memory::parse(text), Some(memory));
    assert_eq!(Memory::parse("Name:\tx\n"), None);
}

#[test]
fn the_pages_of_one_program_count_once() {
    let of = |program: &str, anonymous, file| {
        (PathBuf::from(program), Memory { anonymous, file, peak: 0 })
    };
    let all = [of("helm", 10, 100), of("helm", 20, 90), of("engine", 1, 7)];
    assert_eq!(together(&all), 10 + 20 + 1 + 100 + 7);
}
