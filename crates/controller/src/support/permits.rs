//! Limits on concurrent work: one limit for all, and one for each namespace, whose tenant may make
//! each piece of work last.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::support::sync::lock;

pub(crate) struct Permits {
    at_once: usize,
    all: Arc<Semaphore>,
    namespaces: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// A turn, which lasts until it is dropped.
pub(crate) struct Permitted {
    _of_namespace: Option<OwnedSemaphorePermit>,
    _of_all: Option<OwnedSemaphorePermit>,
}

impl Permits {
    /// Returns turns for at most this many at once, one for each namespace.
    pub(crate) fn new(at_once: usize) -> Self {
        Self { at_once, all: Arc::new(Semaphore::new(at_once)), namespaces: Mutex::default() }
    }

    /// Returns the number of turns that are taken.
    pub(crate) fn taken(&self) -> usize {
        self.at_once - self.all.available_permits()
    }

    pub(crate) fn take_now(&self, namespace: &str) -> Option<Permitted> {
        let of_namespace = self.of(namespace).try_acquire_owned().ok()?;
        let of_all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Permitted { _of_namespace: Some(of_namespace), _of_all: Some(of_all) })
    }

    /// Takes a turn, that of the namespace first: a caller that waits for it blocks no other
    /// namespace.
    pub(crate) async fn take(&self, namespace: &str) -> Permitted {
        // They fail only if they are closed, which they never are.
        let of_namespace = self.of(namespace).acquire_owned().await.ok();
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok();
        Permitted { _of_namespace: of_namespace, _of_all: of_all }
    }

    /// Returns `None` if others are served for longer than `patience`.
    pub(crate) async fn take_within(
        &self,
        namespace: &str,
        patience: Duration,
    ) -> Option<Permitted> {
        tokio::time::timeout(patience, self.take(namespace)).await.ok()
    }

    fn of(&self, namespace: &str) -> Arc<Semaphore> {
        let mut namespaces = lock(&self.namespaces);
        namespaces.retain(|_, turns| turns.strong_count() > 0);
        if let Some(turns) = namespaces.get(namespace).and_then(Weak::upgrade) {
            return turns;
        }
        let turns = Arc::new(Semaphore::new(1));
        namespaces.insert(namespace.to_owned(), Arc::downgrade(&turns));
        turns
    }
}
