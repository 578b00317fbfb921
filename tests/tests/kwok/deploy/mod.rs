//! What `deploy/` ships beside the operator and its roles, and what it advises for tenants.

mod admission;
mod network;
mod quota;
