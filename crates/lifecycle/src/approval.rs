//! `spec.approval`: a plan waits until somebody has approved it. The plan is made and stored before
//! anything of it is done; status says what is in it, and its digest. What is approved is that digest,
//! so that exactly that plan runs.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    event::{Event, HookEvent},
    object::ObjectRef,
    plan::{Begin, Plan},
};

/// The most bytes of the names and fields that status says of a plan.
const MOST_BYTES: usize = 12 * 1024;
/// The most fields that are named of one object.
const MOST_FIELDS: usize = 10;
/// The longest field that is named, in bytes.
const LONGEST_FIELD: usize = 200;
/// The number of digits by which a message names a digest.
const SHORT: usize = 12;

/// Operations whose plans wait for an approval: `None`; `Upgrade`: upgrades; `Always`: installs,
/// upgrades, rollbacks and deletions. Tests and the remediation of a failed operation never wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum Mode {
    #[default]
    None,
    Upgrade,
    Always,
}

impl Mode {
    /// Returns whether an operation waits for an approval.
    pub fn holds(self, begin: &Begin) -> bool {
        begin.remedies.is_none() && self.is_for(begin.event)
    }

    /// Returns whether operations of this event wait for an approval, unless they remediate a failure.
    pub fn is_for(self, event: Event) -> bool {
        match (self, event) {
            (Self::None, _) | (_, Event::Test) => false,
            (Self::Upgrade, event) => event == Event::Upgrade,
            (Self::Always, Event::Install | Event::Upgrade | Event::Rollback | Event::Delete) => {
                true
            }
        }
    }
}

/// Plan that waits for an approval, or was approved and has not begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingPlan {
    /// Digest of the plan, which an approval names.
    pub digest: String,
    /// Digest of the record that the operation writes. Absent if it is made from another record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_digest: Option<String>,
    /// ID of the operation.
    pub operation: String,
    /// Event of the operation.
    pub event: Event,
    /// Revision that the operation creates; in a deletion, the existing one.
    pub revision: i32,
    /// Revision to which a rollback goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<i32>,
    /// Generation of the spec that the plan was made from.
    pub generation: i64,
    /// Time at which the plan was made.
    pub made_at: Timestamp,
    /// Hooks, in the order in which they run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<PendingHook>,
    /// Changes of the release's objects, in the order in which they are made, as far as they were known
    /// when the plan was made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// Number of objects that stay as they are.
    #[serde(default)]
    pub unchanged: u32,
    /// Number of hooks and changes that are not listed here. The plan has all of them.
    #[serde(default)]
    pub more: u32,
}

/// Hook of a pending plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingHook {
    /// Hook event.
    pub event: HookEvent,
    /// Kind of the hook's object.
    pub kind: String,
    /// Namespace of the hook's object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the hook's object.
    pub name: String,
    /// Weight of the hook.
    pub weight: i64,
    /// Rule that applies to the hook, such as `spec.hooks.rules[0]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Reason why the rule leaves the hook out. Absent if the hook runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

/// Change of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Action on the object.
    pub action: Action,
    /// Kind of the object.
    pub kind: String,
    /// Namespace of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the object.
    pub name: String,
    /// Fields that change, as JSON pointers, at most 10. Empty if they are unknown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
}

/// Action on an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum Action {
    Create,
    Update,
    Delete,
}

impl Change {
    /// Returns the change of an object, with the fields that change.
    pub fn of(action: Action, object: &ObjectRef, fields: Vec<String>) -> Self {
        let cut = |mut field: String| {
            field.truncate(field.floor_char_boundary(LONGEST_FIELD));
            field
        };
        Self {
            action,
            kind: object.kind.clone(),
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            fields: fields.into_iter().take(MOST_FIELDS).map(cut).collect(),
        }
    }

    fn bytes(&self) -> usize {
        let fields = self.fields.iter().map(String::len);
        fields.fold(bytes(&self.kind, self.namespace.as_deref(), &self.name), usize::saturating_add)
    }
}

fn bytes(kind: &str, namespace: Option<&str>, name: &str) -> usize {
    /// The approximate size of the fields' names and the brackets.
    const FRAME: usize = 100;
    let namespace = namespace.map_or(0, str::len);
    FRAME.saturating_add(kind.len()).saturating_add(namespace).saturating_add(name.len())
}

