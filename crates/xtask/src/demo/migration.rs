//! The Job that must run once.

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use testkit::audit;

use super::{NAME, report::Report, stage::Stage};

const JOB: &str = "shop-migration";
/// What it prints after two seconds.
const TWO_SECONDS: &str = "migrating table 3 of 8";
/// Every hook of the story, in the order in which they must have run.
const HOOKS: [&str; 5] = ["shop-schema", "shop-verify", "shop-backup", JOB, "shop-verify"];
/// As whom the operator acts for the tenant.
const TENANT: &str = "system:serviceaccount:shop:shop-deployer";

pub(super) struct Migration {
    pub(super) uid: String,
    /// What it printed last; nothing on a simulated node.
    says: Option<String>,
}

impl Migration {
    /// The migration, once its container has been at work for two seconds.
    pub(super) fn under_way(stage: &Stage) -> anyhow::Result<Option<Self>> {
        let Some(hook) = journalled(stage)? else { return Ok(None) };
        match text(&hook, "/phase") {
            "Running" => {}
            "Pending" => return Ok(None),
            ended => bail!(
                "Job/{JOB} has {ended} already, before the controller could be killed; stop the \
                 cluster and let the demo start its own, where a hook takes longer"
            ),
        }
        let uid = text(&hook, "/uid").to_owned();
        if stage.is_simulated() {
            let job = stage.json(&["get", "job", JOB])?;
            return Ok(is_active(&job).then_some(Self { uid, says: None }));
        }
        let says = last_line(stage).filter(|line| &**line >= TWO_SECONDS);
        Ok(says.map(|says| Self { uid, says: Some(says) }))
    }

    /// What a reader is told of it.
    pub(super) fn describe(&self) -> String {
        let says = self.says.as_ref().map_or(String::new(), |says| format!(", it says {says:?}"));
        format!("Job/{JOB} runs{says}")
    }

    /// The same Job, which must go on while nobody is in charge.
    pub(super) fn still_runs(&self, stage: &Stage) -> anyhow::Result<Self> {
        let job = stage.json(&["get", "job", JOB])?;
        let uid = text(&job, "/metadata/uid");
        ensure!(uid == self.uid, "Job/{JOB} is another: UID {uid} instead of {}", self.uid);
        ensure!(
            is_active(&job),
            "Job/{JOB} does not run while no controller does: {}",
            job.pointer("/status").unwrap_or(&Value::Null)
        );
        let says = if stage.is_simulated() { None } else { last_line(stage) };
        Ok(Self { uid: uid.to_owned(), says })
    }

    /// The proof, after the upgrade: by the Job, by the journal, and by the API server's audit log.
    pub(super) fn ran_once(&self, stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
        let job = stage.json(&["get", "job", JOB])?;
        let uid = text(&job, "/metadata/uid");
        let hook = journalled(stage)?.context("status no longer lists the migration")?;
        uid.clone_into(&mut report.migration.uid_after);
        ensure!(uid == self.uid, "the migration's Job is another: {uid}, it was {}", self.uid);
        let journal = text(&hook, "/uid");
        ensure!(journal == self.uid, "status has {journal} as the migration's Job, not {uid}");
        ensure!(hook["attempt"] == 1, "the migration took {} attempts", hook["attempt"]);

        let Some(log) = stage.audit_log() else { return Ok(()) };
        let (events, _) = audit::read_from(log, stage.audit_offset)?;
        let events = audit::in_namespace(&events, NAME);
        let creates = events.iter().filter(|event| creates(event)).count();
        let run = job.pointer("/metadata/annotations/releaselifecycle.dev~1run");
        let run = run.and_then(Value::as_str).context("the migration's Job has no run id")?;
        let starts = audit::starts(&events).get(run).copied().unwrap_or_default();
        (report.migration.creates, report.migration.starts) = (Some(creates), Some(starts));
        ensure!(
            (creates, starts) == (1, 1),
            "by {} the migration was created {creates} times and started {starts} times",
            log.display()
        );
        let operator = |event: &audit::Event| event.impersonated.as_deref() == Some(TENANT);
        let violations = audit::judge(&events, operator, &HOOKS);
        let list: Vec<_> = violations.iter().map(ToString::to_string).collect();
        ensure!(list.is_empty(), "the audit log shows broken rules: {}", list.join("; "));
        Ok(())
    }
}

/// The migration, as the release's status has it.
fn journalled(stage: &Stage) -> anyhow::Result<Option<Value>> {
    let mut release = stage.json(&["get", "releaselifecycle", NAME])?;
    let Value::Array(hooks) = release["status"]["hooks"].take() else { return Ok(None) };
    Ok(hooks.into_iter().find(|hook| text(hook, "/name") == JOB))
}

fn last_line(stage: &Stage) -> Option<String> {
    // Until its container runs there is no log, which is an error to kubectl.
    let log = stage.kubectl(&["logs", &format!("job/{JOB}"), "-n", NAME, "--tail=1"]).ok()?;
    Some(log.trim().to_owned()).filter(|line| !line.is_empty())
}

fn is_active(job: &Value) -> bool {
    job.pointer("/status/active").and_then(Value::as_u64) == Some(1)
}

fn creates(event: &audit::Event) -> bool {
    let creation = event.verb == "create" || event.verb == "patch" && event.code == 201;
    creation
        && event.resource == "jobs"
        && event.subresource.is_none()
        && event.name.as_deref() == Some(JOB)
        && event.succeeded()
        && !event.is_dry_run()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
