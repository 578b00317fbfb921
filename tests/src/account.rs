//! A ServiceAccount of a test, under which a controller runs as in a Pod.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::{Api, api::PostParams};
use serde_json::{Value, json};

use crate::{Namespace, namespace::PATIENCE, target};

impl Namespace {
    /// Writes a kubeconfig with a token of the `ServiceAccount` of this namespace.
    ///
    /// # Errors
    /// If the API server gives none, or the file cannot be written.
    pub fn kubeconfig_of(&self, account: &str) -> Result<PathBuf> {
        let token = self.kubectl(&["create", "token", account])?;
        let path = target().join("tmp/controllers").join(format!("{}-{account}", self.name));
        let (ca, kubeconfig) = (path.with_extension("ca"), path.with_extension("kubeconfig"));
        fs::create_dir_all(path.parent().context("a folder")?)?;
        fs::write(&ca, self.cluster().ca_pem())?;
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": account,
            "clusters": [{"name": "here", "cluster": {
                "server": self.cluster().server(), "certificate-authority": ca}}],
            "users": [{"name": account, "user": {"token": token.trim()}}],
            "contexts": [{"name": account, "context": {"cluster": "here", "user": account}}],
        });
        fs::write(&kubeconfig, config.to_string())?;
        Ok(kubeconfig)
    }

    /// Waits until the `ServiceAccount` of this namespace may do this here, or may not: the API
    /// server needs a moment to see new roles.
    ///
    /// # Errors
    /// If it does not change.
    pub async fn wait_may(
        &self,
        account: &str,
        verb: &str,
        resource: &str,
        allowed: bool,
    ) -> Result<()> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
        let attributes = json!({"namespace": self.name, "verb": verb, "group": group,
                                "resource": resource, "subresource": subresource});
        self.wait_allowed(account, attributes, allowed).await
    }

    /// Does the same as [`Self::wait_may`], for the `resourceAttributes` of a
    /// `SubjectAccessReview`.
    ///
    /// # Errors
    /// As [`Self::wait_may`].
    pub async fn wait_allowed(
        &self,
        account: &str,
        attributes: Value,
        allowed: bool,
    ) -> Result<()> {
        let review: SubjectAccessReview = serde_json::from_value(json!({
            "metadata": {},
            "spec": {
                "user": format!("system:serviceaccount:{}:{account}", self.name),
                "resourceAttributes": &attributes,
            },
        }))?;
        let reviews = Api::<SubjectAccessReview>::all(self.client.clone());
        let start = Instant::now();
        loop {
            let answer = reviews.create(&PostParams::default(), &review).await?;
            if answer.status.is_some_and(|status| status.allowed) == allowed {
                return Ok(());
            }
            let late = start.elapsed() > PATIENCE;
            ensure!(!late, "that {account} may {attributes} is not {allowed}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
