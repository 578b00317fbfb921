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
    /// Reads the file at `path`, and keeps only the events that `matters` accepts.
    pub fn new(path: PathBuf, matters: fn(&Event) -> bool) -> Self {
        Self { path, matters, read: Mutex::default() }
    }

    /// Returns the events that `is` accepts, of all that came since the last call. Every request
    /// that was answered is in it, since the API server writes its log first.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn take(&self, is: impl Fn(&Event) -> bool) -> Result<Vec<Event>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let (offset, waiting) = &mut *read;
        let (events, next) = audit::read_from(&self.path, *offset)?;
        *offset = next;
        waiting.extend(events.into_iter().filter(self.matters));
        Ok(waiting.extract_if(.., |event| is(event)).collect())
    }
}
