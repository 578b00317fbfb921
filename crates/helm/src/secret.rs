//! The storage of a release record: a Secret (`pkg/storage/driver/secrets.go`), or the `ConfigMap`
//! of Helm's other driver, which is only read.

mod parts;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::record::{self, RecordError, Release, Status};

/// The largest total of the values of a Secret, in bytes before the Secret's own base64:
/// `MaxSecretSize` in `k8s.io/kubernetes/pkg/apis/core`.
pub const MAX_SECRET_BYTES: usize = 1024 * 1024;
/// The data key of the record, as Helm expects it.
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

/// The kind and the time of a write of a Secret. Helm sets a label of its own for the creation and
/// for each update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// For a POST: label `createdAt`.
    Created(Timestamp),
    /// For an update: label `modifiedAt`; as in Helm, `createdAt` is gone then.
    Modified(Timestamp),
}

/// The reason why a record cannot be read from its storage, or not be stored there. It never quotes
/// the data.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StorageError {
    /// There is no record in it.
    #[error("{object} has no data key `{KEY_RELEASE}`, so it is not a release record")]
    NoRecord {
        /// Kind, namespace and name, such as `Secret prod/sh.helm.release.v1.shop.v1`.
        object: String,
    },
    /// A value of its data is not in the form that the API server writes.
    #[error("{object}: the value of data key `{key}` is not base64")]
    Value {
        /// As in [`Self::NoRecord`].
        object: String,
        /// The data key.
        key: &'static str,
    },
    /// The record in it cannot be read, or could not be read again.
    #[error("{object}: {error}")]
    Record {
        /// As in [`Self::NoRecord`].
        object: String,
        /// The problem of the record.
        error: RecordError,
    },
    /// It was copied from another one, or edited.
    #[error(
        "{object}: the release record in it is of {}revision {revision}, which its name does not \
         say: it was copied or edited by hand",
        if *.same_release { "" } else { "another release, " }
    )]
    OfAnother {
        /// As in [`Self::NoRecord`].
        object: String,
        /// True if the release is the one of its name.
        same_release: bool,
        /// The revision in the record.
        revision: i32,
    },
    /// Kubernetes would refuse it.
    #[error(
        "{object} would hold {total} bytes, and Kubernetes allows {MAX_SECRET_BYTES}. Compressed, \
         as it is stored: {}. Make what is largest smaller, or split the release",
        parts::listed(.parts)
    )]
    TooLarge {
        /// As in [`Self::NoRecord`].
        object: String,
        /// The size of all values of its data together.
        total: usize,
        /// The parts that fill it, the largest first: a name, and its bytes if it were alone.
        parts: Vec<(&'static str, usize)>,
    },
}

/// Returns the Secret of `release`, ready for a POST: `newSecretsObject`. The user's labels
/// ([`Release::labels`]) are added to Helm's own, which take precedence. The caller adds
/// annotations, and a `resourceVersion` for an update. If it does not fit, the parts that Helm does
/// not use are left out ([`record::Chart::reduced`]).
///
/// # Errors
/// [`StorageError::TooLarge`], or [`RecordError::TooLarge`].
pub fn to_secret(
    release: &Release,
    written: Written,
    plans: &Plans,
) -> Result<Value, StorageError> {
    let name = release.secret_name();
    let object = || format!("Secret {}/{name}", release.namespace);
    let encode = |release: &Release| {
        record::encode(release).map_err(|error| StorageError::Record { object: object(), error })
    };
    let beside: usize = plans.values().map(Vec::len).sum();
    let mut encoded = encode(release)?;
    if encoded.len() + beside > MAX_SECRET_BYTES && !release.chart.extra.is_empty() {
        encoded = encode(&Release { chart: release.chart.reduced(), ..release.clone() })?;
    }
    let total = encoded.len() + beside;
    if total > MAX_SECRET_BYTES {
        return Err(StorageError::TooLarge {
            object: object(),
            total,
            parts: parts::of(release, plans),
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

/// Returns the record in a Secret as the API server returns it, and the plans beside it. Like Helm,
/// it does not check the Secret's type.
///
/// # Errors
/// A Secret without a record, and a record that is not of the Secret's name.
pub fn from_secret(secret: &Value) -> Result<(Release, Plans), StorageError> {
    let object = || place("Secret", secret);
    let encoded = value(secret, KEY_RELEASE, &object)?
        .ok_or_else(|| StorageError::NoRecord { object: object() })?;
    let release = read(&encoded, secret, &object)?;
    let mut plans = Plans::new();
    for key in [KEY_PLAN, KEY_DELETE_PLAN, KEY_TEST_PLAN] {
        if let Some(plan) = value(secret, key, &object)? {
            plans.insert(key, plan);
        }
    }
    Ok((release, plans))
}

/// Returns the record in a `ConfigMap`, where Helm keeps it with `HELM_DRIVER=configmap`: the same
/// text under the same name, without the base64 that a Secret's values get
/// (`pkg/storage/driver/cfgmaps.go`).
///
/// # Errors
/// As [`from_secret`].
pub fn from_config_map(config_map: &Value) -> Result<Release, StorageError> {
    let object = || place("ConfigMap", config_map);
    let encoded = config_map["data"][KEY_RELEASE].as_str();
    let encoded = encoded.ok_or_else(|| StorageError::NoRecord { object: object() })?;
    read(encoded.as_bytes(), config_map, &object)
}

/// Returns the record, with the parts that only its storage has: the namespace, the user's labels,
/// and the status, which Helm reads from the label.
fn read(
    encoded: &[u8],
    holder: &Value,
    object: &impl Fn() -> String,
) -> Result<Release, StorageError> {
    let mut release = record::decode(encoded)
        .map_err(|error| StorageError::Record { object: object(), error })?;
    let metadata = &holder["metadata"];
    if metadata["name"] != release.secret_name().as_str() {
        let named = metadata["name"].as_str().and_then(record::parse_secret_name);
        return Err(StorageError::OfAnother {
            object: object(),
            same_release: named.is_some_and(|(name, _)| name == release.name),
            revision: release.version,
        });
    }
    if let Some(namespace) = metadata["namespace"].as_str() {
        // Flux may keep records elsewhere, and a backup may be restored elsewhere.
        let stated = std::mem::replace(&mut release.namespace, namespace.to_owned());
        release.elsewhere = Some(stated).filter(|it| !it.is_empty() && it != namespace);
    }
    let label = &metadata["labels"][record::LABEL_STATUS];
    if let Some(status) = label.as_str().and_then(Status::parse) {
        release.info.status = status;
    }
    let labels = metadata["labels"].as_object().into_iter().flatten();
    release.labels =
        user_labels(labels.filter_map(|(key, v)| Some((key.clone(), v.as_str()?.to_owned()))));
    Ok(release)
}

fn place(kind: &str, holder: &Value) -> String {
    let field = |key: &str| holder["metadata"][key].as_str().unwrap_or_default();
    format!("{kind} {}/{}", field("namespace"), field("name"))
}

fn value(
    secret: &Value,
    key: &'static str,
    object: &impl Fn() -> String,
) -> Result<Option<Vec<u8>>, StorageError> {
    let value = match &secret["data"][key] {
        Value::Null => return Ok(None),
        value => value.as_str().and_then(|text| STANDARD.decode(text).ok()),
    };
    value.map(Some).ok_or_else(|| StorageError::Value { object: object(), key })
}

/// `filterSystemLabels`.
fn user_labels(labels: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let user = |key: &str| !record::SYSTEM_LABELS.contains(&key);
    labels.into_iter().filter(|(key, _)| user(key)).collect()
}
