//! One release during one reconciliation: its object as read last, and its tenant.

pub(crate) mod conflicts;
pub(crate) mod context;
pub(crate) mod events;
pub(crate) mod finalizer;
pub(crate) mod settled;

use api::{DriftMode, OnTestFailure, ReleaseLifecycle, ReleaseLifecycleStatus, set_conditions};
use kube::{Api, api::PostParams};
use lifecycle::{
    commands::Commands,
    conditions::{self, Condition, Remedied},
    drift::Baseline,
    event::Event,
    journal::{Failure, Journal, LastAttempt},
    object::ObjectRef,
    plan::{Chart, Owner},
    step::Hold,
};
use sources::{RenderedRelease, ResolvedSource};
use tokio::sync::OnceCell;

use crate::{
    cluster::{
        call,
        call::{Access, ApiError, Cause, call, optional},
        error::Error,
        impersonation::Identity,
        resource::Guarded,
        tenant::Tenant,
    },
    desired::source,
    reconcile::drift,
    records::Records,
    release::context::{Context, Tenancy},
    support::clock::now,
};

pub(crate) struct Release<'a> {
    pub(crate) ctx: &'a Context,
    /// As read or written last, never from a cache.
    pub(crate) object: ReleaseLifecycle,
    pub(crate) tenant: Tenant<'a>,
    /// Of the release, as Helm knows it.
    pub(crate) name: String,
    pub(crate) namespace: String,
    /// Whether the namespace is being deleted; only looked into where the object is, too.
    pub(crate) namespace_goes: bool,
    /// What was found where the spec says, or why nothing was; empty until somebody asks.
    source: OnceCell<Result<ResolvedSource, Failure>>,
    /// What the operation in hand, or the revision that is deployed, makes outside of the namespace;
    /// `None` until that is known.
    pub(crate) outside: Option<Vec<ObjectRef>>,
    /// What the source renders to: once, since another time it may be something else.
    pub(crate) made: OnceCell<RenderedRelease>,
    /// What there is to say of it besides where it is ready, see `besides`.
    pub(crate) besides: Option<String>,
    /// What the condition `Warned` is to say from the next journal on, if anything was looked at.
    pub(crate) warned: Option<Vec<Condition>>,
}

/// As whom the release of `object` is worked on.
pub(crate) fn identity(ctx: &Context, object: &ReleaseLifecycle) -> Result<Identity, Error> {
    let name = match (&object.spec.service_account_name, &ctx.tenancy) {
        (Some(name), _) | (None, Tenancy::Default(name)) => name.clone(),
        (None, Tenancy::Single) => return Ok(Identity::Operator),
        (None, Tenancy::Named) => {
            return Err(Error::blocked(
                "ServiceAccountRequired",
                "spec.serviceAccountName is missing: name a ServiceAccount of this namespace that \
                 may do what the release needs",
            ));
        }
    };
    let namespace = object.metadata.namespace.clone().unwrap_or_default();
    Ok(Identity::ServiceAccount { namespace, name })
}

impl<'a> Release<'a> {
    pub(crate) fn new(ctx: &'a Context, object: ReleaseLifecycle, tenant: Tenant<'a>) -> Self {
        let name = object.release_name().into_owned();
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let (source, made) = (OnceCell::new(), OnceCell::new());
        let (namespace_goes, outside, besides, warned) = (false, None, None, None);
        Self {
            ctx,
            object,
            tenant,
            name,
            namespace,
            namespace_goes,
            source,
            outside,
            made,
            besides,
            warned,
        }
    }

