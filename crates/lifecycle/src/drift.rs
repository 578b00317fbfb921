//! Drift: differences between the release's objects and their deployed state.
//!
//! The API server is asked what an object would become if it were applied again; the conclusions
//! from its answer are here:
//!
//! - this file: the spec's rules on what is not drift, and how findings are reported
//! - `fields`: the fields that differ, and who wrote them when

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

/// The most objects that a message names, and the most fields of each.
const MOST_OBJECTS: usize = 5;
const MOST_FIELDS: usize = 3;
/// The most of the API server's message on an object that is reported, in bytes.
const MOST_WORDS: usize = 300;

/// Rule for fields that are neither compared nor changed by a correction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ignore {
    /// JSON pointers (RFC 6901) to fields of the live object, such as `/spec/replicas`. An empty
    /// pointer ignores the whole object, even if it is missing.
    #[schemars(
        length(min = 1, max = 100),
        inner(length(max = 1024), regex(pattern = r"^(/.*)?$"))
    )]
    pub paths: Vec<String>,
    /// Selects the objects by their manifests. Defaults to all objects of the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
}

/// The rules of the spec, parsed.
pub struct Rules(Vec<(Matcher, Vec<Pointer>)>);

impl Rules {
    /// Reads `spec.driftDetection.ignore`.
    ///
    /// # Errors
    /// An entry of a rule that cannot be read, and why.
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

    /// The pointers that are ignored in the object of this manifest.
    pub fn of(&self, manifest: &Value) -> Vec<&Pointer> {
        let meant = self.0.iter().filter(|(target, _)| target.matches(manifest));
        meant.flat_map(|(_, paths)| paths).collect()
    }
}

/// A JSON pointer, parsed.
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

    /// Returns whether it is the whole object.
    pub fn is_whole(&self) -> bool {
        self.names.is_empty()
    }

    /// Returns whether the field at `pointer` is this one, or inside it.
    pub fn covers(&self, pointer: &str) -> bool {
        let rest = pointer.strip_prefix(&*self.text);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Copies this field from `live` to `body`, so that an apply changes nothing there.
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
                // Items that are objects may be in another order there; their differences are named
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

/// The times at which writes were part of the release's own work: until it was deployed, and while
/// an operation ran after that, such as a test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// The time when the revision was deployed.
    pub deployed_at: Option<Timestamp>,
    /// The start and the end of the last operation.
    pub last: Option<(Timestamp, Timestamp)>,
}

impl Work {
    /// Returns whether a write of that time was part of it. The API server reports whole seconds,
    /// so a write in the same second as the end counts.
    pub fn covers(&self, written: Timestamp) -> bool {
        let second = written.as_second();
        let until = |end: Timestamp| second <= end.as_second();
        self.deployed_at.is_some_and(until)
            || self.last.is_some_and(|(from, to)| from.as_second() <= second && until(to))
    }
}

/// State of the deployed revision with which the live objects are compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Baseline {
    /// Deployed revision.
    pub revision: i32,
    /// Time at which the revision was deployed. Changes until then are not drift.
    pub deployed_at: Timestamp,
    /// Fields that were missing at the first check of the revision, and count as removed by its
    /// hooks, which is no drift. Absent until that check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<Vec<String>>,
}

/// An object that has drifted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Names the object.
    pub object: String,
    /// The difference.
    pub what: What,
}

/// The kinds of difference of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// It is gone.
    Missing,
    /// These fields differ, as JSON pointers.
    Differs(Vec<String>),
    /// It is owned by another release by its marks, or the API server would not revert it: the
    /// reason.
    Beyond(String),
    /// It could not be compared: the reason.
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

/// Names the first of the findings; the text stays the same from check to check as long as the
/// findings do.
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

/// The condition if the rules cannot be read, so that nothing was checked.
pub fn invalid(message: String) -> Condition {
    drifted("Unknown", Reason::InvalidIgnore, message)
}

/// The condition if nothing was corrected: because nothing was found, or because correction is not
/// enabled.
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

/// The condition after the findings have been corrected, except for those in `left`.
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
