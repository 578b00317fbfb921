//! A tenant's access to its objects: plain JSON in and out, so that no field is lost, with the
//! tenant's identity, each call by the rules of [`crate::cluster::call`].

mod log;

use std::{sync::Mutex, time::Instant};

use api::names::FIELD_MANAGER;
use k8s_openapi::{api::core::v1::ServiceAccount, apimachinery::pkg::version::Info};
use kube::{
    Api, Client, Resource,
    api::{
        DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams, Preconditions,
        PropagationPolicy, ValidationDirective,
    },
    core::{
        DynamicObject, Request, discovery::v2::APIGroupDiscovery, request::Error as RequestError,
    },
    discovery::Scope,
};
use lifecycle::object::ObjectRef;
use manifests::{json, memory::Memory};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::{
    cluster::{
        Cluster,
        answer::{Answer, MOST_MEMORY, PAGE},
        call::{Access, ApiError, Cause, Refused, Values, Why, call, optional, read},
        discovery::Kind,
        impersonation::Identity,
        permit::Permit,
        recent::Recent,
        segment::segment,
    },
    support::sync::lock,
};

/// A request as kube builds it.
type Built = http::Request<Vec<u8>>;

/// The words of a message for the selector of a list without one.
const ANY_LABEL: &str = "any label";

pub(crate) struct Tenant<'a> {
    cluster: &'a Cluster,
    pub(crate) identity: Identity,
    client: Client,
    /// True if the ServiceAccount does not exist; checked once a request is refused.
    is_missing: OnceCell<bool>,
    recent: Recent,
}

impl<'a> Tenant<'a> {
    pub(crate) fn new(cluster: &'a Cluster, identity: Identity) -> Result<Self, ApiError> {
        // The name of a ServiceAccount always works as a header; an annotation may contain
        // anything.
        let client = identity.client(&cluster.operator).map_err(|error| ApiError {
            what: format!("act as {}", identity.describe()),
            cause: Cause::Unavailable(error.to_string()),
        })?;
        Ok(Self { cluster, identity, client, is_missing: OnceCell::new(), recent: Recent::new() })
    }

    /// Returns the cluster that it has access to.
    pub(crate) fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    /// Returns the kind of `object` as the cluster serves it; `None` if the cluster does not serve
    /// it.
    pub(crate) async fn kind(&self, object: &ObjectRef) -> Result<Option<Kind>, ApiError> {
        let client = &self.cluster.operator;
        self.cluster
            .kinds
            .find(client, &self.cluster.metrics, &object.api_version, &object.kind)
            .await
    }

    pub(crate) async fn get(&self, object: &ObjectRef) -> Result<Option<Value>, ApiError> {
        let request = self.request(object).await?;
        let request = request.get(&segment(&object.name), &GetParams::default());
        optional(self.send(Access::Read, object, "get", request, None).await)
    }

    /// Like [`Self::get`], but what this reconciliation has kept of the object a moment ago is not read
    /// again.
    pub(crate) async fn get_once(&self, object: &ObjectRef) -> Result<Option<Value>, ApiError> {
        match self.recent.get(object) {
            Some(answer) => Ok(answer.live()),
            None => self.get(object).await,
        }
    }

    /// Like [`Self::get`], and keeps the answer for a moment, for [`Self::get_once`].
    pub(crate) async fn get_and_keep(&self, object: &ObjectRef) -> Result<Option<Value>, ApiError> {
        let asked_at = Instant::now();
        let live = self.get(object).await?;
        self.recent.keep(object, asked_at, live.as_ref());
        Ok(live)
    }

    /// Keeps for a moment what is known of the object by the answer to a request that was sent at
    /// `asked_at`.
    pub(crate) fn keep(&self, object: &ObjectRef, asked_at: Instant, live: Option<&Value>) {
        self.recent.keep(object, asked_at, live);
    }

    /// Returns the objects of the kind and namespace of `like` with these labels.
    pub(crate) async fn list(
        &self,
        like: &ObjectRef,
        selector: &str,
    ) -> Result<Vec<Value>, ApiError> {
        self.pages(like, ListParams::default().labels(selector), Request::list).await
    }

