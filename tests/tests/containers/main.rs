//! Behaviour with real containers, on a machine that can run them; elsewhere these say that they
//! were skipped.

mod docs;
mod evidence;
mod guide;
mod guide_chart;
mod logs;
mod reasons;
mod restart;
mod rules;
mod stopped;
mod tries;
mod unready;
