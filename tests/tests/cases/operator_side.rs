use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result, ensure};
use api::{ReleaseLifecycle, names};
use e2e::{Controller, Logs, Namespace, chart_source, condition, put_archive};
use kube::api::{DeleteParams, Patch, PatchParams};
use lifecycle::event::Event;
use serde_json::{Value, json};

use crate::{
    chart,
    script::{Action, Script, Step},
    side::Ended,
};

/// Longer than any wait in a case.
const PATIENCE: Duration = Duration::from_mins(2);

/// How the names of the Secrets begin that hold charts; `end` leaves them out.
const CHART: &str = "chart-of-step-";

/// The value of a request that is made once.
const ASKED: &str = "1";

/// The operator, served by a controller of its own.
pub(crate) struct Operator {
    controller: Controller,
    timeout: String,
    account: &'static str,
    /// The API server's refusal of the request.
    refused: Option<String>,
    /// The objects and the spec that were applied last, by release.
    applied: HashMap<&'static str, (Vec<Value>, Value)>,
    tests: u32,
    charts: u32,
}

impl Operator {
    pub(crate) fn new(namespace: &Namespace, script: &Script) -> Result<Self> {
        Ok(Self {
            controller: namespace.controller()?,
            timeout: format!("{}s", script.timeout),
            account: if script.limited { "limited" } else { "deployer" },
            refused: None,
            applied: HashMap::new(),
            tests: 0,
            charts: 0,
        })
    }

    pub(crate) async fn begin(
        &mut self,
        namespace: &Namespace,
        step: &Step,
        objects: &[Value],
    ) -> Result<()> {
        let asked = match step.action {
            Action::Install(_) | Action::Upgrade(_) => {
                self.apply(namespace, step.release, objects, &step.spec).await
            }
            Action::Rollback(revision) => {
                // As somebody would: the same again, with one line more.
                let applied = self.applied.get(step.release).context("it was installed")?;
                let (objects, mut spec) = applied.clone();
                spec["pinRevision"] = json!(revision);
                namespace.release(step.release, &objects, spec).await
            }
            Action::Uninstall => {
                let releases = namespace.releases();
                let deleted = releases.delete(step.release, &DeleteParams::default()).await;
                deleted.map(drop).map_err(Into::into)
            }
            Action::UninstallWithoutHooks => {
                let asked = json!({names::SKIP_AT: ASKED});
                patch(namespace, step, json!({"metadata": {"annotations": asked}})).await
            }
            Action::Test => {
                self.tests += 1;
                let asked = json!({names::TEST_AT: self.tests.to_string()});
                let body = json!({"metadata": {"annotations": asked}, "spec": step.spec});
                patch(namespace, step, body).await
            }
            Action::TakeOver(_) | Action::Kubectl(_) | Action::Apply(_) | Action::Wait(_) => Ok(()),
        };
        self.refused = match asked {
            Ok(()) => None,
            Err(error) => match error.downcast::<kube::Error>() {
                Ok(kube::Error::Api(status)) => Some(status.message),
                Ok(error) => return Err(error.into()),
                Err(error) => return Err(error),
            },
        };
        Ok(())
    }

    pub(crate) async fn ended(&mut self, namespace: &Namespace, step: &Step) -> Result<Ended> {
        if let Some(message) = self.refused.take() {
            return Ok(Ended::Refused(message));
        }
        match step.action {
            Action::Uninstall | Action::UninstallWithoutHooks => {
                self.until_deleted(namespace, step).await
            }
            Action::Test => self.until_tested(namespace, step).await,
            _ => self.until_settled(namespace, step.release).await,
        }
    }

    /// Another controller is there as soon as the first one has ended.
    pub(crate) fn signal(&mut self, namespace: &Namespace, signal: &str) -> Result<()> {
        match signal {
            "KILL" => self.controller.kill()?,
            _ => ensure!(self.controller.terminate()?.success(), "it fails after SIGTERM"),
        }
        self.controller = namespace.controller()?;
        Ok(())
    }

