//! The pure core of the ReleaseLifecycle operator: the meaning of Helm's hooks, the choice of the
//! event, the work of an operation, and the one rule by which it continues after anything.
//!
//! Nothing here knows a client, a clock or a runtime; every decision is a function of its
//! arguments. That makes it possible to check the machine by a model (`tests/model`).

#![cfg_attr(not(test), deny(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

pub mod annotations;
pub mod approval;
pub mod commands;
pub mod conditions;
pub mod decide;
pub mod digest;
pub mod drift;
pub mod effect;
pub mod event;
pub mod evidence;
pub mod health;
pub mod hooks;
pub mod journal;
pub mod known;
pub mod next;
pub mod object;
pub mod observation;
pub mod order;
pub mod plan;
pub mod preflight;
pub mod reason;
pub mod rebuild;
pub mod rule;
pub mod schedule;
pub mod source;
pub mod step;
pub mod terminal;
pub mod test_run;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tidy;
pub mod windows;

/// Returns whether serde leaves the field out: it is read as its default if it is absent.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
