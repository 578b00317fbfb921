//! The marks by which Helm recognizes its own objects: `pkg/action/validate.go`. The marks are on
//! live objects, not in the stored manifest, and not on hooks. Also `helm.sh/resource-policy`.

use std::fmt;

use manifests::json;
use serde_json::{Map, Value};

/// The label that every object of a release carries.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY_LABEL`].
pub const MANAGED_BY: &str = "Helm";
/// The annotation with the release's name.
pub const RELEASE_NAME_ANNOTATION: &str = "meta.helm.sh/release-name";
/// The annotation with the release's namespace.
pub const RELEASE_NAMESPACE_ANNOTATION: &str = "meta.helm.sh/release-namespace";
/// The annotation that keeps an object when its release is deleted.
pub const RESOURCE_POLICY_ANNOTATION: &str = lifecycle::annotations::RESOURCE_POLICY;

const KEEP: &str = "keep";

/// Returns the body by which an object is applied for `release`, whose records are in `namespace`: with its
/// marks, and with `home`, the namespace of the object, if its kind has one.
pub fn applied(manifest: &Value, home: Option<&str>, release: &str, namespace: &str) -> Value {
    let mut body = manifest.clone();
    mark(&mut body, release, namespace);
    if let Some(home) = home {
        json::set(&mut body, &["metadata", "namespace"], home);
    }
    body
}

/// Marks an object as the release's own, over any other mark: `setMetadataVisitor`. The items of a
/// `List` are objects of their own, so the caller splits it first. A value that is not a JSON
/// object stays as it is; the API server refuses it.
pub fn mark(object: &mut Value, release: &str, namespace: &str) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    let mut metadata = take(object, "metadata");
    let mut labels = take(&mut metadata, "labels");
    labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.into());
    let mut annotations = take(&mut metadata, "annotations");
    annotations.insert(RELEASE_NAME_ANNOTATION.to_owned(), release.into());
    annotations.insert(RELEASE_NAMESPACE_ANNOTATION.to_owned(), namespace.into());
    metadata.insert("labels".to_owned(), labels.into());
    metadata.insert("annotations".to_owned(), annotations.into());
    object.insert("metadata".to_owned(), metadata.into());
}

/// Checks whether a live object may be changed by the release: `checkOwnership`. Every mark that is
/// missing or another's is in the error.
pub fn check(live: &Value, release: &str, namespace: &str) -> Result<(), OwnershipError> {
    let expected = [
        (Mark::Label, MANAGED_BY_LABEL, MANAGED_BY),
        (Mark::Annotation, RELEASE_NAME_ANNOTATION, release),
        (Mark::Annotation, RELEASE_NAMESPACE_ANNOTATION, namespace),
    ];
    let problems: Vec<Problem> = expected
        .into_iter()
        .filter_map(|(mark, key, expected)| {
            let found = mark.value(live, key);
            (found != Some(expected)).then(|| Problem {
                mark,
                key,
                found: found.map(str::to_owned),
                expected: expected.to_owned(),
            })
        })
        .collect();
    if problems.is_empty() {
        return Ok(());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, name) = (text(&live["kind"]), text(&live["metadata"]["name"]));
    let object = match live["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    };
    Err(OwnershipError {
        object,
        holder: owner(live)
            .map(|(name, of)| Holder { name: name.to_owned(), namespace: of.to_owned() }),
        problems,
    })
}

/// The name and the namespace of the release that a live object belongs to; `None` unless it has all
/// three marks.
pub fn owner(live: &Value) -> Option<(&str, &str)> {
    (Mark::Label.value(live, MANAGED_BY_LABEL) == Some(MANAGED_BY)).then_some(())?;
    Some((
        Mark::Annotation.value(live, RELEASE_NAME_ANNOTATION)?,
        Mark::Annotation.value(live, RELEASE_NAMESPACE_ANNOTATION)?,
    ))
}

/// The value of an object's `helm.sh/resource-policy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourcePolicy {
    /// No annotation: deleted with the release.
    Absent,
    /// Kept.
    Keep,
    /// A word that Helm does not know, as it was written. On uninstall Helm neither deletes nor
    /// lists such an object (`filterManifestsToKeep`); the operator deletes it and warns.
    Unknown(String),
}

