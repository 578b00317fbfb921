//! Adopts a release that Helm created, or that another client has changed. A client that is at work
//! on it is waited for. A record that a dead client left open is closed. Then the newest record
//! becomes ours. If it is the desired state, nothing runs.

use std::time::Duration;

use helm::{
    adopt,
    record::{Phase, Status},
};
use jiff::{SignedDuration, Timestamp};
use kube_runtime::controller::Action;
use lifecycle::{
    digest::config_digest,
    event::Event,
    journal::Failure,
    plan::{Begin, Chart, Plan},
    reason::Reason,
};
use live::observe;
use sources::RenderedRelease;

use crate::{
    cluster::error::Error,
    desired::{digest, objects, source},
    operation::remarks,
    plan::history,
    reconcile::next::handled,
    records::{Records, Stored, newest},
    release::{Release, finalizer, object},
    support::{
        clock::now,
        key::{RECHECK, key},
    },
};

/// Returns true if the newest record is of a custom resource that no longer exists.
pub(crate) async fn is_orphaned(release: &Release<'_>, history: &[Stored]) -> Result<bool, Error> {
    let Some(owner) = newest(history).and_then(Stored::owner) else { return Ok(false) };
    if owner == release.object_name() {
        return Ok(false);
    }
    Ok(object::find(&release.ctx.cluster, &release.namespace, owner).await?.is_none())
}

/// Makes the newest record the release's own (client required). The objects of the record are
/// compared with the desired state here, once: from then on digests detect changes.
pub(crate) async fn adopt(release: &mut Release<'_>, history: &[Stored]) -> Result<Action, Error> {
    let Some(stored) = newest(history) else { return Ok(Action::requeue(Duration::ZERO)) };
    check_namespace(stored)?;
    finalizer::hold(release).await?;
    if stored.is_in_config_map() {
        let is_deployed = stored.release.info.status == Status::Deployed;
        if is_deployed && presence(release, stored).await? == Presence::Gone {
            // The release was uninstalled since it was copied before, and these are the leftovers.
            let description = "its objects are gone; closed by the operator".to_owned();
            let closed = with_newest(history, stored.closed(Status::Uninstalled, description));
            import(release, &closed).await?;
        } else {
            import(release, history).await?;
        }
        return Ok(again(release));
    }
    let record = &stored.release;
    let config_key = match history::key(history) {
        Some(key) => key,
        None => former_key(release).await?,
    };
    let before = stored.claimed().map(|(plan, _)| plan);
    let rendered = match record.info.status {
        Status::Deployed => rendered_if_same(release, stored).await?,
        _ => None,
    };
    let inputs = digest::input(release);
    // What was deployed by this configuration is not deployed anew, although chance may make it
    // another one.
    let is_recorded = !release.knows_plans()
        && record.info.status == Status::Deployed
        && before.is_some_and(|plan| inputs.have(&plan.config_digest, &plan.config_key));
    let is_wanted = rendered.is_some() || is_recorded;
    let event = match record.version {
        _ if stored.origin() != record.version => Event::Rollback,
        1 => Event::Install,
        _ => Event::Upgrade,
    };
    let otherwise = match &rendered {
        Some(made) => renders_otherwise(release, stored, made).await,
        None => None,
    };
    let id = uuid::Uuid::new_v4().simple().to_string();
    let plan = Plan {
        renders_otherwise: otherwise.clone(),
        target: (event == Event::Rollback).then(|| stored.origin()),
        first_deployed: record.info.first_deployed,
        chart: match rendered {
            Some(rendered) => rendered.chart,
            None => before.filter(|_| is_recorded).and_then(|plan| plan.chart.clone()),
        },
        adopted: true,
        taken: history::taken(stored).to_vec(),
        config_digest: if is_wanted {
            config_digest(config_key.as_bytes(), &inputs)
        } else {
            String::new()
        },
        config_key,
        ..Plan::new(id, release.owner(), event, record.version)
    };
    release.write_plan(&plan).await?;
    Records::of(release).adopt(stored, &plan).await?;
    let maker = match stored.owner() {
        Some(_) => "whose plan is not in status",
        None => "made by another client",
    };
    let text = format!(
        "revision {} of release {}, {maker} and {}, is adopted{}",
        record.version,
        release.name,
        record.info.status,
        if is_wanted { "; it is the desired state, and nothing runs" } else { "" }
    );
    release.tell(Reason::Adopted, text);
    if let Some(what) = otherwise {
        release.warn(Reason::RendersOtherwise, remarks::renders_otherwise(&what));
    }
    Ok(again(release))
}

