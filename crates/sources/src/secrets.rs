//! The texts that must be in no message, though a template may put them there: Helm quotes values
//! in some of its own, and `fail` prints any text of a chart.

use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

/// Shorter ones are in any text.
const SHORTEST: usize = 4;

/// The texts and numbers of Secrets, those of the values and those that were looked up.
#[derive(Default)]
pub struct Secrets(Mutex<Vec<String>>);

impl Clone for Secrets {
    fn clone(&self) -> Self {
        Self(Mutex::new(self.lock().clone()))
    }
}

impl Secrets {
    /// Adds the data of a Secret, or of each Secret of a list, encoded as it is and decoded.
    pub fn add_data(&self, found: &Value) {
        let items = found["items"].as_array();
        for secret in items.map_or(std::slice::from_ref(found), Vec::as_slice) {
            let data = secret["data"].as_object().into_iter().flatten();
            for text in data.filter_map(|(_, value)| value.as_str()) {
                self.add(&Value::from(text));
                let decoded = STANDARD.decode(text).ok().and_then(|it| String::from_utf8(it).ok());
                self.add(&decoded.map_or(Value::Null, Value::String));
            }
        }
    }

    pub(crate) fn add(&self, value: &Value) {
        match value {
            Value::String(text) => {
                // A template may print one line of it, or all of it quoted.
                for line in text.lines() {
                    // Without the characters that YAML does not take for text, as in `*anchor`.
                    let words = line.trim_matches(|it: char| !it.is_alphanumeric());
                    let both = [line.trim(), words].into_iter().filter(|it| it.len() >= SHORTEST);
                    self.lock().extend(both.map(str::to_owned));
                }
            }
            Value::Number(number) => {
                self.lock().extend(Some(number.to_string()).filter(|text| text.len() >= SHORTEST));
            }
            Value::Array(items) => items.iter().for_each(|item| self.add(item)),
            Value::Object(entries) => entries.values().for_each(|value| self.add(value)),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns `message` without any of them.
    pub fn hide(&self, message: &str) -> String {
        let all = self.lock();
        let mut secrets: Vec<_> = all.iter().filter(|it| message.contains(it.as_str())).collect();
        // One may be a part of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.into_iter().fold(message.to_owned(), |text, it| text.replace(it.as_str(), "…"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_secret_holds_is_hidden_wherever_it_stands() {
        let secrets = Secrets::default();
        secrets
            .add(&json!({"db": {"password": "hunter2", "port": 54321, "tls": true}, "on": "no"}));
        secrets.add(&json!(["hunter2-and-more", "two\nlines of it"]));
        let message = "a.yaml:7: hunter2-and-more, \"hunter2\", 54321, no, true; lines of it";
        assert_eq!(secrets.hide(message), "a.yaml:7: …, \"…\", …, no, true; …");
        assert_eq!(Secrets::default().hide(message), message);
        secrets.add(&json!("*s3cret"));
        let looked_up = json!({"items": [{"data": {"a": "bG9va2VkLXVw", "b": "/w=="}}, {}]});
        secrets.add_data(&looked_up);
        assert_eq!(secrets.hide("bG9va2VkLXVw is looked-up"), "… is …");
        assert_eq!(secrets.hide("a.yaml: unknown anchor 's3cret'"), "a.yaml: unknown anchor '…'");
    }
}
