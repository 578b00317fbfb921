use anyhow::Result;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use e2e::{Namespace, kwok, message};
use serde_json::json;
use testkit::servers::{Certificates, PASSWORD, Registry, USERNAME};

use super::{
    controller, keeps_secrets, login, oci, package, push, says, secret, wait_reason, wait_revision,
};

#[tokio::test]
async fn a_range_follows_what_is_published_and_a_tag_that_moves_is_an_upgrade() -> Result<()> {
    let namespace = Namespace::new(kwok(), "oci").await?;
    let controller = controller(&namespace)?;
    let registry = Registry::start(None)?;
    login(&namespace, "login", PASSWORD).await?;
    let publish = |version: &str, made: &str| {
        push(&namespace, &registry, &package(&namespace, version, made)?, &["--plain-http"])
    };
    publish("1.0.0", "")?;
    let spec = oci(
        &registry,
        json!({"version": ">=1.0 <2", "insecure": true, "secretRef": {"name": "login"}}),
    );
    namespace.release("shop", &[], spec).await?;
    wait_revision(&namespace, &controller, 1).await?;
    assert_eq!(says(&namespace).await?, "1.0.0 hello");

    // What is not of the range comes first, so that it would have been seen.
    publish("2.0.0", "")?;
    publish("1.1.0", "")?;
    wait_revision(&namespace, &controller, 2).await?;
    assert_eq!(says(&namespace).await?, "1.1.0 hello");

    publish("1.1.0", "anew")?;
    wait_revision(&namespace, &controller, 3).await?;
    assert_eq!(says(&namespace).await?, "1.1.0 hello anew");
    keeps_secrets(&namespace, &controller)
}

#[tokio::test]
async fn a_private_authority_a_docker_config_and_a_digest() -> Result<()> {
    let namespace = Namespace::new(kwok(), "oci-tls").await?;
    let mut controller = controller(&namespace)?;
    let certificates = Certificates::new()?;
    let mut registry = Registry::start(Some(&certificates))?;
    let ca = certificates.path("ca.pem");
    let ca = ["--ca-file", &ca.to_string_lossy()];
    let digest = push(&namespace, &registry, &package(&namespace, "1.0.0", "")?, &ca)?;

    let auth = STANDARD.encode(format!("{USERNAME}:{PASSWORD}"));
    let auths = json!({"auths": {registry.address(): {"auth": auth}, "other.example": {}}});
    secret(&namespace, "login", json!({".dockerconfigjson": auths.to_string()})).await?;
    secret(&namespace, "authority", json!({"ca.crt": certificates.ca})).await?;
    let chart = json!({"digest": digest, "secretRef": {"name": "login"},
                       "certSecretRef": {"name": "authority"}});
    let mut spec = oci(&registry, chart.clone());
    namespace.release("shop", &[], spec.clone()).await?;
    wait_revision(&namespace, &controller, 1).await?;
    assert_eq!(says(&namespace).await?, "1.0.0 hello");

    // Who has no credentials gets nothing, although the same cache holds the chart.
    let stranger = Namespace::new(kwok(), "oci-stranger").await?;
    let cache = super::scratch(&namespace, "")?.join("cache");
    let args = ["--source-allow=127.0.0.0/8", "--chart-cache", &cache.to_string_lossy()];
    let strange = stranger.controller_with(&args)?;
    secret(&stranger, "authority", json!({"ca.crt": certificates.ca})).await?;
    let anonymous = json!({"digest": digest, "certSecretRef": {"name": "authority"}});
    stranger.release("shop", &[], oci(&registry, anonymous)).await?;
    wait_reason(&stranger, &strange, "shop", "Unauthorized").await?;

    // A digest that is at hand is asked of nobody, after a start neither.
    controller.terminate()?;
    registry.stop();
    let controller = super::controller(&namespace)?;
    spec["values"] = json!({"greeting": "still here"});
    namespace.release("shop", &[], spec).await?;
    wait_revision(&namespace, &controller, 2).await?;
    assert_eq!(says(&namespace).await?, "1.0.0 still here");
    secret(&stranger, "login", json!({"username": USERNAME, "password": PASSWORD})).await?;
    let named = json!({"digest": digest, "certSecretRef": {"name": "authority"},
                       "secretRef": {"name": "login"}});
    stranger.release("shop", &[], oci(&registry, named)).await?;
    let release = wait_reason(&stranger, &strange, "shop", "SourceUnreachable").await?;
    assert!(message(&release).contains(registry.address()), "{}", message(&release));
    keeps_secrets(&namespace, &controller)?;
    keeps_secrets(&stranger, &strange)
}

#[tokio::test]
async fn what_was_fetched_is_not_asked_for_again_before_the_interval() -> Result<()> {
    let namespace = Namespace::new(kwok(), "oci-once").await?;
    let controller = controller(&namespace)?;
    let registry = Registry::start(None)?;
    login(&namespace, "login", PASSWORD).await?;
    push(&namespace, &registry, &package(&namespace, "1.0.0", "")?, &["--plain-http"])?;
    let chart = json!({"version": "1.0.0", "insecure": true, "secretRef": {"name": "login"}});
    let mut spec = oci(&registry, chart);
    spec["interval"] = "10h".into();
    spec["valuesFrom"] = json!([{"kind": "ConfigMap", "name": "values", "optional": true}]);
    namespace.release("shop", &[], spec.clone()).await?;
    wait_revision(&namespace, &controller, 1).await?;
    let asked = registry.requests()?.len();

    // Another look at the source, which finds other values and the same chart.
    let values = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "values"},
                        "data": {"values.yaml": "greeting: good day"}});
    namespace.apply(&values).await?;
    wait_revision(&namespace, &controller, 2).await?;
    assert_eq!(says(&namespace).await?, "1.0.0 good day");
    assert_eq!(registry.requests()?.len(), asked, "{:#?}", registry.requests()?);

    // A new spec asks again, and fetches nothing that is at hand.
    spec["values"] = json!({"greeting": "good night"});
    namespace.release("shop", &[], spec).await?;
    wait_revision(&namespace, &controller, 3).await?;
    let again = registry.requests()?.split_off(asked);
    assert!(!again.is_empty(), "the registry was not asked");
    // Its name and version alone.
    let fetched = again.iter().filter(|line| line.contains("GET") && line.contains("/blobs/"));
    assert_eq!(fetched.count(), 1, "{again:#?}");
    Ok(())
}