/// Returns the differences between the objects that the chart renders to and those of Helm, in
/// words: Helm 4 treats nulls among a chart's values in another way than Helm 3. Differences
/// because of the revision, or by chance, are left out: they also occur with Helm.
async fn renders_otherwise(
    release: &Release<'_>,
    stored: &Stored,
    made: &RenderedRelease,
) -> Option<String> {
    made.chart.as_ref()?;
    let recorded = objects::of_record(release, stored).ok()?;
    let mut found = adopt::differences(&recorded, &made.desired);
    if found.is_empty() {
        return None;
    }
    let revision = stored.release.version;
    let event = if revision > 1 { Event::Upgrade } else { Event::Install };
    let again = objects::of_source(release, &begin(release, event, revision)).await.ok()?;
    let by_itself = adopt::differences(&made.desired, &again.desired);
    found.retain(|it| by_itself.binary_search(it).is_err());
    (!found.is_empty()).then(|| adopt::describe(&found))
}

/// Returns the description of an operation that renders the chart and begins nothing.
fn begin(release: &Release<'_>, event: Event, revision: i32) -> Begin {
    let (id, generation) = (String::new(), release.generation());
    Begin { id, event, revision, target: None, remedies: None, generation }
}

/// Returns the key of the digests that status holds: with another one, a configuration that was
/// given up would be tried again.
async fn former_key(release: &Release<'_>) -> Result<String, Error> {
    let status = release.object.status.as_ref();
    let operation = status.and_then(|status| status.operation.as_ref());
    let attempted = operation.map(|operation| operation.revision);
    for revision in attempted.into_iter().chain(status.and_then(|status| status.revision)) {
        let stored = match Records::of(release).get(revision).await {
            // A record that cannot be read has no key.
            Err(Error::Blocked(_)) => None,
            stored => stored?,
        };
        if let Some((plan, _)) = stored.as_ref().and_then(Stored::claimed) {
            return Ok(plan.config_key.clone());
        }
    }
    Ok(uuid::Uuid::new_v4().simple().to_string())
}

/// Refuses a record whose objects would be in another namespace, or were.
fn check_namespace(stored: &Stored) -> Result<(), Error> {
    let Some(of) = &stored.release.elsewhere else { return Ok(()) };
    Err(Error::blocked(
        Reason::ForeignRelease,
        format!(
            "the record {} says that the release is in namespace {of:?}, as with storageNamespace in \
             Flux, or after a backup was restored elsewhere: only a release in the namespace of its \
             records can be adopted",
            stored.release.secret_name()
        ),
    ))
}

/// Requests another reconciliation: by the object alone there may be nothing to do.
fn again(release: &Release<'_>) -> Action {
    release.ctx.watches.records.put_back(key(&release.object));
    Action::requeue(Duration::ZERO)
}

