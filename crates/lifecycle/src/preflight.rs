//! The parts of a plan that can only fail, detected before anything of it runs: a hook that needs
//! an object which the same release makes only later, or has deleted by then; objects that are
//! waited for and need what a post hook makes; a deadline that the timeout cuts short. Pure.

pub mod needs;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::Value;

use self::{needs::pod_specs, words::HookWords};
use crate::{
    event::Event,
    hooks::DeletePolicy,
    object::{ObjectRef, PlannedObject},
    plan::{HookKind, Plan, PlannedHook},
};

/// The most warnings that are reported for one plan.
const MOST_WARNINGS: usize = 100;

/// A part of a plan that can only fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The problem and its remedy.
    pub message: String,
    /// The condition under which it holds.
    pub holds: Holds,
}

/// The condition under which a warning holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Regardless of what is in the cluster.
    Always,
    /// While there is no such object, as is to be expected.
    Without(ObjectRef),
    /// While there is no such object, though one is to be expected: only the cluster can tell.
    IfMissing(ObjectRef),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Returns the parts of `plan` that can only fail, for a release whose object is in the namespace
/// `home`.
pub fn warnings(plan: &Plan, home: &str) -> Vec<Warning> {
    let is_awaited = |hook: &&PlannedHook| {
        Some(hook.event) == plan.event.post()
            && hook.runs()
            && matches!(hook.kind(), HookKind::Job | HookKind::Pod)
    };
    let awaited = HookWords::of(plan.hooks.iter().filter(is_awaited));
    let check = Check { plan, home, timeline: Timeline::of(plan), awaited };
    let mut found: Vec<Warning> = Vec::new();
    found.extend(check.own_namespace());
    for (index, hook) in plan.hooks.iter().enumerate().filter(|(_, hook)| hook.runs()) {
        found.extend(check.deadline(index, hook));
        found.extend(check.hook(index, hook));
    }
    for object in &plan.objects {
        found.extend(check.object(object));
        if found.len() >= MOST_WARNINGS {
            break;
        }
    }
    found.truncate(MOST_WARNINGS);
    found
}

/// The moment of something: before the objects are applied or deleted, during that, or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Before(usize),
    Objects,
    After(usize),
}

/// The times at which the objects that others need are made, and those of them that are deleted.
struct Timeline<'a> {
    made: BTreeMap<Name<'a>, Vec<Moment>>,
    gone: BTreeSet<Name<'a>>,
}

/// A name of the kinds that Pods refer to, all of which are in the core group.
type Name<'a> = (&'a str, Option<&'a str>, &'a str);

fn name(object: &ObjectRef) -> Option<Name<'_>> {
    object.group().is_empty().then_some((&*object.kind, object.namespace.as_deref(), &*object.name))
}

impl<'a> Timeline<'a> {
    fn of(plan: &'a Plan) -> Self {
        let mut made: BTreeMap<Name<'a>, Vec<Moment>> = BTreeMap::new();
        let mut add = |object: &'a ObjectRef, moment| {
            if let Some(name) = name(object) {
                made.entry(name).or_default().push(moment);
            }
        };
        for (index, hook) in plan.hooks.iter().enumerate().filter(|(_, hook)| hook.runs()) {
            add(&hook.object, moment(plan, index, hook));
        }
        for object in &plan.objects {
            add(&object.object, Moment::Objects);
        }
        let gone = plan.prune.iter().filter_map(name).collect();
        Self { made, gone }
    }
}

fn moment(plan: &Plan, index: usize, hook: &PlannedHook) -> Moment {
    if hook.event == plan.event.pre() { Moment::Before(index) } else { Moment::After(index) }
}

struct Check<'a> {
    plan: &'a Plan,
    home: &'a str,
    timeline: Timeline<'a>,
    /// The words of the post hooks that are awaited.
    awaited: HookWords<'a>,
}

