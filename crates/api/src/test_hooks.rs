//! The configuration of test hooks: when they run, which of them, and what follows a failure.

use jiff::{SignedDuration, Timestamp};
use kube::KubeSchema;
use lifecycle::schedule::{Schedule, jitter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ReleaseLifecycle,
    windows::{InvalidSchedule, schedule},
};

/// The time for which a passed time of a schedule is made up for.
const MADE_UP_FOR: SignedDuration = SignedDuration::from_hours(1);

/// Configures the test hooks.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.timeZone) || has(self.schedule)").message("spec.test.timeZone is for spec.test.schedule: set that, too, or remove it"))]
pub struct Test {
    /// Runs the test hooks after each install, upgrade and rollback, and after drift was corrected.
    /// Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable: Option<bool>,
    /// Selects the test hooks that run, by name. If empty, all of them run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub filters: Vec<TestFilter>,
    /// Effect of failed tests: `Ignore` sets only the condition `TestSuccess` to False, `Fail` also
    /// sets Ready to False, `Rollback` also rolls an upgrade back to the revision before if its first
    /// tests fail. Defaults to `Ignore`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnTestFailure>,
    /// Times at which the test hooks of the deployed revision run again, in the format of cron: minute,
    /// hour, day of the month, month, day of the week; such as `0 3 * * *`. Each release is delayed by
    /// up to a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 9, max = 128))]
    pub schedule: Option<String>,
    /// Time zone of the schedule, such as Europe/Berlin. Defaults to UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
}

/// Selects or excludes one test hook.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TestFilter {
    /// Name of the hook's object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Excludes this test hook. If false, the hook is selected, and only selected ones run.
    /// Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<bool>,
}

/// Effect of failed tests: `Ignore` sets only the condition `TestSuccess` to False, `Fail` also
/// sets Ready to False, `Rollback` also rolls an upgrade back whose first tests fail. Defaults to
/// `Ignore`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnTestFailure {
    /// Only the condition `TestSuccess` is False.
    #[default]
    Ignore,
    /// The condition Ready is also False.
    Fail,
    /// The condition Ready is also False, and an upgrade whose first tests fail is rolled back.
    Rollback,
}

impl Test {
    /// Returns whether the test hook of this name runs: those that are named, if any is, except
    /// those that are excluded.
    pub fn selects(&self, name: &str) -> bool {
        let excluded = |filter: &&TestFilter| filter.exclude.unwrap_or(false);
        let mut included = self.filters.iter().filter(|filter| !excluded(filter)).peekable();
        let wanted = included.peek().is_none() || included.any(|filter| filter.name == name);
        wanted && !self.filters.iter().filter(excluded).any(|filter| filter.name == name)
    }
}

impl ReleaseLifecycle {
    /// Returns whether the tests run after each install, upgrade and rollback.
    pub fn tests_enabled(&self) -> bool {
        self.spec.test.as_ref().and_then(|test| test.enable).unwrap_or(false)
    }

    /// Returns whether the test hook of this name runs.
    pub fn selects_test(&self, name: &str) -> bool {
        self.spec.test.as_ref().is_none_or(|test| test.selects(name))
    }

    /// Returns the effect of failed tests.
    pub fn on_test_failure(&self) -> OnTestFailure {
        self.spec.test.as_ref().and_then(|test| test.on_failure).unwrap_or_default()
    }

    /// Returns whether failed tests set Ready to False.
    pub fn tests_count(&self) -> bool {
        match self.on_test_failure() {
            OnTestFailure::Ignore => false,
            OnTestFailure::Fail | OnTestFailure::Rollback => true,
        }
    }

    /// Returns the schedule of the tests, if they have one.
    ///
    /// # Errors
    /// With the field that is wrong.
    pub fn test_schedule(&self) -> Result<Option<Schedule>, InvalidSchedule> {
        let Some(test) = &self.spec.test else { return Ok(None) };
        let read = |text: &String| schedule("spec.test", text, test.time_zone.as_deref());
        test.schedule.as_ref().map(read).transpose()
    }

    /// Returns when the deployed revision is tested again: by the schedule, or since drift was
    /// corrected. `None` if it is not, or the schedule is invalid. A time of the schedule that passed
    /// more than an hour before `now` does not count any more.
    pub fn next_test_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.scheduled_test_at(now).into_iter().chain(self.corrected_test_at()).min()
    }

    fn scheduled_test_at(&self, now: Timestamp) -> Option<Timestamp> {
        let schedule = self.test_schedule().ok()??;
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        let key = format!("{namespace}/{}", self.metadata.name.as_deref().unwrap_or_default());
        let since = now.checked_sub(MADE_UP_FOR).ok()?;
        let last = self.status.as_ref()?.tests.last().map(|run| run.started_at);
        let since = last.map_or(since, |last| last.max(since));
        schedule.next_after(since)?.checked_add(jitter(&key)).ok()
    }

    /// Returns what was corrected is tested again, but no more often than it is looked at: another client may
    /// change it each time.
    fn corrected_test_at(&self) -> Option<Timestamp> {
        let status = self.status.as_ref().filter(|_| self.tests_enabled())?;
        let corrected_at = status.corrected_at?;
        let Some(last) = status.tests.last().map(|run| run.started_at) else {
            return Some(corrected_at);
        };
        let next = last.checked_add(self.interval()).ok()?;
        (last < corrected_at).then(|| next.max(corrected_at))
    }
}