    pub(crate) fn records(&self) -> Records<'_> {
        Records::of(self)
    }

    pub(crate) fn is_being_deleted(&self) -> bool {
        self.object.metadata.deletion_timestamp.is_some()
    }

    /// Whether the object goes and the release stays.
    pub(crate) fn is_kept(&self) -> bool {
        self.is_being_deleted() && self.object.keeps_objects()
    }

    /// Reads the custom resource again: whoever wrote it since goes on with the release, and this
    /// process has to look again.
    pub(crate) async fn confirm(&self) -> Result<(), Error> {
        let present = read(self.ctx, &self.object).await?;
        let version = present.and_then(|object| object.metadata.resource_version);
        if version == self.object.metadata.resource_version { Ok(()) } else { Err(Error::Outrun) }
    }

    pub(crate) fn uid(&self) -> &str {
        self.object.metadata.uid.as_deref().unwrap_or_default()
    }

    /// The custom resource, as plans name it.
    pub(crate) fn owner(&self) -> Owner {
        Owner { uid: self.uid().to_owned(), name: self.object_name().to_owned() }
    }

    pub(crate) fn object_name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }

    pub(crate) fn commands(&self) -> Commands {
        self.object.commands()
    }

    pub(crate) fn generation(&self) -> i64 {
        self.object.metadata.generation.unwrap_or_default()
    }

    pub(crate) fn journal(&self) -> Option<Journal> {
        self.object.status.as_ref()?.journal()
    }

    /// What the release is to consist of, read once. What only a change mends is in the answer, since
    /// not everything depends on it.
    pub(crate) async fn source(&self) -> Result<Result<&ResolvedSource, &Failure>, Error> {
        let read = async || match Box::pin(source::read(self)).await {
            Ok(found) => Ok(Ok(found)),
            Err(Error::Blocked(failure)) => Ok(Err(failure)),
            Err(error) => Err(error),
        };
        let found = self.source.get_or_try_init(read).await?;
        Ok(found.as_ref())
    }

    /// As [`Self::source`]; `None` where nobody has asked yet, or nothing was found.
    pub(crate) fn known_source(&self) -> Option<&ResolvedSource> {
        self.source.get()?.as_ref().ok()
    }

    /// Whether the source has a part in what is wanted, and is not known.
    pub(crate) fn is_blind(&self) -> bool {
        self.object.spec.pin_revision.is_none() && self.known_source().is_none()
    }

    pub(crate) fn tell(&self, reason: &'static str, text: String) {
        self.ctx.reporter.tell(&self.object, reason, text);
    }

    pub(crate) fn warn(&self, reason: &str, text: String) {
        self.ctx.reporter.warn(&self.object, reason, text);
    }

    /// Writes the journal, and what a user reads of it. This is the fence: it fails where anybody
    /// wrote since the object was read.
    pub(crate) async fn write_journal(
        &mut self,
        journal: &Journal,
        hold: Option<&Hold>,
    ) -> Result<(), Error> {
        let before = self.journal();
        let operation = &journal.operation;
        let mut status = self.object.status.clone().unwrap_or_default();
        status.set_journal(journal.clone());
        status.observed_generation = Some(operation.generation);
        if let Some(outside) = self.outside.as_ref().filter(|_| operation.event.makes_revision()) {
            let succeeded = journal.is_done() && operation.failure.is_none();
            status.set_outside(outside, succeeded);
        }
        let mut wanted = running(&self.object, journal, hold);
        if journal.is_done() {
            conclude(&mut status, journal);
            let remedy = self.object.remedy(operation.event);
            let remedy = remedy.filter(|_| operation.has_failed_at_work());
            match (&status.last_attempt, remedy) {
                (Some(attempt), Some(remedy)) => {
                    wanted = conditions::to_be_remedied(attempt, remedy);
                }
                (Some(attempt), None) if operation.remedies.is_some() => {
                    wanted = conditions::remedied(attempt, operation, &self.commands());
                }
                _ => {}
            }
            if let Some(besides) = &self.besides {
                conditions::say_besides(&mut wanted, besides);
            }
        }
        self.warn_of_stall(&wanted, journal.is_done());
        if let Some(warned) = self.warned.take() {
            if warned.is_empty() {
                status.conditions.retain(|it| it.type_ != conditions::WARNED);
            }
            wanted.extend(warned);
        }
        set_conditions(&mut status.conditions, wanted, operation.generation, now());
        write_status(self.ctx, &mut self.object, status).await?;
        self.ctx.reporter.journal(&self.ctx.metrics, &self.object, before.as_ref(), journal);
        Ok(())
    }

    /// An Event object for what only a person can end, once.
    fn warn_of_stall(&self, wanted: &[Condition], is_done: bool) {
        let is_stall = |type_: &str| type_ == conditions::STALLED;
        let Some(stalled) = wanted.iter().find(|it| is_stall(it.type_)) else { return };
        let status = self.object.status.iter().flat_map(|status| &status.conditions);
        let known = status.filter(|it| is_stall(&it.type_)).any(|it| it.message == stalled.message);
        let running = self.journal().is_some_and(|journal| !journal.is_done());
        // That an operation failed has an Event object of its own.
        if !known && running && !(is_done && stalled.reason == "HookFailed") {
            self.warn("Blocked", format!("{}: {}", stalled.reason, stalled.message));
        }
    }

    /// Says that the deployed revision is what is desired. What was asked for besides needs no
    /// answer. `drift` is what was seen of the objects, if they were looked at.
    pub(crate) async fn write_in_sync(
        &mut self,
        revision: i32,
        chart: Option<Chart>,
        drift: Option<drift::Seen>,
    ) -> Result<(), Error> {
        let handled = self.object.requests();
        let pin = self.object.spec.pin_revision;
        let fails = self.object.on_test_failure() == OnTestFailure::Fail;
        let mut status = self.object.status.clone().unwrap_or_default();
        status.revision = Some(revision);
        status.chart = chart;
        status.outside = status.outside.or_else(|| self.outside.clone());
        forgive(&mut status);
        status.set_handled(handled);
        let tests = status.conditions.iter().find(|it| it.type_ == conditions::TEST_SUCCESS);
        let failed = tests
            .filter(|it| fails && it.status == "False" && status.tested_revision == Some(revision));
        let mut wanted = match failed {
            Some(failed) => conditions::tests_failed(&failed.message),
            None => conditions::in_sync(revision, pin),
        };
        if let Some(besides) = &self.besides {
            conditions::say_besides(&mut wanted, besides);
        }
        match drift {
            Some(drift) => {
                status.baseline = Some(drift.baseline);
                wanted.extend(drift.condition);
            }
            None if self.object.drift_mode() == DriftMode::Disabled => no_drift(&mut status),
            // While it is suspended, what was seen last stands.
            None => {}
        }
        write_status_with(self.ctx, &mut self.object, status, wanted).await
    }

    /// Says again why the configuration was given up.
    pub(crate) async fn write_given_up(&mut self) -> Result<(), Error> {
        let deletion = self.journal().filter(|last| {
            last.operation.event == Event::Delete && last.operation.remedies.is_none()
        });
        if let Some(failure) = deletion.and_then(|last| last.operation.failure) {
            return write_conditions(self.ctx, &mut self.object, conditions::blocked(&failure))
                .await;
        }
        let (handled, generation) = (self.object.requests(), self.generation());
        let commands = self.commands();
        let mut status = self.object.status.clone().unwrap_or_default();
        status.set_handled(handled);
        let mut conditions = status.conditions.iter();
        let remedied = conditions.find(|it| it.type_ == conditions::REMEDIATED);
        let remedied =
            remedied.map(|it| Remedied { succeeded: it.status == "True", said: &it.message });
        let wanted = match &mut status.last_attempt {
            Some(attempt) => {
                // What changed since has nothing to do with it.
                attempt.generation = generation;
                conditions::given_up(attempt, remedied, &commands)
            }
            None => conditions::blocked(&Failure::new(
                "GivenUp",
                format!(
                    "the newest revision failed with this very configuration; see `helm history`. \
                     Change the spec, or begin anew, with every hook: {}",
                    commands.restart()
                ),
            )),
        };
        write_status_with(self.ctx, &mut self.object, status, wanted).await
    }

    /// Says that something else has to be ready first.
    pub(crate) async fn write_waiting(&mut self, message: &str) -> Result<(), Error> {
        let wanted = conditions::waiting_for_dependencies(message);
        write_conditions(self.ctx, &mut self.object, wanted).await
    }

    /// Says what stays of a release whose namespace goes. No Event object can be made in there.
    pub(crate) async fn write_left(&mut self, text: String) -> Result<(), Error> {
        let wanted = conditions::blocked(&Failure::new("ReleaseLeft", text.as_str()));
        write_conditions(self.ctx, &mut self.object, wanted).await?;
        self.ctx.reporter.warn_of_namespace(&self.object, "ReleaseLeft", text);
        Ok(())
    }

    /// Says that nothing is begun for now.
    pub(crate) async fn write_suspended(&mut self) -> Result<(), Error> {
        write_conditions(self.ctx, &mut self.object, conditions::suspended()).await
    }
}

