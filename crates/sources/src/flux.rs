//! Charts that a source of Flux has published: its artifact, with its URL and its digest.

use api::SourceRef;
use engine::protocol::Origin;
use lifecycle::{journal::Failure, object::ObjectRef, reason::Reason};
use serde_json::Value;

use crate::{
    holders::absent,
    problems::{Blocked, Error},
    reads::Reads,
    server::WantedChart,
};

/// The group of Flux's sources.
pub const GROUP: &str = "source.toolkit.fluxcd.io";
/// Their version.
pub const VERSION: &str = "v1";

pub(super) async fn wanted<R: Reads>(
    source: &SourceRef,
    namespace: &str,
    reads: &R,
) -> Result<WantedChart, Error<R::Error>> {
    let place = format!("spec.source.sourceRef ({source})");
    let object = ObjectRef {
        api_version: format!("{GROUP}/{VERSION}"),
        kind: source.kind.as_str().to_owned(),
        namespace: Some(namespace.to_owned()),
        name: source.name.clone(),
    };
    if !reads.serves(&object).await.map_err(Error::Unread)? {
        let message = format!(
            "{place}: the cluster does not serve {} of {}; install Flux's source-controller, or a \
             version of it that has this kind",
            object.kind, object.api_version
        );
        return Err(Blocked::new(Reason::SourceNotFound, message).into());
    }
    let Some(live) = reads.get(&object).await.map_err(Error::Unread)? else {
        return Err(absent(reads, &object, &place).into());
    };
    let origin = match artifact(&live) {
        Ok((url, digest)) => Origin::Artifact { url, digest, under: folders(&object, &live) },
        Err(Trouble::Waiting(why)) => {
            let failure = Failure::new(Reason::SourceNotReady, format!("{place}: {object} {why}"));
            return Err(Error::NotReady(failure));
        }
        Err(Trouble::Unusable(why)) => {
            return Err(
                Blocked::new(Reason::InvalidSource, format!("{place}: {object} {why}")).into()
            );
        }
    };
    Ok(WantedChart { place, origin, credentials: None, verify: None })
}

#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    Waiting(String),
    Unusable(String),
}

/// Returns the artifact that the object has published for its present spec.
fn artifact(live: &Value) -> Result<(String, String), Trouble> {
    let status = &live["status"];
    let observed = status["observedGeneration"].as_i64();
    let generation = live["metadata"]["generation"].as_i64();
    if observed.is_some_and(|observed| Some(observed) != generation) {
        let why = format!("has not been reconciled since it was changed{}", ready(status));
        return Err(Trouble::Waiting(why));
    }
    let text = |name: &str| status["artifact"][name].as_str().filter(|text| !text.is_empty());
    let Some(url) = text("url") else {
        return Err(Trouble::Waiting(format!("has no artifact yet{}", ready(status))));
    };
    let digest = text("digest").unwrap_or_default();
    let is_sha256 = digest.strip_prefix("sha256:").is_some_and(|digits| {
        digits.len() == 64 && digits.bytes().all(|it| it.is_ascii_hexdigit())
    });
    if !is_sha256 {
        return Err(Trouble::Unusable(format!(
            "says {digest:?} as the digest of its artifact, and sha256:… is what can be checked; \
             see source-controller's --artifact-digest-algo"
        )));
    }
    Ok((url.to_owned(), digest.to_ascii_lowercase()))
}

/// Returns the folders in which a server of Flux keeps the artifacts of this object:
/// `/<kind>/<namespace>/<name>/`. An `ExternalArtifact` may also be kept under the object that it
/// was made from. Who may write the status of an object may lead to no other namespace by it.
fn folders(object: &ObjectRef, live: &Value) -> Vec<String> {
    let from = &live["spec"]["sourceRef"];
    let from = (object.kind == "ExternalArtifact")
        .then(|| Some((from["kind"].as_str()?, from["name"].as_str()?)))
        .flatten();
    let namespace = object.namespace.as_deref().unwrap_or_default();
    let is_plain = |text: &str| {
        text != ".." && text.bytes().all(|it| it.is_ascii_alphanumeric() || b"-.".contains(&it))
    };
    std::iter::once((&*object.kind, &*object.name))
        .chain(from)
        .filter(|(kind, name)| [kind, name].into_iter().all(|it| !it.is_empty() && is_plain(it)))
        .map(|(kind, name)| format!("/{}/{namespace}/{name}/", kind.to_ascii_lowercase()))
        .collect()
}

