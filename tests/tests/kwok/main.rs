//! Behaviour against the real control plane, with simulated nodes.

mod bad_input;
mod docs;
mod events;
mod examples;
mod gitops;
mod helm;
mod hooks;
mod lifecycle;
mod replicas;
mod sources;
mod status;
