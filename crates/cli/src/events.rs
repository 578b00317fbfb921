//! `events`: the Event objects of a release, of the objects of its hooks, and of their Pods.

use std::collections::BTreeSet;

use api::ReleaseLifecycle;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::{Api, ResourceExt as _, api::ListParams};
use serde_json::{Value, json};

use crate::{
    Outcome,
    args::{Events, Format},
    cluster::Cluster,
    format, screen,
    state::State,
    words::{Look, aligned, clock, printable},
};

/// The most Event objects of a namespace that are read, in pages.
const MOST: usize = 20_000;
const PAGE: u32 = 500;

/// An Event object.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    at: Option<Timestamp>,
    count: i32,
    type_: String,
    reason: String,
    object: String,
    message: String,
}

pub(crate) async fn events(args: &Events) -> anyhow::Result<Outcome> {
    let cluster = Cluster::find(&args.place).await?;
    let object = cluster.get(&args.name).await?;
    let subjects = Subjects::of(&object);
    let mut lines = Vec::new();
    for namespace in &subjects.namespaces {
        lines.extend(of_namespace(&cluster, namespace, &subjects).await?);
    }
    lines.sort_by(|one, other| (one.at, &one.object).cmp(&(other.at, &other.object)));
    let rows = || lines.iter().map(row).collect::<Value>();
    let text = match args.output {
        Format::Json => format::json(&rows()),
        Format::Yaml => format::yaml(&rows()),
        Format::Table if lines.is_empty() => {
            let title = State::new(&object).title();
            screen::complain(&format!("There are no Event objects of {title}.\n"))?;
            String::new()
        }
        Format::Table => render(&lines, Timestamp::now(), screen::look()),
    };
    screen::write(&text)?;
    Ok(Outcome::Good)
}

async fn of_namespace(
    cluster: &Cluster,
    namespace: &str,
    subjects: &Subjects,
) -> anyhow::Result<Vec<Line>> {
    let api: Api<Event> = Api::namespaced(cluster.client(), namespace);
    let what = format!("listing Event objects in namespace {namespace}");
    let mut params = ListParams::default().limit(PAGE);
    let (mut lines, mut read) = (Vec::new(), 0_usize);
    loop {
        let page = cluster.answered(&what, "the verb list of events", api.list(&params)).await?;
        read = read.saturating_add(page.items.len());
        lines.extend(page.items.iter().filter(|event| subjects.has(event)).map(line));
        let next = page.metadata.continue_.filter(|next| !next.is_empty());
        match next {
            Some(next) if read < MOST => params = params.continue_token(&next),
            Some(_) => {
                let text =
                    format!("Only {read} Event objects of namespace {namespace} were read.\n");
                screen::complain(&text)?;
                return Ok(lines);
            }
            None => return Ok(lines),
        }
    }
}

/// The objects whose Event objects are shown.
struct Subjects {
    uids: BTreeSet<String>,
    /// The beginnings of the names of Pods that Jobs have made.
    pods: Vec<(String, String)>,
    namespaces: BTreeSet<String>,
}

impl Subjects {
    fn of(object: &ReleaseLifecycle) -> Self {
        let hooks = || object.status.iter().flat_map(|status| &status.hooks);
        let namespace = object.namespace().unwrap_or_default();
        let of_hooks = hooks().filter_map(|hook| hook.namespace.clone());
        let jobs = hooks().filter(|hook| hook.kind == "Job");
        Self {
            uids: object.uid().into_iter().chain(hooks().filter_map(|it| it.uid.clone())).collect(),
            pods: jobs
                .map(|job| (job.namespace.clone().unwrap_or_default(), format!("{}-", job.name)))
                .collect(),
            namespaces: of_hooks.chain([namespace]).collect(),
        }
    }

    fn has(&self, event: &Event) -> bool {
        let about = &event.involved_object;
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let (namespace, name) = (text(&about.namespace), text(&about.name));
        // The rest of the name is random, and has no dash.
        let is_made = |(of, prefix): &(String, String)| {
            let rest = name.strip_prefix(prefix.as_str());
            *of == namespace && rest.is_some_and(|rest| !rest.is_empty() && !rest.contains('-'))
        };
        about.uid.as_ref().is_some_and(|uid| self.uids.contains(uid))
            || about.kind.as_deref() == Some("Pod") && self.pods.iter().any(is_made)
    }
}

