//! Patches in kustomize's format, on the objects of a source and on its hooks.
//!
//! A list of operations is a JSON patch (RFC 6902), a mapping a strategic merge patch. They mean
//! the same as in kustomize, and a test compares them with the real one. If kustomize silently does
//! nothing, or something else than was written, here it is an error that says so.

mod error;
mod json;
mod keys;
mod selector;
mod strategic;
mod target;

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    memory::{Exhausted, Memory},
    placed::{Placed, describe, is_list},
    yaml,
};

pub use error::{PatchError, PatchProblem};
use json::Operation;
use target::{Named, Which};

/// The most that all patches may add to all objects, and the most that they may be themselves. The
/// spec bounds the patches and the objects, but not one times the other, nor copies of copies.
const MAX_ADDED_BYTES: usize = 16 << 20;

/// Patch of the source's objects and hooks, in kustomize's format.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Patch {
    /// Selects the objects to patch. Defaults to the object that a strategic merge patch names
    /// itself; required for JSON patch operations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Strategic merge patch or list of JSON patch operations, as YAML or JSON.
    #[schemars(length(min = 1, max = 65536))]
    pub patch: String,
}

/// Selects objects by all fields that are set and not empty. Group, version, kind, name and
/// namespace are regular expressions for the whole value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Regular expression for the API group, such as `apps`; `^$` selects the core group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub group: Option<String>,
    /// Regular expression for the API version, such as `v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub version: Option<String>,
    /// Regular expression for the kind, such as `Job`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub kind: Option<String>,
    /// Regular expression for the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub name: Option<String>,
    /// Regular expression for the namespace, as it is in the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub namespace: Option<String>,
    /// Label selector, such as `app=shop,tier!=db`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub label_selector: Option<String>,
    /// Annotation selector, in the syntax of label selectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub annotation_selector: Option<String>,
}

/// Returns the `objects` after all `patches`, one after the other. Those that a patch deletes are
/// missing.
///
/// # Errors
/// The problem of every patch; if all can be read, those that do not fit the objects. The first
/// that fails on an object is the last that is tried, since the next ones depend on its result.
pub fn apply(patches: &[Patch], mut objects: Vec<Placed>) -> Result<Vec<Placed>, Vec<PatchError>> {
    let mut errors = Vec::new();
    let mut room = Memory::new(MAX_ADDED_BYTES);
    let mut read = Vec::with_capacity(patches.len());
    for (index, patch) in patches.iter().enumerate() {
        match Changes::read(patch, &mut room) {
            Ok(changes) => read.push((index, changes)),
            Err(problem) => errors.push(PatchError { index, problem }),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut room = Memory::new(MAX_ADDED_BYTES);
    for (index, changes) in read {
        if let Err(problem) = changes.apply(&mut objects, &mut room) {
            let was_tried = !matches!(problem, PatchProblem::NoMatch { .. });
            errors.push(PatchError { index, problem });
            if was_tried {
                break;
            }
        }
    }
    if errors.is_empty() { Ok(objects) } else { Err(errors) }
}

impl From<Exhausted> for PatchProblem {
    fn from(_: Exhausted) -> Self {
        Self::TooLarge
    }
}

/// A [`Target`], parsed.
pub struct Matcher(Option<Which>);

impl Matcher {
    /// Reads a target. Without one, every object is selected.
    ///
    /// # Errors
    /// The problem of the target.
    pub fn read(target: Option<&Target>) -> Result<Self, PatchProblem> {
        target.map(Which::matching).transpose().map(Self)
    }

    /// Returns whether the object of this manifest is selected.
    pub fn matches(&self, manifest: &Value) -> bool {
        self.0.as_ref().is_none_or(|which| which.matches(manifest))
    }
}

/// A patch, parsed.
enum Changes {
    /// Strategic merge patches, each with the object that it changes.
    Merge(Vec<(Which, Value)>),
    /// JSON patch operations.
    Operations(Which, Vec<Operation>),
}

impl Changes {
    fn read(Patch { target, patch }: &Patch, room: &mut Memory) -> Result<Self, PatchProblem> {
        let mut documents = yaml::read_all(patch, room).map_err(|error| {
            if room.is_exhausted() { PatchProblem::TooLarge } else { error.into() }
        })?;
        let matching = target.as_ref().map(Which::matching).transpose()?;
        if documents.len() > 1 && (matching.is_some() || documents.iter().any(Value::is_array)) {
            return Err(PatchProblem::Several { documents: documents.len() });
        }
        if let [Value::Array(operations)] = documents.as_mut_slice() {
            let which = matching.ok_or(PatchProblem::NoTarget)?;
            return Ok(Self::Operations(which, Operation::read(std::mem::take(operations))?));
        }
        if let Some(other) = documents.iter().find(|document| !document.is_object()) {
            return Err(PatchProblem::NotAPatch { found: kind_of(other) });
        }
        if documents.is_empty() {
            return Err(PatchProblem::Empty);
        }
        let named = |document| Ok((Which::Named(Named::read(&document)?), document));
        let merges = match (matching, documents.pop()) {
            (Some(which), Some(document)) => vec![(which, document)],
            (_, last) => {
                documents.into_iter().chain(last).map(named).collect::<Result<_, PatchProblem>>()?
            }
        };
        Ok(Self::Merge(merges))
    }

    fn apply(self, objects: &mut Vec<Placed>, room: &mut Memory) -> Result<(), PatchProblem> {
        match self {
            Self::Merge(merges) => merges.iter().try_for_each(|(which, patch)| {
                change(objects, which, |object, levels| {
                    // Each level of a patch is merged into the same level of the object.
                    if yaml::is_deeper(patch, levels) {
                        return Err(PatchProblem::TooDeep);
                    }
                    room.take_value(patch)?;
                    strategic::apply(object, patch)
                })
            }),
            Self::Operations(which, operations) => change(objects, &which, |object, levels| {
                json::apply(object, &operations, levels, room).map(|()| true)
            }),
        }
    }
}

/// Lets `step` change each selected object, which may be nested as deep as its argument says; one
/// for which it returns `false` is deleted. For a `List` the items are selected, as in kustomize.
fn change(
    objects: &mut Vec<Placed>,
    which: &Which,
    mut step: impl FnMut(&mut Value, usize) -> Result<bool, PatchProblem>,
) -> Result<(), PatchProblem> {
    let mut matched = false;
    let mut failed = None;
    let mut keep = |place: &str, object: &mut Value, levels: usize| {
        if failed.is_some() || !which.matches(object) {
            return true;
        }
        matched = true;
        let name = describe(object);
        step(object, levels).unwrap_or_else(|problem| {
            failed = Some(PatchProblem::Object {
                object: name,
                place: place.to_owned(),
                problem: Box::new(problem),
            });
            true
        })
    };
    objects.retain_mut(|Placed { place, manifest }| {
        if !is_list(manifest) {
            return keep(place, manifest, yaml::MAX_DEPTH);
        }
        let Some(Value::Array(items)) = manifest.get_mut("items") else { return true };
        let had_some = !items.is_empty();
        // The list is a hook as a whole, with two more levels.
        items.retain_mut(|item| keep(place, item, yaml::MAX_DEPTH - 2));
        !(had_some && items.is_empty())
    });
    match failed {
        Some(problem) => Err(problem),
        None if matched => Ok(()),
        None => Err(PatchProblem::NoMatch { wanted: which.to_string() }),
    }
}

/// Returns a scalar as text, as merge keys and labels are compared.
fn scalar(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Bool(_) | Value::Number(_) => Some(Cow::Owned(value.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "mapping",
    }
}

#[cfg(test)]
mod tests;