/// What remains of an operation that has ended.
fn conclude(status: &mut ReleaseLifecycleStatus, journal: &Journal) {
    let operation = &journal.operation;
    if operation.event == Event::Test {
        status.tested_revision = Some(operation.revision);
    }
    if let Some(failed) = operation.remedies {
        return remedied(status, journal, failed);
    }
    if !operation.event.makes_revision() {
        return;
    }
    // Where the release was made anew, revisions begin anew, too.
    status.tested_revision.take_if(|tested| *tested >= operation.revision);
    match &operation.failure {
        None => {
            status.revision = Some(operation.revision);
            status.chart.clone_from(&operation.chart);
            forgive(status);
            was_applied(status, journal);
        }
        Some(failure) => {
            forget_remedy(status);
            let before = status.last_attempt.take();
            let again = before.filter(|last| last.config_digest == operation.config_digest);
            status.last_attempt = Some(LastAttempt {
                config_digest: operation.config_digest.clone(),
                generation: operation.generation,
                event: operation.event,
                revision: operation.revision,
                failures: again.map_or(0, |last| last.failures).saturating_add(1),
                failure: failure.clone(),
            });
        }
    }
}

/// All objects have been applied.
fn was_applied(status: &mut ReleaseLifecycleStatus, journal: &Journal) {
    let operation = &journal.operation;
    no_drift(status);
    status.baseline = operation.completed_at.map(|deployed_at| Baseline {
        revision: operation.revision,
        deployed_at,
        // Without hooks, nobody but others can have removed anything.
        removed: journal.hooks.is_empty().then(Vec::new),
    });
}

