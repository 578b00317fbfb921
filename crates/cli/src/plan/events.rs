//! The steps of each event. Pure; the shape is part of the command's interface
//! (`plan --help`), so that fields are added but never renamed.

use std::{collections::HashSet, convert::Infallible, time::Duration};

use api::{HooksFrom, OnDeletionTimeout, OnTestFailure, Preflight, ReleaseLifecycle};
use jiff::SignedDuration;
use kube::ResourceExt as _;
use lifecycle::{
    event::{Event, HookEvent, Work},
    hooks::DeletePolicy,
    journal::Retries,
    object::ObjectRef,
    plan::{HookKind, Plan, PlannedHook},
    preflight,
    rule::{OnFailure, Readiness, Rule, Run},
    source::Desired,
};
use serde::Serialize;
use sources::{
    planned::{self, Selected},
    rules,
};

use super::{Found, Material, RenderedInput, reasons};

/// How a note begins that asks for a change.
pub(super) const WARNING: &str = "warning: ";

/// The plan of a release.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReleasePlan {
    api_version: &'static str,
    kind: &'static str,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) release_name: String,
    pub(super) service_account_name: Option<String>,
    pub(super) sources: Vec<String>,
    pub(super) notes: Vec<String>,
    pub(super) events: Vec<EventPlan>,
}

impl ReleasePlan {
    /// Returns whether everything is planned, but perhaps the upgrade, which may need a cluster.
    pub(super) fn is_useful(&self) -> bool {
        let upgrade = Event::Upgrade.to_string();
        self.events.iter().all(|it| it.problem.is_none() || it.event == upgrade)
    }
}

/// The steps of one event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventPlan {
    /// The event's word, such as `install`.
    pub(super) event: String,
    pub(super) when: String,
    pub(super) notes: Vec<String>,
    pub(super) steps: Vec<Step>,
    pub(super) on_failure: String,
    /// Why it cannot be planned; then there are no steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) problem: Option<String>,
}

/// In the order in which they are done.
#[derive(Debug, Serialize)]
#[serde(tag = "step", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Step {
    Hook(Box<HookStep>),
    Apply { reason: String, objects: Vec<Named> },
    Wait { timeout: String, reason: String },
    Prune { reason: String },
    Delete { reason: String, objects: Vec<Named> },
    Keep { reason: String, objects: Vec<Named> },
    None { reason: String },
}

/// One run of one hook.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HookStep {
    pub(super) hook_event: HookEvent,
    #[serde(flatten)]
    pub(super) object: Named,
    /// True if the operator completes the name, for each run another one.
    pub(super) generate_name: bool,
    pub(super) weight: i64,
    pub(super) timeout: String,
    /// Those that have an effect.
    pub(super) delete_policies: Vec<DeletePolicy>,
    /// The end that is awaited.
    pub(super) ends: String,
    /// Why it runs at this place, or does not run.
    pub(super) reason: String,
    /// Its rule, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rule: Option<RuleStep>,
}

/// The settings of a hook's rule.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RuleStep {
    /// The rule: `spec.hooks.rules[N]`, or `annotations`.
    pub(super) from: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retries: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_infrastructure: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fail_fast: Option<String>,
    pub(super) on_failure: OnFailure,
    /// Absent if it is the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) readiness: Option<Readiness>,
    pub(super) run: Run,
    pub(super) interruptible: bool,
    pub(super) parallel: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) log_lines: Option<i32>,
}

impl RuleStep {
    fn of(rule: &Rule) -> Option<Self> {
        Some(Self {
            from: rule.from.clone()?,
            retries: rule.retries,
            retry_infrastructure: rule.retry_infrastructure,
            fail_fast: rule
                .fail_fast_seconds
                .map(|it| span(Duration::from_secs(it.unsigned_abs()))),
            on_failure: rule.on_failure,
            readiness: (rule.readiness != Readiness::default()).then_some(rule.readiness),
            run: rule.run,
            interruptible: !rule.uninterruptible,
            parallel: rule.parallel,
            log_lines: rule.log_lines,
        })
    }
}

