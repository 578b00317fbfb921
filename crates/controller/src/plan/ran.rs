//! The hooks that need not run again: those that are unchanged since their last run, and those that
//! run once.

use std::collections::HashMap;

use lifecycle::{
    digest::config_digest,
    object::{ObjectRef, PlannedObject},
    plan::PlannedHook,
    preflight::needs,
    reason::Reason,
    rule::{Run, leave_out},
};
use serde_json::{Map, Value};

use crate::{cluster::error::Error, release::Release};

/// The maximum number of objects that are read for one plan.
const MOST_READS: usize = 100;

/// Leaves out the hooks that need not run, and returns warnings about those of which that cannot be
/// known: they run. `objects` are those that the operation applies before its post hooks; `key` is
/// the key of digests, which stand in status.
pub(super) async fn leave_out_unchanged(
    release: &Release<'_>,
    hooks: &mut [PlannedHook],
    objects: &[PlannedObject],
    key: &str,
) -> Result<Vec<String>, Error> {
    let mut live = Live { release, known: HashMap::new() };
    let mut warnings = Vec::new();
    for index in 0..hooks.len() {
        let (earlier, rest) = hooks.split_at_mut(index);
        let Some(hook) = rest.first_mut() else { continue };
        let whole = match hook.rule.run {
            Run::Always | Run::Never => continue,
            Run::WhenChanged => true,
            Run::Once => false,
        };
        if hook.is_named_by_run() {
            warnings.push(format!(
                "hook {}… ({}) runs each time: only a hook with metadata.name can run {}",
                hook.object,
                hook.event,
                if whole { "WhenChanged" } else { "Once" }
            ));
            continue;
        }
        if !whole {
            hook.rule.digest = Some(config_digest(key.as_bytes(), &hook.manifest));
            continue;
        }
        let is_post = Some(hook.event) == hook.event.operation().post();
        let applied = if is_post { objects } else { &[] };
        match data(&mut live, hook, earlier, applied).await? {
            Ok(data) => {
                hook.rule.digest = Some(config_digest(key.as_bytes(), &(&hook.manifest, data)));
            }
            Err(why) => warnings.push(format!(
                "hook {} ({}) runs, whether or not it has changed: {why}",
                hook.object, hook.event
            )),
        }
    }
    let status = release.object.status.as_ref();
    let runs = status.map_or(&[][..], |status| &status.hook_runs);
    for hook in hooks {
        leave_out(hook, runs);
    }
    Ok(warnings)
}

/// Returns the data that the hook will see, by the objects that it names; or why it is unknown.
async fn data(
    live: &mut Live<'_, '_>,
    hook: &PlannedHook,
    earlier: &[PlannedHook],
    applied: &[PlannedObject],
) -> Result<Result<Vec<(ObjectRef, Value)>, String>, Error> {
    let mut all = Vec::new();
    for object in needs::data_of(&hook.object, &hook.manifest) {
        let of_hook = earlier.iter().rev().find(|it| it.object == object).map(|it| &it.manifest);
        let of_release = || applied.iter().find(|it| it.object == object).map(|it| &it.manifest);
        let data = match of_hook.or_else(of_release) {
            Some(manifest) => data_in(manifest),
            None => match live.data(&object).await? {
                Ok(data) => data,
                Err(why) => return Ok(Err(why)),
            },
        };
        all.push((object, data));
    }
    Ok(Ok(all))
}

fn data_in(manifest: &Value) -> Value {
    let fields = ["data", "binaryData", "stringData"].into_iter();
    let fields = fields.filter_map(|field| Some((field.to_owned(), manifest.get(field)?.clone())));
    Value::Object(fields.collect::<Map<_, _>>())
}

/// The data of objects in the cluster, each read once.
struct Live<'a, 'r> {
    release: &'a Release<'r>,
    known: HashMap<ObjectRef, Result<Value, String>>,
}

impl Live<'_, '_> {
    /// Returns the data of the object, `Null` if there is no such object; or why it is unknown.
    async fn data(&mut self, object: &ObjectRef) -> Result<Result<Value, String>, Error> {
        if let Some(known) = self.known.get(object) {
            return Ok(known.clone());
        }
        if self.known.len() == MOST_READS {
            return Ok(Err(format!("its release names more than {MOST_READS} objects with data")));
        }
        let data = match self.release.tenant.get(object).await {
            Ok(found) => Ok(found.as_ref().map_or(Value::Null, data_in)),
            Err(error) => match Error::from(error) {
                Error::Blocked(failure) => {
                    Err(format!("{}: {}", Reason::Forbidden.as_str(), failure.message))
                }
                error => return Err(error),
            },
        };
        self.known.insert(object.clone(), data.clone());
        Ok(data)
    }
}
