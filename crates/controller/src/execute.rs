//! Executes one effect, after the journal that it follows from was written, and answers with what
//! is seen then.

use jiff::Timestamp;
use lifecycle::{
    decide::{CleanUp, CleanUpAction, Effect, Gate, Observation, query},
    journal::{Failure, Journal},
    plan::{HookKind, Plan, PlannedHook},
};
use serde_json::Value;

use crate::{
    apply::{self, ApplyError},
    client::{ApiError, Cause},
    error::Error,
    gather, hook_object, prepare, records,
    release::Release,
};

pub(crate) async fn execute(
    release: &Release<'_>,
    plan: &Plan,
    journal: &Journal,
    effect: &Effect,
    now: Timestamp,
) -> Result<Observation, Error> {
    let turn = Turn { release, plan, journal, now };
    match effect {
        Effect::CreateRecord => turn.create_record().await,
        Effect::CreateHook { hook, attempt } => turn.create_hook(*hook, *attempt).await,
        Effect::StartHook { hook, uid } => turn.start_hook(*hook, uid).await,
        Effect::StopHook { hook, uid } => turn.stop_hook(*hook, uid).await,
        Effect::DeleteLeftover { hook, uid } => turn.delete_leftover(*hook, uid).await,
        Effect::CleanUp(items) => turn.clean_up(items).await,
        Effect::Apply => turn.apply().await,
        Effect::Close { deployed } => turn.close(*deployed).await,
    }
}

struct Turn<'a> {
    release: &'a Release<'a>,
    plan: &'a Plan,
    journal: &'a Journal,
    now: Timestamp,
}

