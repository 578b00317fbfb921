//! Drift: where the release's objects are no longer as they were deployed.
//!
//! What an object would become if it were applied again is asked of the API server; here is what
//! follows from its answer:
//!
//! - this file: what the spec says is no drift, and how what was found is told
//! - `fields`: which fields differ, and who wrote them when

mod fields;

use jiff::Timestamp;
use manifests::patches::{Matcher, PatchProblem, Target};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    conditions::{Condition, DRIFTED},
    reason::Reason,
};

pub use fields::{Origin, Path, differences, origin};

/// So many objects are named in a message, and so many fields of each.
const MOST_OBJECTS: usize = 5;
const MOST_FIELDS: usize = 3;
/// As much of the API server's words on an object as is told, in bytes.
const MOST_WORDS: usize = 300;

/// Fields that are not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ignore {
    /// JSON pointers (RFC 6901) to fields of the live object, such as `/spec/replicas`; an empty one
    /// is the whole object, even where it is missing.
    #[schemars(
        length(min = 1, max = 100),
        inner(length(max = 1024), regex(pattern = r"^(/.*)?$"))
    )]
    pub paths: Vec<String>,
    /// Of which objects, by what their manifests say; without it, of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
}

/// Rules that were read.
pub struct Rules(Vec<(Matcher, Vec<Pointer>)>);

impl Rules {
    /// Reads `spec.driftDetection.ignore`.
    ///
    /// # Errors
    /// Which entry of which rule cannot be read, and why.
    pub fn read(rules: &[Ignore]) -> Result<Self, String> {
        let read = |(index, rule): (usize, &Ignore)| {
            let place = format!("spec.driftDetection.ignore[{index}]");
            let problem = |problem: PatchProblem| format!("{place}.{problem}");
            let target = Matcher::read(rule.target.as_ref()).map_err(problem)?;
            let paths = rule.paths.iter().enumerate().map(|(number, path)| {
                Pointer::read(path).ok_or_else(|| {
                    format!(
                        "{place}.paths[{number}] is {path:?}: write a JSON pointer such as \
                         /spec/replicas, with ~1 for / and ~0 for ~ in a name, or nothing for the \
                         whole object"
                    )
                })
            });
            Ok((target, paths.collect::<Result<_, String>>()?))
        };
        rules.iter().enumerate().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// What is not looked at in the object of this manifest.
    pub fn of(&self, manifest: &Value) -> Vec<&Pointer> {
        let meant = self.0.iter().filter(|(target, _)| target.matches(manifest));
        meant.flat_map(|(_, paths)| paths).collect()
    }
}

/// A JSON pointer that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    names: Vec<String>,
}

impl Pointer {
    fn read(text: &str) -> Option<Self> {
        let names = match text.strip_prefix('/') {
            Some(names) => names.split('/').map(unescaped).collect::<Option<_>>()?,
            None if text.is_empty() => Vec::new(),
            None => return None,
        };
        Some(Self { text: text.to_owned(), names })
    }

    /// Whether it is the whole object.
    pub fn is_whole(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether the field at `pointer` is this one, or in it.
    pub fn covers(&self, pointer: &str) -> bool {
        let rest = pointer.strip_prefix(&*self.text);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Makes `body` say of this field what `live` says, so that applying it changes nothing there.
    pub fn keep(&self, body: &mut Value, live: &Value) {
        let Some((last, way)) = self.names.split_last() else { return };
        let value = live.pointer(&self.text);
        let mut place = body;
        for name in way {
            if place.is_null() && value.is_some() {
                *place = Value::Object(Map::new());
            }
            let next = match place {
                Value::Object(fields) => {
                    if value.is_some() {
                        fields.entry(name.clone()).or_insert(Value::Null);
                    }
                    fields.get_mut(name)
                }
                // Items that are objects may be in another order there; what differs of them is told
                // by their keys.
                Value::Array(items) => {
                    let item = name.parse().ok().and_then(|at: usize| items.get_mut(at));
                    item.filter(|item| !item.is_object())
                }
                _ => None,
            };
            let Some(next) = next else { return };
            place = next;
        }
        if place.is_null() && value.is_some() {
            *place = Value::Object(Map::new());
        }
        match (place, value) {
            (Value::Object(fields), Some(value)) => {
                fields.insert(last.clone(), value.clone());
            }
            (Value::Object(fields), None) => {
                fields.remove(last);
            }
            (Value::Array(items), Some(value)) => {
                if let Some(item) = last.parse().ok().and_then(|at: usize| items.get_mut(at))
                    && !item.is_object()
                {
                    *item = value.clone();
                }
            }
            _ => {}
        }
    }
}

fn unescaped(name: &str) -> Option<String> {
    let mut escapes = name.split('~').skip(1);
    escapes
        .all(|rest| rest.starts_with(['0', '1']))
        .then(|| name.replace("~1", "/").replace("~0", "~"))
}

/// When writes were part of the release's own work: until it was deployed, and while an operation
/// ran after that, such as a test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// When the revision was deployed.
    pub deployed_at: Option<Timestamp>,
    /// From when to when the last operation ran.
    pub last: Option<(Timestamp, Timestamp)>,
}

impl Work {
    /// Whether a write of that time was part of it. The API server tells whole seconds, so that one
    /// in the very second of the end counts.
    pub fn covers(&self, written: Timestamp) -> bool {
        let second = written.as_second();
        let until = |end: Timestamp| second <= end.as_second();
        self.deployed_at.is_some_and(until)
            || self.last.is_some_and(|(from, to)| from.as_second() <= second && until(to))
    }
}

/// From what drift is told, of the deployed revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Baseline {
    /// The deployed revision.
    pub revision: i32,
    /// When it was deployed: what was written until then is no drift.
    pub deployed_at: Timestamp,
    /// Fields that its hooks have removed, as far as they left no other trace; absent until the
    /// objects were looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<Vec<String>>,
}

