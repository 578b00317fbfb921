//! The Secret that holds one release record: `pkg/storage/driver/secrets.go`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::record::{self, RecordError, Release};

/// What the values of a Secret may weigh together, in bytes before the Secret's own base64:
/// `MaxSecretSize` in `k8s.io/kubernetes/pkg/apis/core`.
pub const MAX_SECRET_BYTES: usize = 1024 * 1024;
/// The data key of the record, as Helm wants it.
pub const KEY_RELEASE: &str = "release";
/// The data key of the plan of the operation that made the revision. Helm ignores it, and drops it
/// when it rewrites the record.
pub const KEY_PLAN: &str = "plan";
/// The data key of the plan by which the release is being deleted.
pub const KEY_DELETE_PLAN: &str = "delete-plan";
/// The data key of the plan by which the release is being tested.
pub const KEY_TEST_PLAN: &str = "test-plan";

/// The operator's plans in a record's Secret, by data key.
pub type Plans = BTreeMap<&'static str, Vec<u8>>;

/// When a Secret is written. Helm stamps the creation and each update with a label of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// For a POST: label `createdAt`.
    Created(Timestamp),
    /// For an update: label `modifiedAt`; as in Helm, `createdAt` is gone then.
    Modified(Timestamp),
}

/// Why a record's Secret cannot be read or made. Never quotes the Secret's data.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SecretError {
    /// There is no record in it.
    #[error("Secret {secret} has no data key `{KEY_RELEASE}`, so it is not a release record")]
    NoRecord {
        /// `namespace/name`.
        secret: String,
    },
    /// A value of its data is not what the API server writes.
    #[error("Secret {secret}: the value of data key `{key}` is not base64")]
    Value {
        /// `namespace/name`.
        secret: String,
        /// The data key.
        key: &'static str,
    },
    /// The record in it cannot be read.
    #[error("Secret {secret}: {error}")]
    Record {
        /// `namespace/name`.
        secret: String,
        /// What is wrong with it.
        error: RecordError,
    },
    /// Kubernetes would refuse it.
    #[error(
        "Secret {secret} would hold {total} bytes, and Kubernetes allows {MAX_SECRET_BYTES}: the \
         release takes {release} (chart, values, manifest and hooks, compressed), the plans {plans}. \
         Make the chart smaller (leave large files out with .helmignore) or split the release"
    )]
    TooLarge {
        /// `namespace/name`.
        secret: String,
        /// Both together.
        total: usize,
        /// Bytes under [`KEY_RELEASE`].
        release: usize,
        /// Bytes of the plans.
        plans: usize,
    },
}

/// The Secret of `release`, ready for a POST: `newSecretsObject`. The user's labels
/// ([`Release::labels`]) go beside Helm's own, which win. The caller adds annotations, and a
/// `resourceVersion` for an update. Fails with [`SecretError::TooLarge`] only.
pub fn to_secret(release: &Release, written: Written, plans: &Plans) -> Result<Value, SecretError> {
    let name = release.secret_name();
    let encoded = record::encode(release);
    let plan_size: usize = plans.values().map(Vec::len).sum();
    let total = encoded.len() + plan_size;
    if total > MAX_SECRET_BYTES {
        return Err(SecretError::TooLarge {
            secret: format!("{}/{name}", release.namespace),
            total,
            release: encoded.len(),
            plans: plan_size,
        });
    }

    let mut labels = user_labels(release.labels.clone());
    labels.extend(record::labels(&release.name, release.info.status, release.version));
    let (key, time) = match written {
        Written::Created(time) => (record::LABEL_CREATED_AT, time),
        Written::Modified(time) => (record::LABEL_MODIFIED_AT, time),
    };
    labels.insert(key.to_owned(), time.as_second().to_string());

    let mut data = BTreeMap::from([(KEY_RELEASE, STANDARD.encode(encoded))]);
    data.extend(plans.iter().map(|(key, plan)| (*key, STANDARD.encode(plan))));
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": record::SECRET_TYPE,
        "metadata": {"name": name, "namespace": release.namespace, "labels": labels},
        "data": data,
    }))
}

/// The record in a Secret as the API server returns it, and the plans beside it. Like Helm, it
/// looks neither at the Secret's type nor at whether name and labels agree with the record.
pub fn from_secret(secret: &Value) -> Result<(Release, Plans), SecretError> {
    let metadata = &secret["metadata"];
    let field = |key: &str| metadata[key].as_str().unwrap_or_default();
    let id = || format!("{}/{}", field("namespace"), field("name"));

    let encoded =
        value(secret, KEY_RELEASE, &id)?.ok_or_else(|| SecretError::NoRecord { secret: id() })?;
    let mut release =
        record::decode(&encoded).map_err(|error| SecretError::Record { secret: id(), error })?;
    let labels = metadata["labels"].as_object().into_iter().flatten();
    release.labels =
        user_labels(labels.filter_map(|(key, v)| Some((key.clone(), v.as_str()?.to_owned()))));
    let mut plans = Plans::new();
    for key in [KEY_PLAN, KEY_DELETE_PLAN, KEY_TEST_PLAN] {
        if let Some(plan) = value(secret, key, &id)? {
            plans.insert(key, plan);
        }
    }
    Ok((release, plans))
}

fn value(
    secret: &Value,
    key: &'static str,
    id: &impl Fn() -> String,
) -> Result<Option<Vec<u8>>, SecretError> {
    let value = match &secret["data"][key] {
        Value::Null => return Ok(None),
        value => value.as_str().and_then(|text| STANDARD.decode(text).ok()),
    };
    value.map(Some).ok_or_else(|| SecretError::Value { secret: id(), key })
}

/// `filterSystemLabels`.
fn user_labels(labels: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let user = |key: &str| !record::SYSTEM_LABELS.contains(&key);
    labels.into_iter().filter(|(key, _)| user(key)).collect()
}
