use std::time::Duration;

use anyhow::Result;
use api::ReleaseLifecycle;
use e2e::{
    Chart, Controller, Namespace, condition,
    manifests::{Manifest, config_map, deployment, job, pod},
    message,
};
use helm::manifest::to_yaml;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use lifecycle::journal::Phase;
use serde_json::{Value, json};
use testkit::audit::Ran;

/// The release of every run.
pub(crate) const RELEASE: &str = "shop";
/// The time to live of the hook `migrate`, held back until it has ended.
pub(crate) const TIME_TO_LIVE: i32 = 3600;
/// The annotation that tells one rendering from another.
pub(crate) const RENDERED: &str = "rendered";
/// Without it the Pods of the hook `fragile` cannot be made.
const ACCOUNT: &str = "fragile";
/// The finalizer of an object that its deletion waits for.
const HOLD: &str = "example.com/hold";

/// Which operation is struck. Each begins where those before it have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Revision 1: a Job before, a Pod after that is removed when it has succeeded.
    Install,
    /// Revision 2: two Jobs before, one in the place of a leftover, a Pod after; an object is
    /// changed and one is removed.
    Upgrade,
    /// As the upgrade, in a window, and somebody approves its plan before it begins.
    Approved,
    /// An upgrade by rules: two Jobs side by side, a failure that is retried and then ignored, a hook
    /// of another kind that is awaited, and one that does not run.
    Ruled,
    /// Back to revision 1, with its hooks: a Job before that is removed when it has succeeded, a
    /// Pod after.
    Rollback,
    /// Of revision 1: a Pod that is removed when it has succeeded, a Job.
    Test,
    /// Of revision 1: a Job before, a Pod after; nothing is left.
    Delete,
    /// As the deletion, of a release with an object that a finalizer holds for a while.
    Held,
    /// An upgrade whose second hook has failed goes on there.
    Retry,
    /// As the install, but from a chart that renders to something else each time.
    Chart,
    /// Of a revision 1 that Helm 3 has made, and the upgrade, which follows and takes its fields over.
    TakeOver,
    /// Of revision 1 to Helm: the object is deleted, and all else stays.
    HandOver,
    /// An upgrade of which an object is refused, once its hooks before have run, is rolled back to
    /// revision 1, with its hooks.
    RolledBack,
    /// An install of which an object is refused is uninstalled: a Job before the apply, a Job before
    /// the deletion, a Pod after it.
    Uninstalled,
}

