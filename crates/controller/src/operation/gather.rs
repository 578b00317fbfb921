//! Gathers the observations that [`decide`](lifecycle::decide) asks for. No cache answers these
//! reads.

use std::collections::{BTreeMap, HashMap};

use helm::record::Status;
use jiff::{SignedDuration, Timestamp};
use lifecycle::{
    health::check_of,
    journal::{HookCursor, HookStatus, HookStep, Journal},
    object::{ObjectRef, PlannedObject},
    observation::{Cause, Evidence, Gate, HookObservation, Observation, Query, Verdict},
    plan::{HookKind, Plan, PlannedHook},
    reason::Reason,
    rule::is_infrastructure,
};
use live::{
    kstatus::{self, Readiness},
    observe::{
        self, digest, event_objects, gating,
        pods::{self, Culprit},
        quiet, stopped, text, unstarted,
    },
};
use serde_json::Value;

use crate::{
    cluster::error::Error,
    operation::{
        health::{Health, Judge},
        logs, uninstall, unready,
        unready::Unready,
    },
    records::Records,
    release::Release,
    support::{clock::until, key::key},
};

/// The interval of checks of a hook in a namespace that this operator does not watch.
const UNWATCHED: SignedDuration = SignedDuration::from_secs(2);
/// The time after which a hook that could not be held back is checked.
const SOON: SignedDuration = SignedDuration::from_secs(1);
/// The maximum size of a hook's log tail in status.
const LOG_BYTES: usize = 2048;

pub(crate) async fn gather(
    release: &Release<'_>,
    plan: &Plan,
    journal: &Journal,
    query: Query,
    now: Timestamp,
) -> Result<Observation, Error> {
    match query {
        Query::Nothing => Ok(Observation::Nothing),
        Query::Record => record(release, journal).await,
        Query::Hooks => {
            let mut seen = Vec::new();
            for cursor in journal.operation.cursors() {
                seen.push((cursor.index, hook(release, plan, journal, cursor, now).await?));
            }
            Ok(Observation::Hooks(seen))
        }
        Query::Readiness => readiness(release, plan, journal, now).await,
        Query::Remaining => blocked_is_refused(uninstall::remaining(release, plan).await),
    }
}

/// Turns a block into a refusal: [`decide`](lifecycle::decide) handles whatever blocks a running
/// operation.
pub(crate) fn blocked_is_refused(result: Result<Observation, Error>) -> Result<Observation, Error> {
    match result {
        Err(Error::Blocked(failure)) => Ok(Observation::Refused(failure)),
        other => other,
    }
}

async fn record(release: &Release<'_>, journal: &Journal) -> Result<Observation, Error> {
    let operation = &journal.operation;
    let foreign = |message: String| Observation::ForeignRecord { message };
    let makes_revision = operation.event.makes_revision();
    let Some(stored) = Records::of(release).get(operation.revision).await? else {
        return Ok(if makes_revision {
            Observation::NoRecord
        } else {
            foreign(format!(
                "the record of revision {} of release {} was removed by another client",
                operation.revision, release.name
            ))
        });
    };
    Ok(match stored.plan_of(operation.event) {
        Some((plan, plan_digest)) if plan.operation == operation.id => {
            // A record that a late request closed as a success cannot be opened again.
            let open = !makes_revision || stored.release.info.status != Status::Failed;
            Observation::Recorded { plan_digest, open }
        }
        // Not written yet, or that of an earlier operation.
        _ if !makes_revision && stored.is_of(release.object_name()) => Observation::NoRecord,
        _ => foreign(format!(
            "another client made revision {} of release {} at the same time (Secret {}); check it \
             with `helm history {}`",
            operation.revision,
            release.name,
            stored.release.secret_name(),
            release.name
        )),
    })
}

/// Returns true if an earlier request has created the record with another plan, which was frozen
/// then.
pub(crate) fn is_of_another_plan(observation: &Observation, plan: &Plan) -> bool {
    match observation {
        Observation::Recorded { plan_digest, .. } => plan.freeze().1 != *plan_digest,
        _ => false,
    }
}

