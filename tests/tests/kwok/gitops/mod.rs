//! Releases as `GitOps` tools and kubectl see them: by their own rules, on objects as the controller
//! wrote them.

mod actions;
mod cel;
mod health;
mod lua;
mod nulls;
mod shipped;