/// Returns the policy that counts on uninstall, where Helm reads the *stored* object and is lenient
/// about spaces and case: `filterManifestsToKeep` in `pkg/action/resource_policy.go`.
pub fn resource_policy(stored: &Value) -> ResourcePolicy {
    match Mark::Annotation.value(stored, RESOURCE_POLICY_ANNOTATION) {
        None => ResourcePolicy::Absent,
        Some(word) if word.trim().to_lowercase() == KEEP => ResourcePolicy::Keep,
        Some(word) => ResourcePolicy::Unknown(word.to_owned()),
    }
}

/// Returns whether an object that an upgrade or a rollback no longer holds is kept. There Helm
/// reads the *live* object and is exact, so `" Keep "` is deleted: `Client.update` in
/// `pkg/kube/client.go`.
pub fn kept_when_removed(live: &Value) -> bool {
    Mark::Annotation.value(live, RESOURCE_POLICY_ANNOTATION) == Some(KEEP)
}

/// The reason why an object stays that its release no longer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stays {
    /// The release does not own it.
    Foreign(OwnershipError),
    /// By its annotation, see [`kept_when_removed`].
    Kept,
}

/// Returns the reason why an upgrade or a rollback that no longer holds the object leaves it alone;
/// `None` if it is pruned.
pub fn stays_when_removed(live: &Value, release: &str, namespace: &str) -> Option<Stays> {
    match check(live, release, namespace) {
        Err(foreign) => Some(Stays::Foreign(foreign)),
        Ok(()) => kept_when_removed(live).then_some(Stays::Kept),
    }
}

/// A live object that the release may not touch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct OwnershipError {
    /// The object: `ConfigMap prod/web`.
    pub object: String,
    /// The release that it belongs to, if it belongs to one.
    pub holder: Option<Holder>,
    /// Each mark that is missing or another's; at least one.
    pub problems: Vec<Problem>,
}

/// A release that an object belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

/// One mark that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    mark: Mark,
    /// The label's or annotation's key.
    pub key: &'static str,
    /// The present value.
    pub found: Option<String>,
    /// The expected value.
    pub expected: String,
}

impl OwnershipError {
    /// Returns its owner: `release other in namespace prod`, or `no release`.
    pub fn whose(&self) -> String {
        match &self.holder {
            Some(Holder { name, namespace }) => format!("release {name} in namespace {namespace}"),
            None => "no release".to_owned(),
        }
    }
}

impl fmt::Display for OwnershipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, holder, problems } = self;
        write!(f, "{object} belongs to {}", self.whose())?;
        // It may be almost the release's own: then one has to see the difference.
        let present = problems.iter().filter(|problem| problem.found.is_some());
        for Problem { mark, key, found, expected } in present.filter(|_| holder.is_none()) {
            let found = found.as_deref().unwrap_or_default();
            write!(f, ", {mark} {key} is {found:?} and not {expected:?}")?;
        }
        Ok(())
    }
}

/// The marks of a release, for a person to set.
pub fn marks(release: &str, namespace: &str) -> String {
    format!(
        "label {MANAGED_BY_LABEL}={MANAGED_BY} and annotations {RELEASE_NAME_ANNOTATION}={release}, \
         {RELEASE_NAMESPACE_ANNOTATION}={namespace}"
    )
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Label,
    Annotation,
}

impl Mark {
    fn value<'a>(self, object: &'a Value, key: &str) -> Option<&'a str> {
        let field = match self {
            Self::Label => "labels",
            Self::Annotation => "annotations",
        };
        object["metadata"][field][key].as_str()
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Label => "label",
            Self::Annotation => "annotation",
        })
    }
}

/// Takes out the object under `key`; an empty one if there is none.
fn take(object: &mut Map<String, Value>, key: &str) -> Map<String, Value> {
    match object.remove(key) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}
