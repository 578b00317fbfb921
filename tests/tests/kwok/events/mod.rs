//! The events besides install and upgrade, and what people ask for while one runs.

mod delete;
mod lost;
mod requests;
mod rollback;
mod test_hooks;
