//! Executes one effect, after the journal that it is based on was written, and returns the state
//! that is observed then.

use jiff::{SignedDuration, Timestamp};
use lifecycle::{
    decide::query,
    effect::{CleanUp, CleanUpAction, Effect},
    event::Event,
    journal::{Failure, Journal},
    object::ObjectRef,
    observation::{Gate, Observation},
    plan::{HookKind, Plan, PlannedHook},
    reason::Reason,
};
use live::{hook_object, observe};
use serde_json::Value;

use crate::{
    cluster::{
        call::{ApiError, Cause},
        error::Error,
        permit::Permit,
    },
    operation::{
        apply::{self, ApplyError},
        gather::{self, blocked_is_refused, is_of_another_plan},
        uninstall,
    },
    records::{Draft, Records},
    release::Release,
    support::key::key,
};

/// The time for which a right that was there when the operation began may be missing at a hook.
const ROLES_LOAD: SignedDuration = SignedDuration::from_secs(10);

/// One effect of an operation, and what it may read.
pub(crate) struct Turn<'a> {
    pub(crate) release: &'a Release<'a>,
    pub(crate) plan: &'a Plan,
    /// The material of the record that is created.
    pub(crate) draft: Option<&'a Draft>,
    pub(crate) journal: &'a Journal,
    pub(crate) now: Timestamp,
}

