use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use anyhow::Result;
use testkit::audit::{self, Event};

/// The cluster's audit log, read once for all namespaces.
pub struct AuditLog {
    path: PathBuf,
    matters: fn(&Event) -> bool,
    read: Mutex<(u64, Vec<Event>)>,
}

impl AuditLog {
    /// Of what is in the file at `path`, only what `matters` is kept.
    pub fn new(path: PathBuf, matters: fn(&Event) -> bool) -> Self {
        Self { path, matters, read: Mutex::default() }
    }

    /// What `is` wanted of all that came since it was last taken. Every request that was answered is
    /// in it, since the API server writes its log first.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn take(&self, is: impl Fn(&Event) -> bool) -> Result<Vec<Event>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let (offset, waiting) = &mut *read;
        let (events, next) = audit::read_from(&self.path, *offset)?;
        *offset = next;
        waiting.extend(events.into_iter().filter(self.matters));
        Ok(waiting.extract_if(.., |event| is(event)).collect())
    }
}
