//! What `GitOps` tools and kubectl make of a release: their own rules, on objects as the controller
//! wrote them.

mod actions;
mod cel;
mod health;
mod lua;
mod nulls;
mod shipped;
