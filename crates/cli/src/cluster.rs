//! Access to the cluster, and what to do if there is none.

use std::{collections::BTreeSet, fmt::Debug, time::Duration};

use anyhow::{Context as _, Error, anyhow, bail};
use api::{ObjectsFromKind, ReleaseLifecycle, ReleaseLifecycleStatus};
use futures::AsyncBufRead;
use http::{HeaderValue, header::USER_AGENT};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        authentication::v1::SelfSubjectReview,
        core::v1::{ConfigMap, Pod, Secret},
    },
};
use kube::{
    Api, Client, Config, Resource, ResourceExt as _,
    api::{ListParams, LogParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::time::timeout;

use crate::args::Place;

/// The deadline of one request. A watch is not bound by it.
const DEADLINE: Duration = Duration::from_secs(30);
/// The user agent by which servers recognize this program's requests.
pub(crate) const AGENT: &str = concat!("kubectl-lifecycle/", env!("CARGO_PKG_VERSION"));
/// Not `kubectl-…`: Flux removes the fields of such managers.
const FIELD_MANAGER: &str = "releaselifecycle-cli";
/// The permissions that reading needs.
const READ: &str = "the verbs get, list and watch of releaselifecycles in group \
                    releaselifecycle.dev";

/// Kinds of Flux: group, version, kind.
pub(crate) const HELM_RELEASE: [&str; 3] = ["helm.toolkit.fluxcd.io", "v2", "HelmRelease"];
pub(crate) const HELM_REPOSITORY: [&str; 3] = ["source.toolkit.fluxcd.io", "v1", "HelmRepository"];

/// The answer to a question that not everybody may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked<T> {
    Known(T),
    /// The API server's words.
    Refused(String),
}

impl<T> Asked<T> {
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Asked<U> {
        match self {
            Self::Known(known) => Asked::Known(change(known)),
            Self::Refused(why) => Asked::Refused(why),
        }
    }
}

#[derive(Clone)]
pub(crate) struct Cluster {
    client: Client,
    url: String,
    /// `None`: all.
    namespace: Option<String>,
}

impl Cluster {
    pub(crate) async fn find(place: &Place) -> anyhow::Result<Self> {
        let mut config = config(place).await?;
        config.connect_timeout = Some(Duration::from_secs(10));
        config.headers.push((USER_AGENT, HeaderValue::from_static(AGENT)));
        let url = config.cluster_url.to_string();
        let namespace = place.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config)
            .with_context(|| format!("making a client for the cluster at {url}"))?;
        Ok(Self { client, url, namespace: Some(namespace) })
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    pub(crate) fn in_all_namespaces(self) -> Self {
        Self { namespace: None, ..self }
    }

    pub(crate) fn in_namespace(self, namespace: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), ..self }
    }

    pub(crate) fn has_all_namespaces(&self) -> bool {
        self.namespace.is_none()
    }

    /// Returns the namespace; empty for all of them.
    pub(crate) fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }

    /// Returns `namespace shop`, or `any namespace`.
    pub(crate) fn scope(&self) -> String {
        self.namespace
            .as_ref()
            .map_or("any namespace".to_owned(), |namespace| format!("namespace {namespace}"))
    }

    pub(crate) fn api(&self) -> Api<ReleaseLifecycle> {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    pub(crate) async fn get(&self, name: &str) -> anyhow::Result<ReleaseLifecycle> {
        let what = format!("reading ReleaseLifecycle {name} in {}", self.scope());
        match self.answered(&what, READ, self.api().get_opt(name)).await? {
            Some(object) => Ok(object),
            // A missing CustomResourceDefinition is a 404 too.
            None => Err(self.missing(name, self.list().await?)),
        }
    }

    /// Returns the status of a release, if it is there and has one.
    pub(crate) async fn status(
        &self,
        name: &str,
    ) -> anyhow::Result<Option<ReleaseLifecycleStatus>> {
        let what = format!("reading ReleaseLifecycle {name} in {}", self.scope());
        let found = self.answered(&what, READ, self.api().get_opt(name)).await?;
        Ok(found.and_then(|object| object.status))
    }

    /// Lists them by namespace and name.
    pub(crate) async fn list(&self) -> anyhow::Result<Vec<ReleaseLifecycle>> {
        let what = format!("listing ReleaseLifecycles in {}", self.scope());
        let params = ListParams::default();
        Ok(self.answered(&what, READ, self.api().list(&params)).await?.items)
    }

    /// Patches the object with `change`, and returns its new state; `None` if it is another one by
    /// now, by the `uid` or the `resourceVersion` in `change`.
    pub(crate) async fn change(
        &self,
        name: &str,
        change: &Value,
        dry_run: bool,
    ) -> anyhow::Result<Option<ReleaseLifecycle>> {
        let what = format!("changing ReleaseLifecycle {name} in {}", self.scope());
        let needs = "the verbs get and patch of releaselifecycles in group releaselifecycle.dev";
        let params = PatchParams { dry_run, ..PatchParams::default() };
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..params };
        let api = self.api();
        let changing = async {
            match api.patch(name, &params, &Patch::Merge(change)).await {
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
                changed => changed.map(Some),
            }
        };
        self.answered(&what, needs, changing).await
    }

    /// Returns the user as whom the API server knows this client.
    pub(crate) async fn user(&self) -> anyhow::Result<String> {
        let what = "asking who the user is";
        let needs = "the verb create of selfsubjectreviews in group authentication.k8s.io";
        let api: Api<SelfSubjectReview> = Api::all(self.client.clone());
        let params = PostParams::default();
        let review = SelfSubjectReview::default();
        let review = self.answered(what, needs, api.create(&params, &review)).await?;
        let user = review.status.and_then(|status| status.user_info?.username);
        user.context("the API server does not say who the user is")
    }

    /// Returns a `ConfigMap` or a Secret, `None` if there is none of that name.
    pub(crate) async fn holder(
        &self,
        kind: ObjectsFromKind,
        name: &str,
    ) -> anyhow::Result<Option<Value>> {
        match kind {
            ObjectsFromKind::ConfigMap => self.read::<ConfigMap>(kind, name).await,
            ObjectsFromKind::Secret => self.read::<Secret>(kind, name).await,
        }
    }

    async fn read<K>(&self, kind: ObjectsFromKind, name: &str) -> anyhow::Result<Option<Value>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Serialize,
    {
        let what = format!("reading {} {name} in {}", kind.as_str(), self.scope());
        let needs = format!("the verb get of {}", K::plural(&()));
        let api = self.namespaced::<K>();
        let found = self.answered(&what, &needs, api.get_opt(name)).await?;
        // The error's own words are not used: they may quote data.
        found
            .map(|it| serde_json::to_value(&it).map_err(|_| anyhow!("{what}: it is no JSON")))
            .transpose()
    }

    /// Returns an object of Flux; `None` if there is none of that name.
    pub(crate) async fn flux(
        &self,
        [group, version, kind]: &[&str; 3],
        name: &str,
        namespace: &str,
    ) -> anyhow::Result<Option<Value>> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &resource);
        let what = format!("reading {kind} {name} in namespace {namespace}");
        let needs = format!("the verb get of {} in group {group}", resource.plural);
        let found = self.answered(&what, &needs, api.get_opt(name)).await?;
        Ok(found.map(serde_json::to_value).transpose()?)
    }

    /// Returns the Secrets with these labels; `None` if the user may not list them.
    pub(crate) async fn secrets(&self, labels: &str) -> anyhow::Result<Option<Vec<Secret>>> {
        self.labelled(labels).await
    }

    /// Returns the `ConfigMap`s with these labels; `None` if the user may not list them.
    pub(crate) async fn config_maps(&self, labels: &str) -> anyhow::Result<Option<Vec<ConfigMap>>> {
        self.labelled(labels).await
    }

    /// Awaits the answer to a question, which the user may have no right to ask.
    pub(crate) async fn asked<T>(
        &self,
        what: &str,
        question: impl Future<Output = kube::Result<T>>,
    ) -> anyhow::Result<Asked<T>> {
        let asking = async {
            match question.await {
                Err(kube::Error::Api(status)) if status.code == 403 => {
                    Ok(Asked::Refused(status.message.clone()))
                }
                answer => answer.map(Asked::Known),
            }
        };
        self.answered(what, "the right to do that", asking).await
    }

    /// Lists the Pods of a namespace that `params` select.
    pub(crate) async fn pods(
        &self,
        namespace: &str,
        what: &str,
        params: &ListParams,
    ) -> anyhow::Result<Vec<Value>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let listed = self.answered(what, "the verb list of pods", api.list(params)).await?;
        Ok(listed.items.iter().filter_map(|pod| serde_json::to_value(pod).ok()).collect())
    }

    /// Opens the log of a container, which has an end only once the container has ended.
    pub(crate) async fn log(
        &self,
        namespace: &str,
        pod: &str,
        params: &LogParams,
    ) -> anyhow::Result<impl AsyncBufRead + use<>> {
        let what = format!("reading the log of Pod {pod} in namespace {namespace}");
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        self.answered(&what, "the verb get of pods/log", api.log_stream(pod, params)).await
    }

    async fn labelled<K>(&self, labels: &str) -> anyhow::Result<Option<Vec<K>>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let what = format!("listing {}s in {}", K::kind(&()), self.scope());
        let needs = format!("the verb list of {}", K::plural(&()));
        let api = self.namespaced::<K>();
        let params = ListParams::default().labels(labels);
        let listing = async {
            match api.list(&params).await {
                Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
                listed => Ok(Some(listed?.items)),
            }
        };
        self.answered(&what, &needs, listing).await
    }

    /// Returns the names of Helm's releases, as far as their Secrets may be listed; no data are
    /// requested.
    pub(crate) async fn helm_releases(&self) -> anyhow::Result<BTreeSet<String>> {
        let what = format!("listing Secrets in {}", self.scope());
        let api = self.namespaced::<Secret>();
        let params = ListParams::default().labels("owner=helm");
        let listed =
            self.answered(&what, "the verb list of secrets", api.list_metadata(&params)).await?;
        let name = |it: PartialObjectMeta<Secret>| it.metadata.labels?.remove("name");
        Ok(listed.items.into_iter().filter_map(name).collect())
    }

    fn namespaced<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let namespace = self.namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Awaits the answer to one request, within the deadline. `what` was tried, which `needs` a
    /// permission.
    pub(crate) async fn answered<T>(
        &self,
        what: &str,
        needs: &str,
        question: impl Future<Output = kube::Result<T>>,
    ) -> anyhow::Result<T> {
        let Ok(answer) = timeout(DEADLINE, question).await else {
            bail!("{what}: no answer from {} within {} s", self.url, DEADLINE.as_secs());
        };
        answer.map_err(|error| self.explain_with(error, what, needs))
    }

    fn missing(&self, name: &str, others: Vec<ReleaseLifecycle>) -> Error {
        let scope = self.scope();
        let mut names: Vec<_> = others.iter().map(ReleaseLifecycle::name_any).collect();
        if names.is_empty() {
            return anyhow!(
                "ReleaseLifecycle {name} does not exist, nor any other in {scope}; list those of \
                 all namespaces with `kubectl lifecycle status -A`"
            );
        }
        let more = names.len().saturating_sub(10);
        names.truncate(10);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        anyhow!(
            "ReleaseLifecycle {name} does not exist in {scope}; there: {}{more}",
            names.join(", ")
        )
    }

    /// Explains what was tried, what was answered, and what to do about it.
    pub(crate) fn explain(&self, error: kube::Error, what: &str) -> Error {
        self.explain_with(error, what, READ)
    }

    fn explain_with(&self, error: kube::Error, what: &str, needs: &str) -> Error {
        let forbidden = format!("ask for a role with {needs}");
        let remedy = match &error {
            kube::Error::Api(status) => match status.code {
                404 => {
                    "the cluster does not know ReleaseLifecycles: is it the right one (`kubectl \
                     config current-context`)? Install the operator's definition with `kubectl \
                     apply --server-side -k crds`"
                }
                401 => "the cluster does not take these credentials: log in again",
                403 => &forbidden,
                400 | 409 | 422 => "correct that and try again",
                _ => "check the API server's log",
            },
            kube::Error::SerdeError(_) => {
                "the controller is of another version: use the kubectl-lifecycle that belongs to it"
            }
            _ => "is the cluster running, and KUBECONFIG or --kubeconfig the right file?",
        };
        anyhow!("{what} at {}: {}; {remedy}", self.url, words(&error))
    }
}

