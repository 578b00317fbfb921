//! The Secret in which a plan waits for an approval, beside the record that it will have. It is none of
//! Helm's records, so that `helm` shows the release as it is deployed.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lifecycle::plan::Plan;
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
    /// The record that the operation writes; `None` if it is made from another record.
    pub record: Option<Release>,
}

/// Returns the name of the Secret.
pub fn secret_name(release: &str) -> String {
    format!("releaselifecycle.v1.{release}.plan")
}

/// Returns the Secret that holds `plan` and the record that its operation writes.
///
/// # Errors
/// If they do not fit into a Secret.
pub fn to_secret(
    release: &str,
    namespace: &str,
    plan: &Plan,
    record: Option<&Release>,
) -> Result<Value, StorageError> {
    let name = secret_name(release);
    let object = || format!("Secret {namespace}/{name}");
    let encoded = record.map(record::encode).transpose();
    let encoded = encoded.map_err(|error| StorageError::Record { object: object(), error })?;
    let plan = frozen(plan);
    let of_record = encoded.as_ref().map_or(0, Vec::len);
    let total = plan.len().saturating_add(of_record);
    if total > MAX_SECRET_BYTES {
        let parts = vec![("the record", of_record), ("the plan", plan.len())];
        return Err(StorageError::TooLarge { object: object(), total, parts });
    }
    let mut data = json!({KEY_PLAN: STANDARD.encode(plan)});
    if let Some(encoded) = encoded {
        data[KEY_RELEASE] = STANDARD.encode(encoded).into();
    }
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": SECRET_TYPE,
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    }))
}

/// Returns the content of the Secret; `None` if there is no plan in it that can be read. A tenant can
/// write it: only its digest says that it is the operator's.
pub fn from_secret(secret: &Value) -> Option<Pending> {
    let value = |key: &str| STANDARD.decode(secret["data"][key].as_str()?).ok();
    let (plan, digest) = thaw(&value(KEY_PLAN)?)?;
    let record = value(KEY_RELEASE).map(|bytes| record::decode(&bytes)).transpose().ok()?;
    Some(Pending { plan, digest, record })
}

#[cfg(test)]
mod tests {
    use lifecycle::{event::Event, testing};

    use super::*;

    #[test]
    fn a_plan_comes_back_as_it_was_stored() {
        let plan = testing::plan(Event::Upgrade);
        let secret = to_secret("shop", "prod", &plan, None).unwrap();
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
        let mut secret = to_secret("a", "b", &testing::plan(Event::Upgrade), None).unwrap();
        secret["data"]["release"] = "bm8=".into();
        assert!(from_secret(&secret).is_none(), "a record that cannot be read");
    }
}