/// Returns the state of the object of the hook at `cursor`; `None` if there is none, or if a person
/// has to decide first.
async fn hook(
    release: &Release<'_>,
    plan: &Plan,
    journal: &Journal,
    cursor: &HookCursor,
    now: Timestamp,
) -> Result<Option<HookObservation>, Error> {
    let hook = plan.hooks.get(cursor.index);
    let Some(hook) = hook.filter(|_| cursor.step != HookStep::Blocked) else { return Ok(None) };
    let object = plan.object(cursor.index, cursor.attempt);
    let Some(object) = release.tenant.get(&object).await? else { return Ok(None) };
    seen(release, plan, journal, hook, Some(cursor), &object, now).await.map(Some)
}

/// Returns the state of the hook's object, and of its Pods where they matter.
pub(crate) async fn seen(
    release: &Release<'_>,
    plan: &Plan,
    journal: &Journal,
    hook: &PlannedHook,
    cursor: Option<&HookCursor>,
    live: &Value,
    now: Timestamp,
) -> Result<HookObservation, Error> {
    note(release, hook.kind(), live);
    let object = &quiet::object(live.clone());
    let mut seen = observe::hook(plan, hook, object, &release.name, &release.namespace);
    if seen.verdict.is_none() && !is_watched(release, hook) {
        look_again(&mut seen, now.saturating_add(UNWATCHED).ok());
    }
    let started = cursor
        .filter(|cursor| cursor.step != HookStep::Create && cursor.uid.as_ref() == Some(&seen.uid));
    let Some(cursor) = started.filter(|_| seen.gate != Gate::Held) else {
        // One that was not held back runs already, and is checked in whole once that is journalled.
        if seen.gate != Gate::Held && seen.verdict.is_none() {
            look_again(&mut seen, now.saturating_add(SOON).ok());
        }
        return Ok(seen);
    };
    let (pods, others) = match hook.kind() {
        // One that was not started has none.
        HookKind::Job if text(object, "/status/startTime").is_empty() => (Vec::new(), Vec::new()),
        HookKind::Job => pods_of(release, object, &seen.uid).await?,
        HookKind::Pod => (vec![object.clone()], Vec::new()),
        HookKind::Awaited => {
            judge(release, plan, hook, live, now, &mut seen).await?;
            return Ok(seen);
        }
        HookKind::Crd | HookKind::Other => return Ok(seen),
    };
    let known = journal.hooks.get(cursor.index);
    let is_job = hook.kind() == HookKind::Job;
    if is_job && seen.verdict == Some(Verdict::Succeeded) {
        seen.verdict = stopped::job_verdict(object, &pods, known).or(seen.verdict);
    }
    let failed = pods::failed_container(&pods);
    // A Job outlives its Pods, and has reasons of its own; but its verdict needs to know that a Pod
    // was stopped.
    let mut cause = pods::cause(&pods, failed.as_ref());
    let befell = cause.as_ref().and_then(|cause| cause.reason.as_deref());
    let infrastructure = befell.is_some_and(is_infrastructure);
    if let Some(cause) = cause.as_mut().filter(|_| is_job) {
        cause.reason = None;
    }
    if is_job && !seen.stopping {
        let noted = known.is_some_and(|known| known.message.is_some());
        let deleted = deleted_pod(release, plan, cursor, object, &pods, noted).await;
        cause = deleted.or(cause);
    }
    if seen.verdict.is_none() {
        let named = pods::stuck(&pods)
            .or_else(|| befallen(hook, &seen, cause.as_ref()))
            .or(seen.waiting.take())
            .or_else(|| pods::lingering(&pods));
        let named = match named {
            Some(named) => Some(named),
            None => hindrance(release, hook, object, &pods, cursor, now, &mut seen).await,
        };
        // What Event objects say explains it, and never decides.
        seen.unstarted = unstarted::of(object, &pods).map(Box::new);
        // Pods that are gone are remembered.
        let noted = known.and_then(HookStatus::last_seen).map(str::to_owned);
        let before = noted.map(|message| Cause { reason: None, message });
        let tries = pods::tries(object, &pods, cause.as_ref().or(before.as_ref())).or_else(|| {
            let idle = cause.as_ref().filter(|_| pods::none_active(&pods));
            idle.map(|cause| cause.message.clone()).filter(|_| named.is_none())
        });
        let said: Vec<_> = [named, tries, pods::orphan(&others)].into_iter().flatten().collect();
        seen.waiting = Some(said.join("; "))
            .filter(|said| !said.is_empty())
            .or_else(|| gating::remark(object, seen.gate));
    }
    let fades = now >= cursor.deadline || observe::evidence_fades(object, now);
    let culprit = failed.or_else(|| if fades { pods::running_container(&pods) } else { None });
    if let Some(culprit) = culprit {
        seen.evidence = evidence(release, hook, culprit, known).await;
    }
    seen.evidence.cause = cause.map(Box::new);
    seen.evidence.infrastructure = infrastructure;
    if fades || seen.verdict.is_some() {
        let attempt = logs::Attempt {
            plan,
            hook,
            number: cursor.attempt,
            uid: &seen.uid,
            pods: &pods,
            has_succeeded: seen.verdict == Some(Verdict::Succeeded),
        };
        Box::pin(logs::keep(release, &attempt)).await;
    }
    Ok(seen)
}

