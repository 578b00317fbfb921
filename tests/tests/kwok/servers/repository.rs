use std::fs;

use anyhow::Result;
use e2e::{Namespace, helm, kwok};
use serde_json::json;
use testkit::servers::{Answer, Certificates, PASSWORD, Site};

use super::{
    controller, keeps_secrets, login, package, repository, says, scratch, secret, wait_revision,
};

/// Puts these versions on the site, with an index as Helm makes it.
fn publish(namespace: &Namespace, site: &Site, versions: &[&str]) -> Result<()> {
    let folder = scratch(namespace, "packaged")?;
    for version in versions {
        let bytes = fs::read(package(namespace, version, "")?)?;
        site.put(&format!("/shop-{version}.tgz"), Answer::file(bytes));
    }
    helm::run(namespace, "helm", &["repo", "index", &folder.to_string_lossy()])?;
    site.put("/index.yaml", Answer::file(fs::read(folder.join("index.yaml"))?));
    Ok(())
}

#[tokio::test]
async fn a_repository_with_a_login_and_a_private_authority() -> Result<()> {
    let namespace = Namespace::new(kwok(), "repository").await?;
    let controller = controller(&namespace)?;
    let certificates = Certificates::new()?;
    let site = Site::start(Some(&certificates), true).await?;
    login(&namespace, "login", PASSWORD).await?;
    secret(&namespace, "authority", json!({"ca.crt": certificates.ca})).await?;
    publish(&namespace, &site, &["1.0.0", "1.1.0-rc.1"])?;
    let references =
        json!({"secretRef": {"name": "login"}, "certSecretRef": {"name": "authority"}});
    let mut chart = references.clone();
    chart["version"] = "^1.0.0".into();
    namespace.release("shop", &[], repository(&site.url(), chart)).await?;
    wait_revision(&namespace, &controller, 1).await?;
    assert_eq!(says(&namespace).await?, "1.0.0 hello", "a range takes no prerelease");

    publish(&namespace, &site, &["1.2.0", "2.0.0"])?;
    wait_revision(&namespace, &controller, 2).await?;
    assert_eq!(says(&namespace).await?, "1.2.0 hello");

    // Without a version, the newest.
    namespace.release("shop", &[], repository(&site.url(), references)).await?;
    wait_revision(&namespace, &controller, 3).await?;
    assert_eq!(says(&namespace).await?, "2.0.0 hello");
    keeps_secrets(&namespace, &controller)
}

#[tokio::test]
async fn the_login_is_not_sent_to_another_server() -> Result<()> {
    let namespace = Namespace::new(kwok(), "repository-other").await?;
    let controller = controller(&namespace)?;
    let (site, other) = (Site::start(None, true).await?, Site::start(None, true).await?);
    login(&namespace, "login", PASSWORD).await?;
    publish(&namespace, &site, &["1.0.0"])?;
    let archive = fs::read(package(&namespace, "1.0.0", "")?)?;
    other.put("/shop-1.0.0.tgz", Answer::file(archive));
    site.put("/shop-1.0.0.tgz", Answer::Redirect(format!("{}/shop-1.0.0.tgz", other.url())));
    let spec = repository(&site.url(), json!({"secretRef": {"name": "login"}}));
    namespace.release("shop", &[], spec).await?;
    super::wait_reason(&namespace, &controller, "shop", "Unauthorized").await?;
    assert!(other.asked().iter().all(|asked| asked.starts_with("401 ")), "{:?}", other.asked());
    assert!(!other.asked().is_empty(), "the redirect was not followed");
    keeps_secrets(&namespace, &controller)
}