impl Turn<'_> {
    /// Executes the effect, and returns the state that is observed then.
    pub(crate) async fn execute(&self, effect: &Effect) -> Result<Observation, Error> {
        match effect {
            Effect::CreateRecord => self.create_record().await,
            Effect::ReopenRecord => self.reopen_record().await,
            Effect::CreateHook { hook, attempt } => self.create_hook(*hook, *attempt).await,
            Effect::ApplyHook { hook, attempt, uid } => self.apply_hook(*hook, *attempt, uid).await,
            Effect::StartHook { hook, uid } => self.start_hook(*hook, uid).await,
            Effect::StopHook { hook, uid } => self.stop_hook(*hook, uid).await,
            Effect::DeleteLeftover { hook, uid } => self.delete_leftover(*hook, uid).await,
            Effect::CleanUp(items) => self.clean_up(items).await,
            Effect::Apply => self.apply().await,
            Effect::DeleteObjects => {
                blocked_is_refused(uninstall::delete(self.release, self.plan).await)
            }
            Effect::Close { .. } => self.close().await,
        }
    }

    async fn create_record(&self) -> Result<Observation, Error> {
        let records = Records::of(self.release);
        let written = if self.plan.event.makes_revision() {
            // It must not be written late, after the records of the release were purged.
            self.release.fence().lead()?;
            match self.plan.target {
                None => {
                    // The plan was created from it, unless it was read from a record that is gone
                    // since.
                    let draft = self.draft.ok_or(Error::Stale)?;
                    records.create(self.plan, draft).await.map(|()| true)
                }
                Some(target) => records.copy(self.plan, target).await.map(|()| true),
            }
        } else {
            records.add_plan(self.plan).await
        };
        match written {
            Ok(true) => {
                let plan_digest = self.plan.freeze().1;
                Ok(Observation::Recorded { plan_digest, open: true })
            }
            // Our own record, of a request whose answer was lost, or a record of another client:
            // check.
            Ok(false) | Err(Error::Api(ApiError { cause: Cause::AlreadyExists, .. })) => {
                let seen = self.look().await?;
                if is_of_another_plan(&seen, self.plan) { Err(Error::Stale) } else { Ok(seen) }
            }
            Err(error) => blocked_is_refused(Err(error)),
        }
    }

    async fn reopen_record(&self) -> Result<Observation, Error> {
        match Records::of(self.release).reopen(self.plan).await {
            Ok(true) => self.look().await,
            Ok(false) => {
                let message = format!(
                    "its record is no longer there, or no longer says that it failed. To start again: \
                     {}",
                    self.release.commands().restart()
                );
                Ok(Observation::Refused(Failure::new(Reason::RecordLost, message)))
            }
            Err(error) => blocked_is_refused(Err(error)),
        }
    }

    async fn create_hook(&self, index: usize, attempt: i32) -> Result<Observation, Error> {
        let hook = self.hook(index);
        let body = self.body(index, attempt);
        // An object that cannot be held back has no other fence.
        let permit = if hook_object::can_be_held(hook) {
            Permit::of_held_back()
        } else {
            self.release.fence().lead()?
        };
        let (tenant, object) = (&self.release.tenant, self.plan.object(index, attempt));
        let made = match hook.kind() {
            // Objects that are applied later must be applied from the start: fields have owners.
            HookKind::Crd if !hook.leaves_alone() => {
                tenant.apply(permit, &object, &body, false).await
            }
            HookKind::Crd | HookKind::Job | HookKind::Pod | HookKind::Awaited | HookKind::Other => {
                tenant.create(permit, &object, &body).await
            }
        };
        match made {
            Ok(answer) => self.made(hook, &object, &body, &answer).await,
            Err(ApiError { cause: Cause::AlreadyExists, .. }) => self.look().await,
            // A CRD hook before it has installed the kind, which is served a moment later.
            Err(ApiError { what, cause: Cause::NotFound(message) }) if self.brings_kinds() => {
                Err(Error::Api(ApiError { what, cause: Cause::Unavailable(message) }))
            }
            // Such as a webhook whose own Pods are gone: the object may have been created, and
            // never starts.
            Err(error) if error.may_pass() && !self.in_time() => {
                Ok(Observation::Refused(Failure::new(Reason::CreateFailed, error.to_string())))
            }
            Err(error) if self.may_be_allowed_soon(&error) => Err(later(error)),
            // Quotas and policies are asked before it is known whether the object exists.
            Err(error) => match tenant.get(&object).await {
                Ok(Some(live)) => self.seen(hook, &live).await,
                Err(why) if why.may_pass() => Err(Error::Api(why)),
                Ok(None) | Err(_) => refused(Reason::CreateRefused, error),
            },
        }
    }

    /// Checks the answer to the creation of a hook's object: webhooks may have changed it.
    async fn made(
        &self,
        hook: &PlannedHook,
        object: &ObjectRef,
        sent: &Value,
        answer: &Value,
    ) -> Result<Observation, Error> {
        let removed = hook_object::removed_annotations(sent, answer);
        if removed.is_empty() {
            return self.seen(hook, answer).await;
        }
        if matches!(hook.kind(), HookKind::Job | HookKind::Pod) {
            // The object could not be identified again, and it never starts.
            let uid = answer.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
            self.release.tenant.delete(Permit::of_uid(), object, uid).await?;
        }
        let message = format!(
            "{object} came back from its creation without what it was sent with: an admission \
             webhook or policy of the cluster removes or changes annotation {}; have it leave the \
             annotations releaselifecycle.dev/* alone",
            removed.join(", ")
        );
        Ok(Observation::Refused(Failure::new(Reason::AnnotationsRemoved, message)))
    }

    fn body(&self, index: usize, attempt: i32) -> Value {
        let account = self.release.tenant.identity.account();
        let namespace = &self.release.namespace;
        hook_object::build(self.plan, index, attempt, self.hook(index), namespace, account)
    }

    fn brings_kinds(&self) -> bool {
        self.plan.hooks.iter().any(|hook| hook.kind() == HookKind::Crd) && self.in_time()
    }

    /// Returns true if the right may be granted soon: an API server that has just started has no
    /// roles for a moment, and the rights were checked before the operation began.
    fn may_be_allowed_soon(&self, error: &ApiError) -> bool {
        let cursor = self.journal.operation.hook.as_ref();
        let begun =
            cursor.map(|it| it.not_before.map_or(it.started_at, |at| at.max(it.started_at)));
        error.lacks_right()
            && begun.is_some_and(|begun| self.now.duration_since(begun) < ROLES_LOAD)
    }

    fn in_time(&self) -> bool {
        let cursor = self.journal.operation.hook.as_ref();
        cursor.is_some_and(|cursor| self.now < cursor.deadline)
    }

    /// Applies over a CRD that exists, with the version that was read, and only while the journal
    /// is the one that this effect is based on.
    async fn apply_hook(
        &self,
        index: usize,
        attempt: i32,
        uid: &str,
    ) -> Result<Observation, Error> {
        let hook = self.hook(index);
        let object = self.plan.object(index, attempt);
        let live = self.release.tenant.get(&object).await?;
        let Some(live) = live.filter(|live| live["metadata"]["uid"] == uid) else {
            return self.look().await;
        };
        let permit = self.release.fence().guard().await?;
        let body = self.body(index, attempt);
        // The fields of an object that is replaced belong to the chart, whoever wrote them before.
        let forced = hook.replaces || self.plan.claims.force_conflicts;
        let event = self.plan.event;
        match apply::apply_hook(self.release, permit, event, &object, body.clone(), &live, forced)
            .await
        {
            Ok(Some(answer)) => self.made(hook, &object, &body, &answer).await,
            Ok(None) => self.look().await,
            Err(ApplyError::Error(error)) => Err(error),
            Err(ApplyError::Refused(message)) => {
                Ok(Observation::Refused(Failure::new(Reason::ApplyRefused, message)))
            }
        }
    }

    async fn start_hook(&self, index: usize, uid: &str) -> Result<Observation, Error> {
        let hook = self.hook(index);
        let (tenant, object) = (&self.release.tenant, self.object(index));
        let patch = hook_object::start_patch(hook.kind(), uid, None);
        if let Ok(started) = tenant.json_patch(Permit::of_uid(), &object, patch).await {
            return self.seen(hook, &started).await;
        }
        // A repeated patch fails its own tests, and so does a patch of an object that webhooks
        // changed.
        let Some(live) = tenant.get(&object).await? else { return self.look().await };
        let seen = self.seen(hook, &live).await?;
        let held = matches!(&seen, Observation::Hook(Some(object))
            if object.uid == uid && object.gate == Gate::Held && !object.terminating);
        if !held {
            return Ok(seen);
        }
        let patch = hook_object::start_patch(hook.kind(), uid, Some(&live));
        match tenant.json_patch(Permit::of_uid(), &object, patch).await {
            Ok(started) => self.seen(hook, &started).await,
            Err(error) if self.may_be_allowed_soon(&error) => Err(later(error)),
            Err(error) => refused(Reason::StartRefused, error),
        }
    }

    async fn stop_hook(&self, index: usize, uid: &str) -> Result<Observation, Error> {
        let hook = self.hook(index);
        let object = self.object(index);
        let tenant = &self.release.tenant;
        let Some(live) = tenant.get(&object).await? else { return self.look().await };
        let suspended = live.pointer("/spec/suspend").and_then(Value::as_bool) == Some(true);
        let permit = Permit::of_uid();
        let stopped = match hook.kind() {
            HookKind::Job if !suspended => {
                tenant.json_patch(permit, &object, hook_object::stop_patch(uid)).await.map(|_| ())
            }
            // A Pod that has ended is not stopped, nor one that ends at this moment.
            HookKind::Pod if observe::has_ended(&live) => return self.seen(hook, &live).await,
            HookKind::Pod => tenant.delete_as_seen(permit, &object, uid, &live).await,
            // It is never stopped: it may hold data.
            HookKind::Awaited => return self.seen(hook, &live).await,
            // A suspended Job has no timer that could end it.
            _ => tenant.delete(permit, &object, uid).await,
        };
        match stopped {
            // Or it is gone already.
            Ok(()) | Err(ApiError { cause: Cause::NotFound(_), .. }) => self.look().await,
            Err(error) => refused(Reason::StopRefused, error),
        }
    }

    async fn delete_leftover(&self, index: usize, uid: &str) -> Result<Observation, Error> {
        let deletion = self.release.ctx.watches.deletes(&key(&self.release.object), uid);
        match self.release.tenant.delete(Permit::of_uid(), &self.object(index), uid).await {
            Ok(()) => {
                let seen = self.look().await?;
                if !seen.has_object(uid) {
                    deletion.end();
                }
                Ok(seen)
            }
            Err(error) => refused(Reason::DeleteRefused, error),
        }
    }

    /// Never fails the operation, whose hooks have all ended: a refusal is a warning.
    async fn clean_up(&self, items: &[CleanUp]) -> Result<Observation, Error> {
        let tenant = &self.release.tenant;
        for item in items {
            let object = self.object(item.hook);
            let done = match item.action {
                CleanUpAction::Delete => {
                    let key = key(&self.release.object);
                    let deletion = self.release.ctx.watches.deletes(&key, &item.uid);
                    let deleted = tenant.delete(Permit::of_uid(), &object, &item.uid).await;
                    // Nothing waits for its end.
                    if deleted.is_ok() {
                        deletion.end();
                    }
                    deleted
                }
                CleanUpAction::SetTtl(seconds) => {
                    let patch = hook_object::ttl_patch(&item.uid, seconds);
                    match tenant.json_patch(Permit::of_uid(), &object, patch).await {
                        Err(ApiError { cause: Cause::NotFound(_), .. }) | Ok(_) => Ok(()),
                        Err(error) => Err(error),
                    }
                }
            };
            match done {
                Ok(()) => {}
                Err(error @ ApiError { cause: Cause::Refused(_), .. }) => {
                    let text = format!("hook {object} stays: {error}");
                    self.release.warn(Reason::CleanUpRefused, text);
                }
                Err(error) => return Err(Error::Api(error)),
            }
        }
        Ok(Observation::Executed)
    }

    async fn apply(&self) -> Result<Observation, Error> {
        match apply::apply(self.release, self.plan, self.kinds_come()).await {
            Ok(waiting) => Ok(Observation::Readiness { waiting, failed: None }),
            Err(ApplyError::Refused(message)) => {
                Ok(Observation::Refused(Failure::new(Reason::ApplyFailed, message)))
            }
            Err(ApplyError::Error(error)) => Err(error),
        }
    }

    /// Returns true if a kind, or a version of one, that a hook has installed may not be served
    /// yet: a `CustomResourceDefinition` that existed before remains established all the time.
    fn kinds_come(&self) -> bool {
        let crds = self.plan.hooks.iter().enumerate();
        let mut crds = crds.filter(|(_, hook)| hook.kind() == HookKind::Crd);
        crds.any(|(index, _)| {
            let end = self.journal.hooks.get(index).and_then(|hook| hook.completed_at);
            end.is_some_and(|end| self.now.duration_since(end) < self.plan.hook_timeout(index))
        })
    }

    async fn close(&self) -> Result<Observation, Error> {
        let records = Records::of(self.release);
        match self.plan.event {
            Event::Delete => blocked_is_refused(self.purge().await),
            Event::Test => records.close_test(self.journal).await.map(|()| Observation::Executed),
            Event::Install | Event::Upgrade | Event::Rollback => {
                self.prune_after_another_leader().await?;
                match records.close(self.journal).await? {
                    Ok(()) => Ok(Observation::Executed),
                    Err(failure) => Ok(Observation::Refused(failure)),
                }
            }
        }
    }

    async fn prune_after_another_leader(&self) -> Result<(), Error> {
        let operation = &self.journal.operation;
        if operation.failure.is_some() || operation.leader == self.release.ctx.lease.epoch() {
            return Ok(());
        }
        match apply::prune_again(self.release, self.plan).await {
            // Objects that may not be pruned were not pruned before either.
            Ok(()) | Err(ApplyError::Refused(_)) => Ok(()),
            Err(ApplyError::Error(error)) => Err(error),
        }
    }

    async fn purge(&self) -> Result<Observation, Error> {
        uninstall::remove_leftovers(self.release).await?;
        let ends_all = uninstall::delete_own_namespace(self.release, self.plan).await?;
        match Records::of(self.release).purge(self.plan.revision).await {
            // The records go with the namespace, and so may the right to remove them.
            Err(Error::Blocked(_)) if ends_all => Ok(Observation::Executed),
            other => other.map(|()| Observation::Executed),
        }
    }

    /// Returns the object of the current attempt, or of the last one, at a hook.
    fn object(&self, index: usize) -> ObjectRef {
        let present = self.journal.operation.cursor_of(index).map(|cursor| cursor.attempt);
        let last = self.journal.hooks.get(index).map(|hook| hook.attempt);
        self.plan.object(index, present.or(last).unwrap_or(1))
    }

    #[expect(clippy::expect_used, reason = "`decide` names only hooks of the plan")]
    fn hook(&self, index: usize) -> &PlannedHook {
        self.plan.hooks.get(index).expect("decide names only hooks of the plan")
    }

    async fn seen(&self, hook: &PlannedHook, object: &Value) -> Result<Observation, Error> {
        let cursor = self.journal.operation.hook.as_ref();
        let seen =
            gather::seen(self.release, self.plan, self.journal, hook, cursor, object, self.now)
                .await?;
        Ok(Observation::Hook(Some(seen)))
    }

    async fn look(&self) -> Result<Observation, Error> {
        let query = query(self.journal);
        gather::gather(self.release, self.plan, self.journal, query, self.now).await
    }
}

/// Returns an error for which waiting may help.
fn later(error: ApiError) -> Error {
    let cause = Cause::Unavailable(error.cause.to_string());
    Error::Api(ApiError { what: error.what, cause })
}

/// A permanent refusal is the hook's failure; for other errors waiting may help.
fn refused(reason: Reason, error: ApiError) -> Result<Observation, Error> {
    match error.cause {
        // POST returns 404 if the namespace is missing.
        Cause::Refused(_) | Cause::NotFound(_) => {
            Ok(Observation::Refused(Failure::new(reason, error.message())))
        }
        _ => Err(Error::Api(error)),
    }
}
