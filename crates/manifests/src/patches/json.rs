//! JSON patches, RFC 6902.

use json_patch::{
    AddOperation, CopyOperation, MoveOperation, PatchErrorKind, PatchOperation, RemoveOperation,
    ReplaceOperation, TestOperation,
    jsonptr::{Pointer, PointerBuf},
    patch_unsafe,
};
use serde_json::{Map, Value};

use super::{PatchProblem, kind_of};
use crate::{memory::Memory, yaml::is_deeper};

/// An operation, parsed.
pub(super) struct Operation {
    op: &'static str,
    change: PatchOperation,
}

impl Operation {
    pub(super) fn read(operations: Vec<Value>) -> Result<Vec<Self>, PatchProblem> {
        let read = |(operation, value)| match value {
            Value::Object(fields) => Self::read_one(fields)
                .map_err(|problem| PatchProblem::NotAnOperation { operation, problem }),
            other => {
                let problem =
                    format!("is a {}, not an operation with op and path", kind_of(&other));
                Err(PatchProblem::NotAnOperation { operation, problem })
            }
        };
        operations.into_iter().enumerate().map(read).collect()
    }

    fn read_one(mut fields: Map<String, Value>) -> Result<Self, String> {
        let Some(Value::String(op)) = fields.remove("op") else {
            return Err("has no op; write add, remove, replace, move, copy or test".to_owned());
        };
        let path = pointer(&mut fields, "path")?;
        let mut value =
            || fields.remove("value").ok_or_else(|| format!("has no value, which {op} needs"));
        let (op, change) = match op.as_str() {
            "add" => ("add", PatchOperation::Add(AddOperation { path, value: value()? })),
            "replace" => {
                ("replace", PatchOperation::Replace(ReplaceOperation { path, value: value()? }))
            }
            "test" => ("test", PatchOperation::Test(TestOperation { path, value: value()? })),
            "remove" => ("remove", PatchOperation::Remove(RemoveOperation { path })),
            "move" => {
                let from = pointer(&mut fields, "from")?;
                ("move", PatchOperation::Move(MoveOperation { from, path }))
            }
            "copy" => {
                let from = pointer(&mut fields, "from")?;
                ("copy", PatchOperation::Copy(CopyOperation { from, path }))
            }
            other => {
                return Err(format!(
                    "has op {other:?}; write add, remove, replace, move, copy or test"
                ));
            }
        };
        Ok(Self { op, change })
    }
}

fn pointer(fields: &mut Map<String, Value>, field: &str) -> Result<PointerBuf, String> {
    let Some(Value::String(text)) = fields.remove(field) else {
        return Err(format!("has no {field}; write one such as /spec/replicas"));
    };
    // The error would contain the text once more.
    PointerBuf::parse(text.clone()).map_err(|_| {
        format!(
            "has {field} {text:?}, which is no JSON pointer: begin it with '/', and write '~1' for \
             a '/' in a name and '~0' for a '~'"
        )
    })
}

/// Applies `operations` to `object`, which gets no deeper than `levels`.
pub(super) fn apply(
    object: &mut Value,
    operations: &[Operation],
    levels: usize,
    room: &mut Memory,
) -> Result<(), PatchProblem> {
    let before = identity(object);
    for (index, Operation { op, change }) in operations.iter().enumerate() {
        // It is checked before each: thirty copies of a value into itself would be a billion
        // levels, which overflow the stack of any recursion, even the one that drops them.
        if let Some((path, value)) = put(object, change) {
            let Some(levels) = levels.checked_sub(path.count()) else {
                return Err(PatchProblem::TooDeep);
            };
            if is_deeper(value, levels) {
                return Err(PatchProblem::TooDeep);
            }
            // A move takes no memory, but each time the value has to be checked, which is bounded
            // in this way.
            let name = path.as_str().rsplit('/').next().unwrap_or_default();
            room.take_entry(name)?;
            room.take_value(value)?;
        }
        patch_unsafe(object, std::slice::from_ref(change)).map_err(|error| {
            PatchProblem::Operation {
                operation: index,
                op,
                path: change.path().to_string(),
                reason: reason(op, &error.kind),
            }
        })?;
    }
    let fields = ["apiVersion", "kind", "metadata.name", "metadata.namespace"];
    let after = identity(object);
    let mut changed = fields.into_iter().zip(before.iter().zip(&after));
    match changed.find(|(_, (before, after))| before != after) {
        Some((field, _)) => Err(PatchProblem::Identity { field }),
        None => Ok(()),
    }
}

/// Returns the value that `change` adds and its place, if there is such a value.
fn put<'a>(object: &'a Value, change: &'a PatchOperation) -> Option<(&'a Pointer, &'a Value)> {
    match change {
        PatchOperation::Add(AddOperation { path, value })
        | PatchOperation::Replace(ReplaceOperation { path, value }) => Some((path, value)),
        PatchOperation::Copy(CopyOperation { from, path })
        | PatchOperation::Move(MoveOperation { from, path }) => {
            object.pointer(from.as_str()).map(|value| (path.as_ref(), value))
        }
        PatchOperation::Remove(_) | PatchOperation::Test(_) => None,
    }
}

/// The fields that identify an object.
fn identity(object: &Value) -> [Option<Value>; 4] {
    ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"]
        .map(|pointer| object.pointer(pointer).cloned())
}

fn reason(op: &str, kind: &PatchErrorKind) -> &'static str {
    match (kind, op) {
        (PatchErrorKind::TestFailed, _) => "found another value",
        (PatchErrorKind::InvalidFromPointer, _) => "found nothing at its from",
        (PatchErrorKind::CannotMoveInsideItself, _) => "would move something into itself",
        (PatchErrorKind::InvalidPointer, "add" | "copy" | "move") => {
            "found nothing to put it into: all but the last part of the path must be there; items \
             of lists are counted from 0, and '-' is after the last"
        }
        (PatchErrorKind::InvalidPointer, "replace") => {
            "found nothing there; add also replaces, items of lists are counted from 0"
        }
        _ => "found nothing there; items of lists are counted from 0",
    }
}