    /// Returns the objects of all pages, unless they take too much memory together.
    async fn pages(
        &self,
        like: &ObjectRef,
        params: ListParams,
        ask: impl Fn(&Request, &ListParams) -> Result<Built, RequestError>,
    ) -> Result<Vec<Value>, ApiError> {
        let what = listing(like, params.label_selector.as_deref().unwrap_or(ANY_LABEL));
        let (mut memory, mut found) = (Memory::new(MOST_MEMORY), Vec::new());
        let take = |item: Value| {
            memory.take_value(&item).map_err(|_| too_large(what.clone(), MOST_MEMORY))?;
            found.push(item);
            Ok(())
        };
        self.each(like, params.limit(PAGE), ask, take).await?;
        Ok(found)
    }

    /// Gives the objects of the kind of `like`, in its namespace if it names one, to `take`, page by
    /// page, until that fails. Returns the list without its items.
    pub(crate) async fn each_of_kind(
        &self,
        like: &ObjectRef,
        page: u32,
        take: impl FnMut(Value) -> Result<(), ApiError>,
    ) -> Result<Value, ApiError> {
        self.each(like, ListParams::default().limit(page), Request::list, take).await
    }

    async fn each(
        &self,
        like: &ObjectRef,
        mut params: ListParams,
        ask: impl Fn(&Request, &ListParams) -> Result<Built, RequestError>,
        mut take: impl FnMut(Value) -> Result<(), ApiError>,
    ) -> Result<Value, ApiError> {
        let request = self.request(like).await?;
        let what = listing(like, params.label_selector.as_deref().unwrap_or(ANY_LABEL));
        loop {
            let page = ask(&request, &params);
            let mut page = self.send_what(Access::Read, like, what.clone(), page, None).await?;
            items(&mut page).into_iter().try_for_each(&mut take)?;
            let more = page["metadata"]["continue"].as_str().filter(|it| !it.is_empty());
            params.continue_token = more.map(str::to_owned);
            if params.continue_token.is_none() {
                return Ok(page);
            }
        }
    }

    /// Like [`Self::list`], but only the first objects if there are many.
    pub(crate) async fn list_some(
        &self,
        like: &ObjectRef,
        selector: &str,
        most: u32,
    ) -> Result<Vec<Value>, ApiError> {
        self.first(like, selector, most, Request::list).await
    }

    /// Like [`Self::list_some`], but the metadata only.
    pub(crate) async fn list_some_metadata(
        &self,
        like: &ObjectRef,
        selector: &str,
        most: u32,
    ) -> Result<Vec<Value>, ApiError> {
        self.first(like, selector, most, Request::list_metadata).await
    }

    async fn first(
        &self,
        like: &ObjectRef,
        selector: &str,
        most: u32,
        ask: impl Fn(&Request, &ListParams) -> Result<Built, RequestError>,
    ) -> Result<Vec<Value>, ApiError> {
        let params = ListParams::default().labels(selector).limit(most);
        let request = ask(&self.request(like).await?, &params);
        let what = listing(like, selector);
        Ok(items(&mut self.send_what(Access::Read, like, what, request, None).await?))
    }

    /// Returns the version of the cluster, and the APIs that it serves, group by group.
    pub(crate) async fn discover(&self) -> Result<(Info, Vec<APIGroupDiscovery>), ApiError> {
        let what = "discover what the cluster serves";
        read(&self.cluster.metrics, what, || async {
            let version = self.client.apiserver_version().await?;
            let mut groups = self.client.list_core_api_versions_aggregated().await?.items;
            groups.extend(self.client.list_api_groups_aggregated().await?.items);
            Ok((version, groups))
        })
        .await
    }

    /// Like [`Self::list`], but the metadata only.
    pub(crate) async fn list_metadata(
        &self,
        like: &ObjectRef,
        selector: &str,
    ) -> Result<Vec<Value>, ApiError> {
        self.pages(like, ListParams::default().labels(selector), Request::list_metadata).await
    }

