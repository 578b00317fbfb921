//! One client per identity: what is done to a tenant's objects is done as the tenant.

use std::{collections::HashMap, sync::Mutex};

use kube::{Client, Config};

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Identity {
    /// The operator itself, with `--single-tenant`.
    Operator,
    /// A ServiceAccount.
    ServiceAccount { namespace: String, name: String },
}

impl Identity {
    /// The name to show: `ServiceAccount/shop-deployer`, or the operator.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Operator => "the operator".to_owned(),
            Self::ServiceAccount { name, .. } => format!("ServiceAccount/{name}"),
        }
    }
}

/// The clients that were made so far.
pub(crate) struct Clients {
    config: Config,
    operator: Client,
    tenants: Mutex<HashMap<Identity, Client>>,
}

impl Clients {
    pub(crate) fn new(config: Config) -> kube::Result<Self> {
        let operator = Client::try_from(config.clone())?;
        Ok(Self { config, operator, tenants: Mutex::default() })
    }

    pub(crate) fn operator(&self) -> &Client {
        &self.operator
    }

    /// The client that acts as `identity`.
    pub(crate) fn of(&self, identity: &Identity) -> kube::Result<Client> {
        let Identity::ServiceAccount { namespace, name } = identity else {
            return Ok(self.operator.clone());
        };
        let mut tenants = self.tenants.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(client) = tenants.get(identity) {
            return Ok(client.clone());
        }
        let client = self.acting_as(namespace, name)?;
        tenants.insert(identity.clone(), client.clone());
        Ok(client)
    }

    /// As [`Self::of`], but it is not kept: anybody may have come up with the identity.
    pub(crate) fn passing(&self, identity: &Identity) -> kube::Result<Client> {
        match identity {
            Identity::Operator => Ok(self.operator.clone()),
            Identity::ServiceAccount { namespace, name } => self.acting_as(namespace, name),
        }
    }

    fn acting_as(&self, namespace: &str, name: &str) -> kube::Result<Client> {
        let mut config = self.config.clone();
        config.auth_info.impersonate = Some(format!("system:serviceaccount:{namespace}:{name}"));
        Client::try_from(config)
    }
}
