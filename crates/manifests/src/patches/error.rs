//! The errors of patches. They quote no values of patches or objects, since they may be Secrets.

use thiserror::Error;

use crate::yaml::{MAX_DEPTH, YamlError};

/// The problem of one patch of a spec.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("spec.patches[{index}]: {problem}")]
pub struct PatchError {
    /// The index of the patch, from 0.
    pub index: usize,
    /// The problem.
    pub problem: PatchProblem,
}

/// The possible problems of a patch.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PatchProblem {
    /// Its text is not YAML.
    #[error("patch is not readable, {0}")]
    Unreadable(#[from] YamlError),
    /// It has only comments.
    #[error(
        "patch is empty; write a mapping (strategic merge) or a list of operations (JSON patch)"
    )]
    Empty,
    /// It is neither a mapping nor a list.
    #[error(
        "patch is a {found}; write a mapping (strategic merge) or a list of operations (JSON patch)"
    )]
    NotAPatch {
        /// Its type.
        found: &'static str,
    },
    /// It has documents of which kustomize would refuse or ignore all but the first.
    #[error(
        "patch has {documents} documents, which only strategic merge patches without a target can \
         have; make an entry of spec.patches of each"
    )]
    Several {
        /// Their number.
        documents: usize,
    },
    /// A list of operations does not say what it changes.
    #[error("target is missing; a list of JSON patch operations needs it to select objects")]
    NoTarget,
    /// A strategic merge patch that does not say what it changes.
    #[error("patch has no {field}; add it, or give the patch a target")]
    Unnamed {
        /// The field's path.
        field: &'static str,
    },
    /// An expression of the target.
    #[error("target.{field} is {value:?}: {reason}")]
    Target {
        /// The field.
        field: &'static str,
        /// The value of the field.
        value: String,
        /// The reason why it cannot be used.
        reason: String,
    },
    /// It changes nothing.
    #[error(
        "no object of the source is {wanted}; correct what the patch is to change, or remove the \
         patch"
    )]
    NoMatch {
        /// The object that was searched for.
        wanted: String,
    },
    /// An item that is not an operation.
    #[error("patch[{operation}] {problem}")]
    NotAnOperation {
        /// The index of the operation, from 0.
        operation: usize,
        /// The problem.
        problem: String,
    },
    /// It does not fit an object.
    #[error("on {object} ({place}): {problem}")]
    Object {
        /// As much of its name as is known.
        object: String,
        /// The place of the object.
        place: String,
        /// The problem.
        problem: Box<Self>,
    },
    /// A strategic merge patch that cannot be merged.
    #[error("{path} {reason}")]
    Merge {
        /// The field's path.
        path: String,
        /// The problem and what to do.
        reason: String,
    },
    /// An operation that cannot be done.
    #[error("patch[{operation}] ({op} {path}) {reason}")]
    Operation {
        /// The index of the operation, from 0.
        operation: usize,
        /// Its kind, such as `add`.
        op: &'static str,
        /// Its path.
        path: String,
        /// The problem and what to do.
        reason: &'static str,
    },
    /// It would be another object.
    #[error("it changes {field}, by which the object is known; change the source instead")]
    Identity {
        /// The field's path.
        field: &'static str,
    },
    /// It would be nested too deeply.
    #[error("the result would be nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// Copies of copies, or large patches on many objects.
    #[error("the patches of this spec add too much in all; split the release or shorten them")]
    TooLarge,
}
