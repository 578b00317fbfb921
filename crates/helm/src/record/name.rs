//! The name of a record's Secret, and the labels by which Helm finds it.

use std::collections::BTreeMap;

use super::Status;

/// The Secret's `type`.
pub const SECRET_TYPE: &str = "helm.sh/release.v1";
/// The release's name.
pub const LABEL_NAME: &str = "name";
/// Always [`OWNER`]; `helm list` selects by it.
pub const LABEL_OWNER: &str = "owner";
/// The status. Helm reads the deployed revision from this label, not from the JSON.
pub const LABEL_STATUS: &str = "status";
/// The revision, decimal.
pub const LABEL_VERSION: &str = "version";
/// The time when Helm created the Secret, in Unix seconds; its next update drops it.
pub const LABEL_CREATED_AT: &str = "createdAt";
/// The time when Helm last updated the Secret, in Unix seconds.
pub const LABEL_MODIFIED_AT: &str = "modifiedAt";
/// The labels that users cannot set: `systemLabels` in `pkg/storage/driver/util.go`.
pub const SYSTEM_LABELS: [&str; 6] =
    [LABEL_NAME, LABEL_OWNER, LABEL_STATUS, LABEL_VERSION, LABEL_CREATED_AT, LABEL_MODIFIED_AT];
/// The value of [`LABEL_OWNER`].
pub const OWNER: &str = "helm";

const NAME_PREFIX: &str = "sh.helm.release.v1.";

/// Returns the name of a revision's Secret: `makeKey` in `pkg/storage/storage.go`.
pub fn secret_name(release: &str, revision: i32) -> String {
    format!("{NAME_PREFIX}{release}.v{revision}")
}

/// Returns the release and the revision of a Secret's name, `None` if it is not one of Helm's.
/// Release names may hold dots, so the revision follows the last `.v`.
pub fn parse_secret_name(name: &str) -> Option<(&str, i32)> {
    let (release, digits) = name.strip_prefix(NAME_PREFIX)?.rsplit_once(".v")?;
    let revision = digits.parse().ok().filter(|revision| *revision > 0)?;
    // Only the spelling that `secret_name` returns: not `+1`, not `01`.
    let canonical = !release.is_empty() && digits.bytes().next()?.is_ascii_digit();
    (canonical && !digits.starts_with('0')).then_some((release, revision))
}

/// The labels by which Helm finds a record: `newSecretsObject` in `pkg/storage/driver/secrets.go`.
/// [`LABEL_CREATED_AT`] and [`LABEL_MODIFIED_AT`] come with the Secret; see [`crate::secret`].
pub fn labels(release: &str, status: Status, revision: i32) -> BTreeMap<String, String> {
    [
        (LABEL_NAME, release.to_owned()),
        (LABEL_OWNER, OWNER.to_owned()),
        (LABEL_STATUS, status.as_str().to_owned()),
        (LABEL_VERSION, revision.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}
