//! The hooks that need not run again: those that are unchanged since their last run, and those that
//! run once.

use std::collections::HashMap;

use helm::record::Status;
use lifecycle::{
    digest::config_digest,
    object::{ObjectRef, PlannedObject},
    plan::PlannedHook,
    preflight::needs::{self, has_data},
    rule::{HookRun, Run, leave_out},
    source::stands_in_urls,
};
use serde_json::{Map, Value};

use crate::{
    cluster::error::Error,
    records::{Stored, newest},
    release::Release,
};

/// The maximum number of objects that are read for one plan.
const MOST_READS: usize = 100;

/// The state that the hooks meet.
pub(super) struct Before<'a> {
    /// The objects that the operation applies before its post hooks.
    pub(super) objects: &'a [PlannedObject],
    /// The records of the release.
    pub(super) records: &'a [Stored],
    /// The key of digests, which are in status.
    pub(super) key: &'a str,
}

/// Leaves out the hooks that need not run, and returns warnings about those of which that cannot be
/// known: they run.
pub(super) async fn leave_out_unchanged(
    release: &Release<'_>,
    hooks: &mut [PlannedHook],
    before: &Before<'_>,
) -> Result<Vec<String>, Error> {
    let mut seen = LiveObjects { release, key: before.key, live: HashMap::new() };
    let mut warnings = Vec::new();
    // The data of the objects that the operation makes, as far as it has come.
    let mut made: HashMap<ObjectRef, String> = HashMap::new();
    let mut are_applied = false;
    let needs_digest = |hook: &PlannedHook| matches!(hook.rule.run, Run::WhenChanged | Run::Once);
    if !hooks.iter().any(needs_digest) {
        return Ok(warnings);
    }
    for hook in hooks {
        let is_post = Some(hook.event) == hook.event.operation().post();
        if is_post && !are_applied {
            are_applied = true;
            let objects = before.objects.iter().filter(|it| has_data(&it.object));
            made.extend(objects.map(|it| (it.object.clone(), seen.digest(&data_in(&it.manifest)))));
        }
        if needs_digest(hook) {
            match digest(&mut seen, hook, &made).await? {
                Ok(digest) => hook.rule.digest = Some(digest),
                Err(why) => warnings.push(format!(
                    "hook {} ({}) runs, whether or not it has to: {why}",
                    hook.object, hook.event
                )),
            }
            leave_out(hook, runs(release, before.records));
        }
        if has_data(&hook.object) {
            made.insert(hook.object.clone(), seen.digest(&data_in(&hook.manifest)));
        }
    }
    Ok(warnings)
}

/// Returns the runs that may stand for one of this operation: none if the release was uninstalled
/// since, by whomever.
fn runs<'a>(release: &'a Release<'_>, records: &[Stored]) -> &'a [HookRun] {
    let status = newest(records).map(|newest| &newest.release.info.status);
    let is_there = status.is_some_and(|status| *status != Status::Uninstalled);
    let status = release.object.status.as_ref().filter(|_| is_there);
    status.map_or(&[], |status| &status.hook_runs)
}

/// Returns the digest of what the hook runs; or why there is none.
async fn digest(
    seen: &mut LiveObjects<'_, '_>,
    hook: &PlannedHook,
    made: &HashMap<ObjectRef, String>,
) -> Result<Result<String, String>, Error> {
    if hook.is_named_by_run() {
        return Ok(Err("only a hook with metadata.name is remembered".to_owned()));
    }
    let mut data = Vec::new();
    if hook.rule.run == Run::WhenChanged {
        for object in needs::data_of(&hook.object, &hook.manifest) {
            let of_object = match made.get(&object) {
                Some(digest) => digest.clone(),
                None => match seen.live(&object).await? {
                    Ok(digest) => digest,
                    Err(why) => return Ok(Err(why)),
                },
            };
            data.push((object, of_object));
        }
    }
    Ok(Ok(config_digest(seen.key.as_bytes(), &(&hook.manifest, data))))
}

fn data_in(manifest: &Value) -> Value {
    let fields = ["data", "binaryData", "stringData"].into_iter();
    let fields = fields.filter_map(|field| Some((field.to_owned(), manifest.get(field)?.clone())));
    Value::Object(fields.collect::<Map<_, _>>())
}

/// The data of objects in the cluster: each is read once, and only its digest is kept.
struct LiveObjects<'a, 'r> {
    release: &'a Release<'r>,
    key: &'a str,
    live: HashMap<ObjectRef, Result<String, String>>,
}

impl LiveObjects<'_, '_> {
    fn digest(&self, value: &Value) -> String {
        config_digest(self.key.as_bytes(), value)
    }

    /// Returns the digest of the object's data, also if there is no such object; or why it is unknown.
    async fn live(&mut self, object: &ObjectRef) -> Result<Result<String, String>, Error> {
        if let Some(known) = self.live.get(object) {
            return Ok(known.clone());
        }
        if self.live.len() == MOST_READS {
            return Ok(Err(format!("its release names more than {MOST_READS} objects with data")));
        }
        let read = if stands_in_urls(&object.name) {
            self.release.tenant.get(object).await
        } else {
            Ok(None)
        };
        let digest = match read {
            Ok(found) => Ok(self.digest(&found.as_ref().map_or(Value::Null, data_in))),
            Err(error) => match Error::from(error) {
                Error::Blocked(failure) => Err(format!("{}: {}", failure.reason, failure.message)),
                error => return Err(error),
            },
        };
        self.live.insert(object.clone(), digest.clone());
        Ok(digest)
    }
}
