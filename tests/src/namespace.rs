use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use api::ReleaseLifecycle;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::{
    api::{core::v1::ServiceAccount, rbac::v1::RoleBinding},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, Client, Config,
    api::{ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use lifecycle::{conditions, journal::HookStatus};
use serde_json::{Value, json};
use testkit::cluster::Cluster;

use crate::{Controller, controller::Logs};

/// The longest wait of a test on a loaded machine, unless something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Returns where the last whole line ends in a file that another process is writing to.
fn end_of_lines(path: &Path) -> Result<u64> {
    const LONGEST: u64 = 1 << 20;
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(LONGEST);
    file.seek(SeekFrom::Start(start))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    let lines = end.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    Ok(start + u64::try_from(lines)?)
}

/// A namespace of one test, with a ServiceAccount `deployer` that may do what releases need.
pub struct Namespace {
    /// Its name, unique on the cluster.
    pub name: String,
    /// The cluster's administrator.
    pub client: Client,
    cluster: &'static Cluster,
    /// The end of the audit log when the namespace was made.
    audit_offset: u64,
}

impl Namespace {
    /// Makes a namespace whose name begins with `prefix`.
    ///
    /// # Errors
    /// If the cluster refuses.
    pub async fn new(cluster: &'static Cluster, prefix: &str) -> Result<Self> {
        let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig())?;
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        let client = Client::try_from(config)?;
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let name = format!("{prefix}-{}", unique.get(..8).unwrap_or(&unique));
        let audit_offset = end_of_lines(cluster.audit_log())?;
        let namespace = Self { name, client, cluster, audit_offset };
        namespace.set_up().await.with_context(|| format!("make namespace {}", namespace.name))?;
        Ok(namespace)
    }

    async fn set_up(&self) -> Result<()> {
        let name = &self.name;
        let params = PostParams::default();
        let metadata = json!({"name": "deployer"});
        let object = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        let namespaces = Api::<k8s_openapi::api::core::v1::Namespace>::all(self.client.clone());
        namespaces.create(&params, &object).await?;
        let object = serde_json::from_value(json!({"metadata": metadata}))?;
        let accounts = Api::<ServiceAccount>::namespaced(self.client.clone(), name);
        accounts.create(&params, &object).await?;
        let object = serde_json::from_value(json!({
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                        "name": "releaselifecycle-deployer"},
            "subjects": [{"kind": "ServiceAccount", "name": "deployer", "namespace": name}],
        }))?;
        let bindings = Api::<RoleBinding>::namespaced(self.client.clone(), name);
        bindings.create(&params, &object).await?;
        Ok(())
    }

    /// Returns the cluster it is on.
    pub fn cluster(&self) -> &'static Cluster {
        self.cluster
    }

    pub(crate) fn audit_offset(&self) -> u64 {
        self.audit_offset
    }

    /// Starts a controller for this namespace, with the cluster's own kubeconfig.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn controller(&self) -> Result<Controller> {
        self.controller_with(&[])
    }

    /// Does the same as [`Self::controller`], with these arguments.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn controller_with(&self, args: &[&str]) -> Result<Controller> {
        Controller::start(self.cluster.kubeconfig(), &self.name, args)
    }

    /// Starts a controller that is another replica than those of other identities.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn replica(&self, identity: &str) -> Result<Controller> {
        self.controller_with(&["--identity", identity])
    }

    /// Returns the ReleaseLifecycles of the namespace.
    pub fn releases(&self) -> Api<ReleaseLifecycle> {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Runs `kubectl --namespace …`, and returns its output.
    ///
    /// # Errors
    /// Its standard error.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        let args = ["--namespace", &self.name].into_iter().chain(args.iter().copied());
        self.cluster.kubectl(args)
    }

    /// Creates or changes the release `name`: `spec.serviceAccountName` is `deployer` and
    /// `spec.source.objects` is `objects`; `more` is merged into `spec`.
    ///
    /// # Errors
    /// If the API server refuses it.
    pub async fn release(&self, name: &str, objects: &[Value], more: Value) -> Result<()> {
        let mut body = json!({
            "apiVersion": "releaselifecycle.dev/v1alpha1",
            "kind": "ReleaseLifecycle",
            "metadata": {"name": name, "namespace": self.name},
            "spec": {"serviceAccountName": "deployer", "source": {"objects": objects}},
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            body["spec"][key] = value.clone();
        }
        let params = PatchParams::apply("e2e").force();
        self.releases().patch(name, &params, &Patch::Apply(&body)).await?;
        Ok(())
    }

    /// Waits until `is` accepts the release, however long a loaded machine takes.
    ///
    /// # Errors
    /// With the last status seen and the controller's last lines, if it never does.
    pub async fn wait(
        &self,
        name: &str,
        controller: &dyn Logs,
        what: &str,
        is: impl Fn(&ReleaseLifecycle) -> bool,
    ) -> Result<ReleaseLifecycle> {
        let is = |release: Option<&ReleaseLifecycle>| release.is_some_and(&is);
        let found = self.until(name, controller, what, is).await?;
        found.with_context(|| format!("release {name} is {what}, and is none"))
    }

    /// Waits until `is` accepts the release, which may be gone.
    async fn until(
        &self,
        name: &str,
        controller: &dyn Logs,
        what: &str,
        is: impl Fn(Option<&ReleaseLifecycle>) -> bool,
    ) -> Result<Option<ReleaseLifecycle>> {
        let field = format!("metadata.name={name}");
        let mut last = None;
        let watch = async {
            loop {
                // A watch alone may begin before the test's own last write.
                let found = self.releases().list(&ListParams::default().fields(&field)).await?;
                let version = found.metadata.resource_version.unwrap_or_default();
                let release = found.items.into_iter().next();
                if is(release.as_ref()) {
                    return Ok::<_, kube::Error>(release);
                }
                last = release;
                let params = WatchParams::default().fields(&field);
                let mut events = self.releases().watch(&params, &version).await?.boxed();
                while let Some(event) = events.try_next().await? {
                    let release = match event {
                        WatchEvent::Added(release) | WatchEvent::Modified(release) => Some(release),
                        WatchEvent::Deleted(_) => None,
                        WatchEvent::Bookmark(_) => continue,
                        // Such as an expired version.
                        WatchEvent::Error(_) => break,
                    };
                    if is(release.as_ref()) {
                        return Ok(release);
                    }
                    last = release;
                }
            }
        };
        match tokio::time::timeout(PATIENCE, watch).await {
            Ok(found) => found.with_context(|| format!("watch the release {name}")),
            Err(_) => bail!(
                "release {name} was not seen to be {what} within {PATIENCE:?}; its last status: {}\n\
                 the controller's log ends:\n{}",
                serde_json::to_string_pretty(&last.and_then(|last| last.status))?,
                controller.log_tail(),
            ),
        }
    }

    /// Waits until the present generation is deployed.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub async fn wait_ready(&self, name: &str, controller: &dyn Logs) -> Result<ReleaseLifecycle> {
        self.wait(name, controller, "Ready", |release| {
            is_observed(release)
                && condition(release, "Ready").is_some_and(|it| it.status == "True")
        })
        .await
    }

    /// Waits until the present generation has been reconciled.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub async fn wait_observed(&self, name: &str, controller: &dyn Logs) -> Result<()> {
        self.wait(name, controller, "observed", is_observed).await.map(drop)
    }

    /// Waits until the object is gone, and its release with it.
    ///
    /// # Errors
    /// With the last status seen and the controller's last lines, if it stays.
    pub async fn wait_released(&self, name: &str, controller: &dyn Logs) -> Result<()> {
        self.until(name, controller, "gone", |release| release.is_none()).await.map(drop)
    }

    /// Makes a request by an annotation `releaselifecycle.dev/…` of the release.
    ///
    /// # Errors
    /// The message of kubectl.
    pub fn annotate(&self, name: &str, request: &str, value: &str) -> Result<()> {
        let annotation = format!("releaselifecycle.dev/{request}={value}");
        self.kubectl(&["annotate", "rl", name, "--overwrite", &annotation])?;
        Ok(())
    }

    /// Approves the plan of this digest as `kubectl lifecycle approve` does; returns who did.
    ///
    /// # Errors
    /// The message of kubectl.
    pub fn approve(&self, name: &str, digest: &str) -> Result<String> {
        let user = ["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"];
        let user = self.kubectl(&user)?;
        let plan = format!("{}={digest}", api::names::APPROVED_PLAN);
        let by = format!("{}={user}", api::names::APPROVED_BY);
        self.kubectl(&["annotate", "rl", name, "--overwrite", &plan, &by])?;
        Ok(user)
    }

    /// Requests a retry of the release, and waits until that is handled.
    ///
    /// # Errors
    /// If it never is.
    pub async fn retry(&self, name: &str, value: &str, controller: &dyn Logs) -> Result<()> {
        self.annotate(name, "retryAt", value)?;
        self.wait(name, controller, "done with the retry", |release| {
            let status = release.status.as_ref();
            status.and_then(|status| status.last_handled_retry_at.as_deref()) == Some(value)
        })
        .await?;
        Ok(())
    }

    /// Removes the release's status, as a person who restores a backup does.
    ///
    /// # Errors
    /// If the API server refuses it.
    pub fn lose_status(&self, name: &str) -> Result<()> {
        let patch = r#"[{"op": "replace", "path": "/status", "value": {}}]"#;
        self.kubectl(&["patch", "rl", name, "--subresource=status", "--type=json", "-p", patch])?;
        Ok(())
    }

    /// Waits until the lost status of a release is reported, and has its operation resume.
    ///
    /// # Errors
    /// If it is never reported.
    pub async fn resume_lost(&self, name: &str, controller: &dyn Logs) -> Result<()> {
        let is_lost = |release: &ReleaseLifecycle| {
            reason(release) == "JournalLost"
                && message(release).starts_with("nothing in status proves")
        };
        self.wait(name, controller, "reported to have lost its status", is_lost).await?;
        self.annotate(name, "retryAt", "resume")
    }

    /// Lets a container of the Job that waits for `/tmp/go` continue.
    ///
    /// # Errors
    /// The message of kubectl, except for one: the container, and the command in it, may end before
    /// that has been reported.
    pub fn let_go(&self, job: &str, container: &str) -> Result<()> {
        let job = format!("job/{job}");
        match self.kubectl(&["exec", &job, "-c", container, "--", "touch", "/tmp/go"]) {
            Err(error) if !format!("{error:#}").contains("exit code 137") => Err(error),
            _ => Ok(()),
        }
    }

    /// Waits until nothing continues with the present generation.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub async fn wait_stalled(
        &self,
        name: &str,
        controller: &dyn Logs,
    ) -> Result<ReleaseLifecycle> {
        self.wait(name, controller, "Stalled", |release| {
            is_observed(release) && condition(release, "Stalled").is_some()
        })
        .await
    }
}

fn is_observed(release: &ReleaseLifecycle) -> bool {
    let status = release.status.as_ref();
    status.is_some_and(|status| status.observed_generation == release.metadata.generation)
}

/// Returns the condition of this type.
pub fn condition<'a>(release: &'a ReleaseLifecycle, type_: &str) -> Option<&'a Condition> {
    release.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == type_)
}

/// Returns the reason of `Ready`.
pub fn reason(release: &ReleaseLifecycle) -> &str {
    condition(release, "Ready").map_or("", |condition| &condition.reason)
}

/// Returns the message of `Ready`, on one line.
pub fn message(release: &ReleaseLifecycle) -> String {
    condition(release, "Ready")
        .map_or(String::new(), |condition| conditions::flat(&condition.message))
}

/// Returns the state of the first hook of this name.
pub fn hook<'a>(release: &'a ReleaseLifecycle, name: &str) -> Option<&'a HookStatus> {
    release.status.as_ref()?.hooks.iter().find(|hook| hook.name == name)
}
