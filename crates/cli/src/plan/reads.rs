//! The readers of the objects that a spec names: the cluster as the user may see it, or the files
//! beside it.

use std::convert::Infallible;

use api::ObjectsFromKind;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use lifecycle::object::ObjectRef;
use manifests::placed::Placed;
use serde_json::Value;
use sources::Reads;

use super::given::name_of;
use crate::cluster::Cluster;

/// Reads the cluster.
pub(super) struct ClusterReads<'a>(pub(super) &'a Cluster);

impl Reads for ClusterReads<'_> {
    type Error = anyhow::Error;

    async fn get(&self, object: &ObjectRef) -> anyhow::Result<Option<Value>> {
        match kind_of(object) {
            Some(kind) => self.0.holder(kind, &object.name).await,
            None => Ok(None),
        }
    }

    // Only asked for sources of Flux, which are not resolved here.
    async fn serves(&self, object: &ObjectRef) -> anyhow::Result<bool> {
        Ok(kind_of(object).is_some())
    }

    fn absence(&self) -> String {
        format!("does not exist in {}; create it, or correct the name", self.0.scope())
    }
}

/// A reader that finds objects in files.
pub(super) struct FileReads<'a> {
    pub(super) objects: &'a [Placed],
    /// The message on an object that is not in them.
    pub(super) absence: &'a str,
}

impl Reads for FileReads<'_> {
    type Error = Infallible;

    async fn get(&self, object: &ObjectRef) -> Result<Option<Value>, Infallible> {
        let home = object.namespace.as_deref().unwrap_or_default();
        let is_it = |it: &&Placed| {
            let text =
                |path: &str| it.manifest.pointer(path).and_then(Value::as_str).unwrap_or_default();
            let namespace = text("/metadata/namespace");
            text("/kind") == object.kind
                && text("/apiVersion") == object.api_version
                && name_of(&it.manifest) == object.name
                && (namespace.is_empty() || home.is_empty() || namespace == home)
        };
        let found = self.objects.iter().find(is_it).map(|it| it.manifest.clone());
        Ok(found.map(as_stored))
    }

    async fn serves(&self, object: &ObjectRef) -> Result<bool, Infallible> {
        Ok(kind_of(object).is_some())
    }

    fn absence(&self) -> String {
        self.absence.to_owned()
    }
}

fn kind_of(object: &ObjectRef) -> Option<ObjectsFromKind> {
    let kinds = [ObjectsFromKind::ConfigMap, ObjectsFromKind::Secret];
    kinds.into_iter().find(|kind| kind.as_str() == object.kind && object.api_version == "v1")
}

/// Returns a Secret as the API server stores it, which writes `stringData` over `data`.
fn as_stored(mut object: Value) -> Value {
    let Some(Value::Object(texts)) = object.get_mut("stringData").map(Value::take) else {
        return object;
    };
    if !object["data"].is_object() {
        object["data"] = Value::Object(serde_json::Map::new());
    }
    for (key, text) in texts {
        object["data"][key] = text.as_str().map_or(Value::Null, |it| STANDARD.encode(it).into());
    }
    object
}
