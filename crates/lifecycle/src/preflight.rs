//! The parts of a plan that can only fail, or that lose data, detected before anything of it runs: a
//! hook that needs an object which the same release makes only later, or has deleted by then;
//! objects that are waited for and need what a post hook makes; a deadline that the timeout cuts
//! short. Pure.
//!
//! A TTL of a hook's Job is no reason for a warning: the operator creates the Job without it, and
//! adds it only once the outcome is recorded.

mod check;
mod data;
pub mod needs;
mod services;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::Value;

pub use self::check::Check;
use self::{needs::pod_specs, services::Services, words::HookWords};
use crate::{
    event::Event,
    hooks::DeletePolicy,
    object::{ObjectRef, PlannedObject},
    plan::{HookKind, Plan, PlannedHook},
};

/// The most warnings that are reported for one plan.
pub const MOST_WARNINGS: usize = 100;
/// The most warnings of one plan of which it is looked up whether they hold.
const MOST_CANDIDATES: usize = 1_000;

/// A part of a plan that can only fail, or that loses data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The check that found it.
    pub check: Check,
    /// The object that it is about.
    pub about: ObjectRef,
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
    /// While there is such an object, as is to be expected.
    With(ObjectRef),
    /// While there is such an object, though none is to be expected: only the cluster can tell.
    IfThere(ObjectRef),
    /// While the operation would prune this object: one that is kept, or that the release does not
    /// own, stays. Only the cluster can tell.
    IfPruned(ObjectRef),
}

impl Holds {
    /// Returns whether it is to be expected, as far as is known without a cluster.
    pub fn is_expected(&self) -> bool {
        matches!(self, Self::Always | Self::Without(_) | Self::With(_))
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Returns the parts of `plan` that can only fail, for a release whose object is in the namespace
/// `home`. Those that lose data come first: whoever looks up whether they hold may end before the
/// last one.
pub fn warnings(plan: &Plan, home: &str) -> Vec<Warning> {
    let is_awaited = |hook: &&PlannedHook| {
        Some(hook.event) == plan.event.post()
            && hook.runs()
            && matches!(hook.kind(), HookKind::Job | HookKind::Pod)
    };
    let awaited = HookWords::of(plan.hooks.iter().filter(is_awaited));
    let objects = plan.objects.iter().map(|planned| &planned.object);
    let hooks = plan.hooks.iter().filter(|hook| hook.runs()).map(|hook| &hook.object);
    let services = objects.chain(hooks).chain(&plan.prune).collect();
    let check = Checker { plan, home, timeline: Timeline::of(plan), awaited, services };
    let mut found: Vec<Warning> = Vec::new();
    found.extend(check.own_namespace());
    found.extend(data::deleted(plan));
    for (index, hook) in plan.hooks.iter().enumerate().filter(|(_, hook)| hook.runs()) {
        found.extend(check.deadline(index, hook));
        found.extend(check.hook(index, hook));
    }
    let is_slow = plan.wait
        && plan.objects.iter().any(|planned| is_waited_for(&planned.object, &planned.manifest));
    for object in &plan.objects {
        found.extend(check.object(object));
        found.extend(check.ttl(object).filter(|_| is_slow));
        if found.len() >= MOST_CANDIDATES {
            break;
        }
    }
    found.truncate(MOST_CANDIDATES);
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
    /// The `StatefulSets` that make claims, by their namespace and the beginning of the names of
    /// these.
    claims: BTreeMap<(Option<&'a str>, String), &'a ObjectRef>,
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
        let mut by_name = BTreeMap::new();
        for (prefix, set) in plan.objects.iter().flat_map(claims) {
            by_name.entry((set.namespace.as_deref(), prefix)).or_insert(set);
        }
        let claims = by_name;
        Self { made, gone, claims }
    }

    /// Returns the `StatefulSet` that makes this claim.
    fn claimed_by(&self, what: &ObjectRef) -> Option<&'a ObjectRef> {
        if what.kind != "PersistentVolumeClaim" {
            return None;
        }
        // The beginning ends with a dash, so that the number is all digits at the end.
        let prefix = what.name.trim_end_matches(|c: char| c.is_ascii_digit());
        let key = (what.namespace.as_deref(), prefix.to_owned());
        self.claims.get(&key).copied().filter(|_| prefix.len() < what.name.len())
    }
}

/// The claims that an object makes: the beginning of the names of each kind of them.
fn claims(planned: &PlannedObject) -> impl Iterator<Item = (String, &ObjectRef)> {
    let PlannedObject { object, manifest } = planned;
    let is_set = object.group() == "apps" && object.kind == "StatefulSet";
    let spec = manifest.get("spec").filter(|_| is_set);
    let templates = spec.into_iter().flat_map(|spec| needs::items(spec, "volumeClaimTemplates"));
    let names = templates.filter_map(|it| it.pointer("/metadata/name")?.as_str());
    names.map(move |name| (format!("{name}-{}-", object.name), object))
}

fn moment(plan: &Plan, index: usize, hook: &PlannedHook) -> Moment {
    if hook.event == plan.event.pre() { Moment::Before(index) } else { Moment::After(index) }
}

struct Checker<'a> {
    plan: &'a Plan,
    home: &'a str,
    timeline: Timeline<'a>,
    /// The words of the post hooks that are awaited.
    awaited: HookWords<'a>,
    services: Services<'a>,
}

