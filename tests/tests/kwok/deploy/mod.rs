//! The parts of `deploy/` beside the operator and its roles, and its advice for tenants.

mod admission;
mod network;
mod quota;
