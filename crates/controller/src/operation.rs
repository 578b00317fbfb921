//! One operation: its observations, its effects, and the events that it waits for.

pub(crate) mod apply;
pub(crate) mod controls;
pub(crate) mod drive;
pub(crate) mod execute;
pub(crate) mod gather;
mod health;
mod logs;
pub(crate) mod outside;
pub(crate) mod recover;
pub(crate) mod remarks;
pub(crate) mod uninstall;
pub(crate) mod unready;
