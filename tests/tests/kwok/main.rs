//! Behaviour against the real control plane, with simulated nodes.

mod lifecycle;
