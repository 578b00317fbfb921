//! The fields that hold a duration, and the check of their values. It explains a mistake in words,
//! where the API server shows a pattern.

use serde_json::Value;

/// The longest duration that the API server accepts.
const MOST_HOURS: f64 = 8760.0;
const MOST_CHARACTERS: usize = 32;

/// A field of the spec that holds a duration.
#[derive(Clone, Copy, Debug)]
pub struct DurationField {
    /// Its path, as messages name it.
    pub path: &'static str,
    /// Its JSON pointer in the spec; `*` stands for each item of a list.
    pub pointer: &'static str,
    /// The shortest duration that the API server accepts, in seconds.
    least: u8,
}

/// All fields of the spec that hold a duration.
pub const DURATIONS: [DurationField; 6] = [
    DurationField { path: "spec.timeout", pointer: "/timeout", least: 1 },
    DurationField { path: "spec.interval", pointer: "/interval", least: 1 },
    DurationField { path: "spec.deletion.timeout", pointer: "/deletion/timeout", least: 0 },
    DurationField {
        path: "spec.hooks.rules[].timeout",
        pointer: "/hooks/rules/*/timeout",
        least: 1,
    },
    DurationField {
        path: "spec.hooks.rules[].failFast",
        pointer: "/hooks/rules/*/failFast",
        least: 1,
    },
    DurationField { path: "spec.windows[].duration", pointer: "/windows/*/duration", least: 60 },
];

impl DurationField {
    /// Returns the mistake in its value in `spec`, if there is one; in a list, the first.
    pub fn problem(&self, spec: &Value) -> Option<String> {
        match self.pointer.split_once("/*") {
            Some((list, field)) => {
                let items = spec.pointer(list)?.as_array()?.iter();
                items.filter_map(|item| item.pointer(field)).find_map(|it| self.mistake(it))
            }
            None => self.mistake(spec.pointer(self.pointer)?),
        }
    }

    fn mistake(&self, value: &Value) -> Option<String> {
        let Self { path, least, .. } = self;
        if value.is_null() {
            return None;
        }
        match value.as_str().and_then(seconds) {
            Some(seconds) if is_within(seconds, *least) => None,
            Some(_) => Some(self.range()),
            None => {
                let mut found = value.to_string();
                found.truncate(found.floor_char_boundary(60));
                Some(format!("{path} must be a duration such as 90s or 1h30m, and is {found}"))
            }
        }
    }

    /// Returns whether `text` is a duration of at least `least` seconds that the API server accepts.
    pub(crate) fn accepts(text: &str, least: u8) -> bool {
        seconds(text).is_some_and(|seconds| is_within(seconds, least))
    }

    /// Returns the API server's own message.
    fn range(&self) -> String {
        let Self { path, least, .. } = self;
        format!("{path} must be between {least}s and {MOST_HOURS}h, such as 90s or 1h30m")
    }
}

fn is_within(seconds: f64, least: u8) -> bool {
    seconds >= f64::from(least) && seconds <= MOST_HOURS * 3600.0
}

/// Returns the seconds of a text like the fields' pattern: numbers with units, without a sign.
fn seconds(text: &str) -> Option<f64> {
    if text.len() > MOST_CHARACTERS {
        return None;
    }
    let (mut rest, mut total) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at_checked(digits)?;
        let parts: Vec<_> = number.split('.').collect();
        if parts.len() > 2 || parts.iter().any(|part| part.is_empty()) {
            return None;
        }
        let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
        let (unit, factor) = units.into_iter().find(|(name, _)| unit.starts_with(name))?;
        total += number.parse::<f64>().ok()? * factor;
        rest = rest.get(digits + unit.len()..)?;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The paths of the fields whose pattern is a duration's, with the message of their range.
    fn of_schema(path: &str, schema: &Value, found: &mut Vec<(String, String)>) {
        let pattern = schema["pattern"].as_str().unwrap_or_default();
        if pattern.contains("(ms|s|m|h)") {
            let rules = schema["x-kubernetes-validations"].as_array().unwrap();
            found.push((path.to_owned(), rules[0]["message"].as_str().unwrap().to_owned()));
        }
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            of_schema(&format!("{path}.{name}"), field, found);
        }
        if schema["items"].is_object() {
            of_schema(&format!("{path}[]"), &schema["items"], found);
        }
    }

    #[test]
    fn the_fields_and_their_ranges_are_those_of_the_schema() {
        let crd = serde_json::to_value(crate::crd()).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut found = Vec::new();
        of_schema("spec", &schema["properties"]["spec"], &mut found);
        let mut known: Vec<_> =
            DURATIONS.iter().map(|field| (field.path.to_owned(), field.range())).collect();
        found.sort();
        known.sort();
        assert_eq!(found, known);
    }

    #[test]
    fn what_is_no_duration_is_told_what_one_is() {
        let problem = |value: Value| DURATIONS[0].problem(&json!({"timeout": value}));
        for good in ["90s", "1h30m", "1.5s", "1000ms", "8760h", "1s"] {
            assert_eq!(problem(json!(good)), None, "{good}");
        }
        assert_eq!(DURATIONS[0].problem(&json!({"timeout": null})), None);
        assert_eq!(DURATIONS[2].problem(&json!({"deletion": {"timeout": "0s"}})), None);
        for bad in
            ["", "2 minutes", "soon", "-5m", "5", "1d", "1.s", ".5s", "1..5s", "5ü", "s", "5m "]
        {
            let text = problem(json!(bad)).unwrap();
            let expected =
                format!("spec.timeout must be a duration such as 90s or 1h30m, and is {bad:?}");
            assert_eq!(text, expected);
        }
        let number = problem(json!(30)).unwrap();
        assert_eq!(number, "spec.timeout must be a duration such as 90s or 1h30m, and is 30");
        let rules = |timeouts: [&str; 2]| {
            let rules = timeouts.map(|timeout| json!({"timeout": timeout}));
            DURATIONS[3].problem(&json!({"hooks": {"rules": rules}}))
        };
        assert_eq!(rules(["1h", "90s"]), None);
        assert!(rules(["1h", "soon"]).unwrap().starts_with("spec.hooks.rules[].timeout must be"));
        for bad in ["999ms", "0s", "8761h", "99999999999999999999999999h"] {
            let text = problem(json!(bad)).unwrap();
            assert_eq!(text, "spec.timeout must be between 1s and 8760h, such as 90s or 1h30m");
        }
    }
}
