//! What the step rule asks to see, and what was seen.

use jiff::Timestamp;

use crate::journal::Failure;

/// What [`decide`](crate::decide::decide) needs to see next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Query {
    /// The record of the operation's revision.
    Record,
    /// The object of the hook at this index, by its name.
    Hook(usize),
    /// The readiness of the release's objects.
    Readiness,
    /// Which of the release's objects are still there.
    Remaining,
    /// Nothing: the next effect follows from the journal.
    Nothing,
}

/// What was seen, by reads that no cache answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Observation {
    /// The answer to [`Query::Nothing`].
    Nothing,
    /// No record of the revision exists.
    NoRecord,
    /// The record of this operation exists; the digest is that of its plan.
    Recorded {
        /// Of the frozen plan.
        plan_digest: String,
        /// Whether the record still says that the operation runs.
        open: bool,
    },
    /// A record of the revision exists, but of somebody else.
    ForeignRecord {
        /// A sentence that says whose.
        message: String,
    },
    /// The object of the hook asked for; `None` where there is none of its name.
    Hook(Option<HookObservation>),
    /// Which objects are not ready yet, each with the reason. The effect
    /// [`Apply`](crate::effect::Effect::Apply) answers with it too.
    Readiness {
        /// `Kind/name: reason`, in install order.
        waiting: Vec<String>,
    },
    /// Which objects are still there. The effect
    /// [`DeleteObjects`](crate::effect::Effect::DeleteObjects) answers with it too.
    Remaining {
        /// `Kind/name: what holds it`, in the order of their removal.
        waiting: Vec<String>,
        /// Whether one of them is not even going.
        untouched: bool,
    },
    /// The effect decided on last was executed.
    Executed,
    /// The effect decided on last was refused for good: nothing but a change by a user helps.
    Refused(Failure),
}

/// A hook's object, as it is on the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HookObservation {
    /// Its UID.
    pub uid: String,
    /// Its run id; `None` where it was not made by this operator.
    pub run: Option<String>,
    /// Whether it may start.
    pub gate: Gate,
    /// Why it does not belong to this release; `None` where it does.
    pub foreign: Option<String>,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Whether it has been told to stop for good.
    pub stopping: bool,
    /// How it ended, if it has.
    pub verdict: Option<Verdict>,
    /// What holds it up, such as `pod x ImagePullBackOff: …` or its finalizers.
    pub waiting: Option<String>,
    /// What its containers left behind so far.
    pub evidence: Evidence,
    /// When to look again for evidence that will not last.
    pub look_again_at: Option<Timestamp>,
}

/// Whether a hook's object may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gate {
    /// Held back until it is started.
    Held,
    /// It has been started.
    Open,
    /// It cannot be held back: its author or another controller starts it.
    None,
}

/// How a hook's object ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// `Complete`, `Succeeded`, or created where nothing is awaited.
    Succeeded,
    /// `Failed`.
    Failed {
        /// The reason of the Job's condition or of the Pod's status.
        reason: String,
        /// What was seen.
        message: String,
    },
}

/// What a hook's containers left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Evidence {
    /// The exit code of the container that ended last and failed.
    pub exit_code: Option<i32>,
    /// The last lines it wrote.
    pub log: Option<String>,
    /// Why its Pods failed.
    pub cause: Option<Box<Cause>>,
}

/// Why a hook's Pods failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cause {
    /// What befell the Pod from outside, such as `Evicted`; `None` where a container failed.
    pub reason: Option<String>,
    /// Such as `pod x container main ended with exit code 3`.
    pub message: String,
}