/// Returns the cluster's message, without the types that wrap it here.
pub(crate) fn words(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return status.message.trim().to_owned();
    }
    let mut source: &dyn std::error::Error = error;
    // The innermost one has the cause: `Connection refused`.
    while let Some(inner) = source.source() {
        source = inner;
    }
    source.to_string()
}

async fn config(place: &Place) -> anyhow::Result<Config> {
    let options =
        KubeConfigOptions { context: place.context.clone(), ..KubeConfigOptions::default() };
    if let Some(path) = &place.kubeconfig {
        let kubeconfig = Kubeconfig::read_from(path)
            .with_context(|| format!("reading {} (--kubeconfig)", path.display()))?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        return config.with_context(|| format!("using {} (--kubeconfig)", path.display()));
    }
    if let Some(context) = &place.context {
        let config = Config::from_kubeconfig(&options).await;
        return config.with_context(|| format!("finding context {context} (--context)"));
    }
    let kubeconfig = match Config::from_kubeconfig(&options).await {
        Ok(config) => return Ok(config),
        Err(error) => error,
    };
    // As kubectl does in a Pod.
    Config::incluster().map_err(|_| {
        anyhow!(kubeconfig)
            .context("no cluster is known: set KUBECONFIG, or name a file with --kubeconfig")
    })
}
