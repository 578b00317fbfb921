//! Checks that the objects of the deployed revision are unchanged since they were deployed, and
//! reverts changes if that is wanted. It runs no hook and creates no revision; the condition
//! `Drifted` reports the result.

use std::collections::BTreeMap;

use api::{DriftMode, names::FIELD_MANAGER};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use helm::ownership;
use kube::discovery::Scope;
use lifecycle::{
    conditions::{Condition, DRIFTED},
    drift::{self, Baseline, Finding, Origin, Path, Rules, What, Work},
    object::{ObjectRef, PlannedObject},
    reason::Reason,
};
use manifests::json;
use serde_json::Value;

use crate::{
    cluster::{
        call::{ApiError, Cause, Refused},
        error::Error,
        permit::Permit,
    },
    plan::history,
    records::{Records, Stored},
    release::{Release, status::Drift},
    support::{blocking, clock::now},
};

/// The number of attempts at an object that changes concurrently; its controller writes its status
/// during the check.
const TRIES: usize = 5;
/// The number of calls without an answer after which the other objects are not tried.
const MOST_UNANSWERED: usize = 3;

/// Checks all objects of the deployed revision, whose record is `stored`. An error is reported in
/// the condition: the release is as ready as before.
pub(crate) async fn check(release: &Release<'_>, stored: &Stored) -> Result<Drift, Error> {
    let revision = stored.release.version;
    let baseline = baseline(release, stored);
    let rules = match Rules::read(release.object.ignored_drift()) {
        Ok(rules) => rules,
        Err(message) => return Ok(seen(release, drift::invalid(message), baseline)),
    };
    let objects = match history::objects_of(release, stored) {
        Ok(objects) => objects,
        Err(error) => {
            let object = format!("the record of revision {revision}");
            let unread = Finding { object, what: What::Unknown(error.to_string()) };
            return Ok(seen(release, drift::found(revision, &[unread]), baseline));
        }
    };
    let mut look = Look {
        release,
        rules: &rules,
        work: work(release, &baseline),
        baseline,
        removed: Vec::new(),
        complete: true,
    };
    let mut findings = Vec::new();
    let mut to_correct = Vec::new();
    let mut unanswered = 0;
    for planned in objects {
        let object = look.placed(planned.object).await?;
        let planned = PlannedObject { object, ..planned };
        let state = match look.at(&planned).await {
            Err(ApiError { cause: Cause::Unavailable(words) | Cause::Outage(words), .. }) => {
                unanswered += 1;
                State::Beyond(What::Unknown(words))
            }
            state => state.unwrap_or_else(|error| State::Beyond(unknown(error))),
        };
        look.complete &= !matches!(state, State::Changing | State::Beyond(What::Unknown(_)));
        if let Some(what) = state.what() {
            findings.push(Finding { object: look.name(&planned.object), what });
            to_correct.push((planned, state));
        }
        if unanswered >= MOST_UNANSWERED {
            look.complete = false;
            break;
        }
    }
    let is_wanted = release.object.drift_mode() == DriftMode::Enabled;
    let can_be_corrected = |(_, state): &(_, State)| !matches!(state, State::Beyond(_));
    let (condition, corrected) = if is_wanted && to_correct.iter().any(can_be_corrected) {
        // Any decision since then comes first, of this operator or of another client. With the
        // versions that were read, no later change is reverted.
        if Records::of(release).newer(revision).await?.is_some() {
            return Err(Error::Stale);
        }
        let permit = release.fence().guard().await?;
        correct(&mut look, permit, revision, findings, to_correct).await?
    } else if is_wanted && !findings.is_empty() {
        (drift::corrected(revision, &[], &findings, now()), false)
    } else {
        (drift::found(revision, &findings), false)
    };
    let mut baseline = look.baseline;
    if baseline.removed.is_none() && look.complete {
        baseline.removed = remembered(look.removed);
    }
    Ok(Drift { corrected, ..seen(release, condition, baseline) })
}

/// Corrects the objects; returns the condition, and whether any was corrected.
async fn correct(
    look: &mut Look<'_>,
    permit: Permit,
    revision: i32,
    findings: Vec<Finding>,
    to_correct: Vec<(PlannedObject, State)>,
) -> Result<(Condition, bool), Error> {
    let mut found: BTreeMap<_, _> =
        findings.into_iter().map(|finding| (finding.object.clone(), finding)).collect();
    let (mut done, mut left) = (Vec::new(), Vec::new());
    for (planned, state) in to_correct {
        let name = look.name(&planned.object);
        match look.correct(permit, &planned, state).await? {
            None => done.extend(found.remove(&name)),
            Some(what) => left.push(Finding { object: name, what }),
        }
    }
    let condition = drift::corrected(revision, &done, &left, now());
    if !done.is_empty() {
        let names = drift::named(&done);
        let text = format!("objects of revision {revision} were corrected: {names}");
        look.release.tell(Reason::DriftCorrected, text);
    }
    Ok((condition, !done.is_empty()))
}

