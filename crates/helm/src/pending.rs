//! The Secret in which a plan waits for an approval, beside the record that it will have. It is none of
//! Helm's records, so that `helm` shows the release as it is deployed.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lifecycle::{digest::digest, plan::Plan};
use serde_json::{Value, json};

use crate::{
    record::{self, Release},
    secret::{KEY_PLAN, KEY_RELEASE, MAX_SECRET_BYTES, StorageError},
    stored::{frozen, thaw},
};

/// The type of the Secret.
pub const SECRET_TYPE: &str = "releaselifecycle.dev/plan.v1";

/// A plan that waits for an approval.
#[derive(Debug)]
pub struct Pending {
    /// The plan.
    pub plan: Plan,
    /// Its digest.
    pub digest: String,
    /// The record that the operation writes; `None` if it is made from another one.
    pub record: Option<Release>,
    /// The digest of that record, as it is stored.
    pub record_digest: Option<String>,
}

/// Returns the name of the Secret.
pub fn secret_name(release: &str) -> String {
    format!("releaselifecycle.v1.{release}.plan")
}

/// Returns the Secret that holds `plan` and the record that its operation writes, and the digest of
/// that record. `record` is the record's own Secret, so that it is known to fit.
///
/// # Errors
/// If the plan does not fit into a Secret.
pub fn to_secret(
    release: &str,
    namespace: &str,
    plan: &Plan,
    record: Option<&Value>,
) -> Result<(Value, Option<String>), StorageError> {
    let name = secret_name(release);
    let frozen = frozen(plan);
    if frozen.len() > MAX_SECRET_BYTES {
        return Err(StorageError::TooLarge {
            object: format!("Secret {namespace}/{name}"),
            total: frozen.len(),
            parts: vec![("the plan", frozen.len())],
        });
    }
    let mut data = json!({KEY_PLAN: STANDARD.encode(frozen)});
    let mut record_digest = None;
    if let Some(encoded) = record.map(|record| &record["data"][KEY_RELEASE]) {
        record_digest = encoded.as_str().map(|text| digest(text.as_bytes()));
        data[KEY_RELEASE] = encoded.clone();
    }
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": SECRET_TYPE,
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    });
    Ok((secret, record_digest))
}

/// Returns the content of the Secret; `None` if there is no plan in it that can be read. A tenant can
/// write it: only its digests say that it is the operator's.
pub fn from_secret(secret: &Value) -> Option<Pending> {
    let text = |key: &str| secret["data"][key].as_str();
    let (plan, of_plan) = thaw(&STANDARD.decode(text(KEY_PLAN)?).ok()?)?;
    let (record, record_digest) = match text(KEY_RELEASE) {
        None => (None, None),
        Some(text) => {
            let record = record::decode(&STANDARD.decode(text).ok()?).ok()?;
            (Some(record), Some(digest(text.as_bytes())))
        }
    };
    Some(Pending { plan, digest: of_plan, record, record_digest })
}

#[cfg(test)]
mod tests {
    use lifecycle::{event::Event, testing};

    use super::*;

    #[test]
    fn a_plan_comes_back_as_it_was_stored() {
        let plan = testing::plan(Event::Upgrade);
        let (secret, _) = to_secret("shop", "prod", &plan, None).unwrap();
        assert_eq!(secret["metadata"]["name"], "releaselifecycle.v1.shop.plan");
        let found = from_secret(&secret).unwrap();
        assert_eq!((&found.plan, found.digest), (&plan, plan.freeze().1));
        assert!(found.record.is_none());
    }

    #[test]
    fn what_is_no_plan_is_none() {
        for odd in [
            json!({}),
            json!({"data": {"plan": 7}}),
            json!({"data": {"plan": "bm8="}}),
            json!({"data": {"plan": "%"}}),
        ] {
            assert!(from_secret(&odd).is_none(), "{odd}");
        }
        let (mut secret, _) = to_secret("a", "b", &testing::plan(Event::Upgrade), None).unwrap();
        secret["data"]["release"] = "bm8=".into();
        assert!(from_secret(&secret).is_none(), "a record that cannot be read");
    }
}
