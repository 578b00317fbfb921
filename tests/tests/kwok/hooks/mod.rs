//! Hooks: their order, their delete policies, what stands in their way, and how they end.

mod endings;
mod kinds;
mod leftovers;
mod order;
mod policies;