    /// Returns the Event objects about the object of this UID.
    pub(crate) async fn events(
        &self,
        namespace: Option<&str>,
        uid: &str,
    ) -> Result<Vec<Value>, ApiError> {
        /// The maximum number; there is one Event object per report, since repeats are counted.
        const LIMIT: u32 = 200;
        let like = ObjectRef {
            api_version: "v1".to_owned(),
            kind: "Event".to_owned(),
            namespace: namespace.map(str::to_owned),
            name: String::new(),
        };
        let about = format!("involvedObject.uid={uid}");
        let params = ListParams::default().fields(&about).limit(LIMIT);
        let request = self.request(&like).await?.list(&params);
        let what = listing(&like, &about);
        Ok(items(&mut self.send_what(Access::Read, &like, what, request, None).await?))
    }

    /// POST; unknown fields are refused, as in Helm and in [`Self::apply`].
    pub(crate) async fn create(
        &self,
        _: Permit,
        object: &ObjectRef,
        body: &Value,
    ) -> Result<Value, ApiError> {
        let request =
            self.request(object).await?.create(&post_params(), body.to_string().into_bytes());
        self.send(Access::Write, object, "create", request.map(strictly), Some(body)).await
    }

    /// PUT; `body` carries the resourceVersion that was read.
    pub(crate) async fn replace(
        &self,
        _: Permit,
        object: &ObjectRef,
        body: &Value,
    ) -> Result<Value, ApiError> {
        let bytes = body.to_string().into_bytes();
        let request = self.request(object).await?.replace(&object.name, &post_params(), bytes);
        self.send(Access::Write, object, "update", request, Some(body)).await
    }

    /// Server-side apply, as in Helm 4: unknown fields are refused, and it is `forced` only on
    /// request.
    pub(crate) async fn apply(
        &self,
        _: Permit,
        object: &ObjectRef,
        body: &Value,
        forced: bool,
    ) -> Result<Value, ApiError> {
        let params = PatchParams { force: forced, ..apply_params() };
        let request = self.request(object).await?.patch(&object.name, &params, &Patch::Apply(body));
        self.send(Access::Write, object, "apply", request, Some(body)).await
    }

    /// Returns the result that [`Self::apply`] would have if it were forced; changes nothing.
    pub(crate) async fn try_apply(
        &self,
        object: &ObjectRef,
        body: &Value,
    ) -> Result<Value, ApiError> {
        let params = apply_params().force().dry_run();
        let request = self.request(object).await?.patch(&object.name, &params, &Patch::Apply(body));
        self.send(Access::Read, object, "compare", request, Some(body)).await
    }

    /// Returns the result that [`Self::create`] would have; changes nothing.
    pub(crate) async fn try_create(
        &self,
        object: &ObjectRef,
        body: &Value,
    ) -> Result<Value, ApiError> {
        let params = PostParams { dry_run: true, ..post_params() };
        let request = self.request(object).await?.create(&params, body.to_string().into_bytes());
        self.send(Access::Read, object, "create", request.map(strictly), Some(body)).await
    }

    pub(crate) async fn json_patch(
        &self,
        _: Permit,
        object: &ObjectRef,
        patch: Value,
    ) -> Result<Value, ApiError> {
        let what = || format!("patch {}", place(object));
        let patch = serde_json::from_value(patch).map_err(|error| ApiError {
            what: what(),
            cause: Cause::Unavailable(format!("the patch is not well-formed: {error}")),
        })?;
        let params =
            PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let request =
            self.request(object).await?.patch(&object.name, &params, &Patch::<Value>::Json(patch));
        self.send(Access::Write, object, "patch", request, None).await
    }

    /// DELETE by UID. It also succeeds if the object is gone, or if another object has its name.
    pub(crate) async fn delete(
        &self,
        _: Permit,
        object: &ObjectRef,
        uid: &str,
    ) -> Result<(), ApiError> {
        self.delete_if(object, uid, None).await
    }