/// Notes whether the object of a hook that is awaited is ready.
async fn judge(
    release: &Release<'_>,
    plan: &Plan,
    hook: &PlannedHook,
    live: &Value,
    now: Timestamp,
    seen: &mut HookObservation,
) -> Result<(), Error> {
    let health = match check_of(&plan.health_checks, &hook.object) {
        Some(check) => {
            let mut judge = Judge::new(release, plan, now);
            judge.add(0, check, live.clone()).await?;
            judge.finish().await?.into_iter().next().map(|(_, health)| health)
        }
        None => Some(Health::of_hook(live)),
    };
    match health {
        Some(Health::Ready) => seen.verdict = Some(Verdict::Succeeded),
        Some(Health::Failed(message)) => {
            let reason = Reason::ObjectFailed.as_str().to_owned();
            seen.verdict = Some(Verdict::Failed { reason, message });
        }
        Some(Health::Waiting(why)) => seen.waiting = seen.waiting.take().or(Some(why)),
        None => {}
    }
    Ok(())
}

/// Returns why a hook's Pod is being deleted, if that is known.
fn befallen(hook: &PlannedHook, seen: &HookObservation, cause: Option<&Cause>) -> Option<String> {
    let cause = cause.filter(|cause| cause.reason.is_some())?;
    (hook.kind() == HookKind::Pod && seen.terminating).then(|| cause.message.clone())
}

/// Returns the problem that only Event objects report, of a hook of which nothing runs. No watch
/// reports them, so this also sets the time of the next check.
async fn hindrance(
    release: &Release<'_>,
    hook: &PlannedHook,
    object: &Value,
    pods: &[Value],
    cursor: &HookCursor,
    now: Timestamp,
    seen: &mut HookObservation,
) -> Option<String> {
    let since = event_objects::idle_since(cursor.started_at, pods);
    let too_early = event_objects::too_early(since, now);
    let Some(subject) = event_objects::subject(object, pods) else {
        // Its Pods may get a node, and no watch's event says that they do not start there.
        if pods::none_started(pods) {
            match too_early {
                Some(at) => look_if_idle(release, hook, object, seen, at, now),
                None => look_again(seen, event_objects::again(since, now, false)),
            }
        }
        return None;
    };
    if let Some(at) = too_early {
        seen.look_again_at = seen.look_again_at.filter(|at| *at > now);
        // One that was started a moment ago reports by itself that it runs.
        if pods::any_started(pods) {
            look_again(seen, Some(at));
        } else {
            look_if_idle(release, hook, object, seen, at, now);
        }
        return None;
    }
    let namespace = hook.object.namespace.as_deref();
    let mut events = match release.tenant.events(namespace, subject.uid()).await {
        Ok(events) => events,
        // A tenant that may not read Event objects learns of the problem at the timeout.
        Err(error) if error.is_forbidden() => return None,
        // An explanation is optional and must block nothing.
        Err(error) => {
            tracing::debug!("{error}");
            Vec::new()
        }
    };
    let about: Vec<_> = pods.iter().chain([object]).collect();
    quiet::events(&mut events, &about);
    let known = event_objects::hindrance(&subject, &events);
    if known.is_some() {
        let key = key(&release.object);
        for about in about {
            release.ctx.watches.observed.explained(&key, text(about, "/metadata/uid"));
        }
    }
    seen.look_again_at = seen.look_again_at.filter(|at| *at > now);
    look_again(seen, event_objects::again(since, now, known.is_some()));
    known
}