fn no_drift(status: &mut ReleaseLifecycleStatus) {
    status.conditions.retain(|condition| condition.type_ != conditions::DRIFTED);
}

/// What remains of an operation that makes up for the failure of revision `failed`: that stands,
/// or it would be tried again for ever.
fn remedied(status: &mut ReleaseLifecycleStatus, journal: &Journal, failed: i32) {
    let operation = &journal.operation;
    let is_deletion = operation.event == Event::Delete;
    if operation.failure.is_none() {
        status.revision = (!is_deletion).then_some(operation.revision);
        status.chart = operation.chart.clone().filter(|_| !is_deletion);
        if is_deletion {
            no_drift(status);
            status.baseline = None;
        } else {
            was_applied(status, journal);
        }
    }
    let message = "with what is not known any more, since the object's status was lost; \
                   see `helm history`";
    let attempt = status.last_attempt.get_or_insert_with(|| LastAttempt {
        config_digest: operation.config_digest.clone(),
        generation: operation.generation,
        event: if is_deletion { Event::Install } else { Event::Upgrade },
        revision: failed,
        failures: 1,
        failure: Failure::new("GivenUp", message),
    });
    // What changed before it began had nothing to do with it; of what was uninstalled there is
    // nothing else to tell that by.
    attempt.generation = operation.generation;
}

/// What was wanted is deployed: what failed before is over.
fn forgive(status: &mut ReleaseLifecycleStatus) {
    status.last_attempt = None;
    forget_remedy(status);
}

/// What made up for an earlier failure says nothing of a later one.
fn forget_remedy(status: &mut ReleaseLifecycleStatus) {
    status.conditions.retain(|condition| condition.type_ != conditions::REMEDIATED);
}

/// The object that `known` is, as it is now; `None` where it is gone. No cache decides an effect.
pub(crate) async fn read(
    ctx: &Context,
    known: &ReleaseLifecycle,
) -> Result<Option<ReleaseLifecycle>, Error> {
    let namespace = known.metadata.namespace.as_deref().unwrap_or_default();
    let name = known.metadata.name.as_deref().unwrap_or_default();
    let object = find(ctx, namespace, name).await?;
    Ok(object.filter(|object| object.metadata.uid == known.metadata.uid))
}

/// The custom resource of this name, as it is now.
pub(crate) async fn find(
    ctx: &Context,
    namespace: &str,
    name: &str,
) -> Result<Option<ReleaseLifecycle>, ApiError> {
    let api: Api<Guarded> = Api::namespaced(ctx.operator.clone(), namespace);
    let what = format!("get ReleaseLifecycle {namespace}/{name}");
    let found = optional(call::read(&ctx.metrics, &*what, || api.get(name)).await)?;
    found.map(|found| found.object(&what)).transpose()
}

/// Says that nothing can be looked into for now, once for each kind of trouble: what is written
/// brings the object back at once, and an error that never reads the same would go round for ever.
pub(crate) async fn write_trouble(
    ctx: &Context,
    object: &mut ReleaseLifecycle,
    error: &ApiError,
) -> Result<(), Error> {
    let status = object.status.as_ref();
    let known = status.into_iter().flat_map(|status| &status.conditions).any(|condition| {
        condition.type_ == conditions::READY
            && conditions::flat(&condition.message).contains(&error.what)
    });
    if known {
        return Ok(());
    }
    let journal = status.and_then(ReleaseLifecycleStatus::journal);
    let wanted = match journal.filter(|journal| !journal.is_done()) {
        Some(journal) => running(object, &journal, Some(&Hold::Waiting(error.to_string()))),
        None => conditions::retrying(&error.to_string()),
    };
    write_conditions(ctx, object, wanted).await
}

