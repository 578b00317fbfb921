//! Applies objects by dry runs, as the operator applies them, and compares the results with what is there.

use std::{collections::HashMap, sync::Mutex};

use api::names::FIELD_MANAGER;
use helm::ownership;
use kube::{
    Api,
    api::{Patch, PatchParams},
    core::{DynamicObject, GroupVersionKind},
    discovery::{self, ApiResource, Scope},
};
use lifecycle::{
    approval::Action,
    drift,
    object::{ObjectRef, PlannedObject},
};
use serde_json::Value;

use super::show::{Change, Field};
use crate::cluster::{Cluster, words};

/// A kind as the cluster serves it, by `apiVersion` and name.
type Kinds = HashMap<(String, String), Option<(ApiResource, Scope)>>;

pub(super) struct Comparer<'a> {
    cluster: &'a Cluster,
    release: &'a str,
    namespace: &'a str,
    kinds: Mutex<Kinds>,
}

/// The result of a comparison.
pub(super) enum Compared {
    Same,
    Changed(Change),
    /// The API server's words.
    Unknown(String),
}

impl<'a> Comparer<'a> {
    pub(super) fn new(cluster: &'a Cluster, release: &'a str, namespace: &'a str) -> Self {
        Self { cluster, release, namespace, kinds: Mutex::default() }
    }

    pub(super) async fn compare(&self, planned: &PlannedObject) -> anyhow::Result<Compared> {
        let object = &planned.object;
        let create =
            || Change { action: Action::Create, object: object.clone(), fields: Vec::new() };
        // Of a kind that a hook or the chart's crds/ define.
        let Some((api, scope)) = self.api(object).await? else {
            return Ok(Compared::Changed(create()));
        };
        let live = match self.get(&api, object).await? {
            Ok(Some(live)) => live,
            Ok(None) => return Ok(Compared::Changed(create())),
            Err(why) => return Ok(Compared::Unknown(format!("{object}: {why}"))),
        };
        let home = object.namespace.as_deref().unwrap_or(self.namespace);
        let home = (scope == Scope::Namespaced).then_some(home);
        let body = ownership::applied(&planned.manifest, home, self.release, self.namespace);
        let what = format!("comparing {object}");
        let params = PatchParams::apply(FIELD_MANAGER).force().dry_run();
        let patch = Patch::Apply(&body);
        let applied = async { refusable(api.patch(&object.name, &params, &patch).await) };
        let needs = format!("the verb patch of {}", object.kind);
        let wanted = match self.cluster.answered(&what, &needs, applied).await? {
            Ok(wanted) => serde_json::to_value(wanted)?,
            Err(why) => return Ok(Compared::Unknown(format!("{object}: {why}"))),
        };
        let fields: Vec<_> = drift::differences(&live, &wanted)
            .iter()
            .map(|path| {
                let pointer = path.pointer(&live, &wanted);
                let at = |object: &Value| object.pointer(&pointer).cloned();
                Field { before: at(&live), after: at(&wanted), path: pointer }
            })
            .collect();
        if fields.is_empty() {
            return Ok(Compared::Same);
        }
        let object = object.clone();
        Ok(Compared::Changed(Change { action: Action::Update, object, fields }))
    }

    /// Returns whether the object is there, as far as that can be seen.
    pub(super) async fn exists(&self, object: &ObjectRef) -> anyhow::Result<bool> {
        let Some((api, _)) = self.api(object).await? else { return Ok(false) };
        Ok(self.get(&api, object).await?.is_ok_and(|found| found.is_some()))
    }

    async fn get(
        &self,
        api: &Api<DynamicObject>,
        object: &ObjectRef,
    ) -> anyhow::Result<Result<Option<Value>, String>> {
        let (what, needs) =
            (format!("reading {object}"), format!("the verb get of {}", object.kind));
        let reading = async { refusable(api.get_opt(&object.name).await) };
        let found = self.cluster.answered(&what, &needs, reading).await?;
        Ok(match found {
            Ok(found) => Ok(found.map(serde_json::to_value).transpose()?),
            Err(why) => Err(why),
        })
    }

    /// Returns the access to objects of the kind of `object`, in its namespace; `None` if the cluster does
    /// not serve the kind.
    async fn api(&self, object: &ObjectRef) -> anyhow::Result<Option<(Api<DynamicObject>, Scope)>> {
        let Some((resource, scope)) = self.kind(object).await? else { return Ok(None) };
        let client = self.cluster.client();
        let namespace = object.namespace.as_deref().unwrap_or(self.namespace);
        let api = match scope {
            Scope::Namespaced => Api::namespaced_with(client, namespace, &resource),
            Scope::Cluster => Api::all_with(client, &resource),
        };
        Ok(Some((api, scope)))
    }

    async fn kind(&self, object: &ObjectRef) -> anyhow::Result<Option<(ApiResource, Scope)>> {
        let key = (object.api_version.clone(), object.kind.clone());
        let known =
            |kinds: &Mutex<Kinds>| kinds.lock().ok().and_then(|kinds| kinds.get(&key).cloned());
        if let Some(known) = known(&self.kinds) {
            return Ok(known);
        }
        let (group, version) = match object.api_version.split_once('/') {
            Some((group, version)) => (group, version),
            None => ("", &*object.api_version),
        };
        let kind = GroupVersionKind::gvk(group, version, &object.kind);
        let client = self.cluster.client();
        let asking = async {
            match discovery::pinned_kind(&client, &kind).await {
                Ok((resource, capabilities)) => Ok(Some((resource, capabilities.scope))),
                Err(kube::Error::Discovery(_)) => Ok(None),
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
                Err(error) => Err(error),
            }
        };
        let what = format!("looking for kind {} of {}", object.kind, object.api_version);
        let found = self.cluster.answered(&what, "the right to do that", asking).await?;
        if let Ok(mut kinds) = self.kinds.lock() {
            kinds.insert(key, found.clone());
        }
        Ok(found)
    }
}

/// Separates what the API server refuses, which is about one object, from the lack of an answer.
fn refusable<T>(answer: kube::Result<T>) -> kube::Result<Result<T, String>> {
    match answer {
        Ok(answer) => Ok(Ok(answer)),
        Err(error @ kube::Error::Api(_)) => Ok(Err(words(&error))),
        Err(error) => Err(error),
    }
}
