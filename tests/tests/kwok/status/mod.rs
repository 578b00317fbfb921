//! The view of a user on a release and on the controller, and as whom it acts.

mod conditions;
mod identity;
mod process;
mod schema;
