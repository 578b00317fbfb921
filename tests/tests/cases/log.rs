//! The audit log, read once for all sides.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use anyhow::Result;
use e2e::is_write;
use testkit::audit::{self, Event};

pub(crate) struct Log {
    path: PathBuf,
    read: Mutex<(u64, Vec<Event>)>,
}

impl Log {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, read: Mutex::default() }
    }

    /// What Helm or a tenant wrote, and the API server did, since it was last taken: in `namespace`,
    /// in those whose names begin with it, and without a namespace to objects that have its name in
    /// theirs. Every request that was answered is in it, since the API server writes its log first.
    pub(crate) fn take(&self, namespace: &str) -> Result<Vec<Event>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let (offset, waiting) = &mut *read;
        let (events, next) = audit::read_from(&self.path, *offset)?;
        *offset = next;
        waiting.extend(events.into_iter().filter(is_of_a_side));
        Ok(waiting.extract_if(.., |event| concerns(event, namespace)).collect())
    }
}

fn is_of_a_side(event: &Event) -> bool {
    let helm = event.user_agent.as_deref().is_some_and(|agent| agent.starts_with("Helm/"));
    let tenant = event.impersonated.is_some();
    (helm || tenant) && is_write(event) && event.succeeded() && !event.is_dry_run()
}

fn concerns(event: &Event, namespace: &str) -> bool {
    match &event.namespace {
        Some(other) => other.starts_with(namespace),
        None => event.name.as_ref().is_some_and(|name| name.contains(namespace)),
    }
}

/// What the write did, as a transcript has it: `create jobs/a`. `None` for records and reviews, and
/// for what the operator changes in a hook's object to start it, stop it, or let it expire.
pub(crate) fn line(event: &Event, namespace: &str) -> Option<String> {
    let name = event.name.as_deref()?;
    if event.subresource.is_some() || name.starts_with("sh.helm.release.") {
        return None;
    }
    let did = match (event.verb.as_str(), event.code) {
        ("create", _) | ("patch", 201) => "create",
        ("delete", _) => "delete",
        _ if event.request.is_array() => return None,
        _ => "change",
    };
    // A Namespace is said to be in itself.
    let other = event.namespace.as_deref().filter(|other| *other != namespace && *other != name);
    let place = other.map_or(String::new(), |other| format!("{other}/"));
    Some(format!("  {did} {place}{}/{name}", event.resource))
}