/// Has the hook checked again at this time, unless the watch of Pods reports before that something of it
/// has run.
fn look_if_idle(
    release: &Release<'_>,
    hook: &PlannedHook,
    object: &Value,
    seen: &mut HookObservation,
    at: Timestamp,
    now: Timestamp,
) {
    if !is_watched(release, hook) {
        return look_again(seen, Some(at));
    }
    let (namespace, uid) = (text(object, "/metadata/namespace"), text(object, "/metadata/uid"));
    release.ctx.watches.wake_if_idle(&key(&release.object), namespace, uid, until(at, now));
}

/// Returns true if a watch reports the hook's object and its Pods.
fn is_watched(release: &Release<'_>, hook: &PlannedHook) -> bool {
    let watched = release.ctx.options.watched.as_ref();
    watched.is_none() || watched == hook.object.namespace.as_ref()
}

/// Has the hook checked again at this time, unless it is before.
fn look_again(seen: &mut HookObservation, at: Option<Timestamp>) {
    seen.look_again_at = [seen.look_again_at, at].into_iter().flatten().min();
}

/// Returns the Pods of the Job of this UID, and those of other Jobs of its name.
async fn pods_of(
    release: &Release<'_>,
    job: &Value,
    uid: &str,
) -> Result<(Vec<Value>, Vec<Value>), Error> {
    let like = ObjectRef {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        namespace: Some(text(job, "/metadata/namespace").to_owned()),
        name: String::new(),
    };
    let selector = format!("batch.kubernetes.io/job-name={}", text(job, "/metadata/name"));
    match release.tenant.list(&like, &selector).await {
        Ok(pods) => {
            for pod in &pods {
                note(release, HookKind::Pod, pod);
            }
            let of = "/metadata/labels/batch.kubernetes.io~1controller-uid";
            Ok(pods.into_iter().map(quiet::object).partition(|pod| text(pod, of) == uid))
        }
        // A tenant that may not read Pods gets its verdict all the same.
        Err(error) if error.is_forbidden() => Ok((Vec::new(), Vec::new())),
        Err(error) => Err(error.into()),
    }
}

/// Notes that the object was observed as it is: only another report of it is news.
fn note(release: &Release<'_>, kind: HookKind, object: &Value) {
    let (key, uid) = (key(&release.object), text(object, "/metadata/uid"));
    release.ctx.watches.observed.note(&key, uid, digest::of(kind, object));
}

/// Returns the Pod of a Job that somebody deleted; `noted`: true if something is already known of
/// the Job's Pods.
async fn deleted_pod(
    release: &Release<'_>,
    plan: &Plan,
    cursor: &HookCursor,
    job: &Value,
    pods: &[Value],
    noted: bool,
) -> Option<Cause> {
    let seen = |job: &Value| stopped::pod_of_job(job, pods).or_else(|| pods::deleted(job, pods));
    if seen(job).is_some() {
        // The Job was read before its Pods: its controller may have deleted them in between.
        let name = plan.object(cursor.index, cursor.attempt);
        let again = release.tenant.get(&name).await.ok().flatten();
        return seen(again.as_ref().unwrap_or(job));
    }
    if noted || !pods.is_empty() || !observe::has_ended(job) {
        return None;
    }
    // The Pods that it created no longer exist and cannot be read.
    let uid = job.pointer("/metadata/uid")?.as_str()?;
    let namespace = job.pointer("/metadata/namespace").and_then(Value::as_str);
    let events = release.tenant.events(namespace, uid).await.ok()?;
    event_objects::vanished_pod(job, &events)
}

/// Returns the exit code and the last lines of `culprit`. If they are not available, that is no
/// reason to stop.
async fn evidence(
    release: &Release<'_>,
    hook: &PlannedHook,
    culprit: Culprit,
    known: Option<&HookStatus>,
) -> Evidence {
    let lines = hook.rule.log_lines.unwrap_or_else(|| release.object.log_lines());
    // Once for each, or the log of a container that still runs would be written again and again.
    if let Some(known) = release.ctx.running.evidence(release.uid(), &culprit) {
        return known;
    }
    let pod = ObjectRef {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        namespace: hook.object.namespace.clone(),
        name: culprit.pod.clone(),
    };
    let mut evidence = Evidence { exit_code: culprit.exit_code, ..Evidence::default() };
    let log = if lines == 0 {
        Ok(String::new())
    } else {
        let log = release.tenant.log(&pod, &culprit.container, culprit.previous, lines).await;
        log.map_err(|error| error.to_string())
    };
    evidence.log = match log.and_then(had) {
        Ok(text) => Some(tail(text)).filter(|log| !log.is_empty()),
        // Reported, and retried if the hook is checked again. Lines that were read while the
        // container ran are kept.
        Err(why) => {
            let earlier = known.is_some_and(|known| {
                known.log.is_some()
                    && known.exit_code.is_none_or(|it| Some(it) == culprit.exit_code)
            });
            evidence.log = (!earlier).then(|| format!("(the log is lost: {why})"));
            return evidence;
        }
    };
    release.ctx.running.keep_evidence(release.uid(), culprit, evidence.clone());
    evidence
}