impl Scenario {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Upgrade => "upgrade",
            Self::Approved => "upgrade that is approved",
            Self::Ruled => "upgrade by rules",
            Self::Rollback => "rollback",
            Self::Test => "test",
            Self::Delete => "delete",
            Self::Held => "deletion that waits for an object",
            Self::Retry => "retry",
            Self::Chart => "install of a chart",
            Self::TakeOver => "adoption of a release of Helm 3, and an upgrade",
            Self::HandOver => "hand-over to Helm",
            Self::RolledBack => "failed upgrade, rolled back",
            Self::Uninstalled => "failed install, uninstalled",
        }
    }

    /// Returns what is reached before it begins, in order.
    pub(crate) fn before(self) -> &'static [Self] {
        match self {
            Self::Install | Self::Chart | Self::TakeOver | Self::Uninstalled => &[],
            Self::Upgrade
            | Self::Approved
            | Self::Ruled
            | Self::Test
            | Self::Delete
            | Self::Held
            | Self::Retry
            | Self::HandOver
            | Self::RolledBack => &[Self::Install],
            Self::Rollback => &[Self::Install, Self::Upgrade],
        }
    }

    /// The reason of the last Event object of the operation, if it ends with one.
    fn last_event(self) -> Option<&'static str> {
        Some(match self {
            Self::Install | Self::Chart => "InstallSucceeded",
            Self::Upgrade | Self::Approved | Self::Ruled | Self::Retry | Self::TakeOver => {
                "UpgradeSucceeded"
            }
            Self::Rollback | Self::RolledBack => "RollbackSucceeded",
            Self::Test => "TestSucceeded",
            Self::Delete | Self::Held | Self::Uninstalled => "DeleteSucceeded",
            Self::HandOver => return None,
        })
    }

    /// The Jobs and Pods that the operator runs from the first revision on, in order.
    fn hooks(self) -> &'static [&'static str] {
        match self {
            Self::Ruled => &["migrate", "welcome", "backup", "migrate", "check", "smoke"],
            Self::Install | Self::Chart | Self::HandOver => &["migrate", "welcome"],
            Self::TakeOver => &["backup", "migrate", "smoke"],
            Self::Upgrade | Self::Approved => &["migrate", "welcome", "backup", "migrate", "smoke"],
            Self::Rollback => {
                &["migrate", "welcome", "backup", "migrate", "smoke", "restore", "recheck"]
            }
            Self::Test => &["migrate", "welcome", "ping", "probe"],
            Self::Delete | Self::Held => &["migrate", "welcome", "export", "goodbye"],
            Self::Retry => &["migrate", "welcome", "backup", "fragile", "smoke"],
            Self::RolledBack => &["migrate", "welcome", "backup", "migrate", "restore", "recheck"],
            Self::Uninstalled => &["migrate", "export", "goodbye"],
        }
    }

    /// Those of [`Self::hooks`] that the operation itself runs.
    pub(crate) fn own_hooks(self) -> Vec<Ran<'static>> {
        if self == Self::Ruled {
            return vec![
                Ran::Beside(&["backup", "migrate"]),
                Ran::Ignored("check"),
                Ran::Alone("smoke"),
            ];
        }
        let before = self.before().last().map_or(0, |before| before.hooks().len());
        self.hooks().iter().skip(before).copied().map(Ran::Alone).collect()
    }

    /// Runs what comes before the operation, up to the last request.
    pub(crate) async fn reach(self, namespace: &Namespace, by: &Controller) -> Result<()> {
        for earlier in self.before() {
            earlier.ask(namespace).await?;
            earlier.until_over(namespace, by).await?;
        }
        Ok(())
    }

    /// Returns what else the operation needs to begin.
    pub(crate) async fn prepare(self, namespace: &Namespace, by: &Controller) -> Result<()> {
        if self == Self::TakeOver {
            let templates: Vec<_> = installed().iter().map(Value::to_string).collect();
            let chart = e2e::helm::chart(namespace, RELEASE, &templates)?;
            e2e::helm::run(namespace, "helm3", &["install", RELEASE, &chart.to_string_lossy()])?;
        }
        if self == Self::HandOver {
            namespace.release(RELEASE, &installed(), kept()).await?;
            namespace.wait_ready(RELEASE, by).await?;
        }
        if self == Self::Chart {
            chart(namespace)?.put(namespace).await?;
        }
        if self == Self::Retry {
            namespace.release(RELEASE, &retried(), json!({"timeout": "6s"})).await?;
            namespace.wait_stalled(RELEASE, by).await?;
            namespace.wait_event("UpgradeFailed").await?;
            self.surround(namespace).await?;
        }
        if self == Self::Held {
            hold(namespace, Some(HOLD)).await?;
        }
        Ok(())
    }

    /// Makes what is no part of the release, and that the operation needs to end well.
    pub(crate) async fn surround(self, namespace: &Namespace) -> Result<()> {
        if self == Self::Retry {
            let account = serde_json::from_value(json!({"metadata": {"name": ACCOUNT}}))?;
            let accounts: Api<ServiceAccount> =
                Api::namespaced(namespace.client.clone(), &namespace.name);
            accounts.create(&PostParams::default(), &account).await?;
        }
        Ok(())
    }

    /// Asks for the operation.
    pub(crate) async fn ask(self, namespace: &Namespace) -> Result<()> {
        match self {
            Self::Install => namespace.release(RELEASE, &installed(), json!({})).await,
            Self::Chart => namespace.release(RELEASE, &[], chart(namespace)?.source()).await,
            Self::Upgrade | Self::TakeOver => {
                namespace.release(RELEASE, &upgraded(), json!({})).await
            }
            Self::Approved => {
                let spec = json!({
                    "approval": {"mode": "Upgrade"},
                    "windows": [{"schedule": "0 0 * * *", "duration": "24h"}],
                });
                namespace.release(RELEASE, &upgraded(), spec).await
            }
            Self::Ruled => {
                let spec = json!({"hooks": {"rules": rules()}});
                namespace.release(RELEASE, &ruled(), spec).await
            }
            Self::Rollback => {
                namespace.release(RELEASE, &upgraded(), json!({"pinRevision": 1})).await
            }
            Self::Test => namespace.annotate(RELEASE, "testAt", "1"),
            Self::Retry => namespace.annotate(RELEASE, "retryAt", "1"),
            Self::RolledBack => {
                let spec = json!({"upgrade": {"onFailure": "Rollback"}});
                namespace.release(RELEASE, &refused(upgraded()), spec).await
            }
            Self::Uninstalled => {
                let spec = json!({"install": {"onFailure": "Uninstall"}});
                namespace.release(RELEASE, &refused(installed()), spec).await
            }
            Self::Delete | Self::Held | Self::HandOver => {
                namespace.releases().delete(RELEASE, &DeleteParams::default()).await?;
                Ok(())
            }
        }
    }

    /// Waits until the operation has ended, and well.
    pub(crate) async fn until_reached(self, namespace: &Namespace, by: &Controller) -> Result<()> {
        if matches!(self, Self::Delete | Self::Held | Self::HandOver) {
            return namespace.wait_released(RELEASE, by).await;
        }
        let is = |release: &ReleaseLifecycle| {
            let status = release.status.as_ref();
            let ready = condition(release, "Ready").is_some_and(|it| it.status == "True");
            let tested = self != Self::Test
                || status.is_some_and(|it| it.last_handled_test_at.as_deref() == Some("1"));
            let retried = self != Self::Retry
                || status.is_some_and(|it| it.last_handled_retry_at.as_deref() == Some("1"));
            let ended = if self.makes_up() { is_remedied(release) } else { ready };
            let revision = (self != Self::Uninstalled).then(|| self.revision());
            ended && tested && retried && status.and_then(|it| it.revision) == revision
        };
        // The retry begins with a release that is stalled.
        let failed = |release: &ReleaseLifecycle| {
            let stalled = condition(release, "Stalled").is_some();
            stalled && (self != Self::Retry || message(release).contains("attempt 2"))
        };
        let ended = |release: &ReleaseLifecycle| is(release) || failed(release);
        let release = namespace.wait(RELEASE, by, "Ready", ended).await?;
        anyhow::ensure!(is(&release), "the release failed: {}", message(&release));
        Ok(())
    }

    /// Does what people do while the operation runs, as long as this is awaited: approves each plan that
    /// waits, and removes the finalizer of an object that the deletion waits for.
    pub(crate) async fn people(self, namespace: &Namespace) -> Result<()> {
        if !matches!(self, Self::Approved | Self::Held) {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let release = namespace.releases().get_opt(RELEASE).await?;
            if self == Self::Held {
                let journal =
                    release.as_ref().and_then(|release| release.status.as_ref()?.journal());
                if journal.is_some_and(|it| it.operation.phase == Phase::WaitingForDeletion) {
                    hold(namespace, None).await?;
                }
                continue;
            }
            let plan = release.as_ref().and_then(|release| release.status.as_ref()?.plan.as_ref());
            if let Some(plan) = plan
                && release.as_ref().and_then(ReleaseLifecycle::approved_plan) != Some(&*plan.digest)
            {
                namespace.approve(RELEASE, &plan.digest)?;
            }
        }
    }

    /// Holds the release at revision 1, whatever the operation is for.
    pub(crate) async fn pin(self, namespace: &Namespace) -> Result<()> {
        namespace.release(RELEASE, &upgraded(), json!({"pinRevision": 1})).await
    }

    /// Waits until the release is at what revision 1 was.
    pub(crate) async fn until_pinned(self, namespace: &Namespace, by: &Controller) -> Result<()> {
        namespace.wait_ready(RELEASE, by).await?;
        let is_old = |settings: Option<&Value>| {
            settings.is_some_and(|settings| settings["data"]["value"] == "1")
        };
        namespace.wait_object("ConfigMap", "settings", "as in revision 1", is_old).await?;
        Ok(())
    }

    /// Waits until the operation has sent its last request.
    pub(crate) async fn until_over(self, namespace: &Namespace, by: &Controller) -> Result<()> {
        self.until_reached(namespace, by).await?;
        match self.last_event() {
            Some(reason) => namespace.wait_event(reason).await,
            None => Ok(()),
        }
    }

    fn revision(self) -> i32 {
        match self {
            Self::Install
            | Self::Chart
            | Self::Test
            | Self::Delete
            | Self::Held
            | Self::HandOver
            | Self::Uninstalled => 1,
            Self::Upgrade | Self::Approved | Self::Ruled | Self::Retry | Self::TakeOver => 2,
            Self::Rollback | Self::RolledBack => 3,
        }
    }

    /// Returns whether it fails, and another operation makes up for that.
    fn makes_up(self) -> bool {
        matches!(self, Self::RolledBack | Self::Uninstalled)
    }
}

