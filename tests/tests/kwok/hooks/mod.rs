//! Hooks: their order, their delete policies, their rules, what stands in their way, and how they end.

mod admission;
mod endings;
mod forms;
mod kinds;
mod leftovers;
mod order;
mod parallel;
mod policies;
mod reasons;
mod rules;