impl PendingPlan {
    /// Returns what status says of `plan`, which was made for `generation` and whose record has this
    /// digest: as many hooks and changes as there is room for.
    pub fn of(
        plan: &Plan,
        record_digest: Option<String>,
        generation: i64,
        changes: Vec<Change>,
        unchanged: usize,
        now: Timestamp,
    ) -> Self {
        let mut room = MOST_BYTES;
        let mut take = |bytes: usize| {
            let left = room.checked_sub(bytes);
            room = left.unwrap_or(0);
            left.is_some()
        };
        let all = plan.hooks.len().saturating_add(changes.len());
        let hooks = plan.hooks.iter().map(|hook| PendingHook {
            event: hook.event,
            kind: hook.object.kind.clone(),
            namespace: hook.object.namespace.clone(),
            name: hook.object.name.clone(),
            weight: hook.weight,
            rule: hook.rule.from.clone(),
            skipped: hook.rule.skip.as_ref().map(|skip| skip.reason.clone()),
        });
        let hooks: Vec<_> = hooks
            .take_while(|it| take(bytes(&it.kind, it.namespace.as_deref(), &it.name)))
            .collect();
        let changes: Vec<_> = changes.into_iter().take_while(|it| take(it.bytes())).collect();
        let listed = hooks.len().saturating_add(changes.len());
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            digest: plan.freeze().1,
            record_digest,
            operation: plan.operation.clone(),
            event: plan.event,
            revision: plan.revision,
            target: plan.target,
            generation,
            made_at: now,
            hooks,
            changes,
            unchanged: count(unchanged),
            more: count(all.saturating_sub(listed)),
        }
    }

    /// Returns whether it is the plan of an operation that begins as `begin`, but for its ID.
    pub fn is_of(&self, begin: &Begin) -> bool {
        (self.event, self.revision, self.target, self.generation)
            == (begin.event, begin.revision, begin.target, begin.generation)
    }

    /// Returns the beginning of its digest, by which messages name it.
    pub fn short_digest(&self) -> &str {
        short(&self.digest)
    }

    /// Returns the number of listed changes with this action.
    pub fn count(&self, action: Action) -> usize {
        self.changes.iter().filter(|change| change.action == action).count()
    }
}

/// Returns the beginning of a digest, without the name of its algorithm.
pub fn short(digest: &str) -> &str {
    let digits = digest.strip_prefix("sha256:").unwrap_or(digest);
    digits.get(..digits.floor_char_boundary(SHORT)).unwrap_or_default()
}

/// The way of an operation that is about to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate<'a> {
    /// No approval is needed.
    Free,
    /// A plan has to be made and shown first.
    Propose,
    /// The plan waits for an approval.
    Waits(&'a PendingPlan),
    /// The plan is approved: exactly that one runs.
    Approved(&'a PendingPlan),
}

/// The stored plan that status shows, as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is not stored as it was made.
    Missing,
    /// Its source has changed since it was made.
    Outdated,
    /// It is stored, and its source is the same.
    Current,
}

impl<'a> Gate<'a> {
    /// Returns the plan that status shows, which has to be read.
    pub fn shown(self) -> Option<&'a PendingPlan> {
        match self {
            Self::Free | Self::Propose => None,
            Self::Waits(shown) | Self::Approved(shown) => Some(shown),
        }
    }

    /// Decides again once that plan was read: one that is missing or outdated is made anew, whoever
    /// has approved it.
    #[must_use]
    pub fn once_read(self, found: Found) -> Self {
        match (self, found) {
            (Self::Waits(_) | Self::Approved(_), Found::Missing | Found::Outdated) => Self::Propose,
            (decided, _) => decided,
        }
    }
}

