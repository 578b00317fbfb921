//! Charts that have to be signed.

use anyhow::Result;
use e2e::{Namespace, kwok, message};
use serde_json::{Value, json};
use testkit::servers::{PASSWORD, Registry, Signer};

use super::{
    controller, keeps_secrets, login, oci, package, push, repository, says, secret, wait_reason,
    wait_revision,
};

/// `spec` with a chart that has to be signed by the keys of a Secret.
fn signed(registry: &Registry, keys: &str, more: Value) -> Value {
    let mut spec = oci(registry, json!({"insecure": true, "secretRef": {"name": "login"}}));
    let oci = &mut spec["source"]["chart"]["oci"];
    oci["verify"] = json!({"provider": "cosign", "secretRef": {"name": keys}});
    for (key, value) in more.as_object().into_iter().flatten() {
        oci[key] = value.clone();
    }
    spec
}

#[tokio::test]
async fn a_chart_waits_for_its_signature_and_each_newer_one_for_its_own() -> Result<()> {
    let namespace = Namespace::new(kwok(), "signed").await?;
    let mut controller = controller(&namespace)?;
    let registry = Registry::start(None)?;
    let signer = Signer::new()?;
    login(&namespace, "login", PASSWORD).await?;
    let publish = |version: &str| {
        push(&namespace, &registry, &package(&namespace, version, "")?, &["--plain-http"])
    };
    let first = publish("1.0.0")?;
    let spec = signed(&registry, "keys", json!({}));
    namespace.release("shop", &[], spec.clone()).await?;
    let release = wait_reason(&namespace, &controller, "shop", "SourceNotFound").await?;
    assert!(message(&release).contains("oci.verify.secretRef (Secret/keys)"), "{release:?}");
    secret(&namespace, "keys", json!({"cosign.key": PASSWORD, "readme": "x"})).await?;
    let says_pub =
        |release: &api::ReleaseLifecycle| message(release).contains("needs the keys *.pub");
    namespace.wait("shop", &controller, "no key", says_pub).await?;
    secret(&namespace, "keys", json!({"cosign.pub": PASSWORD})).await?;
    let release = wait_reason(&namespace, &controller, "shop", "InvalidSource").await?;
    assert!(message(&release).contains("cosign.pub is no public key"), "{}", message(&release));

    let keys = json!({"cosign.pub": signer.public_key(), "cosign.key": PASSWORD});
    secret(&namespace, "keys", keys).await?;
    let release = wait_reason(&namespace, &controller, "shop", "VerificationFailed").await?;
    assert!(message(&release).contains("1.0.0 has no signature"), "{}", message(&release));
    Signer::new()?.sign(&registry, "charts/shop", &first).await?;
    let is_other = |release: &api::ReleaseLifecycle| message(release).contains("another key");
    namespace.wait("shop", &controller, "a signature by another key", is_other).await?;
    signer.sign(&registry, "charts/shop", &first).await?;
    wait_revision(&namespace, &controller, 1).await?;
    assert_eq!(says(&namespace).await?, "1.0.0 hello");

    // What is deployed stays while a newer version is not signed.
    let second = publish("1.1.0")?;
    wait_reason(&namespace, &controller, "shop", "VerificationFailed").await?;
    assert_eq!(says(&namespace).await?, "1.0.0 hello");
    signer.sign(&registry, "charts/shop", &second).await?;
    wait_revision(&namespace, &controller, 2).await?;
    assert_eq!(says(&namespace).await?, "1.1.0 hello");

    // Other keys verify again, though this very chart is in the cache and pinned, and so does a
    // controller that has just started.
    let other = Signer::new()?;
    secret(&namespace, "others", json!({"cosign.pub": other.public_key()})).await?;
    namespace.release("other", &[], signed(&registry, "others", json!({"digest": second}))).await?;
    let release = wait_reason(&namespace, &controller, "other", "VerificationFailed").await?;
    assert!(message(&release).contains("another key"), "{}", message(&release));
    controller.terminate()?;
    let controller = super::controller(&namespace)?;
    secret(&namespace, "keys", json!({"cosign.pub": other.public_key()})).await?;
    wait_reason(&namespace, &controller, "shop", "VerificationFailed").await?;
    assert_eq!(says(&namespace).await?, "1.1.0 hello");
    keeps_secrets(&namespace, &controller)
}

#[tokio::test]
async fn what_was_fetched_unverified_is_not_used_by_who_wants_it_signed() -> Result<()> {
    let namespace = Namespace::new(kwok(), "signed-cache").await?;
    let controller = controller(&namespace)?;
    let registry = Registry::start(None)?;
    login(&namespace, "login", PASSWORD).await?;
    let digest =
        push(&namespace, &registry, &package(&namespace, "1.0.0", "")?, &["--plain-http"])?;
    let chart = json!({"digest": digest, "insecure": true, "secretRef": {"name": "login"}});
    namespace.release("shop", &[], oci(&registry, chart)).await?;
    wait_revision(&namespace, &controller, 1).await?;
    let signer = Signer::new()?;
    secret(&namespace, "keys", json!({"cosign.pub": signer.public_key()})).await?;
    let spec = signed(&registry, "keys", json!({"digest": digest}));
    namespace.release("shop", &[], spec).await?;
    wait_reason(&namespace, &controller, "shop", "VerificationFailed").await?;
    signer.sign(&registry, "charts/shop", &digest).await?;
    wait_revision(&namespace, &controller, 1).await?;
    Ok(())
}

#[tokio::test]
async fn providers_that_do_not_fit_are_refused_by_the_api_server() -> Result<()> {
    let namespace = Namespace::new(kwok(), "signed-refused").await?;
    let at = |provider: &str| {
        let verify = json!({"provider": provider, "secretRef": {"name": "keys"}});
        repository("http://127.0.0.1:1", json!({"verify": verify}))
    };
    for (spec, wanted) in [
        (at("cosign"), "takes the provider helm"),
        (at("notation"), "takes the provider helm"),
        (at("gpg"), "supported values"),
    ] {
        let refused = namespace.release("shop", &[], spec).await;
        let refused = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(refused.contains(wanted), "{refused:?}");
    }
    Ok(())
}
