//! How the operator is installed: the chart is what the kustomizations are, its values do what they say, and
//! the commands of `docs/src/install.md` work on a cluster of their own.

mod cluster;
mod equal;
mod gitops;
mod render;
mod values;