/// Names an object; without a namespace, it is in that of the release.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Named {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
}

/// The plan of these events.
pub(super) fn plan(
    material: &Material,
    made: &RenderedInput,
    events: &[Event],
) -> Found<ReleasePlan> {
    let object = &material.object;
    let mut problems = Vec::new();
    let mut event_plans: Vec<_> = events
        .iter()
        .filter_map(|event| {
            let planned = match made.at(*event) {
                Ok(desired) => Planner { object, desired }.event(*event),
                Err(problems) => Ok(unplanned(material, *event, problems)),
            };
            planned.map_err(|it| problems.push(it)).ok()
        })
        .collect();
    say_once(&mut event_plans);
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut notes = material.notes.clone();
    notes.extend(made.remarks().iter().map(|remark| format!("{WARNING}{remark}")));
    if object.suspended() {
        notes.push("spec.suspend is true: nothing of this begins until it is false".to_owned());
    }
    if let Some(pin) = object.spec.pin_revision {
        notes.push(format!(
            "spec.pinRevision is {pin}: the release is held there, and nothing of its source is \
             installed or upgraded until the field is removed"
        ));
    }
    let depends: Vec<_> = object.spec.depends_on.iter().map(|it| it.name.as_str()).collect();
    if !depends.is_empty() {
        notes.push(format!(
            "installs and upgrades wait until {} is Ready (spec.dependsOn)",
            depends.join(", ")
        ));
    }
    Ok(ReleasePlan {
        api_version: "cli.releaselifecycle.dev/v1",
        kind: "Plan",
        namespace: object.namespace(),
        name: object.name_any(),
        release_name: object.release_name().into_owned(),
        service_account_name: object.spec.service_account_name.clone(),
        sources: material.sources.clone(),
        notes,
        events: event_plans,
    })
}

/// Returns what stands in the place of an event that nobody can plan without a cluster.
fn unplanned(material: &Material, event: Event, problems: &[String]) -> EventPlan {
    let object = &material.object;
    let planner = Planner { object, desired: &Desired::default() };
    let flags = match event {
        Event::Upgrade => "upgrade",
        _ => "install",
    };
    let (release, chart) = (object.release_name(), material.chart());
    let place = object.namespace().map_or(String::new(), |it| format!(" -n {it}"));
    let problem = format!(
        "it cannot be planned here: {}. If the chart reads the cluster, ask the cluster, with the same \
         values: `helm {flags} {release} {chart}{place} --dry-run=server`",
        problems.join("; ")
    );
    EventPlan {
        event: event.to_string(),
        when: planner.when(event),
        notes: Vec::new(),
        steps: Vec::new(),
        on_failure: planner.on_failure(event),
        problem: Some(problem),
    }
}

/// Leaves a note with the first event that has it.
fn say_once(events: &mut [EventPlan]) {
    let mut said = HashSet::new();
    for event in events {
        event.notes.retain(|note| !note.starts_with(WARNING) || said.insert(note.clone()));
    }
}

/// Plans the events of a release.
pub(super) struct Planner<'a> {
    pub(super) object: &'a ReleaseLifecycle,
    pub(super) desired: &'a Desired,
}