impl Turn<'_> {
    async fn create_record(&self) -> Result<Observation, Error> {
        let desired = prepare::desired(self.release)?;
        let release = self.release;
        let record = records::pending(self.plan, &desired, &release.name, &release.namespace);
        match records::create(&release.tenant, &record, self.plan).await {
            Ok(()) => Ok(Observation::Recorded { plan_digest: self.plan.freeze().1 }),
            // Ours, made by a request whose answer was lost, or somebody else's: look.
            Err(Error::Api(ApiError { cause: Cause::AlreadyExists, .. })) => self.look().await,
            Err(Error::Blocked(failure)) => Ok(Observation::Refused(failure)),
            Err(error) => Err(error),
        }
    }

    async fn create_hook(&self, index: usize, attempt: i32) -> Result<Observation, Error> {
        let hook = self.hook(index);
        let body = hook_object::build(self.plan, index, attempt, hook, &self.release.namespace);
        match self.release.tenant.create(&hook.object, &body).await {
            Ok(object) => self.made(hook, &body, &object).await,
            Err(ApiError { cause: Cause::AlreadyExists, .. }) => self.look().await,
            Err(error) => refused("CreateRefused", error),
        }
    }

    /// The answer to the POST: webhooks may have changed what was sent.
    async fn made(
        &self,
        hook: &PlannedHook,
        sent: &Value,
        answer: &Value,
    ) -> Result<Observation, Error> {
        let removed = hook_object::removed_annotations(sent, answer);
        if removed.is_empty() {
            return self.seen(hook, answer).await;
        }
        if hook.kind() != HookKind::Other {
            // Nobody would know it again, and it never starts.
            let uid = answer.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
            self.release.tenant.delete(&hook.object, uid).await?;
        }
        let message = format!(
            "{} came back from its creation without what it was sent with: an admission webhook or \
             policy of the cluster removes or changes annotation {}; have it leave the annotations \
             releaselifecycle.dev/* alone",
            hook.object,
            removed.join(", ")
        );
        Ok(Observation::Refused(Failure::new("AnnotationsRemoved", message)))
    }

    async fn start_hook(&self, index: usize, uid: &str) -> Result<Observation, Error> {
        let hook = self.hook(index);
        let tenant = &self.release.tenant;
        let patch = hook_object::start_patch(hook.kind(), uid, None);
        if let Ok(object) = tenant.json_patch(&hook.object, patch).await {
            return self.seen(hook, &object).await;
        }
        // A replay is refused by its own tests, and so is what webhooks made of the object.
        let Some(live) = tenant.get(&hook.object).await? else { return self.look().await };
        let seen = self.seen(hook, &live).await?;
        let held = matches!(&seen, Observation::Hook(Some(object))
            if object.uid == uid && object.gate == Gate::Held && !object.terminating);
        if !held {
            return Ok(seen);
        }
        let patch = hook_object::start_patch(hook.kind(), uid, Some(&live));
        match tenant.json_patch(&hook.object, patch).await {
            Ok(object) => self.seen(hook, &object).await,
            Err(error) => refused("StartRefused", error),
        }
    }

    async fn stop_hook(&self, index: usize, uid: &str) -> Result<Observation, Error> {
        let hook = self.hook(index);
        let tenant = &self.release.tenant;
        let suspended = match (hook.kind(), tenant.get(&hook.object).await?) {
            (HookKind::Job, Some(job)) => {
                job.pointer("/spec/suspend").and_then(Value::as_bool) == Some(true)
            }
            _ => false,
        };
        // A suspended Job has no clock that could end it.
        let stopped = if hook.kind() == HookKind::Job && !suspended {
            tenant.json_patch(&hook.object, hook_object::stop_patch(uid)).await.map(|_| ())
        } else {
            tenant.delete(&hook.object, uid).await
        };
        match stopped {
            // Or it is gone already.
            Ok(()) | Err(ApiError { cause: Cause::NotFound(_), .. }) => self.look().await,
            Err(error) => refused("StopRefused", error),
        }
    }

    async fn delete_leftover(&self, index: usize, uid: &str) -> Result<Observation, Error> {
        match self.release.tenant.delete(&self.hook(index).object, uid).await {
            Ok(()) => self.look().await,
            Err(error) => refused("DeleteRefused", error),
        }
    }

    /// Never fails the operation, whose hooks have all ended: what is refused is a warning.
    async fn clean_up(&self, items: &[CleanUp]) -> Result<Observation, Error> {
        let tenant = &self.release.tenant;
        for item in items {
            let hook = self.hook(item.hook);
            let done = match item.action {
                CleanUpAction::Delete => tenant.delete(&hook.object, &item.uid).await,
                CleanUpAction::SetTtl(seconds) => {
                    let patch = hook_object::ttl_patch(&item.uid, seconds);
                    match tenant.json_patch(&hook.object, patch).await {
                        Err(ApiError { cause: Cause::NotFound(_), .. }) | Ok(_) => Ok(()),
                        Err(error) => Err(error),
                    }
                }
            };
            match done {
                Ok(()) => {}
                Err(error @ ApiError { cause: Cause::Refused { .. }, .. }) => {
                    let text = format!("hook {} stays: {error}", hook.object);
                    self.release.warn("CleanUpRefused", text);
                }
                Err(error) => return Err(Error::Api(error)),
            }
        }
        Ok(Observation::Executed)
    }

    async fn apply(&self) -> Result<Observation, Error> {
        match apply::apply(self.release, self.plan).await {
            Ok(waiting) => Ok(Observation::Readiness { waiting }),
            Err(ApplyError::Refused(message)) => {
                Ok(Observation::Refused(Failure::new("ApplyFailed", message)))
            }
            Err(ApplyError::Error(error)) => Err(error),
        }
    }

    async fn close(&self, deployed: bool) -> Result<Observation, Error> {
        let release = self.release;
        let closed = records::close(
            &release.tenant,
            &release.name,
            &release.namespace,
            self.journal,
            deployed,
        );
        match closed.await? {
            Ok(()) => Ok(Observation::Executed),
            Err(failure) => Ok(Observation::Refused(failure)),
        }
    }

    fn hook(&self, index: usize) -> &PlannedHook {
        self.plan.hooks.get(index).expect("decide names only hooks of the plan")
    }

    async fn seen(&self, hook: &PlannedHook, object: &Value) -> Result<Observation, Error> {
        let seen =
            gather::seen(self.release, self.plan, self.journal, hook, object, self.now).await?;
        Ok(Observation::Hook(Some(seen)))
    }

    async fn look(&self) -> Result<Observation, Error> {
        let query = query(self.journal);
        gather::gather(self.release, self.plan, self.journal, query, self.now).await
    }
}

/// What was refused for good is the hook's failure; waiting may help with the rest.
fn refused(reason: &str, error: ApiError) -> Result<Observation, Error> {
    match error.cause {
        // POST answers 404 where the namespace is missing.
        Cause::Refused { .. } | Cause::NotFound(_) => {
            Ok(Observation::Refused(Failure::new(reason, error.to_string())))
        }
        _ => Err(Error::Api(error)),
    }
}