/// Has the ConfigMap `obsolete` held by `finalizer`, or by none. That it is gone is fine.
async fn hold(namespace: &Namespace, finalizer: Option<&str>) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(namespace.client.clone(), &namespace.name);
    let patch = Patch::Merge(json!({"metadata": {"finalizers": finalizer.map(|it| [it])}}));
    match maps.patch("obsolete", &PatchParams::default(), &patch).await {
        Err(kube::Error::Api(error)) if error.code == 404 => Ok(()),
        patched => patched.map(drop).map_err(Into::into),
    }
}

fn is_remedied(release: &ReleaseLifecycle) -> bool {
    condition(release, "Remediated").is_some_and(|it| it.status == "True")
}

/// The install leaves it behind, and the upgrade replaces it.
fn migrate() -> Value {
    job("migrate")
        .hook("pre-install,pre-upgrade")
        .set("/spec/ttlSecondsAfterFinished", TIME_TO_LIVE)
}

fn backup() -> Value {
    job("backup").hook("pre-upgrade").weight("-5").policy("hook-succeeded,before-hook-creation")
}

fn installed() -> Vec<Value> {
    vec![
        migrate(),
        config_map("settings", "1"),
        config_map("obsolete", "1"),
        deployment("web"),
        pod("welcome").hook("post-install").policy("hook-succeeded"),
        job("restore").hook("pre-rollback").policy("hook-succeeded"),
        pod("recheck").hook("post-rollback"),
        pod("ping").hook("test").policy("hook-succeeded"),
        job("probe").hook("test"),
        job("export").hook("pre-delete").policy("hook-failed"),
        pod("goodbye").hook("post-delete"),
    ]
}

