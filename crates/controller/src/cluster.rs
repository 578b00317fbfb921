//! The API server: the calls to it, the identity that makes them, and their results.

pub(crate) mod answer;
pub(crate) mod api_server;
pub(crate) mod call;
pub(crate) mod discovery;
pub(crate) mod echoes;
pub(crate) mod error;
pub(crate) mod impersonation;
pub(crate) mod lately;
pub(crate) mod metrics;
pub(crate) mod permit;
pub(crate) mod recent;
pub(crate) mod resource;
pub(crate) mod rights;
mod segment;
pub(crate) mod tenancy;
pub(crate) mod tenant;
mod verb;

use std::sync::Arc;

use kube::Client;

use self::{
    discovery::Kinds, echoes::Echoes, impersonation::Identity, lately::Lately, metrics::Metrics,
    rights::Rules,
};

/// The connection to the API server that all identities share.
pub(crate) struct Cluster {
    /// The operator's own client.
    pub(crate) operator: Client,
    pub(crate) kinds: Kinds,
    pub(crate) echoes: Echoes,
    pub(crate) metrics: Arc<Metrics>,
    /// Namespaces that are not terminating.
    pub(crate) staying: Lately<String, ()>,
    /// The rules for an identity in a namespace.
    pub(crate) rules: Lately<(Identity, String), Rules>,
    /// Namespaces, and true if an identity finds a record of Helm's in a `ConfigMap` there.
    pub(crate) in_config_maps: Lately<(Identity, String), bool>,
}

impl Cluster {
    pub(crate) fn new(operator: Client, metrics: Arc<Metrics>) -> Self {
        Self {
            operator,
            kinds: Kinds::default(),
            echoes: Echoes::default(),
            metrics,
            staying: Lately::default(),
            rules: Lately::default(),
            in_config_maps: Lately::default(),
        }
    }
}
