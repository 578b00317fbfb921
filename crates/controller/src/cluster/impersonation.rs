//! As whom something is done: what concerns a tenant's objects, as the tenant.

use http::{HeaderName, HeaderValue, Request, header::InvalidHeaderValue};
use kube::{Client, client::Body};
use tower::service_fn;

/// <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation>
const IMPERSONATE_USER: HeaderName = HeaderName::from_static("impersonate-user");

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

    /// As the API server calls it; `None`: as whoever has started the operator.
    pub(crate) fn user(&self) -> Option<String> {
        match self {
            Self::Operator => None,
            Self::ServiceAccount { namespace, name } => {
                Some(format!("system:serviceaccount:{namespace}:{name}"))
            }
        }
    }

    /// The client that acts as this one, over the connections of `operator`.
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