/// Renders the source, and returns the result if the record has its objects.
async fn rendered_if_same(
    release: &mut Release<'_>,
    stored: &Stored,
) -> Result<Option<RenderedRelease>, Error> {
    // A release that is pinned at a revision, or being deleted, needs nothing of its source.
    if release.object.spec.pin_revision.is_some() || release.is_being_deleted() {
        return Ok(None);
    }
    source::resolve(release).await?;
    let record = &stored.release;
    let begin = begin(release, Event::Upgrade, record.version.saturating_add(1));
    let made = objects::of_source(release, &begin).await?;
    let is_same = match (&made.chart, &made.texts) {
        (Some(chart), Some(texts)) if is_told_by_chart(release, stored, chart) => {
            adopt::is_of_chart(record, &chart.name, &chart.version, &texts.config)
        }
        // A record that can no longer be read is not the desired state.
        _ => objects::of_record(release, stored)
            .is_ok_and(|recorded| adopt::is_same(&recorded, &made.desired)),
    };
    Ok(is_same.then_some(made))
}

/// Returns true if name, version and values of the chart are enough for the comparison. For our own
/// record that Helm has rewritten, as `helm test` does, more is known; for Helm's own, patches are
/// unknown.
fn is_told_by_chart(release: &Release<'_>, stored: &Stored, chart: &Chart) -> bool {
    let status = release.object.status.as_ref();
    let ours = status.filter(|it| it.revision == Some(stored.release.version));
    match ours.and_then(|status| status.chart.as_ref().zip(status.observed_generation)) {
        Some((known, generation)) => known == chart && generation == release.generation(),
        None => release.object.spec.patches.is_empty(),
    }
}

/// Waits for the client that is at work on the newest record, and closes the record once no client
/// can be.
pub(crate) async fn await_helm(
    release: &mut Release<'_>,
    history: &[Stored],
) -> Result<Action, Error> {
    let Some(stored) = newest(history) else { return Ok(Action::requeue(Duration::ZERO)) };
    check_namespace(stored)?;
    let record = &stored.release;
    let (name, revision, status) = (&release.name, record.version, record.info.status);
    let since = stored.written_at().unwrap_or(Timestamp::UNIX_EPOCH);
    let patience = SignedDuration::try_from(release.ctx.options.takeover_after).unwrap_or_default();
    let until = since.checked_add(patience).unwrap_or(Timestamp::MAX);
    let now = now();
    if now < until && !is_retried(release) {
        let message = format!(
            "another client is at work on revision {revision} of release {name} ({status}), and has \
             last written at {since:.0}. The operator continues without it from {until:.0} \
             (--takeover-seconds); if it has failed or died, at once: {}",
            release.commands().retry()
        );
        let left = Duration::try_from(until.duration_since(now)).unwrap_or(RECHECK);
        return Err(Error::RetryAfter(
            Failure::new(Reason::HelmAtWork, message),
            left.min(RECHECK),
        ));
    }
    if let Some(hook) = running_hook(release, stored).await? {
        let message = format!(
            "hook {hook} of revision {revision} of release {name} ({status}) runs, which another \
             client has started; the operator waits for it. Delete it if it is not needed"
        );
        return Err(Error::RetryAfter(Failure::new(Reason::HelmAtWork, message), RECHECK));
    }
    let closed = match status {
        Status::Uninstalling => match presence(release, stored).await? {
            // An uninstallation that has deleted nothing yet left the release as it was.
            Presence::Whole if was_good(release, history, revision) => Status::Deployed,
            Presence::Whole | Presence::Part => Status::Failed,
            Presence::Gone => Status::Uninstalled,
        },
        _ => Status::Failed,
    };
    let description = format!("{status} was given up by its client; closed by the operator");
    if stored.is_in_config_map() {
        import(release, &with_newest(history, stored.closed(closed, description))).await?;
    } else {
        Records::of(release).close_for_helm(stored, closed, description).await?;
    }
    let text = format!(
        "revision {revision} of release {name} was {status}, and no client has written to it since \
         {since:.0}; it is {closed} now"
    );
    release.warn(Reason::HelmGaveUp, text);
    Ok(again(release))
}

/// Returns true if the user confirmed that the other client has stopped.
fn is_retried(release: &Release<'_>) -> bool {
    release.object.requests().retry != handled(release).retry
}