/// Decides whether an operation needs an approval, and has it. `pending` is the plan in status,
/// `approved` the digest that somebody has approved.
pub fn gate<'a>(
    mode: Mode,
    begin: &Begin,
    pending: Option<&'a PendingPlan>,
    approved: Option<&str>,
) -> Gate<'a> {
    if !mode.holds(begin) {
        return Gate::Free;
    }
    match pending.filter(|pending| pending.is_of(begin)) {
        None => Gate::Propose,
        Some(pending) if approved == Some(&*pending.digest) => Gate::Approved(pending),
        Some(pending) => Gate::Waits(pending),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{object::PlannedObject, testing};

    fn begin(event: Event) -> Begin {
        Begin {
            id: "new".to_owned(),
            event,
            revision: 4,
            target: None,
            remedies: None,
            generation: 7,
        }
    }

    fn pending(event: Event) -> PendingPlan {
        let plan = Plan { revision: 4, ..testing::plan(event) };
        let pending = PendingPlan::of(&plan, None, 7, Vec::new(), 0, Timestamp::UNIX_EPOCH);
        PendingPlan { digest: "sha256:abc".to_owned(), ..pending }
    }

    const EVENTS: [Event; 5] =
        [Event::Install, Event::Upgrade, Event::Rollback, Event::Delete, Event::Test];

    #[test]
    fn each_mode_holds_its_events() {
        for (mode, held) in [
            (Mode::None, &[][..]),
            (Mode::Upgrade, &[Event::Upgrade]),
            (Mode::Always, &[Event::Install, Event::Upgrade, Event::Rollback, Event::Delete]),
        ] {
            for event in EVENTS {
                assert_eq!(mode.holds(&begin(event)), held.contains(&event), "{mode:?} {event}");
                let remedial = Begin { remedies: Some(3), ..begin(event) };
                assert!(!mode.holds(&remedial), "a remediation was decided on beforehand");
            }
        }
    }

    #[test]
    fn only_the_digest_of_the_plan_that_would_run_begins_it() {
        let plan = pending(Event::Upgrade);
        let gate = |begin: &Begin, pending, approved| gate(Mode::Upgrade, begin, pending, approved);
        let upgrade = begin(Event::Upgrade);
        assert_eq!(gate(&upgrade, None, Some("sha256:abc")), Gate::Propose);
        assert_eq!(gate(&upgrade, Some(&plan), None), Gate::Waits(&plan));
        assert_eq!(gate(&upgrade, Some(&plan), Some("sha256:other")), Gate::Waits(&plan));
        assert_eq!(gate(&upgrade, Some(&plan), Some("sha256:abc")), Gate::Approved(&plan));
        // It moved: another revision, another spec, another operation.
        for moved in [
            Begin { revision: 5, ..upgrade.clone() },
            Begin { generation: 8, ..upgrade.clone() },
            Begin { target: Some(2), ..upgrade.clone() },
        ] {
            assert_eq!(gate(&moved, Some(&plan), Some("sha256:abc")), Gate::Propose);
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_held_begins_without_the_approval_of_its_digest(
            mode in prop_oneof![Just(Mode::None), Just(Mode::Upgrade), Just(Mode::Always)],
            event in proptest::sample::select(&EVENTS[..]),
            of in proptest::sample::select(&EVENTS[..]),
            is_pending in any::<bool>(),
            generation in 6..9_i64,
            approved in prop_oneof![Just(None), Just(Some("sha256:abc")), Just(Some("sha256:b"))],
        ) {
            let begin = Begin { generation, ..begin(event) };
            let plan = pending(of);
            let pending = is_pending.then_some(&plan);
            match gate(mode, &begin, pending, approved) {
                Gate::Free => prop_assert!(!mode.holds(&begin)),
                Gate::Approved(plan) => {
                    prop_assert_eq!(approved, Some(&*plan.digest));
                    prop_assert!(plan.is_of(&begin));
                }
                Gate::Propose | Gate::Waits(_) => prop_assert!(mode.holds(&begin)),
            }
        }
    }

    #[test]
    fn what_status_says_of_a_plan_has_a_bound() {
        let long = |number: usize| ObjectRef {
            namespace: Some("n".repeat(63)),
            ..testing::object("ConfigMap", &format!("{number}-{}", "a".repeat(240)))
        };
        let hooks = (0..100).map(|number| testing::hook(HookEvent::PreUpgrade, long(number)));
        let objects =
            (0..1000).map(|number| PlannedObject { object: long(number), manifest: json!({}) });
        let plan = Plan {
            hooks: hooks.collect(),
            objects: objects.collect(),
            ..testing::plan(Event::Upgrade)
        };
        let fields = || (0..50).map(|_| "/ü".repeat(500)).collect::<Vec<_>>();
        let changes: Vec<_> = plan
            .objects
            .iter()
            .map(|object| Change::of(Action::Update, &object.object, fields()))
            .collect();
        let status = PendingPlan::of(&plan, None, 1, changes, 3, Timestamp::UNIX_EPOCH);
        let listed = u32::try_from(status.hooks.len() + status.changes.len()).unwrap();
        assert_eq!(listed + status.more, 1100);
        assert!(serde_json::to_vec(&status).unwrap().len() < 16 * 1024);
    }

    #[test]
    fn a_digest_is_named_by_its_beginning() {
        assert_eq!(short("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short("sha256:01"), "01");
        assert_eq!(short(""), "");
        assert_eq!(short(&"üü月".repeat(1000)).len(), 11);
    }
}
