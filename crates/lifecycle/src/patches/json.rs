//! JSON patches, RFC 6902.

use json_patch::{
    AddOperation, CopyOperation, MoveOperation, PatchErrorKind, PatchOperation, RemoveOperation,
    ReplaceOperation, TestOperation, jsonptr::PointerBuf, patch_unsafe,
};
use serde_json::{Map, Value};

use super::{PatchProblem, Room, kind_of};
use crate::yaml::MAX_DEPTH;

/// An operation that was read.
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
    // The error would give the text back once more.
    PointerBuf::parse(text.clone()).map_err(|_| {
        format!(
            "has {field} {text:?}, which is no JSON pointer: begin it with '/', and write '~1' for \
             a '/' in a name and '~0' for a '~'"
        )
    })
}

/// Does `operations` to `object`.
pub(super) fn apply(
    object: &mut Value,
    operations: &[Operation],
    room: &mut Room,
) -> Result<(), PatchProblem> {
    let before = identity(object);
    for (index, Operation { op, change }) in operations.iter().enumerate() {
        match change {
            PatchOperation::Add(AddOperation { value, .. })
            | PatchOperation::Replace(ReplaceOperation { value, .. }) => room.take(value)?,
            // Thirty copies, each of the whole into itself, would be a billion.
            PatchOperation::Copy(CopyOperation { from, .. }) => {
                if let Some(value) = object.pointer(from.as_str()) {
                    room.take(value)?;
                }
            }
            _ => {}
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
    if is_deeper(object, MAX_DEPTH) {
        return Err(PatchProblem::TooDeep);
    }
    let fields = ["apiVersion", "kind", "metadata.name", "metadata.namespace"];
    let after = identity(object);
    let mut changed = fields.into_iter().zip(before.iter().zip(&after));
    match changed.find(|(_, (before, after))| before != after) {
        Some((field, _)) => Err(PatchProblem::Identity { field }),
        None => Ok(()),
    }
}

/// By what an object is known.
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

fn is_deeper(value: &Value, levels: usize) -> bool {
    let Some(inner) = levels.checked_sub(1) else {
        return value.is_array() || value.is_object();
    };
    match value {
        Value::Array(items) => items.iter().any(|item| is_deeper(item, inner)),
        Value::Object(fields) => fields.values().any(|value| is_deeper(value, inner)),
        _ => false,
    }
}
