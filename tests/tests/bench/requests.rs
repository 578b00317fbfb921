//! Requests and delays, by the API server's audit log.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use testkit::audit::Event;

/// The user agent of the bench itself.
pub(crate) const BENCH: &str = "bench";
/// The controller of Jobs, whose writes tell when a Job was complete.
const JOB_CONTROLLER: &str = "system:serviceaccount:kube-system:job-controller";

/// One of the clients that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tool {
    Ours,
    Helm,
    Floor,
}

impl Tool {
    pub(crate) const ALL: [Self; 3] = [Self::Ours, Self::Helm, Self::Floor];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Helm => "helm",
            Self::Floor => "floor",
        }
    }

    /// Returns whether it sent this request.
    pub(crate) fn sent(self, event: &Event) -> bool {
        if event.user.starts_with("system:") {
            return false;
        }
        let agent = event.user_agent.as_deref().unwrap_or_default();
        match self {
            Self::Ours => agent.starts_with("releaselifecycle-controller/"),
            Self::Helm => agent.starts_with("Helm/"),
            Self::Floor => agent == "floor",
        }
    }
}

/// Returns the number of requests of each verb and resource, such as `("patch", "jobs/status")`.
pub(crate) fn count<'a>(events: impl Iterator<Item = &'a Event>) -> Counts {
    let mut counts = Counts::new();
    for event in events {
        *counts.entry((event.verb.clone(), resource(event))).or_default() += 1;
    }
    counts
}

/// Requests by verb and resource.
pub(crate) type Counts = BTreeMap<(String, String), usize>;

fn resource(event: &Event) -> String {
    match (&*event.resource, &event.subresource) {
        ("", _) => "discovery".to_owned(),
        // An event is an object of the API here, which two groups have.
        (resource, None) => resource.to_owned(),
        (resource, Some(subresource)) => format!("{resource}/{subresource}"),
    }
}

/// Returns whether a request is there however little is to be done: of a lease, or a watch.
pub(crate) fn is_background(event: &Event) -> bool {
    event.verb == "watch" || event.resource == "leases"
}

fn is_write(event: &Event) -> bool {
    !["get", "list", "watch"].contains(&&*event.verb)
        && !["leases", "events"].contains(&&*event.resource)
}

/// The delays after a hook's Job, in seconds, of each release.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Delays {
    /// Until the client's next write for the release.
    pub(crate) write: Vec<f64>,
    /// Until the start of the next hook, with all that is between them.
    pub(crate) hook: Vec<f64>,
}

/// Returns the delays of these releases, each with the Jobs `<release>-pre` and `<release>-post`. All
/// times are those when the API server had answered.
pub(crate) fn delays(tool: Tool, events: &[Event], releases: &[String]) -> Delays {
    let mut complete = HashMap::<&str, Timestamp>::new();
    let mut starts = HashMap::<&str, (bool, Timestamp)>::new();
    let mut writes = HashMap::<&str, Vec<Timestamp>>::new();
    for event in events.iter().filter(|event| event.succeeded()) {
        let Some(name) = event.name.as_deref() else { continue };
        if event.user == JOB_CONTROLLER && event.resource == "jobs" {
            // The last write is the one that says so.
            complete.insert(name, event.completed);
        } else if tool.sent(event) && is_write(event) {
            if let Some(release) = releases.iter().find(|it| name.contains(it.as_str())) {
                writes.entry(release).or_default().push(event.completed);
            }
            if event.resource == "jobs" && event.subresource.is_none() {
                // A Job that is held back when it is made is started by a patch.
                let is_patch = event.verb == "patch";
                let known = starts.get(name).is_some_and(|(was_patch, _)| *was_patch);
                if is_patch && !known || event.verb == "create" {
                    starts.insert(name, (is_patch, event.completed));
                }
            }
        }
    }
    let mut delays = Delays::default();
    for release in releases {
        let (pre, post) = (format!("{release}-pre"), format!("{release}-post"));
        let Some(from) = complete.get(&*pre) else { continue };
        let since = |to: &Timestamp| to.duration_since(*from).as_secs_f64();
        let next = writes.get(&**release).into_iter().flatten().filter(|to| *to >= from).min();
        delays.write.extend(next.map(since));
        delays.hook.extend(starts.get(&*post).map(|(_, to)| since(to)));
    }
    delays
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const OURS: Option<&str> = Some("releaselifecycle-controller/0.1.0");

    fn event(user: &str, agent: Option<&str>, verb: &str, path: &str, at: i64) -> Event {
        let (resource, name) = path.split_once('/').unwrap();
        let time = Timestamp::from_millisecond(at).unwrap();
        Event {
            id: String::new(),
            verb: verb.to_owned(),
            uri: String::new(),
            group: String::new(),
            resource: resource.to_owned(),
            subresource: (user == JOB_CONTROLLER).then(|| "status".to_owned()),
            namespace: None,
            name: Some(name.to_owned()),
            user: user.to_owned(),
            impersonated: None,
            user_agent: agent.map(str::to_owned),
            code: 200,
            has_bodies: false,
            request: Value::Null,
            response: Value::Null,
            received: time,
            completed: time,
        }
    }

    fn story() -> Vec<Event> {
        vec![
            event("admin", OURS, "create", "jobs/r1-pre", 0),
            event(JOB_CONTROLLER, None, "update", "jobs/r1-pre", 1000),
            event(JOB_CONTROLLER, None, "update", "jobs/r1-pre", 2000),
            event("admin", Some(BENCH), "patch", "releaselifecycles/r1", 2001),
            event("admin", OURS, "create", "events/r1", 2002),
            event("admin", OURS, "patch", "releaselifecycles/r1", 2010),
            event("admin", OURS, "create", "jobs/r1-post", 2200),
            event("admin", OURS, "patch", "jobs/r1-post", 2500),
            event("admin", OURS, "patch", "jobs/r1-post", 9000),
        ]
    }

    #[test]
    fn a_delay_is_from_the_last_status_to_the_first_write_and_to_the_start() {
        let delays = delays(Tool::Ours, &story(), &["r1".to_owned(), "r2".to_owned()]);
        assert_eq!(delays, Delays { write: vec![0.01], hook: vec![0.5] });
    }

    #[test]
    fn who_starts_a_job_by_making_it_has_started_it_then() {
        let mut story = story();
        story.truncate(7);
        assert_eq!(delays(Tool::Ours, &story, &["r1".to_owned()]).hook, [0.2]);
        assert_eq!(delays(Tool::Floor, &story, &["r1".to_owned()]), Delays::default());
    }

    #[test]
    fn requests_are_counted_by_client_verb_and_resource() {
        let story = story();
        let counts = count(story.iter().filter(|event| Tool::Ours.sent(event)));
        assert_eq!(counts[&("patch".to_owned(), "jobs".to_owned())], 2);
        assert_eq!(counts.values().sum::<usize>(), 6);
    }
}
