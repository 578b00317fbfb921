//! The queries of the step rule, and the observations that answer them.

use jiff::Timestamp;

use crate::journal::Failure;

/// The query that [`decide`](crate::decide::decide) needs answered next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Query {
    /// The record of the operation's revision.
    Record,
    /// The objects of the hooks at work, each by its name.
    Hooks,
    /// The readiness of the release's objects.
    Readiness,
    /// The release's objects that are still there.
    Remaining,
    /// Nothing: the next effect follows from the journal.
    Nothing,
}

/// An observation, by reads that no cache answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Observation {
    /// The answer to [`Query::Nothing`].
    Nothing,
    /// No record of the revision exists.
    NoRecord,
    /// The record of this operation exists; the digest is that of its plan.
    Recorded {
        /// The digest of the frozen plan.
        plan_digest: String,
        /// True if the record still says that the operation runs.
        open: bool,
    },
    /// A record of the revision exists, but is owned by another client.
    ForeignRecord {
        /// A sentence that names the owner.
        message: String,
    },
    /// The objects of the hooks at work, by index; `None` if there is none of its name.
    Hooks(Vec<(usize, Option<HookObservation>)>),
    /// The object of the current hook, as the answer to an effect on it; `None` if it is gone.
    Hook(Option<HookObservation>),
    /// The objects that are not ready yet, each with the reason. The effect
    /// [`Apply`](crate::effect::Effect::Apply) answers with it too.
    Readiness {
        /// `Kind/name: reason`, in install order.
        waiting: Vec<String>,
        /// The first of them that has failed, as its health check says.
        failed: Option<String>,
    },
    /// The objects that are still there. The effect
    /// [`DeleteObjects`](crate::effect::Effect::DeleteObjects) answers with it too.
    Remaining {
        /// `Kind/name: what blocks it`, in the order of their removal.
        waiting: Vec<String>,
        /// True if one of them is not even terminating.
        untouched: bool,
    },
    /// The effect decided on last was executed.
    Executed,
    /// The effect decided on last was refused for good: nothing but a change by a user helps.
    Refused(Failure),
}

impl Observation {
    /// Returns true if the object with this UID was seen at one of the hooks.
    pub fn has_object(&self, uid: &str) -> bool {
        let is_it = |object: &HookObservation| object.uid == uid;
        match self {
            Self::Hooks(seen) => seen.iter().filter_map(|(_, object)| object.as_ref()).any(is_it),
            Self::Hook(object) => object.as_ref().is_some_and(is_it),
            _ => false,
        }
    }
}

/// A hook's object, as it is on the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HookObservation {
    /// Its UID.
    pub uid: String,
    /// Its run id; `None` if it was not made by this operator.
    pub run: Option<String>,
    /// Says whether it may start.
    pub gate: Gate,
    /// The reason why it does not belong to this release; `None` if it does.
    pub foreign: Option<String>,
    /// True if it is being deleted.
    pub terminating: bool,
    /// True if it was ordered to stop for good.
    pub stopping: bool,
    /// Its outcome, if it has ended.
    pub verdict: Option<Verdict>,
    /// The reason why it is blocked, such as `pod x ImagePullBackOff: …` or its finalizers.
    pub waiting: Option<String>,
    /// Why none of its containers has started; `None` if one has, or nothing is known to prevent it.
    pub unstarted: Option<Box<Unstarted>>,
    /// The evidence that its containers left so far.
    pub evidence: Evidence,
    /// The time of the next check for evidence that will not last.
    pub look_again_at: Option<Timestamp>,
}

/// A hook of which nothing can start.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unstarted {
    /// The time since which it waits: that of its start, or of its present Pods.
    pub since: Timestamp,
    /// The cause, such as `pod x ImagePullBackOff: …`.
    pub message: String,
}

/// The state of the gate: says whether a hook's object may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gate {
    /// Held back until it is started.
    Held,
    /// It has been started.
    Open,
    /// It cannot be held back: its author or another controller starts it.
    None,
}

/// The outcome of a hook's object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// `Complete`, `Succeeded`, or created if nothing is awaited.
    Succeeded,
    /// `Failed`.
    Failed {
        /// The reason of the Job's condition or of the Pod's status.
        reason: String,
        /// The observed state.
        message: String,
    },
}

/// The evidence that a hook's containers left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Evidence {
    /// The exit code of the container that ended last and failed.
    pub exit_code: Option<i32>,
    /// The last lines it wrote.
    pub log: Option<String>,
    /// The reason why its Pods failed.
    pub cause: Option<Box<Cause>>,
    /// True if that was none of the hook's own doing, such as an eviction.
    pub infrastructure: bool,
}

/// The reason why a hook's Pods failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cause {
    /// The external cause, such as `Evicted`; `None` if a container failed.
    pub reason: Option<String>,
    /// Such as `pod x container main ended with exit code 3`.
    pub message: String,
}
