//! The release's records: Helm's Secrets, one for each revision, with our plan beside.

use std::io::{Read, Write};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use helm::{
    manifest,
    record::{self, ApplyMethod, Chart, Hook, HookRun, Info, Release, Status},
    secret::{self, SecretError, Written},
};
use jiff::Timestamp;
use lifecycle::{
    event::{Event, Record, RecordState},
    journal::{Failure, HookPhase, Journal},
    plan::{ObjectRef, Plan, config_digest},
    source::Desired,
};
use serde_json::{Map, Value, json};

use crate::{client::ApiError, error::Error, tenant::Tenant};

/// As much as a plan may inflate to; the object it is made from is at most 1.5 MiB.
const MAX_PLAN_BYTES: u64 = 16 * 1024 * 1024;
/// Records since the last deployed one that are looked into, however many attempts have failed.
const MOST_RECORDS: usize = 64;

/// A record as it is stored.
pub(crate) struct Stored {
    resource_version: Value,
    pub(crate) release: Release,
    /// With its digest; `None` where Helm wrote the record, or rewrote it and dropped the plan.
    pub(crate) plan: Option<(Plan, String)>,
    plan_bytes: Option<Vec<u8>>,
}

impl Stored {
    /// What the record means for the choice of the event.
    pub(crate) fn summary(&self, inputs: &Value) -> Record {
        let plan = self.plan.as_ref().map(|(plan, _)| plan);
        Record {
            revision: self.release.version,
            state: match self.release.info.status {
                Status::Deployed => RecordState::Deployed,
                Status::Superseded => RecordState::Superseded,
                Status::Failed | Status::Uninstalled | Status::Unknown => RecordState::Failed,
                Status::Uninstalling
                | Status::PendingInstall
                | Status::PendingUpgrade
                | Status::PendingRollback => RecordState::Pending,
            },
            owner: plan.map(|plan| plan.owner.name.clone()),
            matches: plan.is_some_and(|plan| {
                plan.config_digest == config_digest(plan.config_key.as_bytes(), inputs)
            }),
        }
    }
}

/// What a record's digest is made of: the inputs, never rendered text.
pub(crate) fn config_inputs(release: &str, objects: &[Value]) -> Value {
    json!({"releaseName": release, "objects": objects})
}

/// The records of the release since and including the last deployed one, newest first. Like Helm,
/// it passes over those that cannot be read; the labels say which are looked into at all, since a
/// tenant can write as many as it likes.
pub(crate) async fn history(
    tenant: &Tenant<'_>,
    release: &str,
    namespace: &str,
) -> Result<Vec<Stored>, ApiError> {
    let selector = format!("name={release},owner=helm");
    let secrets = tenant.list(&reference(release, namespace, 0), &selector).await?;
    let label = |secret: &Value, name: &str| {
        secret["metadata"]["labels"][name].as_str().unwrap_or_default().to_owned()
    };
    let mut secrets: Vec<_> = secrets
        .iter()
        .map(|secret| (label(secret, "version").parse().unwrap_or(0), secret))
        .collect();
    secrets.sort_by_key(|(version, _): &(i32, _)| std::cmp::Reverse(*version));
    let mut history = Vec::new();
    for (_, secret) in secrets.into_iter().take(MOST_RECORDS) {
        history.extend(read(secret));
        if ["deployed", "superseded"].contains(&label(secret, "status").as_str()) {
            break;
        }
    }
    Ok(history)
}

/// The record of one revision.
pub(crate) async fn get(
    tenant: &Tenant<'_>,
    release: &str,
    namespace: &str,
    revision: i32,
) -> Result<Option<Stored>, Error> {
    let secret = tenant.get(&reference(release, namespace, revision)).await?;
    secret.as_ref().map(read).transpose().map_err(|error| unreadable(&error))
}

/// POSTs the pending record of the operation with its plan. That it exists is for the caller to
/// look into.
pub(crate) async fn create(
    tenant: &Tenant<'_>,
    release: &Release,
    plan: &Plan,
) -> Result<(), Error> {
    let (bytes, _) = plan.freeze();
    let body = secret::to_secret(release, Written::Created(now()), Some(&gzip(&bytes)))
        .map_err(|error| unreadable(&error))?;
    let object = reference(&release.name, &release.namespace, release.version);
    tenant.create(&object, &body).await?;
    Ok(())
}

/// Closes the record of the operation and, where it is deployed, supersedes older ones: the new one
/// first, since Helm takes the highest that is deployed. A failure where the record is no longer
/// the operation's.
pub(crate) async fn close(
    tenant: &Tenant<'_>,
    release: &str,
    namespace: &str,
    journal: &Journal,
    deployed: bool,
) -> Result<Result<(), Failure>, Error> {
    let operation = &journal.operation;
    let stored = get(tenant, release, namespace, operation.revision).await?;
    let ours = stored.filter(|stored| {
        stored.plan.as_ref().is_some_and(|(plan, _)| plan.operation == operation.id)
    });
    let Some(mut stored) = ours else {
        let message = format!(
            "the record {} was removed or rewritten by another client while the operation ran; \
             look at it with `helm history {release}`",
            record::secret_name(release, operation.revision)
        );
        return Ok(Err(Failure::new("RecordLost", message)));
    };
    // Only what is pending: a process that comes late would turn a superseded record back.
    if stored.release.info.status.is_pending() {
        let status = if deployed { Status::Deployed } else { Status::Failed };
        let info = &mut stored.release.info;
        info.status = status;
        info.last_deployed = Some(now());
        info.description = description(release, journal);
        note_runs(&mut stored.release.hooks, journal);
        replace(tenant, &stored).await?;
    }
    if deployed && stored.release.info.status == Status::Deployed {
        let selector = format!("name={release},owner=helm,status=deployed");
        let like = reference(release, namespace, 0);
        for secret in tenant.list(&like, &selector).await? {
            let Ok(mut older) = read(&secret) else {
                continue;
            };
            if older.release.version < operation.revision {
                older.release.info.status = Status::Superseded;
                replace(tenant, &older).await?;
            }
        }
    }
    Ok(Ok(()))
}

