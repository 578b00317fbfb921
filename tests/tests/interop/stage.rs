//! A release in a namespace of its own, Helm on one side and the operator on the other.

use std::fmt;

use anyhow::{Context, Result, ensure};
use api::ReleaseLifecycle;
use e2e::{AuditLog, Controller, Namespace, condition, helm, kwok, reason};
use serde_json::{Value, json};

use crate::subject::Subject;

/// The name of every release, and of its `ReleaseLifecycle`.
pub(crate) const RELEASE: &str = "shop";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Helm {
    pub(crate) program: &'static str,
    name: &'static str,
}

impl Helm {
    pub(crate) const BOTH: [Self; 2] =
        [Self { program: "helm3", name: "helm 3" }, Self { program: "helm", name: "helm 4" }];
}

impl fmt::Display for Helm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

pub(crate) struct Stage<'a> {
    pub(crate) namespace: Namespace,
    pub(crate) helm: Helm,
    pub(crate) subject: Subject,
    log: &'a AuditLog,
    lines: &'a mut Vec<String>,
}

/// The work since it was last asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Did {
    /// The hook Jobs that were made, in order, each with who made it: `helm migrate`.
    pub(crate) hooks: Vec<String>,
    /// Other writes of the operator, but for Helm's records: `patch configmaps/main`.
    pub(crate) writes: Vec<String>,
}

impl<'a> Stage<'a> {
    pub(crate) async fn new(
        prefix: &str,
        helm: Helm,
        subject: Subject,
        log: &'a AuditLog,
        lines: &'a mut Vec<String>,
    ) -> Result<Self> {
        let namespace = Namespace::new(kwok(), &format!("{prefix}-{}", helm.program)).await?;
        Ok(Self { namespace, helm, subject, log, lines })
    }

    /// One more thing that went well, or why it did not.
    pub(crate) fn note(&mut self, what: &str, result: Result<()>) -> Result<()> {
        result.with_context(|| format!("{what}, in {}", self.namespace.name))?;
        self.lines.push(what.to_owned());
        Ok(())
    }

    /// Returns what Helm prints.
    pub(crate) fn run(&self, args: &[&str]) -> Result<String> {
        helm::run(&self.namespace, self.helm.program, args)
    }

    /// Returns what Helm prints with `-o json`.
    pub(crate) fn json(&self, args: &[&str]) -> Result<Value> {
        helm::json(&self.namespace, self.helm.program, args)
    }

    /// `helm install` or `helm upgrade`, to the release with this value.
    pub(crate) fn by_helm(&self, action: &str, value: &str) -> Result<()> {
        let chart = self.subject.for_helm(&self.namespace, value)?;
        let chart = chart.iter().map(String::as_str);
        let args: Vec<_> = [action, RELEASE].into_iter().chain(chart).collect();
        self.run(&args).map(drop)
    }

    /// Asks the operator for the release with this value.
    pub(crate) async fn by_operator(&self, value: &str) -> Result<()> {
        let spec = self.subject.for_operator(&self.namespace, value).await?;
        self.namespace.release(RELEASE, &[], spec).await
    }

    /// Has the operator look again before its time.
    pub(crate) fn nudge(&self) -> Result<()> {
        self.namespace.kubectl(&["annotate", "rl", RELEASE, "example.com/nudge=1"]).map(drop)
    }

    /// Waits until this revision is deployed, and nothing runs.
    pub(crate) async fn wait_deployed(
        &self,
        by: &Controller,
        revision: i32,
    ) -> Result<ReleaseLifecycle> {
        let what = format!("deployed as revision {revision}");
        let is = |release: &ReleaseLifecycle| {
            let status = release.status.as_ref();
            let ready = condition(release, "Ready").is_some_and(|it| it.status == "True");
            ready && status.is_some_and(|status| status.revision == Some(revision))
        };
        self.namespace.wait(RELEASE, by, &what, is).await
    }

    /// As [`Self::wait_deployed`], and it was taken over as it is.
    pub(crate) async fn wait_taken_over(&self, by: &Controller, revision: i32) -> Result<()> {
        let release = self.wait_deployed(by, revision).await?;
        ensure!(reason(&release) == "InSync", "the reason is {}", reason(&release));
        Ok(())
    }

    /// Since it was last asked; whoever did something must have ended.
    pub(crate) fn did(&self) -> Result<Did> {
        let events = self.log.take(|event| event.is_in(&self.namespace.name))?;
        let mut did = Did::default();
        for event in events.iter().filter(|it| it.succeeded() && !it.is_dry_run()) {
            let name = event.name.as_deref().unwrap_or_default();
            let is_operator = event.impersonated.is_some();
            // Helm 4 creates by an apply.
            if event.resource == "jobs" && event.subresource.is_none() && event.code == 201 {
                let who = if is_operator { "operator" } else { "helm" };
                did.hooks.push(format!("{who} {name}"));
            } else if is_operator && !name.starts_with("sh.helm.release.v1.") {
                did.writes.push(format!("{} {}/{name}", event.verb, event.resource));
            }
        }
        Ok(did)
    }

    /// These hooks were run, each once, in this order.
    pub(crate) fn expect_hooks(&self, hooks: &[&str]) -> Result<Did> {
        let did = self.did()?;
        ensure!(did.hooks == hooks, "the hooks that ran are {:?}, not {hooks:?}", did.hooks);
        Ok(did)
    }

    /// These hooks were run, and the operator has changed nothing but records.
    pub(crate) fn expect_hands_off(&self, hooks: &[&str]) -> Result<()> {
        let did = self.expect_hooks(hooks)?;
        ensure!(did.writes.is_empty(), "the operator has written {:?}", did.writes);
        Ok(())
    }

    /// The release's object has this value.
    pub(crate) async fn expect_value(&self, value: &str) -> Result<()> {
        let main = self.namespace.object("ConfigMap", "main").await?.context("main is there")?;
        ensure!(main["data"]["value"] == value, "main is {}, not {value}", main["data"]["value"]);
        Ok(())
    }

    /// The states of the revisions, as Helm tells of them.
    pub(crate) fn expect_history(&self, states: &[&str]) -> Result<()> {
        let history = self.json(&["history", RELEASE])?;
        let found: Vec<_> = history.as_array().into_iter().flatten().collect();
        let found: Vec<_> = found.iter().map(|it| it["status"].as_str().unwrap_or("")).collect();
        ensure!(found == states, "the history is {found:?}, not {states:?}");
        Ok(())
    }

    /// Nothing of the release is left but what Helm leaves: the objects of its hooks.
    pub(crate) async fn expect_gone(&self) -> Result<()> {
        let main = self.namespace.object("ConfigMap", "main").await?;
        ensure!(main.is_none(), "main is still there");
        let records = ["get", "secrets", "-l", "owner=helm", "-o", "name"];
        let records = self.namespace.kubectl(&records)?;
        ensure!(records.is_empty(), "there are records left: {records}");
        Ok(())
    }

    /// Removes the `ReleaseLifecycle` and leaves the release to Helm.
    pub(crate) async fn hand_over(&self, by: &Controller) -> Result<()> {
        let keep = json!({"spec": {"deletion": {"objects": "Keep"}}}).to_string();
        self.namespace.kubectl(&["patch", "rl", RELEASE, "--type", "merge", "-p", &keep])?;
        self.namespace.kubectl(&["delete", "rl", RELEASE, "--wait=false"])?;
        self.namespace.wait_released(RELEASE, by).await
    }
}
