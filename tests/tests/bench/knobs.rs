//! The size of a run, by environment variables.

use std::{env, thread};

use anyhow::{Context as _, Result};

/// The number of releases with hooks, by default.
const RELEASES: usize = 100;
/// The largest number of releases in sync, and of live hooks.
const SCALE: usize = 10_000;
const IDLE_SECONDS: u64 = 60;
/// The memory of a Helm process, about.
const HELM_MIB: usize = 128;

/// The size of a run.
#[derive(Clone, Debug)]
pub(crate) struct Knobs {
    /// Releases with hooks. Without hooks there are as many, and ten times as many.
    pub(crate) releases: usize,
    /// Releases in sync, and live hooks; and a tenth of it.
    pub(crate) scale: usize,
    pub(crate) idle_seconds: u64,
    /// The number of Helm's processes at once, while they wait for hooks.
    pub(crate) helm_with_hooks: usize,
    /// The same while they do not wait.
    pub(crate) helm_without: usize,
}

impl Knobs {
    pub(crate) fn read(memory_mib: usize) -> Result<Self> {
        let at_once = optional(env::var("HELM_AT_ONCE").ok())?;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            releases: optional(env::var("RELEASES").ok())?.unwrap_or(RELEASES),
            scale: optional(env::var("SCALE").ok())?.unwrap_or(SCALE),
            idle_seconds: optional(env::var("IDLE_SECONDS").ok())?.unwrap_or(IDLE_SECONDS),
            helm_with_hooks: at_once.unwrap_or_else(|| fitting(memory_mib)),
            helm_without: at_once.unwrap_or(cores * 2),
        })
    }

    /// Returns the numbers of releases without hooks.
    pub(crate) fn without_hooks(&self) -> [usize; 2] {
        [self.releases, self.releases * 10]
    }

    /// Returns the numbers of releases in sync, and of live hooks.
    pub(crate) fn scales(&self) -> [usize; 2] {
        [(self.scale / 10).max(1), self.scale]
    }
}

/// Returns how many of Helm's processes fit into half of the memory.
fn fitting(memory_mib: usize) -> usize {
    (memory_mib / 2 / HELM_MIB).max(1)
}

fn optional<T: std::str::FromStr>(text: Option<String>) -> Result<Option<T>>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let read = |text: String| text.parse().with_context(|| format!("{text:?} is no number"));
    text.filter(|text| !text.is_empty()).map(read).transpose()
}

#[test]
fn half_of_the_memory_is_for_helm() {
    assert_eq!(fitting(25_600), 100);
    assert_eq!(fitting(10), 1);
}

#[test]
fn a_variable_is_a_number_or_absent() {
    assert_eq!(optional::<usize>(Some("20".to_owned())).unwrap(), Some(20));
    assert_eq!(optional::<usize>(Some(String::new())).unwrap(), None);
    assert!(optional::<usize>(Some("many".to_owned())).is_err());
}
