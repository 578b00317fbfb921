//! A cluster that goes from one folder of `deploy/` to the other: `kubectl apply` removes nothing, and
//! all the same what the other folder gave does not hold any more.

use anyhow::{Result, ensure};
use e2e::{Namespace, kwok};
use serde_json::{Value, json};

use super::shipped::{ALL_NAMESPACES, apply_renamed, renamed};

#[tokio::test]
async fn the_other_way_to_run_the_operator_takes_back_what_this_one_gave() -> Result<()> {
    for how in ["--server-side=false", "--server-side"] {
        let switched = Switched::new(how).await?;
        for flavour in [
            "multi-tenant",
            "single-tenant",
            ALL_NAMESPACES,
            "multi-tenant",
            ALL_NAMESPACES,
            "single-tenant",
        ] {
            switched.apply(flavour)?;
            switched.wait_as(flavour).await?;
        }
    }
    Ok(())
}

/// Roles hold for the whole cluster, on which other tests rely on the shipped ones: these have names
/// of their own.
struct Switched {
    home: Namespace,
    /// A namespace that has allowed nothing.
    other: Namespace,
    how: &'static str,
}

impl Switched {
    async fn new(how: &'static str) -> Result<Self> {
        let other = Namespace::new(kwok(), "switch-other").await?;
        let switched = Self { home: Namespace::new(kwok(), "switch").await?, other, how };
        // Whoever edits the namespace has the role by its labels; this user has it alone.
        switched.home.kubectl(&["create", "serviceaccount", "editor"])?;
        switched.bind("editor", "editor")?;
        // As a tenant does in its namespace.
        switched.bind("impersonator", &switched.name("controller"))?;
        Ok(switched)
    }

    fn bind(&self, role: &str, account: &str) -> Result<()> {
        let account = format!("--serviceaccount={}:{account}", self.home.name);
        let cluster_role = format!("--clusterrole={}", self.name(role));
        self.home.kubectl(&["create", "rolebinding", role, &cluster_role, &account]).map(drop)
    }

    fn name(&self, rest: &str) -> String {
        renamed(&self.home, rest)
    }

    /// Applies the folder's roles, and whom they are bound to.
    fn apply(&self, flavour: &str) -> Result<()> {
        apply_renamed(&self.home, flavour, self.how)
    }

    /// Waits until those rights hold that the folder gives, and no others.
    async fn wait_as(&self, flavour: &str) -> Result<()> {
        let is_multi = flavour != "single-tenant";
        let operator = self.name("controller");
        for (account, verb, resource, allowed) in [
            ("editor", "create", "releaselifecycles.releaselifecycle.dev", is_multi),
            (&operator, "impersonate", "serviceaccounts", is_multi),
            (&operator, "create", "jobs.batch", !is_multi),
        ] {
            self.home.wait_may(account, verb, resource, allowed).await?;
        }
        let elsewhere = json!({"namespace": self.other.name, "verb": "impersonate",
                               "resource": "serviceaccounts"});
        self.home.wait_allowed(&operator, elsewhere, flavour == ALL_NAMESPACES).await?;
        let editor = self.home.kubectl(&["get", "clusterrole", &self.name("editor"), "-o=json"])?;
        let editor: Value = serde_json::from_str(&editor)?;
        for label in ["aggregate-to-edit", "aggregate-to-admin"] {
            let label = format!("rbac.authorization.k8s.io/{label}");
            let is_part = editor["metadata"]["labels"].get(&label).is_some();
            ensure!(is_part == is_multi, "{flavour}: {label} in {editor:#}");
        }
        Ok(())
    }
}