impl Checker<'_> {
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
        let about = own.clone();
        Some(Warning { check: Check::OwnNamespace, about, message, holds: Holds::Always })
    }

    /// Warns of a Job that may be deleted while the release waits for its objects. A hook's Job
    /// cannot: its TTL begins once its outcome is recorded.
    fn ttl(&self, planned: &PlannedObject) -> Option<Warning> {
        let PlannedObject { object, manifest } = planned;
        let is_job = object.group() == "batch" && object.kind == "Job";
        let ttl = manifest.pointer("/spec/ttlSecondsAfterFinished").filter(|_| is_job)?.as_i64()?;
        let timeout = self.plan.timeout_seconds;
        (ttl < timeout).then(|| Warning {
            check: Check::ShortTtl,
            about: object.clone(),
            message: format!(
                "{object} has ttlSecondsAfterFinished: {ttl}, and spec.timeout is {timeout} s: if it \
                 is deleted before the other objects are ready, the release waits for it in vain; \
                 make it a hook, or ttlSecondsAfterFinished longer than spec.timeout"
            ),
            holds: Holds::Always,
        })
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
            check: Check::LongDeadline,
            about: hook.object.clone(),
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
        let stops = |lack: Lack| lack.stops(&hook.object, &format!("{} cannot run", title(hook)));
        let used = self.services.used_by(&hook.object, &hook.manifest).into_iter();
        let used = used.filter_map(|service| {
            let lack = Lack { check: Check::UsesService, ..self.missing(service, now)? };
            Some(lack.stops(&hook.object, &format!("{} seems to use {service}", title(hook))))
        });
        missing.map(stops).chain(used).collect()
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
        let stops = |lack: Lack| lack.stops(object, &format!("{object} cannot become ready"));
        let missing = missing.map(stops);
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
            _ => self.claimed_later(what, now).or_else(|| self.removed(what, now)),
        }
    }

    /// `what` is a claim that a `StatefulSet` of the release makes after `now`.
    fn claimed_later(&self, what: &ObjectRef, now: Moment) -> Option<Lack> {
        let set = self.timeline.claimed_by(what).filter(|_| now < Moment::Objects)?;
        let (is_install, post) = (self.plan.event == Event::Install, self.plan.event.post());
        let post = post.map_or(String::new(), |post| format!("make the hook a {post} hook, or "));
        let state = if is_install { "is made by" } else { "does not exist, and is made by" };
        let why = format!("{what} {state} {set}, which is applied after the hook: {post}create it");
        let what = what.clone();
        let holds = if is_install { Holds::Without(what) } else { Holds::IfMissing(what) };
        Some(Lack { check: Check::NeedsLater, why, holds })
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
        let holds = if is_expected { Holds::IfMissing(what) } else { Holds::Without(what) };
        Lack { check: Check::NeedsLater, why, holds }
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
            Moment::Objects | Moment::After(_) if goes => {
                let why = format!(
                    "{what} is no longer an object of this release and is deleted: keep it in the \
                     release"
                );
                let holds = Holds::IfPruned(what.clone());
                Some(Lack { check: Check::NeedsDeleted, why, holds })
            }
            Moment::Before(_) | Moment::After(_) if is_deletion => {
                let whose = if goes { " is an object of this release and" } else { "" };
                let (name, namespace) = (&self.plan.owner.name, self.home);
                let why = format!(
                    "{what}{whose} does not exist: create it, or skip the hooks by `kubectl \
                     lifecycle skip {name} -n {namespace}`"
                );
                let holds = Holds::IfMissing(what.clone());
                Some(Lack { check: Check::NeedsLater, why, holds })
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
        let (check, about) = (Check::WaitsForPostHook, object.clone());
        Some(Warning { check, about, message, holds: Holds::Always })
    }
}

/// The reason why an object is not there when it is needed.
struct Lack {
    check: Check,
    why: String,
    holds: Holds,
}

impl Lack {
    fn always(why: String) -> Self {
        Self { check: Check::NeedsDeleted, why, holds: Holds::Always }
    }

    fn stops(self, about: &ObjectRef, what: &str) -> Warning {
        let message = format!("{what}: {}", self.why);
        Warning { check: self.check, about: about.clone(), message, holds: self.holds }
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