    /// Like [`Self::delete`], unless the object has changed since it was read as `live`.
    pub(crate) async fn delete_as_seen(
        &self,
        _: Permit,
        object: &ObjectRef,
        uid: &str,
        live: &Value,
    ) -> Result<(), ApiError> {
        let version = live.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        self.delete_if(object, uid, version.map(str::to_owned)).await
    }

    async fn delete_if(
        &self,
        object: &ObjectRef,
        uid: &str,
        resource_version: Option<String>,
    ) -> Result<(), ApiError> {
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version }),
            ..DeleteParams::default()
        };
        let request = self.request(object).await?.delete(&object.name, &params);
        match self.send(Access::Write, object, "delete", request, None).await {
            Ok(_) | Err(ApiError { cause: Cause::NotFound(_), .. }) => Ok(()),
            // A webhook may answer with a conflict, too.
            Err(ApiError { cause: Cause::Conflict(message), .. })
                if message.contains("precondition") =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// POSTs a review of the tenant's own rights, which stores nothing.
    pub(crate) async fn review(&self, path: &str, body: &Value) -> Result<Value, ApiError> {
        let what = format!("review the rights of {}", self.identity.describe());
        let request =
            Request::new(path).create(&PostParams::default(), body.to_string().into_bytes());
        let request = built(&what, request)?;
        let answer = read(&self.cluster.metrics, &*what, || self.client.request(request.clone()));
        within(answer.await?, what)
    }

    async fn request(&self, object: &ObjectRef) -> Result<Request, ApiError> {
        let kind = self.kind(object).await?.ok_or_else(|| ApiError {
            what: format!("find the kind of {}", place(object)),
            cause: Cause::NotFound(format!("the cluster does not know {}", object.kind)),
        })?;
        let namespace = match kind.scope {
            Scope::Namespaced => object.namespace.as_deref().map(segment),
            Scope::Cluster => None,
        };
        Ok(Request::new(DynamicObject::url_path(&kind.resource, namespace.as_deref())))
    }

    async fn send(
        &self,
        access: Access,
        object: &ObjectRef,
        verb: &str,
        request: Result<Built, RequestError>,
        sent: Option<&Value>,
    ) -> Result<Value, ApiError> {
        self.send_what(access, object, format!("{verb} {}", place(object)), request, sent).await
    }

    /// `sent` is the object in the request, if the request has a complete one.
    async fn send_what(
        &self,
        access: Access,
        object: &ObjectRef,
        what: String,
        request: Result<Built, RequestError>,
        sent: Option<&Value>,
    ) -> Result<Value, ApiError> {
        let request = built(&what, request)?;
        if access == Access::Write {
            self.recent.forget(object);
        }
        let metrics = &self.cluster.metrics;
        let status = Mutex::new(None);
        let ask = |request| async {
            let answer = self.client.request(request).await;
            if let Err(kube::Error::Api(told)) = &answer {
                *lock(&status) = Some(told.clone());
            }
            answer
        };
        let answer = match access {
            Access::Read => read(metrics, &*what, || ask(request.clone())).await,
            Access::Write => call(metrics, access, &*what, ask(request)).await,
        };
        let mut error = match answer {
            Ok(answer) => return within(answer, what),
            Err(error) => {
                let values = self.values(access, object, &error, sent).await;
                error.without_values_of(lock(&status).as_deref(), &values)
            }
        };
        // An object that is missing has a name.
        let named = |told: &kube::core::Status| {
            told.details.as_ref().is_some_and(|details| !details.name.is_empty())
        };
        if error.is_not_found() && !lock(&status).as_deref().is_some_and(named) {
            // The kind may no longer exist.
            self.cluster.kinds.forget(&object.api_version, &object.kind);
        }
        if let Cause::Refused(refused) = &mut error.cause {
            refused.within(object.namespace.as_deref());
            if let (Identity::ServiceAccount { namespace, name }, Why::Rights(lack)) =
                (&self.identity, &refused.why)
                && Some(&lack.user) == self.identity.user().as_ref()
                && self.is_missing(namespace, name).await
            {
                refused.without_account(namespace, name);
            }
        }
        Err(if object.kind == "Secret" { error.without_data() } else { error })
    }

    /// Returns the values that the message of `error` may contain: those of the object that was sent,
    /// and of the one that is there.
    async fn values(
        &self,
        access: Access,
        object: &ObjectRef,
        error: &ApiError,
        sent: Option<&Value>,
    ) -> Values {
        let mut values = Values::default();
        if let Some(sent) = sent {
            values.known.add(sent);
        }
        let is_of_one = access == Access::Write || sent.is_some();
        if error.is_about_values() && is_of_one && object.kind != "Secret" {
            match self.live(object).await {
                Ok(live) => live.iter().for_each(|live| values.known.add(live)),
                Err(_) => values.is_unknown = true,
            }
        }
        values
    }

    /// Returns the object that is there. It is not [`Self::get`], whose errors lead here.
    async fn live(&self, object: &ObjectRef) -> Result<Option<Value>, ApiError> {
        let what = format!("get {}", place(object));
        let request = self.request(object).await?;
        let request = built(&what, request.get(&segment(&object.name), &GetParams::default()))?;
        let answer = self.client.request(request);
        let answer = call(&self.cluster.metrics, Access::Read, &*what, answer).await;
        match optional(answer)? {
            Some(live) => within(live, what).map(Some),
            None => Ok(None),
        }
    }

    /// Returns true if the impersonated ServiceAccount does not exist: the API server lets the
    /// operator impersonate anyone, and reports only that the user has no rights.
    async fn is_missing(&self, namespace: &str, name: &str) -> bool {
        let look = async || {
            let client = self.cluster.operator.clone();
            let accounts = Api::<ServiceAccount>::namespaced(client, namespace);
            let what = format!("get ServiceAccount {namespace}/{name}");
            match read(&self.cluster.metrics, what, || accounts.get_metadata(name)).await {
                Ok(_) => false,
                Err(error) if error.is_not_found() => true,
                // Then only the missing right is reported.
                Err(error) => {
                    tracing::warn!("{error}");
                    false
                }
            }
        };
        *self.is_missing.get_or_init(look).await
    }
}

