//! The view of a test of its namespace besides the releases: objects, and the audit log.

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams, WatchEvent, WatchParams},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};
use testkit::audit::{self, Event};

use crate::{Namespace, namespace::PATIENCE};

impl Namespace {
    fn objects(&self, kind: &str) -> Api<DynamicObject> {
        let group = match kind {
            "Job" => "batch",
            "Deployment" => "apps",
            "Lease" => "coordination.k8s.io",
            _ => "",
        };
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
        Api::namespaced_with(self.client.clone(), &self.name, &resource)
    }

    /// Returns a Job, Deployment, Lease, or object of the core group; `None` if there is none of
    /// this name.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn object(&self, kind: &str, name: &str) -> Result<Option<Value>> {
        let found = self.objects(kind).get_opt(name).await?;
        found.map(serde_json::to_value).transpose().context("an object has a JSON form")
    }

    /// Creates or changes an object of one of these kinds, by the name in its manifest.
    ///
    /// # Errors
    /// If the API server refuses it.
    pub async fn apply(&self, manifest: &Value) -> Result<()> {
        let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str);
        let kind = text("/kind").context("a manifest has a kind")?;
        let name = text("/metadata/name").context("a manifest has a name")?;
        let params = PatchParams::apply("e2e").force();
        self.objects(kind).patch(name, &params, &Patch::Apply(manifest)).await?;
        Ok(())
    }

    /// Returns its UID; `None` if there is none of this name.
    ///
    /// # Errors
    /// As [`Self::object`].
    pub async fn uid(&self, kind: &str, name: &str) -> Result<Option<String>> {
        let found = self.object(kind, name).await?;
        Ok(found.and_then(|object| Some(object["metadata"]["uid"].as_str()?.to_owned())))
    }

    /// Waits until `is` accepts the object; its absence is passed to it, too.
    ///
    /// # Errors
    /// With the last state seen, if it never does.
    pub async fn wait_object(
        &self,
        kind: &str,
        name: &str,
        what: &str,
        is: impl Fn(Option<&Value>) -> bool,
    ) -> Result<Option<Value>> {
        let api = self.objects(kind);
        let field = format!("metadata.name={name}");
        let mut last = None;
        let watch = async {
            loop {
                let found = api.list(&ListParams::default().fields(&field)).await?;
                last = found.items.first().map(serde_json::to_value).transpose()?;
                if is(last.as_ref()) {
                    return Ok::<_, anyhow::Error>(last.clone());
                }
                let version = found.metadata.resource_version.unwrap_or_default();
                let params = WatchParams::default().fields(&field);
                let mut events = api.watch(&params, &version).await?.boxed();
                while let Some(event) = events.try_next().await? {
                    last = match event {
                        WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                            Some(serde_json::to_value(object)?)
                        }
                        WatchEvent::Deleted(_) => None,
                        _ => break,
                    };
                    if is(last.as_ref()) {
                        return Ok(last.clone());
                    }
                }
            }
        };
        match tokio::time::timeout(PATIENCE, watch).await {
            Ok(found) => found.with_context(|| format!("watch {kind}/{name}")),
            Err(_) => {
                bail!("{kind}/{name} was not seen to be {what} within {PATIENCE:?}: {last:#?}")
            }
        }
    }

    /// Waits until a Job has a Pod that runs.
    ///
    /// # Errors
    /// As [`Self::wait_object`].
    pub async fn wait_active(&self, job: &str) -> Result<()> {
        let is_active = |job: Option<&Value>| job.is_some_and(|job| job["status"]["active"] == 1);
        self.wait_object("Job", job, "active", is_active).await.map(drop)
    }

    /// Makes the Pods of a Job that never ends succeed, on a simulated node.
    ///
    /// # Errors
    /// If the API server refuses it.
    pub async fn let_end(&self, job: &str) -> Result<()> {
        let pods = self.objects("Pod");
        let params = ListParams::default().labels(&format!("job-name={job}"));
        let outcome = json!({"releaselifecycle.dev/test-outcome": null});
        let outcome = json!({"metadata": {"annotations": outcome}});
        for pod in pods.list(&params).await? {
            let name = pod.metadata.name.unwrap_or_default();
            match pods.patch(&name, &PatchParams::default(), &Patch::Merge(&outcome)).await {
                Err(kube::Error::Api(status)) if status.code != 404 => {
                    return Err(kube::Error::Api(status).into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Waits until the object is gone.
    ///
    /// # Errors
    /// As [`Self::wait_object`].
    pub async fn wait_gone(&self, kind: &str, name: &str) -> Result<()> {
        self.wait_object(kind, name, "gone", |object| object.is_none()).await.map(drop)
    }

    /// Returns the name of the lease of its controllers.
    pub fn lease(&self) -> String {
        format!("releaselifecycle-controller-{}", self.name)
    }

    /// Waits until the controller of this identity leads, and returns the lease.
    ///
    /// # Errors
    /// As [`Self::wait_object`].
    pub async fn wait_leader(&self, identity: &str) -> Result<Value> {
        let is = |lease: Option<&Value>| {
            lease.is_some_and(|lease| lease["spec"]["holderIdentity"] == identity)
        };
        let what = format!("held by {identity}");
        let lease = self.wait_object("Lease", &self.lease(), &what, is).await?;
        lease.context("it is held")
    }

    /// Returns the API server's requests in this namespace, in order.
    ///
    /// # Errors
    /// If the audit log cannot be read.
    pub fn audit(&self) -> Result<Vec<Event>> {
        let (events, _) = audit::read_from(self.cluster().audit_log(), self.audit_offset())?;
        Ok(audit::in_namespace(&events, &self.name))
    }

    /// Returns the requests of this `ServiceAccount` of the namespace as itself, anywhere, in
    /// order. Event objects and leases are not audited.
    ///
    /// # Errors
    /// As [`Self::audit`].
    pub fn asked_by(&self, account: &str) -> Result<Vec<Event>> {
        let (mut events, _) = audit::read_from(self.cluster().audit_log(), self.audit_offset())?;
        let user = format!("system:serviceaccount:{}:{account}", self.name);
        events.retain(|event| event.user == user && event.impersonated.is_none());
        Ok(events)
    }

    /// Returns the changes in this namespace as a tenant, in order: `create jobs/a`.
    ///
    /// # Errors
    /// As [`Self::audit`].
    pub fn tenant_writes(&self) -> Result<Vec<String>> {
        Ok(self
            .audit()?
            .iter()
            .filter(|event| is_write(event) && event.succeeded() && event.impersonated.is_some())
            .map(|event| {
                let name = event.name.as_deref().unwrap_or_default();
                format!("{} {}/{name}", event.verb, event.resource)
            })
            .collect())
    }

    /// Returns those of [`Self::tenant_writes`] with this verb, without it.
    ///
    /// # Errors
    /// As [`Self::audit`].
    pub fn tenant_did(&self, verb: &str) -> Result<Vec<String>> {
        let prefix = format!("{verb} ");
        let writes = self.tenant_writes()?;
        let names = writes.iter().filter_map(|write| write.strip_prefix(&prefix));
        Ok(names.filter(|name| !name.starts_with("secrets/")).map(str::to_owned).collect())
    }
}

/// Returns whether the request asks for a change; a dry run changes nothing.
pub fn is_write(event: &Event) -> bool {
    !["get", "list", "watch"].contains(&event.verb.as_str()) && !event.is_dry_run()
}