/// `spec` by which a deletion leaves the release as it is.
fn kept() -> Value {
    json!({"deletion": {"objects": "Keep"}})
}

/// Returns what the install has, each object with another annotation whenever it is rendered.
fn chart(namespace: &Namespace) -> Result<Chart> {
    let mut chart = Chart::new(namespace, "chart")?;
    for (index, object) in installed().into_iter().enumerate() {
        let object = object.annotation(RENDERED, "{{ randAlphaNum 16 }}");
        chart = chart.file(&format!("templates/{index}.yaml"), &to_yaml(&object))?;
    }
    Ok(chart)
}

fn upgraded() -> Vec<Value> {
    vec![
        migrate(),
        backup(),
        config_map("settings", "2"),
        deployment("web"),
        pod("smoke").hook("post-upgrade"),
    ]
}

/// Revision 2, whose hooks run by [`rules`].
fn ruled() -> Vec<Value> {
    vec![
        migrate(),
        job("backup").hook("pre-upgrade"),
        job("check").hook("pre-upgrade").weight("1").policy("hook-succeeded").fails(),
        config_map("flag", "2").hook("pre-upgrade").weight("2").policy(""),
        job("notify").hook("post-upgrade"),
        config_map("settings", "2"),
        deployment("web"),
        pod("smoke").hook("post-upgrade"),
    ]
}

fn rules() -> Value {
    json!([
        {"match": {"name": "check"}, "retries": 1, "onFailure": "Ignore"},
        {"match": {"name": "flag"}, "readiness": "Ready"},
        {"match": {"name": "notify"}, "run": "Never"},
        {"parallel": true},
    ])
}

/// With an object that the API server refuses, after another one.
fn refused(mut objects: Vec<Value>) -> Vec<Value> {
    objects.push(config_map("added", "2"));
    objects.push(config_map("refused", "2").set("/data/not a key", "2"));
    objects
}

/// Revision 2, whose second hook fails at its first attempt and is removed then.
fn retried() -> Vec<Value> {
    vec![
        backup(),
        job("fragile")
            .hook("pre-upgrade")
            .policy("hook-failed")
            .set_pod("/spec/serviceAccountName", ACCOUNT),
        config_map("settings", "2"),
        deployment("web"),
        pod("smoke").hook("post-upgrade"),
    ]
}
