//! The fields of an object that the rules of kstatus read, and how strictly.

use serde_json::Value;

use super::Readiness;

/// The error is the reason why an object is not current.
pub(super) type Verdict<T = ()> = Result<T, Readiness>;

/// An object and its conditions, which have been read without an error.
pub(super) struct Object<'a> {
    pub(super) value: &'a Value,
    pub(super) conditions: Vec<Condition<'a>>,
}

/// The fields of a condition that the rules read; an absent or null one is empty.
pub(super) struct Condition<'a> {
    pub(super) kind: &'a str,
    pub(super) status: &'a str,
    pub(super) reason: &'a str,
    message: &'a str,
}

impl<'a> Condition<'a> {
    pub(super) fn read(value: &'a Value) -> Verdict<Self> {
        let field = |name| match lookup(value, name)? {
            None | Some(Value::Null) => Ok(""),
            Some(Value::String(text)) => Ok(text.as_str()),
            Some(_) => unknown(format!("a condition's {name} is not a string")),
        };
        Ok(Self {
            kind: field("type")?,
            status: field("status")?,
            reason: field("reason")?,
            message: field("message")?,
        })
    }

    pub(super) fn is(&self, kind: &str, status: &str) -> bool {
        self.kind == kind && self.status == status
    }

    fn describe(&self, details: &[&str]) -> String {
        let mut text = format!("condition {} is {}", clip(self.kind), clip(self.status));
        for detail in details.iter().filter(|detail| !detail.is_empty()) {
            text.push_str(": ");
            text.push_str(&clip(detail));
        }
        text
    }

    pub(super) fn in_progress(&self) -> Verdict {
        in_progress(self.describe(&[self.reason]))
    }

    pub(super) fn failed(&self) -> Verdict {
        Err(Readiness::Failed { message: self.describe(&[self.reason, self.message]) })
    }
}

impl<'a> Object<'a> {
    /// The number at `path`, or `default` if there is none (kstatus `util.go`, `GetIntField`).
    pub(super) fn int(&self, path: &str, default: i64) -> i64 {
        let found = lookup(self.value, path).ok().flatten();
        found.and_then(Value::as_i64).unwrap_or(default)
    }

    /// A number that its controller leaves out while it is zero.
    pub(super) fn count(&self, path: &str) -> i64 {
        self.int(path, 0)
    }

    /// The string at `path`, or `default` (kstatus `util.go`, `GetStringField`).
    pub(super) fn text(&self, path: &str, default: &'a str) -> &'a str {
        let found = lookup(self.value, path).ok().flatten();
        found.and_then(Value::as_str).unwrap_or(default)
    }

    pub(super) fn condition(&self, kind: &str, status: &str) -> Option<&Condition<'a>> {
        self.conditions.iter().find(|condition| condition.is(kind, status))
    }

    /// Stops while the count at `path` is below `wanted`.
    pub(super) fn too_few(&self, path: &str, wanted: i64, what: &str) -> Verdict {
        let count = self.count(path);
        if count < wanted {
            in_progress(format!("{count} of {wanted} {what}"))?;
        }
        Ok(())
    }

    /// Stops while there are more replicas than `wanted`.
    pub(super) fn too_many(&self, path: &str, wanted: i64) -> Verdict {
        let count = self.count(path);
        if count > wanted {
            in_progress(format!("{count} replicas, more than the {wanted} wanted"))?;
        }
        Ok(())
    }
}

/// The value at a dotted path. An absent or null parent means absent; a parent of another type is
/// an error (apimachinery's `NestedFieldNoCopy`, which kstatus reads with).
pub(super) fn lookup<'a>(root: &'a Value, path: &str) -> Verdict<Option<&'a Value>> {
    let mut value = root;
    for key in path.split('.') {
        let child = match value {
            Value::Null => None,
            Value::Object(map) => map.get(key),
            _ => return unknown(format!("a parent of `{path}` is not an object")),
        };
        match child {
            Some(child) => value = child,
            None => return Ok(None),
        }
    }
    Ok(Some(value))
}

pub(super) fn strict_int(object: &Value, path: &str) -> Verdict<Option<i64>> {
    match lookup(object, path)?.map(Value::as_i64) {
        None => Ok(None),
        Some(Some(number)) => Ok(Some(number)),
        Some(None) => unknown(format!("`{path}` is not an integer")),
    }
}

/// The list at `path`. A null list is refused, as in apimachinery's `NestedSlice`.
pub(super) fn list<'a>(object: &'a Value, path: &str) -> Verdict<&'a [Value]> {
    match lookup(object, path)? {
        None => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => unknown(format!("`{path}` is not a list")),
    }
}

/// The group and the kind; both empty if the version has more than one slash, as in apimachinery.
pub(super) fn group_kind(object: &Value) -> (&str, &str) {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    match text("apiVersion").split_once('/') {
        Some((_, version)) if version.contains('/') => ("", ""),
        Some((group, _)) => (group, text("kind")),
        None => ("", text("kind")),
    }
}

pub(super) fn in_progress(message: impl Into<String>) -> Verdict {
    Err(Readiness::InProgress { message: message.into() })
}

pub(super) fn unknown<T>(message: impl Into<String>) -> Verdict<T> {
    Err(Readiness::Unknown { message: message.into() })
}

/// Returns foreign text on one line and of a bounded length, because messages end up in a status.
pub(super) fn clip(text: &str) -> String {
    const MAX_CHARS: usize = 256;
    let mut chars = text.chars().map(|char| if char.is_control() { ' ' } else { char });
    let mut clipped: String = chars.by_ref().take(MAX_CHARS).collect();
    if chars.next().is_some() {
        clipped.push('…');
    }
    clipped
}
