//! Explains why objects are not ready: from the state of the objects that they created, and of the
//! Event objects about those. It reads as the tenant, only while something is not ready, and with
//! back-off. A failed read blocks nothing.

use std::collections::HashMap;

use jiff::Timestamp;
use lifecycle::object::ObjectRef;
use live::observe::{
    event_objects::{self, Subject, Unbound},
    pods::Culprit,
    quiet, text,
    unready::{self, Finding, Kind},
};
use serde_json::Value;

use crate::{
    cluster::call::ApiError,
    release::{Release, running::Explanation},
};

/// An object that is not ready.
pub(crate) struct Unready<'a> {
    pub(crate) object: &'a ObjectRef,
    pub(crate) live: Option<Value>,
    /// `Kind/name: ` and the message of kstatus.
    pub(crate) own_words: String,
}

/// The maximum number of a release's objects that are checked, and the number of them at a time.
const MOST: usize = 20;
const AT_A_TIME: usize = 3;
/// The number of objects that are read of those that an object created.
const READ: u32 = 100;
/// The number of lines of a log among which the last line is searched.
const LINES: i32 = 10;

/// Returns `Kind/name: why` for each object, the explained ones first. At the end of the time
/// everything is checked once more.
pub(crate) async fn explain(
    release: &Release<'_>,
    waiting: Vec<Unready<'_>>,
    now: Timestamp,
    overdue: bool,
) -> Vec<String> {
    let mut known = release.ctx.running.take_explanations(release.uid());
    let mut kept = HashMap::new();
    let mut asked = 0;
    let (mut explained, mut others) = (Vec::new(), Vec::new());
    for Unready { object, live, own_words } in waiting {
        let Some(live) = live.filter(|_| kept.len() < MOST) else {
            others.push(own_words);
            continue;
        };
        let uid = text(&live, "/metadata/uid").to_owned();
        let version = text(&live, "/metadata/resourceVersion");
        let mut explanation = known.remove(&uid).unwrap_or_else(|| Explanation::new(now));
        if asked < AT_A_TIME && (overdue || explanation.is_due(version, now)) {
            asked += 1;
            let mut asking = Asking { release, line: explanation.line.take() };
            explanation.said = match Box::pin(asking.why(&live)).await {
                Ok(said) => said,
                Err(error) => {
                    tracing::debug!("{error}");
                    // For a tenant that may not read it, kstatus's own message is reported.
                    explanation.said.take().filter(|_| !error.is_forbidden())
                }
            };
            explanation.line = asking.line;
            version.clone_into(&mut explanation.version);
            let next = event_objects::again(explanation.since, now, false);
            explanation.next = next.unwrap_or(now);
        }
        match &explanation.said {
            Some(said) => explained.push(sentence(object, &own_words, said)),
            None => others.push(own_words),
        }
        kept.insert(uid, explanation);
    }
    release.ctx.running.keep_explanations(release.uid(), kept);
    explained.append(&mut others);
    explained
}

/// Returns the sentence to report. A Pod's own reason contains everything that kstatus reports.
fn sentence(object: &ObjectRef, own_words: &str, said: &str) -> String {
    let of_itself = format!("pod {} ", object.name);
    match said.strip_prefix(&of_itself).filter(|_| object.kind == "Pod") {
        Some(said) => format!("{object}: {said}"),
        None => format!("{own_words}: {said}"),
    }
}

struct Asking<'a> {
    release: &'a Release<'a>,
    line: Option<(Culprit, String)>,
}

