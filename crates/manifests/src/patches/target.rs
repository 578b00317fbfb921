//! The selection of the objects that a patch changes.

use std::fmt;

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::{PatchProblem, Target, selector::Selector};

/// The most that a compiled expression may take; five hundred of them may be in one spec.
const MAX_COMPILED_BYTES: usize = 256 << 10;

/// The objects that a patch changes.
pub(super) enum Which {
    /// Those that its target matches.
    Matching(Box<Matching>),
    /// The one that it names itself.
    Named(Named),
}

/// A [`Target`], parsed.
pub(super) struct Matching {
    /// The fields that are set, as their author wrote them.
    wanted: String,
    group: Option<Regex>,
    version: Option<Regex>,
    kind: Option<Regex>,
    name: Option<Regex>,
    namespace: Option<Regex>,
    labels: Selector,
    annotations: Selector,
}

/// The identity by which a strategic merge patch names an object. A namespace is compared as it is
/// written: a patch that names none selects an object that names none.
pub(super) struct Named {
    api_version: String,
    kind: String,
    namespace: Option<String>,
    name: String,
}

impl Which {
    pub(super) fn matching(target: &Target) -> Result<Self, PatchProblem> {
        let fields = [
            ("group", &target.group),
            ("version", &target.version),
            ("kind", &target.kind),
            ("name", &target.name),
            ("namespace", &target.namespace),
            ("labelSelector", &target.label_selector),
            ("annotationSelector", &target.annotation_selector),
        ];
        let set = fields.into_iter().filter_map(|(field, value)| {
            let value = value.as_deref().filter(|value| !value.is_empty())?;
            Some(format!("{field} {value:?}"))
        });
        let set: Vec<_> = set.collect();
        let wanted = if set.is_empty() { "there".into() } else { format!("of {}", set.join(", ")) };
        Ok(Self::Matching(Box::new(Matching {
            wanted,
            group: expression("group", target.group.as_deref())?,
            version: expression("version", target.version.as_deref())?,
            kind: expression("kind", target.kind.as_deref())?,
            name: expression("name", target.name.as_deref())?,
            namespace: expression("namespace", target.namespace.as_deref())?,
            labels: selector("labelSelector", target.label_selector.as_deref())?,
            annotations: selector("annotationSelector", target.annotation_selector.as_deref())?,
        })))
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        let text = |pointer: &str| {
            object.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
        };
        let api_version = text("/apiVersion").unwrap_or_default();
        match self {
            Self::Matching(wanted) => {
                let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
                [
                    (&wanted.group, group),
                    (&wanted.version, version),
                    (&wanted.kind, text("/kind").unwrap_or_default()),
                    (&wanted.name, text("/metadata/name").unwrap_or_default()),
                    (&wanted.namespace, text("/metadata/namespace").unwrap_or_default()),
                ]
                .into_iter()
                .all(|(wanted, text)| wanted.as_ref().is_none_or(|wanted| wanted.is_match(text)))
                    && wanted.labels.matches(object.pointer("/metadata/labels"))
                    && wanted.annotations.matches(object.pointer("/metadata/annotations"))
            }
            Self::Named(named) => {
                named.api_version == api_version
                    && text("/kind") == Some(&*named.kind)
                    && text("/metadata/name") == Some(&*named.name)
                    && text("/metadata/namespace") == named.namespace.as_deref()
            }
        }
    }
}

impl Named {
    pub(super) fn read(patch: &Value) -> Result<Self, PatchProblem> {
        let text = |field: &'static str, pointer: &str| {
            let text = patch.pointer(pointer).and_then(Value::as_str);
            let text = text.filter(|text| !text.is_empty()).map(str::to_owned);
            text.ok_or(PatchProblem::Unnamed { field })
        };
        Ok(Self {
            api_version: text("apiVersion", "/apiVersion")?,
            kind: text("kind", "/kind")?,
            name: text("metadata.name", "/metadata/name")?,
            namespace: text("metadata.namespace", "/metadata/namespace").ok(),
        })
    }
}

/// Writes the text after "no object of the source is".
impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Matching(matching) => f.write_str(&matching.wanted),
            Self::Named(Named { api_version, kind, namespace, name }) => {
                write!(f, "{kind}/{name} ({api_version})")?;
                match namespace {
                    Some(namespace) => write!(f, " with metadata.namespace {namespace:?}"),
                    None => f.write_str(" without metadata.namespace"),
                }
            }
        }
    }
}

fn expression(field: &'static str, pattern: Option<&str>) -> Result<Option<Regex>, PatchProblem> {
    let Some(pattern) = pattern.filter(|pattern| !pattern.is_empty()) else { return Ok(None) };
    let problem = |error: regex::Error| PatchProblem::Target {
        field,
        value: pattern.to_owned(),
        reason: match error {
            regex::Error::CompiledTooBig(_) => "it is too large; use smaller repetitions".into(),
            // The library draws the expression with a mark under the place; its last line has the
            // reason.
            error => {
                let error = error.to_string();
                let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
                format!("it is not a regular expression: {why}")
            }
        },
    };
    // Alone first: `a)(b` is not an expression, though it would be one between parentheses.
    let build = |pattern: &str| {
        RegexBuilder::new(pattern).size_limit(MAX_COMPILED_BYTES).build().map_err(problem)
    };
    build(pattern)?;
    build(&format!("^(?:{pattern})$")).map(Some)
}

fn selector(field: &'static str, text: Option<&str>) -> Result<Selector, PatchProblem> {
    let text = text.unwrap_or_default();
    Selector::parse(text).map_err(|reason| PatchProblem::Target {
        field,
        value: text.to_owned(),
        reason,
    })
}