/// The state of an object in the check.
enum State {
    /// The object is as it was deployed, or is being deleted.
    Same,
    /// The object changed during the check.
    Changing,
    Missing,
    /// These fields differ; the value is the object to apply to correct that.
    Differs(Vec<String>, Value),
    /// Nothing is done about it.
    Beyond(What),
}

impl State {
    fn what(&self) -> Option<What> {
        match self {
            Self::Same | Self::Changing => None,
            Self::Missing => Some(What::Missing),
            Self::Differs(fields, _) => Some(What::Differs(fields.clone())),
            Self::Beyond(what) => Some(what.clone()),
        }
    }
}

struct Look<'a> {
    release: &'a Release<'a>,
    rules: &'a Rules,
    work: Work,
    baseline: Baseline,
    /// Fields without an owner at the first check.
    removed: Vec<String>,
    /// True if every object was compared.
    complete: bool,
}

impl Look<'_> {
    /// Compares the live object with the result of applying it again. Differences that the
    /// release's own work has made are accepted.
    async fn at(&mut self, planned: &PlannedObject) -> Result<State, ApiError> {
        let (release, object) = (self.release, &planned.object);
        let mut body = self.body(planned);
        let rules = self.rules;
        let ignored = rules.of(&body);
        if ignored.iter().any(|pointer| pointer.is_whole()) {
            return Ok(State::Same);
        }
        let live = match release.tenant.get(object).await {
            Ok(live) => live,
            // The kind is no longer served.
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        let Some(live) = live else { return Ok(State::Missing) };
        if !live["metadata"]["deletionTimestamp"].is_null() {
            return Ok(State::Same);
        }
        if let Err(foreign) = ownership::check(&live, &release.name, &release.namespace) {
            return Ok(State::Beyond(What::Beyond(foreign.to_string())));
        }
        for pointer in &ignored {
            pointer.keep(&mut body, &live);
        }
        // Both: with the resourceVersion alone, an object that was removed would be created again.
        for field in ["uid", "resourceVersion"] {
            json::set(&mut body, &["metadata", field], live["metadata"][field].clone());
        }
        let wanted = match release.tenant.try_apply(object, &body).await {
            // It has changed since; the next check reports it.
            Err(ApiError { cause: Cause::Conflict(_) | Cause::FieldConflict(_), .. }) => {
                return Ok(State::Changing);
            }
            // The API server would not accept the deployed state.
            Err(ApiError { cause: Cause::Refused(Refused { code: 422, message, .. }), .. }) => {
                return Ok(State::Beyond(What::Beyond(message)));
            }
            wanted => wanted?,
        };
        let mut fields = Vec::new();
        // Large objects take long to compare.
        let compared = blocking::run(&release.namespace, move || {
            let paths = drift::differences(&live, &wanted);
            let found = paths.into_iter().map(|path| {
                let pointer = path.pointer(&live, &wanted);
                (path, pointer)
            });
            (found.collect::<Vec<_>>(), live)
        });
        let (paths, live) = compared.await;
        for (path, pointer) in paths {
            if ignored.iter().any(|ignored| ignored.covers(&pointer))
                || self.is_own_work(object, &live, &path, &pointer)
            {
                path.keep(&mut body, &live);
            } else {
                fields.push(pointer);
            }
        }
        Ok(if fields.is_empty() { State::Same } else { State::Differs(fields, body) })
    }

    /// Returns true if the release's own work has set the field.
    fn is_own_work(
        &mut self,
        object: &ObjectRef,
        live: &Value,
        path: &Path,
        pointer: &str,
    ) -> bool {
        match drift::origin(live, path, &self.work, FIELD_MANAGER) {
            Origin::Work => true,
            Origin::Later => false,
            Origin::Removed => {
                let field = format!("{}: {pointer}", self.name(object));
                if let Some(removed) = &self.baseline.removed {
                    return removed.contains(&field);
                }
                // The first check is right after the operation.
                self.removed.push(field);
                true
            }
        }
    }

    /// Reverts the object; returns its state if that cannot be done.
    async fn correct(
        &mut self,
        mut permit: Permit,
        planned: &PlannedObject,
        mut state: State,
    ) -> Result<Option<What>, Error> {
        let (release, object) = (self.release, &planned.object);
        for _ in 0..TRIES {
            let applied = match state {
                State::Same => return Ok(None),
                State::Changing => Ok(None),
                State::Beyond(what) => return Ok(Some(what)),
                State::Differs(_, body) => {
                    release.tenant.apply(permit, object, &body, true).await.map(Some)
                }
                // Only the lease keeps a process that was paused from creating it late.
                State::Missing => {
                    let permit = release.fence().lead()?;
                    release.tenant.apply(permit, object, &self.body(planned), false).await.map(Some)
                }
            };
            match applied {
                Ok(Some(_)) => return Ok(None),
                Ok(None) | Err(ApiError { cause: Cause::Conflict(_), .. }) => {}
                Err(error) => return Ok(Some(What::Beyond(error.cause.to_string()))),
            }
            permit = release.fence().guard().await?;
            state = self.at(planned).await.unwrap_or_else(|error| State::Beyond(unknown(error)));
        }
        Ok(Some(What::Beyond("another client keeps changing it".to_owned())))
    }

    /// Returns the body to apply.
    fn body(&self, planned: &PlannedObject) -> Value {
        let mut body = self.release.body(planned);
        fold_string_data(&mut body);
        body
    }

    /// Returns the object without the namespace that a record gives to all objects, if its kind has
    /// none.
    async fn placed(&self, object: ObjectRef) -> Result<ObjectRef, Error> {
        let is_outside = match self.release.tenant.kind(&object).await {
            Ok(kind) => kind.is_some_and(|kind| kind.scope == Scope::Cluster),
            // The error is reported when the object is read.
            Err(_) => false,
        };
        Ok(if is_outside { ObjectRef { namespace: None, ..object } } else { object })
    }

    fn name(&self, object: &ObjectRef) -> String {
        match &object.namespace {
            Some(namespace) if *namespace != self.release.namespace => {
                format!("{object} in namespace {namespace}")
            }
            _ => object.to_string(),
        }
    }
}