/// Returns Flux's report on it, in its own words.
fn ready(status: &Value) -> String {
    let conditions = status["conditions"].as_array();
    let ready = conditions.into_iter().flatten().find(|it| it["type"] == "Ready");
    let Some(ready) = ready else { return String::new() };
    let text = |name: &str| ready[name].as_str().unwrap_or_default();
    format!("; its condition Ready is {}, {}: {}", text("status"), text("reason"), text("message"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn source(status: Value) -> Value {
        json!({"metadata": {"generation": 2}, "status": status})
    }

    fn waiting(why: &str) -> Result<(String, String), Trouble> {
        Err(Trouble::Waiting(why.to_owned()))
    }

    #[test]
    fn what_was_published_for_the_present_spec_is_taken() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let artifact = json!({"url": "http://flux/a.tar.gz", "digest": digest});
        let taken = || Ok(("http://flux/a.tar.gz".to_owned(), digest.clone()));
        let of = |status| super::artifact(&source(status));
        assert_eq!(of(json!({"observedGeneration": 2, "artifact": artifact})), taken());
        // Not every kind reports what it has observed; and an artifact that it could not renew is
        // still there.
        let failed = json!([{"type": "Ready", "status": "False"}]);
        assert_eq!(of(json!({"artifact": artifact, "conditions": failed})), taken());
        let old = of(json!({"observedGeneration": 1, "artifact": artifact}));
        assert_eq!(old, waiting("has not been reconciled since it was changed"));
    }

    #[test]
    fn an_artifact_is_in_a_folder_of_its_source() {
        let folders = |kind: &str, spec: Value| {
            let object = ObjectRef {
                api_version: format!("{GROUP}/{VERSION}"),
                kind: kind.to_owned(),
                namespace: Some("team-a".to_owned()),
                name: "shop".to_owned(),
            };
            super::folders(&object, &json!({"spec": spec}))
        };
        let other = json!({"sourceRef": {"kind": "Source", "name": "my-source", "namespace": "b"}});
        assert_eq!(folders("HelmChart", other.clone()), ["/helmchart/team-a/shop/"]);
        let own = "/externalartifact/team-a/shop/";
        assert_eq!(folders("ExternalArtifact", other), [own, "/source/team-a/my-source/"]);
        for (kind, name) in [("helmchart/team-b", "x"), ("a", "../team-b"), ("a", ".."), ("", "x")]
        {
            let odd = json!({"sourceRef": {"kind": kind, "name": name}});
            assert_eq!(folders("ExternalArtifact", odd), [own], "{kind} {name}");
        }
        assert_eq!(folders("ExternalArtifact", json!({})), [own]);
    }

    #[test]
    fn what_is_not_there_yet_is_said_in_fluxs_words() {
        let ready = json!([{"type": "Ready", "status": "False", "reason": "AuthenticationFailed",
                            "message": "denied"}]);
        assert_eq!(
            artifact(&source(json!({"conditions": ready}))),
            waiting(
                "has no artifact yet; its condition Ready is False, AuthenticationFailed: denied"
            )
        );
        assert_eq!(artifact(&json!({"metadata": {}})), waiting("has no artifact yet"));
    }

    #[test]
    fn a_digest_that_cannot_be_checked_is_refused() {
        for digest in ["", "blake3:00", "sha256:../../x"] {
            let status = json!({"artifact": {"url": "http://flux/a", "digest": digest}});
            let refused = artifact(&source(status));
            assert!(matches!(refused, Err(Trouble::Unusable(_))), "{digest}: {refused:?}");
        }
    }
}
