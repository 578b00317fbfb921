//! The events besides install and upgrade, and what people ask for while one runs.

mod approval;
mod delete;
mod ends;
mod lost;
mod remediation;
mod requests;
mod retries;
mod rollback;
mod superseded;
mod test_hooks;
mod windows;