/// An object that is not as it was deployed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Names the object.
    pub object: String,
    /// What is wrong with it.
    pub what: What,
}

/// What is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// It is gone.
    Missing,
    /// These fields differ, as JSON pointers.
    Differs(Vec<String>),
    /// It is somebody else's by its marks, or the API server would not make it what it was: why.
    Beyond(String),
    /// It could not be compared: why.
    Unknown(String),
}

impl What {
    fn text(&self) -> String {
        match self {
            Self::Missing => "is missing".to_owned(),
            Self::Differs(fields) => {
                let mut fields = fields.clone();
                fields.sort();
                listed(fields, MOST_FIELDS, ", ")
            }
            Self::Beyond(words) | Self::Unknown(words) => {
                let end = words.floor_char_boundary(MOST_WORDS);
                let (told, rest) = words.split_at(end);
                if rest.is_empty() { told.to_owned() } else { format!("{told}…") }
            }
        }
    }
}

/// Names the first of what was found; the same from look to look as long as the same is found.
pub fn named(findings: &[Finding]) -> String {
    let mut texts: Vec<_> = findings
        .iter()
        .map(|Finding { object, what }| format!("{object}: {}", what.text()))
        .collect();
    texts.sort();
    listed(texts, MOST_OBJECTS, "; ")
}

fn listed(mut texts: Vec<String>, most: usize, between: &str) -> String {
    let more = texts.len().saturating_sub(most);
    texts.truncate(most);
    let text = texts.join(between);
    if more > 0 { format!("{text}{between}and {more} more") } else { text }
}

fn drifted(status: &'static str, reason: Reason, message: String) -> Condition {
    Condition { type_: DRIFTED, status, reason: reason.into(), message }
}

/// The condition where the rules cannot be read, so that nothing was looked at.
pub fn invalid(message: String) -> Condition {
    drifted("Unknown", Reason::InvalidIgnore, message)
}

/// The condition where nothing was corrected: because nothing was found, or because it is not wanted.
pub fn found(revision: i32, findings: &[Finding]) -> Condition {
    let unknown: Vec<_> = unknown(findings).cloned().collect();
    let drift: Vec<_> = drift(findings).cloned().collect();
    if drift.is_empty() && unknown.is_empty() {
        let message = format!("the objects of revision {revision} are as they were deployed");
        return drifted("False", Reason::NoDrift, message);
    }
    if drift.is_empty() {
        let message =
            format!("objects of revision {revision} could not be compared: {}", named(&unknown));
        return drifted("Unknown", Reason::DriftUnknown, message);
    }
    let message = format!(
        "objects of revision {revision} are not as they were deployed: {}",
        with_unknown(&drift, &unknown)
    );
    drifted("True", Reason::DriftDetected, message)
}

/// The condition after what was found has been corrected, but for what is `left`.
pub fn corrected(revision: i32, done: &[Finding], left: &[Finding], now: Timestamp) -> Condition {
    if drift(left).next().is_none() && unknown(left).next().is_some() {
        return found(revision, left);
    }
    if left.is_empty() {
        let message =
            format!("objects of revision {revision} were corrected at {now:.0}: {}", named(done));
        return drifted("False", Reason::DriftCorrected, message);
    }
    let unknown: Vec<_> = unknown(left).cloned().collect();
    let left: Vec<_> = drift(left).cloned().collect();
    let message = format!(
        "objects of revision {revision} are not as they were deployed and could not be corrected: {}",
        with_unknown(&left, &unknown)
    );
    drifted("True", Reason::DriftNotCorrected, message)
}

fn with_unknown(drift: &[Finding], unknown: &[Finding]) -> String {
    let drift = named(drift);
    if unknown.is_empty() {
        return drift;
    }
    format!("{drift}. These could not be compared: {}", named(unknown))
}

fn drift(findings: &[Finding]) -> impl Iterator<Item = &Finding> {
    findings.iter().filter(|it| !matches!(it.what, What::Unknown(_)))
}

fn unknown(findings: &[Finding]) -> impl Iterator<Item = &Finding> {
    findings.iter().filter(|it| matches!(it.what, What::Unknown(_)))
}

#[cfg(test)]
mod tests;
