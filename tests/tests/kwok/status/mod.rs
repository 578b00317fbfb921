//! What a user sees of a release and of the controller, and as whom it acts.

mod conditions;
mod identity;
mod process;
mod schema;
