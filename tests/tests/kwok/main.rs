//! Behaviour against the real control plane, with simulated nodes.

mod adopt;
mod apply;
mod bad_input;
mod belief;
mod charts;
mod cli;
mod deploy;
mod docs;
mod drift;
mod events;
mod examples;
mod generated_names;
mod gitops;
mod health;
mod helm;
mod hooks;
mod lifecycle;
mod preflight;
mod rbac;
mod refusals;
mod replicas;
mod secrets;
mod servers;
mod sources;
mod status;
mod tenants;
