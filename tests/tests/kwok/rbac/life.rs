//! An operator of two replicas as its own ServiceAccount, and a life that uses every right.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use api::ReleaseLifecycle;
use e2e::{
    Controller, Logs, Namespace, condition, kwok,
    manifests::{Manifest, config_map, job},
    message, reason,
};
use k8s_openapi::api::{core::v1, events::v1::Event};
use kube::{Api, api::ListParams};
use serde_json::{Value, json};

use super::shipped::{ACCOUNT, Right, grant};

const LEASE: &str = "releaselifecycle-controller";
/// A release, and the ServiceAccount that it names, which is not there.
const GHOST: &str = "ghost";
const MISSING: &str = "ghost does not exist";
const PATIENCE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Operator {
    /// Where its releases are.
    pub(super) tenant: Namespace,
    /// Where its ServiceAccount and its lease are; it stays when the tenant's goes.
    home: Namespace,
    replicas: [Controller; 2],
    /// Of each release's spec.
    more: Value,
}

impl Operator {
    /// Starts it with these rights and no others, as `deploy/` does: the lease has its default name.
    pub(super) async fn start(rights: &[&Right], args: &[&str]) -> Result<Self> {
        let tenant = Namespace::new(kwok(), "rbac").await?;
        let home = Namespace::new(kwok(), "rbac-home").await?;
        grant(&home, &tenant, rights).await?;
        let kubeconfig = home.kubeconfig_of(ACCOUNT)?;
        let replica = |identity: &str| {
            // A renewal every four seconds.
            let own = ["--identity", identity, "--lease-seconds", "30"];
            let lease = ["--lease-namespace", &home.name, "--lease-name", LEASE];
            Controller::start(&kubeconfig, &tenant.name, &[&own[..], &lease, args].concat())
        };
        let replicas = [replica("a")?, replica("b")?];
        Ok(Self { tenant, home, replicas, more: json!({}) })
    }

    /// Its releases name no ServiceAccount.
    pub(super) fn acting_as_itself(self) -> Self {
        Self { more: json!({"serviceAccountName": null}), ..self }
    }

    pub(super) fn replica(&self, which: usize) -> &Controller {
        &self.replicas[which]
    }

    /// Waits until a replica other than `not` leads, and answers which.
    pub(super) async fn leader(&self, not: Option<usize>) -> Result<usize> {
        let place = |lease: Option<&Value>| {
            let holder = lease?.pointer("/spec/holderIdentity")?.as_str()?;
            ["a", "b"].iter().position(|identity| *identity == holder)
        };
        let is = |lease: Option<&Value>| place(lease).is_some_and(|leader| Some(leader) != not);
        let lease = self.home.wait_object("Lease", LEASE, "held", is).await?;
        place(lease.as_ref()).context("it is held")
    }

    /// Install, upgrade, test, hand-over, deletion, and a deletion with the namespace.
    pub(super) async fn live(&self) -> Result<()> {
        let leads = self.leader(None).await?;
        let (leader, standby) = (&self.replicas[leads], &self.replicas[1 - leads]);
        standby.wait_standing_by().await?;

        if self.more == json!({}) {
            self.name_a_ghost(leader).await?;
        }
        let objects = |value: &str| {
            [
                config_map("main", value),
                job("migrate").hook("pre-install,pre-upgrade"),
                job("smoke").hook("test"),
            ]
        };
        self.tenant.release("shop", &objects("1"), self.more.clone()).await?;
        self.tenant.wait_ready("shop", leader).await?;
        self.tenant.release("shop", &objects("2"), self.more.clone()).await?;
        self.tenant.wait_ready("shop", leader).await?;
        for request in ["1", "2"] {
            self.tenant.annotate("shop", "testAt", request)?;
            let tested = |release: &ReleaseLifecycle| {
                let status = release.status.as_ref();
                let handled = status.and_then(|it| it.last_handled_test_at.as_deref());
                handled == Some(request) && reason(release) == "InSync"
            };
            self.tenant.wait("shop", leader, "tested", tested).await?;
        }
        // The second test says the same as the first.
        self.until("an Event object that was counted up", async || {
            Ok(self.events().await?.iter().any(|event| event.series.is_some()))
        })
        .await?;

        leader.ask_to_end()?;
        self.leader(Some(leads)).await?;
        self.tenant.kubectl(&["delete", "rl", "shop", "--wait=false"])?;
        self.tenant.wait_released("shop", standby).await?;

        // In a namespace that goes no hook can run, and none is waited for.
        let objects = [config_map("main", "1"), job("backup").hook("pre-delete")];
        self.tenant.release("last", &objects, self.more.clone()).await?;
        self.tenant.wait_ready("last", standby).await?;
        let namespaces = Api::<v1::Namespace>::all(self.tenant.client.clone());
        // Its record would else go first, or not, as it comes, and without one there is no release.
        let record = "sh.helm.release.v1.last.v1";
        self.hold_secret(record, json!(["example.com/held"]))?;
        self.tenant.kubectl(&["delete", "namespace", &self.tenant.name, "--wait=false"])?;
        self.tenant.wait_released("last", standby).await?;
        // Whoever still could closed the record, and wrote it anew.
        if self.tenant.object("Secret", record).await?.is_some() {
            self.hold_secret(record, Value::Null)?;
        }
        self.until("the end of the namespace", async || {
            Ok(namespaces.get_opt(&self.tenant.name).await?.is_none())
        })
        .await
    }