    pub(crate) async fn apply(
        &mut self,
        namespace: &Namespace,
        release: &'static str,
        objects: &[Value],
        more: &Value,
    ) -> Result<()> {
        let mut spec = json!({"timeout": self.timeout, "serviceAccountName": self.account});
        let mut parsed = Vec::new();
        if chart::is_needed(objects) {
            self.charts += 1;
            let name = format!("{CHART}{}", self.charts);
            // Helm upgrades whenever it is asked to; the operator, where the chart is another one.
            let chart = chart::of(namespace, release, objects)?.file("step", &name)?;
            let archive = chart.archive()?;
            put_archive(namespace, &name, &std::fs::read(archive)?).await?;
            spec["source"] = chart_source(&name)["source"].take();
        }
        for object in objects.iter().filter(|_| spec["source"].is_null()) {
            match object {
                Value::String(text) => parsed.extend(helm::manifest::parse(text)?),
                object => parsed.push(object.clone()),
            }
        }
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        self.applied.insert(release, (parsed.clone(), spec.clone()));
        namespace.release(release, &parsed, spec).await
    }

    pub(crate) async fn until_settled(
        &self,
        namespace: &Namespace,
        release: &str,
    ) -> Result<Ended> {
        let settled = |release: &ReleaseLifecycle| {
            let status = release.status.as_ref();
            let generation = status.and_then(|status| status.observed_generation);
            generation == release.metadata.generation
                && (is_true(release, "Ready") || is_true(release, "Stalled"))
        };
        let release = namespace.wait(release, &self.controller, "settled", settled).await?;
        Ok(ended(&release, "Ready"))
    }

    async fn until_tested(&self, namespace: &Namespace, step: &Step) -> Result<Ended> {
        let asked = self.tests.to_string();
        let tested = |release: &ReleaseLifecycle| {
            let status = serde_json::to_value(&release.status).unwrap_or_default();
            status["lastHandledTestAt"] == asked.as_str()
                && status["operation"]["completedAt"].is_string()
                && condition(release, "TestSuccess").is_some_and(|it| it.status != "Unknown")
        };
        let release = namespace.wait(step.release, &self.controller, "tested", tested).await?;
        Ok(ended(&release, "TestSuccess"))
    }

    /// Until the release is gone, or stuck in its deletion. No watch reports both.
    async fn until_deleted(&self, namespace: &Namespace, step: &Step) -> Result<Ended> {
        let skips = matches!(step.action, Action::UninstallWithoutHooks);
        let stuck = |release: &ReleaseLifecycle| {
            let status = release.status.as_ref();
            let operation = status.and_then(|status| status.operation.as_ref());
            let skipped = status.and_then(|status| status.last_handled_skip_at.as_deref());
            operation.is_some_and(|operation| operation.event == Event::Delete)
                && (!skips || skipped == Some(ASKED))
                && is_true(release, "Stalled")
        };
        let deleted = async {
            loop {
                match namespace.releases().get_opt(step.release).await? {
                    None => return Ok::<_, kube::Error>(Ended::Ok),
                    Some(release) if stuck(&release) => {
                        return Ok(ended(&release, "Ready"));
                    }
                    Some(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        let ended = tokio::time::timeout(PATIENCE, deleted).await;
        let log = || format!("the release never went; {}", self.controller.log_tail());
        Ok(ended.with_context(log)??)
    }
}

async fn patch(namespace: &Namespace, step: &Step, body: Value) -> Result<()> {
    let params = PatchParams::default();
    namespace.releases().patch(step.release, &params, &Patch::Merge(&body)).await?;
    Ok(())
}

fn is_true(release: &ReleaseLifecycle, type_: &str) -> bool {
    condition(release, type_).is_some_and(|condition| condition.status == "True")
}

fn ended(release: &ReleaseLifecycle, type_: &str) -> Ended {
    if is_true(release, type_) {
        return Ended::Ok;
    }
    Ended::Failed(condition(release, type_).map_or(String::new(), |it| it.message.clone()))
}