impl Planner<'_> {
    fn event(&self, event: Event) -> Result<EventPlan, String> {
        let mut notes = Vec::new();
        let steps = match event {
            Event::Delete if self.object.keeps_objects() => vec![Step::None {
                reason: "spec.deletion.objects is Keep: no hook runs, and everything stays, as a \
                         release of Helm"
                    .to_owned(),
            }],
            _ => self.steps(event, &mut notes)?,
        };
        let on_failure = self.on_failure(event);
        Ok(EventPlan {
            event: event.to_string(),
            when: self.when(event),
            notes,
            steps,
            on_failure,
            problem: None,
        })
    }

    fn steps(&self, event: Event, notes: &mut Vec<String>) -> Result<Vec<Step>, String> {
        let selected = self.selected(event);
        let kept = selected.kept.clone();
        for left_out in &selected.left_out {
            notes.push(format!("{left_out} does not run: spec.test.filters leaves it out"));
        }
        let plan = self.plan(event, selected).map_err(|problems| problems.join("; "))?;
        let reasons = reasons::of(&plan.hooks, self.desired);
        notes.extend(self.warnings(&plan));
        let (before, after): (Vec<_>, Vec<_>) = plan
            .hooks
            .iter()
            .zip(reasons)
            .enumerate()
            .map(|(index, (hook, reason))| {
                (hook.event, self.hook(hook, plan.hook_timeout(index), reason))
            })
            .partition(|(at, _)| *at == event.pre());
        let mut steps: Vec<_> = before.into_iter().map(|(_, step)| step).collect();
        match event.facts().work {
            Work::Apply => self.apply(&plan, &mut steps),
            Work::Delete => self.delete(&plan, &kept, &mut steps),
            Work::Nothing => {}
        }
        steps.extend(after.into_iter().map(|(_, step)| step));
        if steps.is_empty() {
            let reason = format!("there is nothing to do at this {event}");
            steps.push(Step::None { reason });
        }
        if event.makes_revision() && self.object.tests_enabled() {
            notes.push("then the tests run (spec.test.enable)".to_owned());
        }
        if event == Event::Rollback {
            notes.push(self.instead_of_records().to_owned());
        }
        Ok(steps)
    }

    /// The plan of the selected work.
    pub(super) fn plan(&self, event: Event, selected: Selected) -> Found<Plan> {
        let hooks = planned::hooks(self.object, event, &selected.desired)
            .map_err(|blocked| blocked.problems)?;
        Ok(planned::plan(self.object, event, hooks, selected))
    }

    /// The work of the operation, as the operator selects it. Without the records, the source
    /// stands for each revision that an operation takes something from.
    pub(super) fn selected(&self, event: Event) -> Selected {
        let source = || self.desired.clone();
        let desired = match event {
            Event::Rollback => {
                let hooks_of_deployed = || Ok(source().hooks);
                let Ok(desired) =
                    planned::restored::<Infallible>(self.object, source(), hooks_of_deployed);
                desired
            }
            Event::Install | Event::Upgrade | Event::Delete | Event::Test => source(),
        };
        planned::select(self.object, event, desired, Vec::new())
    }

    fn instead_of_records(&self) -> &'static str {
        match self.object.rollback_hooks_from() {
            HooksFrom::Target => {
                "a rollback takes objects and hooks from the record of the revision that it goes \
                 back to; this is the plan if that revision is the same as the source"
            }
            HooksFrom::Current => {
                "a rollback takes objects from the record of the revision that it goes back to, and \
                 hooks from that of the deployed one (spec.rollback.hooksFrom: Current); this is \
                 the plan if both revisions are the same as the source"
            }
        }
    }

    /// Returns what can only fail, as far as that is known without a cluster.
    fn warnings(&self, plan: &Plan) -> Vec<String> {
        let known = self.preflight(plan).into_iter().map(|warning| warning.message);
        known.chain(self.of_rules(plan)).map(|text| format!("{WARNING}{text}")).collect()
    }

    /// The findings about the plan that are to be expected without a cluster.
    pub(super) fn preflight(&self, plan: &Plan) -> Vec<preflight::Warning> {
        if self.object.preflight() == Preflight::Off {
            return Vec::new();
        }
        let home = self.object.metadata.namespace.as_deref().unwrap_or_default();
        let mut warnings = preflight::warnings(plan, home);
        warnings.retain(|warning| warning.holds.is_expected());
        warnings
    }

    /// The rules of hooks that have no effect.
    pub(super) fn of_rules(&self, plan: &Plan) -> Vec<String> {
        if self.object.preflight() == Preflight::Off {
            return Vec::new();
        }
        rules::warnings(self.object, plan.event, self.desired, &plan.hooks)
    }

    fn hook(&self, hook: &PlannedHook, timeout: SignedDuration, reason: String) -> Step {
        let reason = match &hook.rule.skip {
            Some(skip) => format!("does not run: {}", skip.message),
            None => reason,
        };
        let ends = match hook.kind() {
            HookKind::Job => "when the Job is Complete or Failed",
            HookKind::Pod => "when the Pod has Succeeded or Failed",
            HookKind::Crd => {
                "when the CustomResourceDefinition is established; it is never deleted"
            }
            HookKind::Awaited => "when the object is ready, by spec.healthChecks or its status",
            HookKind::Other => "as soon as it is created",
        };
        Step::Hook(Box::new(HookStep {
            hook_event: hook.event,
            object: self.named(&hook.object),
            generate_name: hook.is_named_by_run(),
            weight: hook.weight,
            timeout: span(timeout.unsigned_abs()),
            delete_policies: DeletePolicy::ALL
                .into_iter()
                .filter(|policy| hook.has(*policy))
                .collect(),
            ends: ends.to_owned(),
            reason,
            rule: RuleStep::of(&hook.rule),
        }))
    }

    fn apply(&self, plan: &Plan, steps: &mut Vec<Step>) {
        let objects: Vec<_> = plan.objects.iter().map(|it| self.named(&it.object)).collect();
        let any = !objects.is_empty();
        if any {
            let reason =
                "by kind, in Helm's install order; of one kind, in the order of the source";
            steps.push(Step::Apply { reason: reason.to_owned(), objects });
        }
        if plan.event != Event::Install {
            let reason = "objects of earlier revisions that this one lacks are deleted; the records \
                          in the cluster name them";
            steps.push(Step::Prune { reason: reason.to_owned() });
        }
        if any && plan.wait {
            let reason = "until the objects are ready; spec.wait: false skips this";
            let timeout = span(self.object.timeout());
            steps.push(Step::Wait { timeout, reason: reason.to_owned() });
        }
    }

    fn delete(&self, plan: &Plan, kept: &[ObjectRef], steps: &mut Vec<Step>) {
        if !plan.prune.is_empty() {
            let reason = "by kind, in Helm's uninstall order, and waited for until they are gone";
            let objects = plan.prune.iter().map(|object| self.named(object)).collect();
            steps.push(Step::Delete { reason: reason.to_owned(), objects });
        }
        if !kept.is_empty() {
            let reason = "they have the annotation helm.sh/resource-policy: keep";
            let objects = kept.iter().map(|object| self.named(object)).collect();
            steps.push(Step::Keep { reason: reason.to_owned(), objects });
        }
    }

    fn named(&self, object: &ObjectRef) -> Named {
        let home = self.object.metadata.namespace.as_deref().unwrap_or_default();
        Named {
            api_version: object.api_version.clone(),
            kind: object.kind.clone(),
            // The release's own is said once. Whether a kind has one at all, the cluster knows.
            namespace: object.namespace.clone().filter(|namespace| namespace != home),
            name: object.name.clone(),
        }
    }

    fn when(&self, event: Event) -> String {
        let mut when = self.cause(event).to_owned();
        if self.object.approval_mode().is_for(event) {
            when.push_str("; it waits until its plan is approved (spec.approval)");
        }
        if self.object.windows(event).is_ok_and(|windows| !windows.is_empty()) {
            when.push_str("; it begins within a window (spec.windows)");
        }
        when
    }

    fn cause(&self, event: Event) -> &'static str {
        match event {
            Event::Install => "no revision has been deployed yet",
            Event::Upgrade => "the source differs from what is deployed",
            Event::Rollback => "spec.pinRevision names another revision than the deployed one",
            Event::Delete => "the ReleaseLifecycle is deleted",
            Event::Test if self.object.tests_enabled() => {
                "after each install, upgrade and rollback, and when requested (`kubectl lifecycle test`)"
            }
            Event::Test => "requested (`kubectl lifecycle test`)",
        }
    }

    fn on_failure(&self, event: Event) -> String {
        let then = self.remediation(event);
        match self.object.retries(event) {
            Retries::AtMost(0) => then,
            Retries::AtMost(1) => {
                format!("{then}; then it is attempted once more (spec.{event}.retries)")
            }
            Retries::Unbounded => format!(
                "{then}; then it is attempted again until it succeeds (spec.{event}.onFailure: Retry)"
            ),
            Retries::AtMost(most) => {
                format!(
                    "{then}; then it is attempted again, {most} times at most (spec.{event}.retries)"
                )
            }
        }
    }

    fn remediation(&self, event: Event) -> String {
        let name = self.object.name_any();
        let retry = format!("`kubectl lifecycle retry {name}` resumes at the failed hook");
        match event {
            Event::Install if self.object.remediation(event).is_some() => {
                "nothing after it runs, and the release is uninstalled, with its delete hooks \
                 (spec.install.onFailure: Uninstall)"
                    .to_owned()
            }
            Event::Upgrade if self.object.remediation(event).is_some() => {
                "nothing after it runs, and the release goes back to the last revision that was \
                 deployed, with its rollback hooks (spec.upgrade.onFailure: Rollback)"
                    .to_owned()
            }
            Event::Install => format!(
                "nothing after it runs, and what was applied stays; the next attempt is an install \
                 again, and {retry}"
            ),
            Event::Upgrade => format!(
                "nothing after it runs, what was applied stays, and the record of the revision \
                 before stays deployed; {retry}, `kubectl lifecycle rollback {name}` goes back"
            ),
            Event::Rollback => {
                format!("nothing after it runs, and the revision is recorded as failed; {retry}")
            }
            Event::Delete if self.object.keeps_objects() => {
                "nothing runs that could fail".to_owned()
            }
            Event::Delete => {
                let timeout = span(self.object.deletion_timeout());
                let then = match self.object.on_deletion_timeout() {
                    OnDeletionTimeout::Block => format!(
                        "the deletion is blocked until you retry the hook, or skip the hooks by \
                         `kubectl lifecycle skip {name}` (spec.deletion.onTimeout: Block)"
                    ),
                    OnDeletionTimeout::SkipHooks => "the hooks that have not succeeded are \
                        skipped (spec.deletion.onTimeout: SkipHooks)"
                        .to_owned(),
                };
                format!(
                    "a failed hook is tried again for {timeout} (spec.deletion.timeout); then {then}"
                )
            }
            Event::Test => match self.object.on_test_failure() {
                OnTestFailure::Ignore => {
                    "the condition TestSuccess is False, the release stays Ready \
                    (spec.test.onFailure: Ignore)"
                }
                OnTestFailure::Fail => {
                    "the conditions TestSuccess and Ready are False \
                    (spec.test.onFailure: Fail)"
                }
                OnTestFailure::Rollback => {
                    "the conditions TestSuccess and Ready are False, and an upgrade whose first tests \
                    fail is rolled back (spec.test.onFailure: Rollback)"
                }
            }
            .to_owned(),
        }
    }
}

/// `90s` as `1m30s`.
fn span(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    let parts = [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (millis.into(), "ms"),
    ];
    let text: String = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number}{unit}"))
        .collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_they_are_read() {
        for (millis, text) in [(0, "0s"), (90_000, "1m30s"), (3_600_000, "1h"), (1_500, "1s500ms")]
        {
            assert_eq!(span(Duration::from_millis(millis)), text);
            let read: kube::core::Duration = text.parse().unwrap();
            assert_eq!(Duration::from(read), Duration::from_millis(millis));
        }
    }
}
