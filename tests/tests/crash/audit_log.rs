use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use anyhow::Result;
use testkit::audit::{self, Event};

/// The cluster's audit log, read once for all namespaces.
pub(crate) struct AuditLog {
    path: PathBuf,
    read: Mutex<(u64, HashMap<String, Vec<Event>>)>,
}

impl AuditLog {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, read: Mutex::default() }
    }

    /// What was asked in `namespace` since it was last taken. Every request that was answered is in
    /// it, since the API server writes its log first.
    pub(crate) fn take(&self, namespace: &str) -> Result<Vec<Event>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let (offset, waiting) = &mut *read;
        let (events, next) = audit::read_from(&self.path, *offset)?;
        *offset = next;
        for event in events {
            if let Some(namespace) = &event.namespace {
                waiting.entry(namespace.clone()).or_default().push(event);
            }
        }
        Ok(waiting.remove(namespace).unwrap_or_default())
    }
}
