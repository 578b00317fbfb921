//! What tests and benches stand on: a local cluster, a proxy that makes faults, and the API server's audit log.

pub mod audit;
pub mod cluster;
pub mod programs;
pub mod proxy;
