use std::fs;

use anyhow::Result;
use e2e::{Namespace, helm, kwok};
use serde_json::json;
use testkit::servers::{Answer, Certificates, PASSWORD, Site, Takes};

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
    let site = Site::start(Some(&certificates), Takes::Login).await?;
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
    let (site, other) =
        (Site::start(None, Takes::Login).await?, Site::start(None, Takes::Login).await?);
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

#[tokio::test]
async fn a_repository_that_wants_to_see_a_certificate() -> Result<()> {
    let namespace = Namespace::new(kwok(), "repository-mutual").await?;
    let controller = controller(&namespace)?;
    let certificates = Certificates::new()?;
    let site = Site::start(Some(&certificates), Takes::Certificate).await?;
    publish(&namespace, &site, &["1.0.0"])?;
    let mut data = json!({"ca.crt": certificates.ca});
    secret(&namespace, "identity", data.clone()).await?;
    let spec = repository(&site.url(), json!({"certSecretRef": {"name": "identity"}}));
    namespace.release("shop", &[], spec).await?;
    super::wait_reason(&namespace, &controller, "shop", "SourceUnreachable").await?;

    data["tls.crt"] = certificates.text("client.pem")?.into();
    data["tls.key"] = certificates.text("client.key")?.into();
    secret(&namespace, "identity", data).await?;
    wait_revision(&namespace, &controller, 1).await?;
    assert_eq!(says(&namespace).await?, "1.0.0 hello");
    Ok(())
}

#[tokio::test]
async fn without_a_cache_charts_are_fetched_each_time() -> Result<()> {
    let namespace = Namespace::new(kwok(), "repository-uncached").await?;
    let nowhere = ["--source-allow=127.0.0.0/8", "--chart-cache", "/dev/null/charts"];
    let controller = namespace.controller_with(&nowhere)?;
    let site = Site::plain().await?;
    publish(&namespace, &site, &["1.0.0"])?;
    for (revision, greeting) in [(1, "hello"), (2, "goodbye")] {
        let mut spec = repository(&site.url(), json!({}));
        spec["values"] = json!({"greeting": greeting});
        namespace.release("shop", &[], spec).await?;
        wait_revision(&namespace, &controller, revision).await?;
        assert_eq!(says(&namespace).await?, format!("1.0.0 {greeting}"));
    }
    let fetched = site.asked().iter().filter(|path| *path == "/shop-1.0.0.tgz").count();
    assert!(fetched >= 2, "{:?}", site.asked());
    let log = controller.log()?;
    let said = log.lines().filter(|line| line.contains("WARN") && line.contains("--chart-cache"));
    assert_eq!(said.count(), 1, "{log}");
    Ok(())
}