    /// Whoever names a ServiceAccount that is not there is told so.
    async fn name_a_ghost(&self, leader: &Controller) -> Result<()> {
        let ghost = json!({"serviceAccountName": GHOST});
        self.tenant.release(GHOST, &[config_map(GHOST, "1")], ghost).await?;
        let release = self.tenant.wait_stalled(GHOST, leader).await?;
        ensure!(message(&release).contains(MISSING), "{}", message(&release));
        self.tenant.kubectl(&["delete", "rl", GHOST]).map(drop)
    }

    /// Sets a Secret's finalizers.
    fn hold_secret(&self, name: &str, finalizers: Value) -> Result<()> {
        let patch = json!({"metadata": {"finalizers": finalizers}}).to_string();
        self.tenant.kubectl(&["patch", "secret", name, "--type=merge", "--patch", &patch]).map(drop)
    }

    pub(super) async fn events(&self) -> Result<Vec<Event>> {
        let events = Api::<Event>::namespaced(self.tenant.client.clone(), &self.tenant.name);
        let all = events.list(&ListParams::default()).await?.items;
        let own = |event: &Event| {
            event.regarding.as_ref().and_then(|it| it.kind.as_deref()) == Some("ReleaseLifecycle")
        };
        Ok(all.into_iter().filter(own).collect())
    }

    /// Where it is seen that `right` is missing, now: a line of a log, or what a release says.
    pub(super) async fn symptom(&self, right: &Right) -> Result<Option<String>> {
        let refusal = format!("cannot {} resource \"{}\"", right.verb, right.resource);
        for replica in &self.replicas {
            let log = replica.log()?;
            // At the level at which it runs in a cluster, but for Event objects: that they are
            // missing is all that a user sees.
            let level = |line: &&str| {
                line.contains(" WARN ") || line.contains("ERROR ") || right.resource == "events"
            };
            let line = log.lines().filter(level).find(|line| line.contains(&refusal));
            if let Some(line) = line {
                return Ok(Some(line.to_owned()));
            }
        }
        for release in self.tenant.releases().list(&ListParams::default()).await?.items {
            // As it is to be.
            let is_ghost = release.metadata.name.as_deref() == Some(GHOST);
            if is_ghost && message(&release).contains(MISSING) {
                continue;
            }
            if condition(&release, "Stalled").is_some() {
                return Ok(Some(format!("Stalled: {}", message(&release))));
            }
        }
        Ok(None)
    }

    /// As [`Self::symptom`], as soon as there is one.
    pub(super) async fn shows(&self, right: &Right) -> Result<String> {
        loop {
            if let Some(symptom) = self.symptom(right).await? {
                return Ok(symptom);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Returns what the operator asked for as itself and was not allowed, whichever right it would need.
    pub(super) fn refused(&self) -> Result<Vec<String>> {
        let asked = self.home.asked_by(ACCOUNT)?;
        ensure!(!asked.is_empty(), "the operator is not in the audit log by its own name");
        let refused = asked.iter().filter(|event| event.code == 403);
        let mut refused: Vec<_> =
            refused.map(|event| format!("{} {}", event.verb, event.uri)).collect();
        // Of what is not in the audit log the operator's own says it.
        let user = format!("system:serviceaccount:{}:{ACCOUNT}", self.home.name);
        for replica in &self.replicas {
            let log = replica.log()?;
            let own = log.lines().filter(|line| line.contains(&user) && line.contains(" cannot "));
            refused.extend(own.map(str::to_owned));
        }
        Ok(refused)
    }

    async fn until(&self, what: &str, is: impl AsyncFn() -> Result<bool>) -> Result<()> {
        let seen = async {
            while !is().await? {
                tokio::time::sleep(PAUSE).await;
            }
            anyhow::Ok(())
        };
        match tokio::time::timeout(PATIENCE, seen).await {
            Ok(seen) => seen,
            Err(_) => bail!("{what} was not seen; {}", self.replicas[0].log_tail()),
        }
    }
}
