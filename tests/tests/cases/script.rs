//! The steps of a case: the same with Helm and with the operator.

use e2e::manifests::Manifest;
use serde_json::{Value, json};

use crate::program::Program;

/// Stands in manifests, arguments and transcripts for the namespace of the side that runs them.
pub(crate) const NAMESPACE: &str = "NAMESPACE";

/// The release of a step that names no other.
pub(crate) const RELEASE: &str = "shop";

/// In seconds, of a script of which a side ends by it.
const TIMES_OUT: u32 = 30;

/// One thing after another, each awaited to its end.
pub(crate) struct Script {
    pub(crate) steps: Vec<Step>,
    /// Whom the operator is compared with.
    pub(crate) helms: &'static [Program],
    /// For each hook, in seconds.
    pub(crate) timeout: u32,
    /// The tenant may do everything on the cluster, as the user who runs Helm may.
    pub(crate) admin: bool,
    /// Both act as ServiceAccount `limited`, which a step before has made.
    pub(crate) limited: bool,
    /// The transcript has how each record says that its objects were applied.
    pub(crate) methods: bool,
}

/// Who does a step.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The side's program.
    Side,
    /// The side's Helm; Helm 4 on the operator's.
    Helm,
    Helm3,
}

/// One command of Helm, and what asks the operator for the same.
pub(crate) struct Step {
    pub(crate) release: &'static str,
    pub(crate) action: Action,
    pub(crate) by: By,
    /// For Helm alone.
    pub(crate) flags: Vec<&'static str>,
    /// For the operator alone: merged into `spec`.
    pub(crate) spec: Value,
    /// Phrases to look for in the error of whoever fails; the transcript has those found.
    pub(crate) says: Vec<&'static str>,
    pub(crate) meanwhile: Option<Meanwhile>,
    /// Two programs are at it at once, so that nothing is said of the order of what they do.
    pub(crate) unordered: bool,
}

pub(crate) enum Action {
    Install(Vec<Value>),
    Upgrade(Vec<Value>),
    Rollback(i32),
    Uninstall,
    /// After an uninstall that failed.
    UninstallWithoutHooks,
    Test,
    /// The operator is given what Helm has made; no Helm does anything.
    TakeOver(Vec<Value>),
    /// Not by the side: somebody runs `kubectl`.
    Kubectl(Vec<&'static str>),
    /// Somebody applies this object.
    Apply(Value),
    /// Nobody does anything until the object is so; it may be absent.
    Wait(Sight),
}

/// An object in a certain state.
#[derive(Clone, Copy)]
pub(crate) struct Sight {
    pub(crate) kind: &'static str,
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) is: fn(Option<&Value>) -> bool,
}

/// An action while a step runs, as soon as something is seen.
pub(crate) struct Meanwhile {
    pub(crate) seen: Sight,
    pub(crate) act: Act,
}