impl Asking<'_> {
    async fn why(&mut self, live: &Value) -> Result<Option<String>, ApiError> {
        if !unready::is_observed(live) {
            return Ok(None);
        }
        if let Some(said) = unready::own_words(live) {
            return Ok(Some(said));
        }
        match Kind::of(live) {
            Kind::Other => Ok(None),
            Kind::Claim => Ok(self.claim(live).await?.map(Unbound::said)),
            Kind::Pod => self.pods(live, std::slice::from_ref(live)).await,
            Kind::Maker => self.made_by(live).await,
            Kind::Deployment => {
                let Some(selector) = unready::selector(live) else { return Ok(None) };
                let sets = self.list("apps/v1", "ReplicaSet", live, &selector).await?;
                match unready::current(live, &sets) {
                    Some(set) => self.made_by(set).await,
                    None => Ok(None),
                }
            }
        }
    }

    /// Returns the message about the Pods of `maker`, or why it creates none.
    async fn made_by(&mut self, maker: &Value) -> Result<Option<String>, ApiError> {
        let Some(selector) = unready::selector(maker) else { return Ok(None) };
        let pods = self.list("v1", "Pod", maker, &selector).await?;
        let pods = unready::unready(maker, pods);
        if let Some(said) = self.pods(maker, &pods).await? {
            return Ok(Some(said));
        }
        let field = |path| text(maker, path).to_owned();
        let subject = Subject::Maker { name: field("/metadata/name"), uid: field("/metadata/uid") };
        let events = self.events(maker, subject.uid()).await?;
        Ok(event_objects::hindrance(&subject, &events).map(|said| unready::shorten(&said)))
    }

    /// Returns why `pods`, which are in the namespace of `place`, are not ready.
    async fn pods(&mut self, place: &Value, pods: &[Value]) -> Result<Option<String>, ApiError> {
        match unready::finding(pods) {
            None => Ok(None),
            Some(Finding::Said(said)) => Ok(Some(said)),
            Some(Finding::Container(culprit, said)) => {
                let line = self.last_line(place, culprit).await;
                let line = line.map_or(String::new(), |line| format!("; last line: {line}"));
                Ok(Some(format!("{said}{line}")))
            }
            Some(Finding::Unscheduled { mut said, claims }) => {
                for claim in claims {
                    if let Some(why) = self.unbound(place, &claim).await? {
                        said = format!("{said}; PersistentVolumeClaim/{claim}: {why}");
                    }
                }
                Ok(Some(said))
            }
            Some(Finding::Events { uid, probed, otherwise }) => {
                let events = self.events(place, &uid).await?;
                let failing = probed.iter().find_map(|it| {
                    let said = event_objects::unhealthy(&events, &it.container, it.since)?;
                    Some(format!("pod {} container {} Unhealthy: {said}", it.pod, it.container))
                });
                let hindrance = || {
                    let pod = pods.iter().find(|pod| text(pod, "/metadata/uid") == uid)?;
                    let name = text(pod, "/metadata/name").to_owned();
                    event_objects::hindrance(&Subject::Pod { name, uid: uid.clone() }, &events)
                };
                let said = if probed.is_empty() { hindrance() } else { failing };
                Ok(said.or(otherwise).map(|said| unready::shorten(&said)))
            }
        }
    }

    async fn claim(&mut self, claim: &Value) -> Result<Option<Unbound>, ApiError> {
        let events = self.events(claim, text(claim, "/metadata/uid")).await?;
        Ok(event_objects::unbound(&events))
    }

    /// Returns why the claim that a Pod waits for is not bound, if something fails there.
    async fn unbound(&mut self, place: &Value, name: &str) -> Result<Option<String>, ApiError> {
        let claim =
            ObjectRef { name: name.to_owned(), ..like("v1", "PersistentVolumeClaim", place) };
        let Some(live) = self.release.tenant.get(&claim).await? else { return Ok(None) };
        if text(&live, "/status/phase") == "Bound" {
            return Ok(None);
        }
        Ok(self.claim(&live).await?.and_then(Unbound::failing))
    }

    /// Returns the last line that `culprit` wrote. The log of a run is read once, or the line would
    /// change each time.
    async fn last_line(&mut self, place: &Value, culprit: Culprit) -> Option<String> {
        if self.release.object.log_lines() == 0 {
            return None;
        }
        if let Some((known, line)) = &self.line
            && *known == culprit
        {
            return Some(line.clone());
        }
        let pod = ObjectRef { name: culprit.pod.clone(), ..like("v1", "Pod", place) };
        let tenant = &self.release.tenant;
        let log = tenant.log(&pod, &culprit.container, culprit.previous, LINES).await.ok()?;
        let last = log.lines().map(str::trim).rfind(|line| !line.is_empty())?;
        let line = unready::shorten(last);
        self.line = Some((culprit, line.clone()));
        Some(line)
    }

    async fn events(&self, about: &Value, uid: &str) -> Result<Vec<Value>, ApiError> {
        match self.release.tenant.events(Some(text(about, "/metadata/namespace")), uid).await {
            // The Pod's own state is reported all the same.
            Err(error) if error.is_forbidden() => Ok(Vec::new()),
            Err(error) => Err(error),
            Ok(mut events) => {
                quiet::events(&mut events, &[about]);
                Ok(events)
            }
        }
    }

    async fn list(
        &self,
        api_version: &str,
        kind: &str,
        place: &Value,
        selector: &str,
    ) -> Result<Vec<Value>, ApiError> {
        let like = like(api_version, kind, place);
        let found = self.release.tenant.list_some(&like, selector, READ).await?;
        Ok(found.into_iter().map(quiet::object).collect())
    }
}

/// Returns a reference of this kind in the namespace of `place`.
fn like(api_version: &str, kind: &str, place: &Value) -> ObjectRef {
    ObjectRef {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        namespace: Some(text(place, "/metadata/namespace").to_owned()),
        name: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn it_is_asked_with_back_off_and_soon_after_a_change() {
        let mut explanation = Explanation::new(at(0));
        let mut asked = Vec::new();
        for second in 0..300 {
            if explanation.is_due("1", at(second)) {
                asked.push(second);
                "1".clone_into(&mut explanation.version);
                explanation.next = event_objects::again(at(0), at(second), false).unwrap();
            }
        }
        assert_eq!(asked[..6], [2, 4, 6, 9, 14, 21]);
        assert!(asked.len() < 20, "{asked:?}");
        assert!(!explanation.is_due("1", at(300)));
        assert!(explanation.is_due("2", at(300)), "something has happened to it");
        let fresh = Explanation::new(at(0));
        assert!(!fresh.is_due("1", at(1)), "it may be about to be ready");
    }

    #[test]
    fn a_pod_is_named_once() {
        let object = |kind: &str| like("v1", kind, &json!({"metadata": {"namespace": "prod"}}));
        let pod = ObjectRef { name: "web".to_owned(), ..object("Pod") };
        let said =
            sentence(&pod, "Pod/web: the pod runs but is not ready", "pod web container a x");
        assert_eq!(said, "Pod/web: container a x");
        let claim = ObjectRef { name: "web".to_owned(), ..object("PersistentVolumeClaim") };
        let own_words = "PersistentVolumeClaim/web: the claim's phase is Pending, not Bound";
        assert_eq!(sentence(&claim, own_words, "why"), format!("{own_words}: why"));
    }
}