/// Moves a Secret's `stringData` into its `data`, over which it takes precedence.
fn fold_string_data(body: &mut Value) {
    if body["kind"] != "Secret" || body["apiVersion"] != "v1" {
        return;
    }
    let Some(Value::Object(texts)) = body.as_object_mut().and_then(|it| it.remove("stringData"))
    else {
        return;
    };
    for (key, text) in texts {
        if let Some(text) = text.as_str() {
            json::set(body, &["data", &key], STANDARD.encode(text));
        }
    }
}

/// Returns `None` if there is no room for them in status: then none of them is ever drift.
fn remembered(mut removed: Vec<String>) -> Option<Vec<String>> {
    const MOST: usize = 20;
    const MOST_BYTES: usize = 512;
    removed.sort();
    removed.dedup();
    let fits = removed.len() <= MOST && removed.iter().all(|field| field.len() <= MOST_BYTES);
    fits.then_some(removed)
}

fn unknown(error: ApiError) -> What {
    What::Unknown(error.cause.to_string())
}

/// Returns the baseline of drift.
fn baseline(release: &Release<'_>, stored: &Stored) -> Baseline {
    let revision = stored.release.version;
    let status = release.object.status.as_ref();
    let known = status.and_then(|status| status.baseline.clone());
    // The state of an adopted release, or of one whose deployment is unknown, is accepted as it is
    // found.
    known.filter(|known| known.revision == revision).unwrap_or_else(|| Baseline {
        revision,
        deployed_at: stored.written_at().unwrap_or_else(now),
        removed: None,
    })
}

fn work(release: &Release<'_>, baseline: &Baseline) -> Work {
    let last = release.object.status.as_ref().and_then(|status| status.operation.as_ref());
    Work {
        deployed_at: Some(baseline.deployed_at),
        last: last.and_then(|last| Some((last.started_at, last.completed_at?))),
    }
}

/// Reports new drift, once.
fn seen(release: &Release<'_>, condition: Condition, baseline: Baseline) -> Drift {
    let status = release.object.status.iter().flat_map(|status| &status.conditions);
    let before = status.into_iter().find(|before| before.type_ == DRIFTED);
    let is_known = before.is_some_and(|before| {
        (&*before.status, &*before.reason, &*before.message)
            == (condition.status, &*condition.reason, &*condition.message)
    });
    if !is_known
        && condition.status != "False"
        && let Some(reason) = Reason::parse(&condition.reason)
    {
        release.warn(reason, condition.message.clone());
    }
    // The report of a correction remains until there is something else to report.
    let is_new = condition.reason != Reason::NoDrift
        || before.is_none_or(|before| before.status != condition.status);
    Drift { condition: is_new.then_some(condition), baseline, corrected: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_text_of_a_secret_is_folded_into_its_data() {
        let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": "eA=="},
                                "stringData": {"a": "new", "b": "y"}});
        fold_string_data(&mut secret);
        let data = json!({"a": "bmV3", "b": "eQ=="});
        assert_eq!(secret, json!({"apiVersion": "v1", "kind": "Secret", "data": data}));
    }

    #[test]
    fn data_that_is_no_object_is_no_reason_to_panic() {
        for odd in [json!("not a map"), json!([1]), json!(7), json!(null)] {
            let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "data": odd,
                                    "stringData": {"a": "b"}});
            fold_string_data(&mut secret);
            assert_eq!(secret["data"], json!({"a": "Yg=="}));
        }
    }
}