impl Check<'_> {
    /// Warns if the release would delete the namespace of its own object and its records.
    fn own_namespace(&self) -> Option<Warning> {
        let objects = self.plan.objects.iter().map(|object| &object.object);
        let hooks = self.plan.hooks.iter().map(|hook| &hook.object);
        let mut all = objects.chain(hooks).chain(&self.plan.prune);
        let own = all.find(|object| object.is_namespace(self.home))?;
        let message = format!(
            "{own} is the namespace that this ReleaseLifecycle is in: a deletion of the release deletes \
             it last, with everything that is left in it; leave it out of the release"
        );
        Some(Warning { message, holds: Holds::Always })
    }

    /// Warns if its own deadline is never reached.
    fn deadline(&self, index: usize, hook: &PlannedHook) -> Option<Warning> {
        let paths: &[&str] = match hook.kind() {
            HookKind::Job => {
                &["/spec/activeDeadlineSeconds", "/spec/template/spec/activeDeadlineSeconds"]
            }
            HookKind::Pod => &["/spec/activeDeadlineSeconds"],
            HookKind::Crd | HookKind::Awaited | HookKind::Other => return None,
        };
        let seconds =
            paths.iter().filter_map(|path| hook.manifest.pointer(path)?.as_i64()).max()?;
        let limit = self.plan.hook_timeout(index).as_secs();
        let field = hook.rule.timeout_field();
        (seconds > limit).then(|| Warning {
            message: format!(
                "{} has activeDeadlineSeconds: {seconds}, and {field} stops it after {limit} s: \
                 raise {field}",
                title(hook)
            ),
            holds: Holds::Always,
        })
    }

    /// The objects that a hook needs and that are missing when it runs.
    fn hook(&self, index: usize, hook: &PlannedHook) -> Vec<Warning> {
        if !matches!(hook.kind(), HookKind::Job | HookKind::Pod) {
            return Vec::new();
        }
        let now = moment(self.plan, index, hook);
        let needs = needs::of(&hook.object, &hook.manifest);
        let missing = needs.iter().filter_map(|what| self.missing(what, now));
        missing.map(|lack| lack.stops(&format!("{} cannot run", title(hook)))).collect()
    }

    /// The objects that an object that is waited for needs and that are missing before the post
    /// hooks run.
    fn object(&self, planned: &PlannedObject) -> Vec<Warning> {
        let PlannedObject { object, manifest } = planned;
        if !self.plan.wait || !is_waited_for(object, manifest) {
            return Vec::new();
        }
        let needs = needs::of(object, manifest);
        let missing = needs.iter().filter_map(|what| self.missing(what, Moment::Objects));
        let missing = missing.map(|lack| lack.stops(&format!("{object} cannot become ready")));
        missing.chain(self.waits_for_hook(object, manifest)).collect()
    }

    /// The reason why `what` is not there at `now`, though the release handles it.
    fn missing(&self, what: &ObjectRef, now: Moment) -> Option<Lack> {
        let made = self.timeline.made.get(&name(what)?).map_or(&[][..], Vec::as_slice);
        if now == Moment::Objects && made.contains(&now) {
            return None;
        }
        let deleted_by = |moment: &&Moment| match (moment, now) {
            (Moment::Before(index), Moment::Objects | Moment::After(_)) => {
                let hook = self.plan.hooks.get(*index);
                hook.is_some_and(|hook| hook.has(DeletePolicy::HookSucceeded))
            }
            _ => false,
        };
        let (earlier, later): (Vec<_>, Vec<_>) = made.iter().partition(|moment| **moment < now);
        if earlier.iter().any(|moment| !deleted_by(moment)) {
            return None;
        }
        match (earlier.first(), later.iter().filter(|moment| ***moment > now).min()) {
            (Some(Moment::Before(index)), _) => Some(Lack::always(format!(
                "{what} is hook {} of this release and is deleted by then, as its delete policy \
                 hook-succeeded says: remove that policy",
                index.saturating_add(1)
            ))),
            (_, Some(later)) => Some(self.made_later(what, now, **later)),
            _ => self.removed(what, now),
        }
    }

    /// `what` is made at `later` and needed `now`.
    fn made_later(&self, what: &ObjectRef, now: Moment, later: Moment) -> Lack {
        let pre = self.plan.event.pre();
        let is_install = self.plan.event == Event::Install;
        let lighter = format!("make it a {pre} hook of a lower weight");
        let why = match (later, now) {
            (Moment::Objects, _) if is_install => format!(
                "{what} is an object of this release and is applied after the hook: {lighter}, or \
                 the hook a post-install hook"
            ),
            (Moment::Objects, _) => format!(
                "{what} does not exist, and this release applies it after the hook: {lighter}, or \
                 create it"
            ),
            (Moment::Before(index) | Moment::After(index), _) => {
                let (one, remedy) = match (now, later) {
                    (Moment::Objects, _) => {
                        let remedy = format!("make it a {pre} hook, or an object of the release");
                        ("the objects are ready", remedy)
                    }
                    (Moment::Before(_), Moment::After(_)) => ("this one", lighter),
                    _ => ("this one", "give it a lower weight".to_owned()),
                };
                format!(
                    "{what} is hook {} of this release and comes after {one}: {remedy}",
                    index.saturating_add(1)
                )
            }
        };
        let is_same_phase = matches!(
            (now, later),
            (Moment::Before(_), Moment::Before(_)) | (Moment::After(_), Moment::After(_))
        );
        // An earlier revision may have made it.
        let is_expected = !is_install && !is_same_phase;
        let what = what.clone();
        Lack { why, holds: if is_expected { Holds::IfMissing(what) } else { Holds::Without(what) } }
    }

    /// The reason why an object that the plan does not make is not there at `now`.
    fn removed(&self, what: &ObjectRef, now: Moment) -> Option<Lack> {
        let goes = name(what).is_some_and(|name| self.timeline.gone.contains(&name));
        let is_deletion = self.plan.event == Event::Delete;
        match now {
            Moment::After(_) if goes && is_deletion => Some(Lack::always(format!(
                "{what} is an object of this release and is deleted before the hook: make the hook a \
                 pre-delete hook, or {what} a post-delete hook of a lower weight"
            ))),
            Moment::Objects | Moment::After(_) if goes => Some(Lack::always(format!(
                "{what} is no longer an object of this release and is deleted: keep it in the release"
            ))),
            Moment::Before(_) | Moment::After(_) if is_deletion => {
                let whose = if goes { " is an object of this release and" } else { "" };
                let (name, namespace) = (&self.plan.owner.name, self.home);
                let why = format!(
                    "{what}{whose} does not exist: create it, or skip the hooks by `kubectl \
                     lifecycle skip {name} -n {namespace}`"
                );
                Some(Lack { why, holds: Holds::IfMissing(what.clone()) })
            }
            Moment::Before(_) | Moment::Objects | Moment::After(_) => None,
        }
    }

    /// Warns of an object that seems to wait for the work of a post hook.
    fn waits_for_hook(&self, object: &ObjectRef, manifest: &Value) -> Option<Warning> {
        let common = [&*object.name, &*self.plan.owner.name];
        let mut specs = pod_specs(manifest).into_iter();
        let (waiting, hook) = specs.find_map(|spec| self.awaited.waited_for(spec, &common))?;
        let message = format!(
            "{object} is waited for before {} runs, and its {waiting} seems to wait for that \
             hook: then neither ends; make it a {} hook, or set spec.wait: false",
            title(hook),
            self.plan.event.pre()
        );
        Some(Warning { message, holds: Holds::Always })
    }
}

/// The reason why an object is not there when it is needed.
struct Lack {
    why: String,
    holds: Holds,
}

impl Lack {
    fn always(why: String) -> Self {
        Self { why, holds: Holds::Always }
    }

    fn stops(self, what: &str) -> Warning {
        Warning { message: format!("{what}: {}", self.why), holds: self.holds }
    }
}

fn title(hook: &PlannedHook) -> String {
    format!("hook {} ({})", hook.object, hook.event)
}

/// Returns whether its Pods have to run before it counts as ready.
fn is_waited_for(object: &ObjectRef, manifest: &Value) -> bool {
    let kinds = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"];
    let is_workload = match object.group() {
        "apps" => kinds.contains(&object.kind.as_str()),
        "" => object.kind == "Pod" || object.kind == "ReplicationController",
        _ => false,
    };
    is_workload && manifest.pointer("/spec/replicas").and_then(Value::as_i64) != Some(0)
}
