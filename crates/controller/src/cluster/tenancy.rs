//! The identity with which releases are managed.

use api::ReleaseLifecycle;
use lifecycle::reason::Reason;

use crate::cluster::{error::Error, impersonation::Identity};

/// The identity for a release that names no ServiceAccount.
#[derive(Clone, Debug)]
pub(crate) enum Tenancy {
    /// No identity: the release is refused, since it must name one.
    Named,
    /// This ServiceAccount of the release's namespace.
    Default(String),
    /// The operator.
    Single,
}

/// Returns the identity with which the release of `object` is managed.
pub(crate) fn identity(tenancy: &Tenancy, object: &ReleaseLifecycle) -> Result<Identity, Error> {
    let name = match (&object.spec.service_account_name, tenancy) {
        (Some(name), _) | (None, Tenancy::Default(name)) => name.clone(),
        (None, Tenancy::Single) => return Ok(Identity::Operator),
        (None, Tenancy::Named) => {
            return Err(Error::blocked(
                Reason::ServiceAccountRequired,
                "spec.serviceAccountName is missing: name a ServiceAccount of this namespace that \
                 may do what the release needs",
            ));
        }
    };
    let namespace = object.metadata.namespace.clone().unwrap_or_default();
    Ok(Identity::ServiceAccount { namespace, name })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(service_account_name: Option<&str>) -> ReleaseLifecycle {
        let object = json!({"metadata": {"name": "shop", "namespace": "ns"},
                            "spec": {"source": {}, "serviceAccountName": service_account_name}});
        serde_json::from_value(object).unwrap()
    }

    fn account(name: &str) -> Identity {
        Identity::ServiceAccount { namespace: "ns".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn the_account_that_a_release_names_comes_before_what_the_operator_was_started_with() {
        for tenancy in [Tenancy::Named, Tenancy::Default("deployer".to_owned()), Tenancy::Single] {
            assert_eq!(identity(&tenancy, &object(Some("own"))).unwrap(), account("own"));
        }
        let default = Tenancy::Default("deployer".to_owned());
        assert_eq!(identity(&default, &object(None)).unwrap(), account("deployer"));
        assert_eq!(identity(&Tenancy::Single, &object(None)).unwrap(), Identity::Operator);
    }

    #[test]
    fn a_release_of_several_tenants_has_to_name_one() {
        let refused = identity(&Tenancy::Named, &object(None)).unwrap_err();
        assert!(
            matches!(refused, Error::Blocked(it) if it.reason == Reason::ServiceAccountRequired)
        );
    }
}