/// The record of an operation that is about to begin.
pub(crate) fn pending(plan: &Plan, desired: &Desired, release: &str, namespace: &str) -> Release {
    let path = |object: &ObjectRef| format!("{release}/{}-{}.yaml", object.kind, object.name);
    let (status, description) = match plan.event {
        Event::Install => (Status::PendingInstall, "Initial install underway"),
        Event::Upgrade => (Status::PendingUpgrade, "Preparing upgrade"),
    };
    let manifest = plan
        .objects
        .iter()
        .map(|object| manifest::render([&object.manifest], &path(&object.object)))
        .collect();
    let hooks = desired
        .hooks
        .iter()
        .map(|hook| Hook {
            name: hook.object.name.clone(),
            kind: hook.object.kind.clone(),
            path: path(&hook.object),
            manifest: manifest::to_yaml(&hook.manifest),
            events: hook.events.iter().map(|event| event.as_str().to_owned()).collect(),
            last_run: HookRun::default(),
            weight: hook.weight,
            delete_policies: hook
                .delete_policies
                .iter()
                .map(|policy| policy.as_str().to_owned())
                .collect(),
            output_log_policies: Vec::new(),
            extra: Map::new(),
        })
        .collect();
    let now = now();
    Release {
        name: release.to_owned(),
        namespace: namespace.to_owned(),
        version: plan.revision,
        info: Info {
            first_deployed: Some(plan.first_deployed.unwrap_or(now)),
            last_deployed: Some(now),
            deleted: None,
            description: description.to_owned(),
            status,
            notes: String::new(),
            rollback_revision: 0,
            extra: Map::new(),
        },
        // There is no chart; Helm shows its name and version in its lists.
        chart: Chart::synthetic(release, format!("0.0.{}", plan.revision)),
        config: Map::new(),
        manifest,
        hooks,
        apply_method: Some(ApplyMethod::Ssa),
        labels: std::collections::BTreeMap::new(),
        extra: Map::new(),
    }
}

fn description(release: &str, journal: &Journal) -> String {
    match (&journal.operation.failure, journal.operation.event) {
        (Some(failure), _) => format!("Release {release:?} failed: {}", failure.message),
        (None, Event::Install) => "Install complete".to_owned(),
        (None, Event::Upgrade) => "Upgrade complete".to_owned(),
    }
}

/// Helm keeps one last run for each hook object, whatever the event.
fn note_runs(hooks: &mut [Hook], journal: &Journal) {
    for ran in &journal.hooks {
        let phase = match ran.phase {
            HookPhase::Pending => continue,
            HookPhase::Running => record::Phase::Running,
            HookPhase::Succeeded => record::Phase::Succeeded,
            HookPhase::Failed => record::Phase::Failed,
        };
        let twin = hooks.iter_mut().find(|hook| {
            hook.name == ran.name
                && hook.kind == ran.kind
                && hook.events.iter().any(|event| event == ran.event.as_str())
        });
        if let Some(hook) = twin {
            hook.last_run = HookRun {
                started_at: ran.started_at,
                completed_at: ran.completed_at,
                phase: Some(phase),
            };
        }
    }
}

async fn replace(tenant: &Tenant<'_>, stored: &Stored) -> Result<(), Error> {
    let release = &stored.release;
    let plan = stored.plan_bytes.as_deref();
    let mut body = secret::to_secret(release, Written::Modified(now()), plan)
        .map_err(|error| unreadable(&error))?;
    body["metadata"]["resourceVersion"] = stored.resource_version.clone();
    let object = reference(&release.name, &release.namespace, release.version);
    tenant.replace(&object, &body).await?;
    Ok(())
}

fn read(secret: &Value) -> Result<Stored, SecretError> {
    let (release, plan_bytes) = secret::from_secret(secret)?;
    let plan = plan_bytes
        .as_deref()
        .and_then(|bytes| gunzip(bytes).ok())
        .and_then(|bytes| Plan::thaw(&bytes).ok());
    let resource_version = secret["metadata"]["resourceVersion"].clone();
    Ok(Stored { resource_version, release, plan, plan_bytes })
}

/// Names the Secret of a record.
pub(crate) fn reference(release: &str, namespace: &str, revision: i32) -> ObjectRef {
    ObjectRef {
        api_version: "v1".to_owned(),
        kind: "Secret".to_owned(),
        namespace: Some(namespace.to_owned()),
        name: record::secret_name(release, revision),
    }
}

fn unreadable(error: &SecretError) -> Error {
    let reason = match error {
        SecretError::TooLarge { .. } => "RecordTooLarge",
        _ => "RecordUnreadable",
    };
    Error::blocked(reason, error.to_string())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .expect("a Vec takes all that is written")
}

fn gunzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut inflated = Vec::new();
    GzDecoder::new(bytes).take(MAX_PLAN_BYTES).read_to_end(&mut inflated)?;
    Ok(inflated)
}

/// Status keeps milliseconds.
pub(crate) fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}