/// Returns the log, unless it is the text that the kubelet returns in its place, as a success, for
/// a container that is removed: `GetContainerLogs` in `pkg/kubelet/kuberuntime`.
fn had(text: String) -> Result<String, String> {
    let removed = text.starts_with("unable to retrieve container logs for ")
        && text.contains("://")
        && text.trim_end().lines().count() == 1;
    if removed { Err(text) } else { Ok(text) }
}

/// Returns the last bytes of `text`, whole lines if there are any.
fn tail(text: String) -> String {
    if text.len() <= LOG_BYTES {
        return text;
    }
    let start = text.ceil_char_boundary(text.len() - LOG_BYTES);
    let tail = text.get(start..).unwrap_or_default();
    tail.split_once('\n').map_or(tail, |(_, lines)| lines).to_owned()
}

async fn readiness(
    release: &Release<'_>,
    plan: &Plan,
    journal: &Journal,
    now: Timestamp,
) -> Result<Observation, Error> {
    let mut waiting = BTreeMap::new();
    let mut judged = HashMap::new();
    let mut judge = Judge::new(release, plan, now);
    for (place, PlannedObject { object, .. }) in plan.objects.iter().enumerate() {
        let live = release.tenant.get(object).await?;
        if let Some(live) = &live
            && let Some(check) = check_of(&plan.health_checks, object)
        {
            judge.add(place, check, live.clone()).await?;
            judged.insert(place, quiet::object(live.clone()));
            continue;
        }
        let live = live.map(quiet::object);
        let Some(own_words) = not_ready(object, live.as_ref()) else { continue };
        waiting.insert(place, Unready { object, live, own_words });
    }
    let mut failed = None;
    for (place, health) in judge.finish().await? {
        let (Some(PlannedObject { object, .. }), live) =
            (plan.objects.get(place), judged.remove(&place))
        else {
            continue;
        };
        let own_words = match health {
            Health::Ready => continue,
            Health::Waiting(why) => format!("{object}: {why}"),
            Health::Failed(why) => {
                let why = format!("{object}: {why}");
                failed.get_or_insert_with(|| why.clone());
                why
            }
        };
        waiting.insert(place, Unready { object, live, own_words });
    }
    let waiting = waiting.into_values().collect();
    let overdue = journal.operation.deadline.is_some_and(|deadline| now >= deadline);
    let waiting = unready::explain(release, waiting, now, overdue).await;
    Ok(Observation::Readiness { waiting, failed })
}

/// Returns why the object is not ready, if it is not.
pub(crate) fn not_ready(object: &ObjectRef, live: Option<&Value>) -> Option<String> {
    let Some(live) = live else { return Some(format!("{object}: it does not exist")) };
    if !kstatus::is_waited_for(live) {
        return None;
    }
    if kstatus::readiness(live) == Readiness::Current {
        return None;
    }
    let told = kstatus::readiness(&quiet::object(live.clone()));
    Some(format!("{object}: {}", told.message().unwrap_or("it is not ready")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_told_from_the_kubelets_word_that_there_is_none() {
        let removed = "unable to retrieve container logs for containerd://38aeaed3".to_owned();
        assert_eq!(had(removed.clone()), Err(removed));
        let quoted = "unable to retrieve container logs for containerd://38aeaed3\ngiving up\n";
        for log in ["", "migrating\n", quoted] {
            assert_eq!(had(log.to_owned()), Ok(log.to_owned()));
        }
    }

    #[test]
    fn the_tail_is_whole_lines_and_never_splits_a_character() {
        assert_eq!(tail("short".to_owned()), "short");
        let long = format!("{}\nlast\n", "é".repeat(2000));
        assert_eq!(tail(long), "last\n");
        assert!(tail("é".repeat(3000)).len() <= LOG_BYTES);
    }
}
