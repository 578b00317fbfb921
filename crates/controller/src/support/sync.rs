//! Locks.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes the lock, also where a panic has left it: nothing is half done under one.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
