//! What tests and benches stand on: a local cluster, a proxy that makes faults, servers that
//! charts are fetched from, and the API server's audit log.

pub mod audit;
pub mod cluster;
pub mod programs;
pub mod proxy;
pub mod servers;