/// Copies records that are `ConfigMaps` into Secrets, which count from then on.
async fn import(release: &Release<'_>, history: &[Stored]) -> Result<(), Error> {
    Records::of(release).import(history).await?;
    let namespace = &release.namespace;
    let name = &release.name;
    let text = format!(
        "the records of release {name} since the last deployed one are copied from ConfigMaps into \
         Secrets, which count from now on: use Helm without HELM_DRIVER=configmap. The ConfigMaps \
         are left as they are; if they are not needed: kubectl delete configmap -n {namespace} -l \
         owner=helm,name={name}"
    );
    release.tell(Reason::RecordsCopied, text);
    Ok(())
}

/// Returns the object of a hook that Helm has started, by the record, and that has not ended.
async fn running_hook(release: &Release<'_>, stored: &Stored) -> Result<Option<String>, Error> {
    let Ok(recorded) = objects::of_record(release, stored) else { return Ok(None) };
    let hooks = &stored.release.hooks;
    let runs = |kind: &str, name: &str| {
        hooks.iter().any(|hook| {
            (&*hook.kind, &*hook.name) == (kind, name)
                && hook.last_run.phase == Some(Phase::Running)
        })
    };
    for hook in recorded.hooks.iter().filter(|hook| runs(&hook.object.kind, &hook.object.name)) {
        for part in &hook.parts {
            let is_awaited = matches!(&*part.object.kind, "Job" | "Pod");
            if is_awaited
                && let Some(live) = release.tenant.get(&part.object).await?
                && !observe::has_ended(&live)
            {
                return Ok(Some(part.object.to_string()));
            }
        }
    }
    Ok(None)
}

/// The presence of a record's objects in the cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// All of them exist, also if there are none.
    Whole,
    Part,
    Gone,
}

async fn presence(release: &Release<'_>, stored: &Stored) -> Result<Presence, Error> {
    let (mut there, mut gone) = (0, 0);
    for object in objects::of_record(release, stored)?.objects {
        let live = match release.tenant.get(&object.object).await {
            Ok(live) => live,
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        let stays = live.is_some_and(|live| live["metadata"]["deletionTimestamp"].is_null());
        *(if stays { &mut there } else { &mut gone }) += 1;
    }
    Ok(match (there, gone) {
        (_, 0) => Presence::Whole,
        (0, _) => Presence::Gone,
        _ => Presence::Part,
    })
}

/// Returns true if the revision was deployed, as far as is known, before its uninstallation. A
/// revision that failed has left an older one deployed, or is known to have failed.
fn was_good(release: &Release<'_>, history: &[Stored], revision: i32) -> bool {
    let status = release.object.status.as_ref();
    let failed = status.and_then(|status| status.last_attempt.as_ref());
    let is_older = |stored: &&Stored| stored.release.version < revision;
    failed.is_none_or(|failed| failed.revision != revision)
        && !history.iter().filter(is_older).any(|it| it.release.info.status == Status::Deployed)
}

/// Returns `history` with another newest record.
fn with_newest(history: &[Stored], newest: Stored) -> Vec<Stored> {
    let revision = newest.release.version;
    let earlier = history.iter().filter(|it| it.release.version != revision).cloned();
    earlier.chain([newest]).collect()
}

/// Reports that somebody has removed the deployed release, and that it is created again.
pub(crate) fn note_gone(release: &Release<'_>, history: &[Stored]) {
    let status = release.object.status.as_ref();
    if let Some(revision) = status.and_then(|status| status.revision)
        && history.iter().all(|stored| stored.release.info.status == Status::Uninstalled)
    {
        let text = format!(
            "revision {revision} of release {} was uninstalled by another client; it is installed \
             again, since this object is there: delete it if that is not wanted",
            release.name
        );
        release.warn(Reason::UninstalledByHelm, text);
    }
}
