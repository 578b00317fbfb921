//! The objects of a release, and their names.

use std::{collections::HashSet, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One of the release's objects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedObject {
    /// Names the object.
    pub object: ObjectRef,
    /// The object as the source has it.
    pub manifest: Value,
}

/// Kinds that hold data or other objects: those that a hook created are kept when their release is
/// deleted, as Helm keeps all objects of hooks. A Secret may be the key of the data on a volume.
const HOLDS_DATA: [&str; 4] =
    ["PersistentVolumeClaim", "Secret", "Namespace", "CustomResourceDefinition"];

/// Reference to an object of the cluster.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// API group and version, such as `batch/v1`.
    pub api_version: String,
    /// Kind, such as `Job`.
    pub kind: String,
    /// Namespace. Absent for cluster-scoped kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl ObjectRef {
    /// The API group; empty for the core group.
    pub fn group(&self) -> &str {
        group_of(&self.api_version)
    }

    /// Returns whether it is the Namespace of this name.
    pub fn is_namespace(&self, name: &str) -> bool {
        self.group().is_empty() && self.kind == "Namespace" && self.name == name
    }

    /// Returns whether it may hold data, or other objects, that are lost with it.
    pub fn holds_data(&self) -> bool {
        HOLDS_DATA.contains(&self.kind.as_str())
    }

    /// Returns whether both name one object, whatever the version (Helm's `objectKey` in
    /// `Client.update`).
    pub fn is_same_object(&self, other: &Self) -> bool {
        self.group() == other.group()
            && (&self.kind, &self.namespace, &self.name)
                == (&other.kind, &other.namespace, &other.name)
    }
}

/// The API group of an API version; empty for the core group.
pub(crate) fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// An object as it is compared by [`ObjectRef::is_same_object`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    group: String,
    kind: String,
    namespace: Option<String>,
    name: String,
}

impl From<&ObjectRef> for Identity {
    fn from(object: &ObjectRef) -> Self {
        let ObjectRef { kind, namespace, name, .. } = object.clone();
        Self { group: object.group().to_owned(), kind, namespace, name }
    }
}

/// A set of objects, by [`ObjectRef::is_same_object`]: a comparison of each with each other one
/// would take the square of their number.
#[derive(Clone, Debug, Default)]
pub struct ObjectSet(HashSet<Identity>);

impl ObjectSet {
    /// Adds the object; returns false if it was there.
    pub fn insert(&mut self, object: &ObjectRef) -> bool {
        self.0.insert(object.into())
    }

    /// Returns true if the object is in the set.
    pub fn contains(&self, object: &ObjectRef) -> bool {
        self.0.contains(&object.into())
    }
}

impl<'a> FromIterator<&'a ObjectRef> for ObjectSet {
    fn from_iter<T: IntoIterator<Item = &'a ObjectRef>>(objects: T) -> Self {
        Self(objects.into_iter().map(Into::into).collect())
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}
