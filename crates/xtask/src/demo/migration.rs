//! The Job that must run once.

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use testkit::audit;

use super::{NAME, Play, report::Report, stage::Stage};

/// The line that it prints after two seconds.
const TWO_SECONDS: &str = "migrating table 3 of 8";

pub(super) struct Migration {
    pub(super) uid: String,
    /// The run id of its hook.
    run: String,
    /// The line that it printed last; nothing on a simulated node.
    says: Option<String>,
}

impl Migration {
    /// The migration, once its container has been at work for two seconds.
    pub(super) fn under_way(stage: &Stage) -> anyhow::Result<Option<Self>> {
        let job_name = stage.play.migration;
        let Some(hook) = journalled(stage)? else { return Ok(None) };
        match text(&hook, "/phase") {
            "Running" => {}
            "Pending" => return Ok(None),
            ended => bail!(
                "Job/{job_name} has {ended} already, before the controller could be killed; stop the \
                 cluster and let the demo start its own, where a hook takes longer"
            ),
        }
        let uid = text(&hook, "/uid").to_owned();
        let says = if stage.is_simulated() {
            None
        } else {
            let Some(says) = last_line(stage).filter(|line| &**line >= TWO_SECONDS) else {
                return Ok(None);
            };
            Some(says)
        };
        let job = stage.json(&["get", "job", job_name])?;
        let run = text(&job, "/metadata/annotations/releaselifecycle.dev~1run").to_owned();
        ensure!(!run.is_empty(), "Job/{job_name} has no run id");
        Ok(is_active(&job).then_some(Self { uid, run, says }))
    }

    /// Returns what a reader is told of it.
    pub(super) fn describe(&self, stage: &Stage) -> String {
        let says = self.says.as_ref().map_or(String::new(), |says| format!(", it says {says:?}"));
        format!("Job/{} runs{says}", stage.play.migration)
    }

    /// The same Job, which must go on while nobody is in charge.
    pub(super) fn still_runs(&self, stage: &Stage) -> anyhow::Result<Self> {
        let name = stage.play.migration;
        let job = stage.json(&["get", "job", name])?;
        let uid = text(&job, "/metadata/uid");
        ensure!(uid == self.uid, "Job/{name} is another: UID {uid} instead of {}", self.uid);
        ensure!(
            is_active(&job),
            "Job/{name} does not run while no controller does: {}",
            job.pointer("/status").unwrap_or(&Value::Null)
        );
        let says = if stage.is_simulated() { None } else { last_line(stage) };
        Ok(Self { uid: uid.to_owned(), run: self.run.clone(), says })
    }

    /// The proof, after the upgrade: by the journal, by the Job where its policy left it, and by the
    /// API server's audit log.
    pub(super) fn ran_once(&self, stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
        let Play { migration, namespace, hooks, .. } = *stage.play;
        let hook = journalled(stage)?.context("status no longer lists the migration")?;
        let uid = text(&hook, "/uid");
        uid.clone_into(&mut report.migration.uid_after);
        ensure!(uid == self.uid, "status has {uid} as the migration's Job, it was {}", self.uid);
        ensure!(hook["attempt"] == 1, "the migration took {} attempts", hook["attempt"]);
        let listed = stage.json(&[
            "get",
            "jobs",
            "--field-selector",
            &format!("metadata.name={migration}"),
        ])?;
        let jobs = listed["items"].as_array().map_or(&[][..], Vec::as_slice);
        for job in jobs {
            let uid = text(job, "/metadata/uid");
            ensure!(uid == self.uid, "the migration's Job is another: {uid}, it was {}", self.uid);
        }

        let Some(log) = stage.audit_log() else { return Ok(()) };
        let (events, _) = audit::read_from(log, stage.audit_offset)?;
        let events = audit::in_namespace(&events, namespace);
        let creates = events.iter().filter(|event| creates(event, migration)).count();
        let starts = audit::starts(&events).get(&self.run).copied().unwrap_or_default();
        (report.migration.creates, report.migration.starts) = (Some(creates), Some(starts));
        ensure!(
            (creates, starts) == (1, 1),
            "by {} the migration was created {creates} times and started {starts} times",
            log.display()
        );
        let tenant = format!("system:serviceaccount:{namespace}:shop-deployer");
        let operator = |event: &audit::Event| event.impersonated.as_ref() == Some(&tenant);
        let names = full_names(stage, hooks)?;
        let names: Vec<_> = names.iter().map(|name| audit::Ran::Alone(name)).collect();
        let violations = audit::judge(&events, operator, &names);
        let list: Vec<_> = violations.iter().map(ToString::to_string).collect();
        ensure!(list.is_empty(), "the audit log shows broken rules: {}", list.join("; "));
        Ok(())
    }
}

/// The hooks' names, those that end with a dash completed from the release's status.
fn full_names(stage: &Stage, hooks: &[&str]) -> anyhow::Result<Vec<String>> {
    let there = hooks_of(stage)?;
    let full = |name: &&str| {
        if !name.ends_with('-') {
            return Ok((*name).to_owned());
        }
        let found = there.iter().map(|hook| text(hook, "/name")).find(|it| it.starts_with(name));
        found.map(str::to_owned).with_context(|| format!("status has no hook {name}…"))
    };
    hooks.iter().map(full).collect()
}

fn hooks_of(stage: &Stage) -> anyhow::Result<Vec<Value>> {
    let mut release = stage.json(&["get", "releaselifecycle", NAME])?;
    let Value::Array(hooks) = release["status"]["hooks"].take() else { return Ok(Vec::new()) };
    Ok(hooks)
}

/// The migration, as the release's status has it.
fn journalled(stage: &Stage) -> anyhow::Result<Option<Value>> {
    let hooks = hooks_of(stage)?;
    Ok(hooks.into_iter().find(|hook| text(hook, "/name") == stage.play.migration))
}

fn last_line(stage: &Stage) -> Option<String> {
    // Until its container runs there is no log, which is an error to kubectl.
    let Play { migration, namespace, .. } = stage.play;
    let job = format!("job/{migration}");
    let log = stage.kubectl(&["logs", &job, "-n", namespace, "--tail=1"]).ok()?;
    Some(log.trim().to_owned()).filter(|line| !line.is_empty())
}

fn is_active(job: &Value) -> bool {
    job.pointer("/status/active").and_then(Value::as_u64) == Some(1)
}

fn creates(event: &audit::Event, job: &str) -> bool {
    let creation = event.verb == "create" || event.verb == "patch" && event.code == 201;
    creation
        && event.resource == "jobs"
        && event.subresource.is_none()
        && event.name.as_deref() == Some(job)
        && event.succeeded()
        && !event.is_dry_run()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
