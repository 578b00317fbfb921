//! The identity of a request: everything that concerns a tenant's objects is done as the tenant.

use http::{HeaderName, HeaderValue, Request, header::InvalidHeaderValue};
use kube::{Client, client::Body};
use tower::service_fn;

/// <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation>
const IMPERSONATE_USER: HeaderName = HeaderName::from_static("impersonate-user");

/// The identity that acts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Identity {
    /// The operator itself, with `--single-tenant`.
    Operator,
    /// A ServiceAccount.
    ServiceAccount { namespace: String, name: String },
}

impl Identity {
    /// Returns the name to show: `ServiceAccount/shop-deployer`, or the operator.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Operator => "the operator".to_owned(),
            Self::ServiceAccount { name, .. } => format!("ServiceAccount/{name}"),
        }
    }

    /// Returns the name of the ServiceAccount, if it is one.
    pub(crate) fn account(&self) -> Option<&str> {
        match self {
            Self::Operator => None,
            Self::ServiceAccount { name, .. } => Some(name),
        }
    }

    /// Returns the user name for the API server; `None`: the user who started the operator.
    pub(crate) fn user(&self) -> Option<String> {
        match self {
            Self::Operator => None,
            Self::ServiceAccount { namespace, name } => {
                Some(format!("system:serviceaccount:{namespace}:{name}"))
            }
        }
    }

    /// Returns the client that acts as this identity, over the connections of `operator`.
    pub(crate) fn client(&self, operator: &Client) -> Result<Client, InvalidHeaderValue> {
        let Some(user) = self.user() else { return Ok(operator.clone()) };
        let user = HeaderValue::try_from(user)?;
        let shared = operator.clone();
        let acting = service_fn(move |mut request: Request<Body>| {
            request.headers_mut().insert(IMPERSONATE_USER, user.clone());
            let shared = shared.clone();
            async move { shared.send(request).await }
        });
        Ok(Client::new(acting, operator.default_namespace()))
    }
}
