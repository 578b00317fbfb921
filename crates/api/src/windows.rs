//! The windows in which operations begin.

use kube::{KubeSchema, core::Duration};
use lifecycle::{
    event::Event,
    schedule::{Schedule, ScheduleError},
    windows::{self, DEFAULT_EVENTS},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ReleaseLifecycle;

/// Window in which operations begin. What has begun continues after its end.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// Times at which the window opens, in the format of cron: minute, hour, day of the month, month,
    /// day of the week; such as `0 2 * * 1-5`.
    #[schemars(length(min = 9, max = 128))]
    pub schedule: String,
    /// Time for which the window is open, such as 4h.
    #[schemars(regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"), length(max = 32))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('60s') && duration(self) <= duration('8760h')").message("spec.windows[].duration must be between 60s and 8760h, such as 90s or 1h30m"))]
    pub duration: Duration,
    /// Time zone of the schedule, such as Europe/Berlin. Defaults to UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// Events whose operations wait for the window. An event that no window has begins at any time.
    /// Defaults to Install, Upgrade, Rollback and Delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 5))]
    pub events: Option<Vec<Event>>,
}

/// The reason why a schedule of the spec is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field} {error}")]
pub struct InvalidSchedule {
    /// The field that is wrong, such as `spec.windows[0].timeZone`.
    field: String,
    error: ScheduleError,
}

/// Reads a schedule of the spec; `place` is the object that has the fields `schedule` and `timeZone`.
///
/// # Errors
/// With the field that is wrong, and what it must be.
pub(crate) fn schedule(
    place: &str,
    schedule: &str,
    time_zone: Option<&str>,
) -> Result<Schedule, InvalidSchedule> {
    Schedule::parse(schedule, time_zone).map_err(|error| {
        let name = if error.is_of_time_zone() { "timeZone" } else { "schedule" };
        InvalidSchedule { field: format!("{place}.{name}"), error }
    })
}

impl Window {
    /// Returns the events whose operations wait for it.
    fn events(&self) -> &[Event] {
        self.events.as_deref().unwrap_or(&DEFAULT_EVENTS)
    }
}

impl ReleaseLifecycle {
    /// Returns the windows for operations of `event`; none if they begin at any time.
    ///
    /// # Errors
    /// With the field of the first of them that is wrong.
    pub fn windows(&self, event: Event) -> Result<Vec<windows::Window>, InvalidSchedule> {
        self.windows_if(|window| window.events().contains(&event))
    }

    /// Checks the schedules of all windows and of the tests.
    ///
    /// # Errors
    /// With the first field that is wrong.
    pub fn check_schedules(&self) -> Result<(), InvalidSchedule> {
        self.windows_if(|_| true)?;
        self.test_schedule().map(drop)
    }

    fn windows_if(
        &self,
        is_wanted: impl Fn(&Window) -> bool,
    ) -> Result<Vec<windows::Window>, InvalidSchedule> {
        let all = self.spec.windows.iter().enumerate();
        let wanted = all.filter(|(_, window)| is_wanted(window));
        let read = |(index, window): (usize, &Window)| {
            let place = format!("spec.windows[{index}]");
            let schedule = schedule(&place, &window.schedule, window.time_zone.as_deref())?;
            let duration = std::time::Duration::from(window.duration);
            let duration = duration.try_into().unwrap_or(jiff::SignedDuration::MAX);
            Ok(windows::Window { schedule, duration })
        };
        wanted.map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn windows(windows: Value, event: Event) -> Result<usize, String> {
        let spec = json!({"source": {"objects": []}, "windows": windows});
        let spec = serde_json::from_value(spec).map_err(|error| error.to_string())?;
        ReleaseLifecycle::new("shop", spec)
            .windows(event)
            .map(|windows| windows.len())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_window_is_for_its_events() {
        let given = json!([
            {"schedule": "0 2 * * *", "duration": "4h"},
            {"schedule": "0 3 * * *", "duration": "1h", "events": ["Upgrade", "Test"]},
        ]);
        for (event, expected) in [
            (Event::Install, 1),
            (Event::Upgrade, 2),
            (Event::Rollback, 1),
            (Event::Delete, 1),
            (Event::Test, 1),
        ] {
            assert_eq!(windows(given.clone(), event), Ok(expected), "{event}");
        }
        assert_eq!(windows(json!([]), Event::Upgrade), Ok(0));
    }

    #[test]
    fn what_is_wrong_is_named_by_its_field() {
        for (window, expected) in [
            (json!({"schedule": "* * * * * *"}), "spec.windows[0].schedule must be five fields"),
            (json!({"schedule": "0 2 30 2 *"}), "spec.windows[0].schedule names a day"),
            (
                json!({"schedule": "0 2 * * *", "timeZone": "Mars"}),
                "spec.windows[0].timeZone must be the name",
            ),
        ] {
            let mut window = window;
            window["duration"] = json!("1h");
            window["events"] = json!(["Install"]);
            let said = windows(json!([window]), Event::Install).unwrap_err();
            assert!(said.starts_with(expected), "{said}");
            assert_eq!(windows(json!([window]), Event::Delete), Ok(0), "it is for another event");
        }
    }
}
