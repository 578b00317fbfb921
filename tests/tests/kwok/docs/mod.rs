//! The documentation says what is so: its commands run, its YAML is taken, and what it lists is what
//! there is.

mod commands;
mod lists;
mod reasons;