fn line(event: &Event) -> Line {
    let about = &event.involved_object;
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let series = event.series.as_ref();
    let at = series.and_then(|series| series.last_observed_time.as_ref().map(|at| at.0));
    let at = at.or_else(|| event.last_timestamp.as_ref().map(|at| at.0));
    let at = at.or_else(|| event.event_time.as_ref().map(|at| at.0));
    Line {
        at,
        count: series.and_then(|series| series.count).or(event.count).unwrap_or(1),
        type_: text(&event.type_),
        reason: text(&event.reason),
        object: format!("{}/{}", text(&about.kind), text(&about.name)),
        message: text(&event.message),
    }
}

fn row(line: &Line) -> Value {
    json!({"lastSeen": line.at, "count": line.count, "type": line.type_, "reason": line.reason,
           "object": line.object, "message": line.message})
}

fn render(lines: &[Line], now: Timestamp, look: Look) -> String {
    let columns = ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"];
    let mut rows: Vec<Vec<String>> = vec![columns.map(str::to_owned).to_vec()];
    rows.extend(lines.iter().map(|line| {
        let times = if line.count > 1 { format!(" (x{})", line.count) } else { String::new() };
        let at = line.at.map_or_else(|| "-".to_owned(), |at| clock(at, now));
        let message = line.message.trim().replace('\n', " ");
        let cells = [&line.type_, &line.reason, &line.object, &message].map(|it| printable(it));
        [format!("{at}{times}")].into_iter().chain(cells).collect()
    }));
    aligned(rows, look)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, name: &str, uid: &str, message: &str) -> Event {
        let event = json!({
            "metadata": {"name": "x"}, "type": "Warning", "reason": "BackOff", "message": message,
            "count": 3, "lastTimestamp": "2026-12-01T11:02:10Z",
            "involvedObject": {"kind": kind, "name": name, "namespace": "prod", "uid": uid},
        });
        serde_json::from_value(event).unwrap()
    }

    #[test]
    fn those_of_the_release_its_hooks_and_their_pods_are_shown() {
        let object: ReleaseLifecycle = serde_json::from_value(json!({
            "apiVersion": "releaselifecycle.dev/v1alpha1", "kind": "ReleaseLifecycle",
            "metadata": {"name": "shop", "namespace": "prod", "uid": "u1"},
            "spec": {"source": {"objects": []}},
            "status": {"hooks": [{"index": 0, "event": "pre-upgrade", "kind": "Job", "name": "migrate",
                "namespace": "prod", "uid": "u2", "weight": 0, "phase": "Running", "attempt": 1}]},
        }))
        .unwrap();
        let subjects = Subjects::of(&object);
        assert!(subjects.has(&event("ReleaseLifecycle", "shop", "u1", "")));
        assert!(subjects.has(&event("Job", "migrate", "u2", "")));
        assert!(subjects.has(&event("Pod", "migrate-x7k2p", "u3", "")));
        for (kind, name) in
            [("Pod", "migrate-x-y"), ("Pod", "migrate-"), ("Pod", "web-x"), ("Job", "migrate-x")]
        {
            assert!(!subjects.has(&event(kind, name, "u4", "")), "{kind}/{name}");
        }
        assert_eq!(subjects.namespaces, BTreeSet::from(["prod".to_owned()]));
    }

    #[test]
    fn each_is_a_line_without_orders_to_a_terminal() {
        let lines = [line(&event("Pod", "migrate-x7k2p", "u3", "cannot pull\n\u{1b}[31mimage"))];
        let now = "2026-12-01T12:00:00Z".parse().unwrap();
        let expected = "\
LAST SEEN       TYPE     REASON   OBJECT             MESSAGE
11:02:10Z (x3)  Warning  BackOff  Pod/migrate-x7k2p  cannot pull image
";
        assert_eq!(render(&lines, now, Look::PLAIN), expected);
    }
}