fn apply_params() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::default()
    }
}

fn items(list: &mut Value) -> Vec<Value> {
    match json::take(list, "items") {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

/// Adds strict field validation: `PostParams` has none, and by default the API server only warns.
fn strictly(mut request: http::Request<Vec<u8>>) -> http::Request<Vec<u8>> {
    let uri = format!("{}&fieldValidation=Strict", request.uri());
    if let Ok(uri) = uri.parse() {
        *request.uri_mut() = uri;
    }
    request
}

/// Returns the answer, unless it was over its budget.
fn within(answer: Answer, what: String) -> Result<Value, ApiError> {
    answer.0.map_err(|_| too_large(what, MOST_MEMORY))
}

fn too_large(what: String, most: usize) -> ApiError {
    let message = format!("the answer takes more than {} MiB of memory", most >> 20);
    ApiError { what, cause: Cause::Refused(Refused::own(413, message)) }
}

fn built(what: &str, request: Result<Built, RequestError>) -> Result<Built, ApiError> {
    // Such as a name that is not valid in a path.
    request.map_err(|error| ApiError {
        what: what.to_owned(),
        cause: Cause::Refused(Refused::own(400, error.to_string())),
    })
}

fn listing(like: &ObjectRef, selector: &str) -> String {
    let namespace = like.namespace.as_deref().unwrap_or("any");
    format!("list objects of kind {} with {selector} in namespace {namespace}", like.kind)
}

/// Returns the name of an object, with its namespace if it has one.
pub(crate) fn place(object: &ObjectRef) -> String {
    match &object.namespace {
        Some(namespace) => format!("{object} in namespace {namespace}"),
        None => object.to_string(),
    }
}

/// Returns the parameters of a POST or PUT of this operator.
fn post_params() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}