pub(crate) enum Act {
    /// Somebody deletes the object that was seen.
    Delete,
    /// The program gets this signal, and then the hook ends; an operator is started anew.
    Signal(&'static str),
    /// Another upgrade of the same release begins, and then the hook ends.
    Upgrade(Vec<Value>),
    /// Another release is installed, and then the hook ends.
    Install(&'static str, Vec<Value>),
}

/// A Job that runs.
pub(crate) const fn active(name: &'static str) -> Sight {
    fn is(job: Option<&Value>) -> bool {
        job.is_some_and(|job| job["status"]["active"] == 1)
    }
    Sight { kind: "Job", name, what: "active", is }
}

/// A Job that has succeeded.
pub(crate) const fn complete(name: &'static str) -> Sight {
    fn is(job: Option<&Value>) -> bool {
        job.is_some_and(|job| job["status"]["succeeded"] == 1)
    }
    Sight { kind: "Job", name, what: "complete", is }
}

/// Templates as text, where JSON cannot say it.
pub(crate) fn yaml(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// A file of a chart, for what objects cannot say.
pub(crate) fn file(path: &str, text: &str) -> Value {
    json!({"file": path, "text": text})
}

/// An object whose name the API server makes up.
pub(crate) fn generated(mut object: Value) -> Value {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("name");
    }
    object.set("/metadata/generateName", "generated-")
}

pub(crate) fn script() -> Script {
    Script {
        steps: Vec::new(),
        helms: &[Program::Helm4, Program::Helm3],
        timeout: 60,
        admin: false,
        limited: false,
        methods: false,
    }
}

/// A script that begins with the install of these objects.
pub(crate) fn install(objects: impl Into<Vec<Value>>) -> Script {
    script().install(objects)
}

impl Script {
    pub(crate) fn install(self, objects: impl Into<Vec<Value>>) -> Self {
        self.then(Action::Install(objects.into()))
    }

    pub(crate) fn upgrade(self, objects: impl Into<Vec<Value>>) -> Self {
        self.then(Action::Upgrade(objects.into()))
    }

    pub(crate) fn rollback(self, revision: i32) -> Self {
        self.then(Action::Rollback(revision))
    }

    pub(crate) fn uninstall(self) -> Self {
        self.then(Action::Uninstall)
    }

    pub(crate) fn uninstall_without_hooks(self) -> Self {
        self.then(Action::UninstallWithoutHooks)
    }

    pub(crate) fn test(self) -> Self {
        self.then(Action::Test)
    }

    pub(crate) fn take_over(self, objects: impl Into<Vec<Value>>) -> Self {
        self.then(Action::TakeOver(objects.into()))
    }

    pub(crate) fn kubectl(self, args: impl Into<Vec<&'static str>>) -> Self {
        self.then(Action::Kubectl(args.into()))
    }

    pub(crate) fn apply(self, object: Value) -> Self {
        self.then(Action::Apply(object))
    }

    pub(crate) fn wait(self, sight: Sight) -> Self {
        self.then(Action::Wait(sight))
    }

    /// The step is for another release than `shop`.
    pub(crate) fn release(self, name: &'static str) -> Self {
        self.last(|step| step.release = name)
    }

    /// The step is Helm's on the operator's side, too.
    pub(crate) fn by_helm(self) -> Self {
        self.last(|step| step.by = By::Helm)
    }

    /// The step is Helm 3's on all sides.
    pub(crate) fn by_helm3(self) -> Self {
        self.last(|step| step.by = By::Helm3)
    }

    pub(crate) fn flags(self, flags: impl Into<Vec<&'static str>>) -> Self {
        self.last(|step| step.flags = flags.into())
    }

    pub(crate) fn spec(self, spec: Value) -> Self {
        self.last(|step| step.spec = spec)
    }

    pub(crate) fn says(self, phrases: impl Into<Vec<&'static str>>) -> Self {
        self.last(|step| step.says = phrases.into())
    }

    /// While the step runs, once that is seen.
    pub(crate) fn once(self, seen: Sight, act: Act) -> Self {
        self.last(|step| step.meanwhile = Some(Meanwhile { seen, act }))
    }

    pub(crate) fn unordered(self) -> Self {
        self.last(|step| step.unordered = true)
    }

    pub(crate) fn timeout(self, seconds: u32) -> Self {
        Self { timeout: seconds, ..self }
    }

    /// A side ends by its timeout, before which a busy machine has done all that comes first.
    pub(crate) fn times_out(self) -> Self {
        self.timeout(TIMES_OUT)
    }

    /// Returns whether it mostly waits for time to pass.
    pub(crate) fn takes_long(&self) -> bool {
        self.timeout <= TIMES_OUT
    }

    pub(crate) fn with(self, helms: &'static [Program]) -> Self {
        Self { helms, ..self }
    }

    pub(crate) fn by_admin(self) -> Self {
        Self { admin: true, ..self }
    }

    pub(crate) fn by_limited(self) -> Self {
        Self { limited: true, ..self }
    }

    pub(crate) fn with_methods(self) -> Self {
        Self { methods: true, ..self }
    }

    fn then(mut self, action: Action) -> Self {
        self.steps.push(Step {
            release: RELEASE,
            action,
            by: By::Side,
            flags: Vec::new(),
            spec: json!({}),
            says: Vec::new(),
            meanwhile: None,
            unordered: false,
        });
        self
    }

    fn last(mut self, change: impl FnOnce(&mut Step)) -> Self {
        change(self.steps.last_mut().expect("there is a step"));
        self
    }
}

impl Action {
    /// The word in the transcript; `None` for what no side does.
    pub(crate) fn word(&self) -> Option<&'static str> {
        match self {
            Self::Install(_) => Some("install"),
            Self::Upgrade(_) => Some("upgrade"),
            Self::Rollback(_) => Some("rollback"),
            Self::Uninstall => Some("uninstall"),
            Self::UninstallWithoutHooks => Some("uninstall without hooks"),
            Self::Test => Some("test"),
            Self::TakeOver(_) | Self::Kubectl(_) | Self::Apply(_) | Self::Wait(_) => None,
        }
    }
}