/// The conditions of `object`, whose operation is `journal`'s. What is asked for meanwhile waits.
fn running(object: &ReleaseLifecycle, journal: &Journal, hold: Option<&Hold>) -> Vec<Condition> {
    let commands = object.commands();
    let mut wanted = conditions::of(journal, hold, &commands);
    let operation = &journal.operation;
    let newer = object.metadata.generation.filter(|newest| *newest > operation.generation);
    let can_be_cancelled = !journal.is_done()
        && operation.event != Event::Delete
        && operation.cancel.is_none()
        && operation.failure.is_none()
        && object.metadata.deletion_timestamp.is_none()
        && hold != Some(&Hold::Suspended);
    if let Some(generation) = newer.filter(|_| can_be_cancelled) {
        for condition in &mut wanted {
            condition.message.push_str(&conditions::newer_spec(generation, &commands));
        }
    }
    wanted
}

/// Says what is waited for before anything can be begun, or before an operation goes on.
pub(crate) async fn write_waiting(
    ctx: &Context,
    object: &mut ReleaseLifecycle,
    failure: &Failure,
) -> Result<(), Error> {
    let journal = object.status.as_ref().and_then(ReleaseLifecycleStatus::journal);
    let wanted = match journal.filter(|journal| !journal.is_done()) {
        Some(journal) => running(object, &journal, Some(&Hold::Waiting(failure.message.clone()))),
        None => conditions::waiting(failure),
    };
    write_conditions(ctx, object, wanted).await
}

/// Says why nothing can be begun, or why an operation cannot go on.
pub(crate) async fn write_blocked(
    ctx: &Context,
    object: &mut ReleaseLifecycle,
    failure: &Failure,
) -> Result<(), Error> {
    let known = object.status.as_ref().is_some_and(|status| {
        status.conditions.iter().any(|condition| {
            condition.type_ == conditions::STALLED && condition.message == failure.message
        })
    });
    if !known {
        ctx.reporter.warn(object, "Blocked", format!("{}: {}", failure.reason, failure.message));
    }
    write_conditions(ctx, object, conditions::blocked(failure)).await
}

async fn write_conditions(
    ctx: &Context,
    object: &mut ReleaseLifecycle,
    wanted: Vec<Condition>,
) -> Result<(), Error> {
    let mut status = object.status.clone().unwrap_or_default();
    if status.observed_generation.is_none_or(|seen| seen < 0) {
        // What stood on it before it was seen asks for nothing, nor will it once this is written.
        status.last_handled_retry_at = object.requests().retry;
    }
    write_status_with(ctx, object, status, wanted).await
}

/// Writes `status` with these conditions. It is not the object's own: what is there already is not
/// written again.
async fn write_status_with(
    ctx: &Context,
    object: &mut ReleaseLifecycle,
    mut status: ReleaseLifecycleStatus,
    wanted: Vec<Condition>,
) -> Result<(), Error> {
    // While an operation runs, the conditions speak of what it serves.
    let running = status.operation.as_ref().filter(|operation| operation.completed_at.is_none());
    let generation = running.map(|operation| operation.generation);
    let generation = generation.or(object.metadata.generation).unwrap_or_default();
    status.observed_generation = Some(generation);
    set_conditions(&mut status.conditions, wanted, generation, now());
    write_status(ctx, object, status).await
}

async fn write_status(
    ctx: &Context,
    object: &mut ReleaseLifecycle,
    status: ReleaseLifecycleStatus,
) -> Result<(), Error> {
    if object.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let mut next = object.clone();
    next.status = Some(status);
    next.metadata.managed_fields = None;
    let next = Guarded(Ok(next));
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let api: Api<Guarded> = Api::namespaced(ctx.operator.clone(), namespace);
    let params = PostParams {
        field_manager: Some(api::names::STATUS_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let what = format!("write the status of ReleaseLifecycle {namespace}/{name}");
    let write = api.replace_status(name, &params, &next);
    let written = call(&ctx.metrics, Access::Write, &*what, write).await.map_err(outrun)?;
    *object = written.object(&what)?;
    Ok(())
}

/// Somebody else was faster: what they wrote is there to be read.
pub(crate) fn outrun(error: ApiError) -> Error {
    match error.cause {
        Cause::Conflict(_) | Cause::NotFound(_) => Error::Outrun,
        _ => Error::Api(error),
    }
}