#[cfg(test)]
mod tests {
    use lifecycle::test_run::TestRun;
    use serde_json::json;

    use super::*;
    use crate::ReleaseLifecycleStatus;

    #[test]
    fn tests_are_selected_by_name() {
        let filter = |name: &str, exclude: bool| TestFilter {
            name: name.to_owned(),
            exclude: Some(exclude),
        };
        let selected = |filters: &[TestFilter]| {
            let test = Test { filters: filters.to_vec(), ..Test::default() };
            ["a", "b", "c"].into_iter().filter(|name| test.selects(name)).collect::<String>()
        };
        assert_eq!(selected(&[]), "abc");
        assert_eq!(selected(&[filter("a", false), filter("c", false)]), "ac");
        assert_eq!(selected(&[filter("a", true)]), "bc");
        assert_eq!(selected(&[filter("a", false), filter("a", true)]), "");
    }

    fn scheduled(schedule: &str, time_zone: &str) -> ReleaseLifecycle {
        let test = json!({"schedule": schedule, "timeZone": time_zone});
        let spec = json!({"source": {"objects": []}, "test": test});
        ReleaseLifecycle::new("shop", serde_json::from_value(spec).unwrap())
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn ran(started_at: &str) -> TestRun {
        TestRun {
            revision: 1,
            started_at: at(started_at),
            completed_at: None,
            first: true,
            failure: None,
        }
    }

    /// Returns when tests are due after those that began then, without the jitter.
    fn next(release: &ReleaseLifecycle, now: &str) -> Option<String> {
        let next = release.next_test_at(at(now))?;
        Some(next.checked_sub(jitter("/shop")).ok()?.to_string())
    }

    #[test]
    fn scheduled_tests_follow_the_last_ones() {
        let mut release = scheduled("0 3 * * *", "Europe/Berlin");
        assert_eq!(next(&release, "2026-11-30T10:00:00Z"), None, "nothing is deployed");
        release.status = Some(ReleaseLifecycleStatus::default());
        let tomorrow = Some("2026-12-01T02:00:00Z".to_owned());
        assert_eq!(next(&release, "2026-11-30T10:00:00Z"), tomorrow);
        assert_eq!(next(&release, "2026-12-01T02:30:00Z"), tomorrow, "it is made up for");
        let after = Some("2026-12-02T02:00:00Z".to_owned());
        assert_eq!(next(&release, "2026-12-01T03:30:00Z"), after, "but not for ever");
        let tests = vec![ran("2026-12-01T02:00:40Z")];
        release.status = Some(ReleaseLifecycleStatus { tests, ..Default::default() });
        assert_eq!(next(&release, "2026-12-01T02:30:00Z"), after, "it was done");
    }

    #[test]
    fn what_was_corrected_is_tested_again_at_most_once_in_an_interval() {
        let spec = json!({"source": {"objects": []}, "test": {"enable": true}});
        let mut release = ReleaseLifecycle::new("shop", serde_json::from_value(spec).unwrap());
        let now = at("2026-11-30T10:20:00Z");
        let mut next = |corrected_at: Option<&str>, tests: Vec<TestRun>| {
            let corrected_at = corrected_at.map(at);
            release.status =
                Some(ReleaseLifecycleStatus { tests, corrected_at, ..Default::default() });
            release.next_test_at(now).map(|at| at.to_string())
        };
        let corrected = Some("2026-11-30T10:15:00Z");
        let time = |text: &str| Some(text.to_owned());
        assert_eq!(next(None, vec![]), None);
        assert_eq!(next(corrected, vec![]), time("2026-11-30T10:15:00Z"));
        assert_eq!(
            next(corrected, vec![ran("2026-11-30T09:00:00Z")]),
            time("2026-11-30T10:15:00Z")
        );
        assert_eq!(
            next(corrected, vec![ran("2026-11-30T10:10:00Z")]),
            time("2026-11-30T10:20:00Z")
        );
        assert_eq!(next(corrected, vec![ran("2026-11-30T10:16:00Z")]), None);
    }

    #[test]
    fn an_invalid_schedule_names_its_field() {
        for (schedule, zone, field) in
            [("soon", "UTC", "spec.test.schedule"), ("0 3 * * *", "Mars", "spec.test.timeZone")]
        {
            let release = scheduled(schedule, zone);
            let said = release.test_schedule().unwrap_err().to_string();
            assert!(said.starts_with(field), "{said}");
            assert_eq!(release.next_test_at(Timestamp::UNIX_EPOCH), None);
        }
    }
}
