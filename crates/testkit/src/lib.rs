//! The base of tests and benches: a local cluster, a proxy that makes faults, servers for charts,
//! and the API server's audit log.

pub mod audit;
pub mod cluster;
pub mod programs;
pub mod proxy;
pub mod servers;
