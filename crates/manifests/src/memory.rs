//! The budget for reading one release, measured by the memory that it takes.
//!
//! A limit on the text bounds nothing: aliases repeat, patches copy, and `{a: 0}` is 6 bytes of
//! text and 640 of memory.

use serde_json::{Map, Value};

/// The most that the objects of one release may take. They are held a few times over while a plan
/// is made, and the operator serves others, too.
pub const MOST_PER_RELEASE: usize = 32 << 20;

/// A mapping, without its entries: its first one takes a node with room for eleven.
const MAPPING: usize = 512;
/// An entry of a mapping, without its key and value, in nodes that are half empty.
const ENTRY: usize = 128;
/// A list, and each of its items: it grows to twice of what it needs.
const ITEM: usize = 64;
/// A text, without its bytes.
const TEXT: usize = 32;
/// The data kept with each object: its place, its name, several times.
const OBJECT: usize = 1024;

/// The bytes that may still be taken. The count is too high rather than too low.
#[derive(Debug)]
pub struct Memory {
    left: Option<usize>,
}

/// More was to be taken than there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too large: it would take too much memory")]
pub struct Exhausted;

impl Memory {
    /// A budget of `bytes`.
    pub fn new(bytes: usize) -> Self {
        Self { left: Some(bytes) }
    }

    /// The budget of a release.
    pub fn of_release() -> Self {
        Self::new(MOST_PER_RELEASE)
    }

    /// Returns whether anything was refused; this distinguishes it from other errors of a reader.
    pub fn is_exhausted(&self) -> bool {
        self.left.is_none()
    }

    /// Takes what an object of a source needs in addition to its value.
    ///
    /// # Errors
    /// It is too much.
    pub fn take_object(&mut self) -> Result<(), Exhausted> {
        self.take(OBJECT)
    }

    /// Takes what `value` needs. A value that is far too large is not read further than needed.
    ///
    /// # Errors
    /// It is too much.
    pub fn take_value(&mut self, value: &Value) -> Result<(), Exhausted> {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
            Value::String(text) => self.take_text(text),
            Value::Array(items) => {
                self.take_list()?;
                items.iter().try_for_each(|item| {
                    self.take_item()?;
                    self.take_value(item)
                })
            }
            Value::Object(fields) => self.take_fields(fields),
        }
    }

    /// Takes what a mapping with these fields needs.
    ///
    /// # Errors
    /// It is too much.
    pub fn take_fields(&mut self, fields: &Map<String, Value>) -> Result<(), Exhausted> {
        self.take_mapping()?;
        fields.iter().try_for_each(|(key, value)| {
            self.take_entry(key)?;
            self.take_value(value)
        })
    }

    /// Takes what a text needs.
    ///
    /// # Errors
    /// It is too much.
    pub fn take_text(&mut self, text: &str) -> Result<(), Exhausted> {
        self.take(text.len().saturating_add(TEXT))
    }

    pub(crate) fn take_list(&mut self) -> Result<(), Exhausted> {
        self.take(ITEM)
    }

    pub(crate) fn take_item(&mut self) -> Result<(), Exhausted> {
        self.take(ITEM)
    }

    pub(crate) fn take_mapping(&mut self) -> Result<(), Exhausted> {
        self.take(MAPPING)
    }

    pub(crate) fn take_entry(&mut self, key: &str) -> Result<(), Exhausted> {
        self.take_text(key)?;
        self.take(ENTRY)
    }

    fn take(&mut self, bytes: usize) -> Result<(), Exhausted> {
        // Once it was too much nothing fits any more, so that the answer does not depend on how
        // small the next one is.
        self.left = self.left.and_then(|left| left.checked_sub(bytes));
        self.left.map(|_| ()).ok_or(Exhausted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn taken(value: &Value) -> usize {
        let mut memory = Memory::new(usize::MAX);
        memory.take_value(value).unwrap();
        usize::MAX - memory.left.unwrap()
    }

    #[test]
    fn no_value_takes_more_than_is_counted() {
        // The nodes of the standard library's map: 11 keys of 24 and values of 32 bytes.
        let node = 11 * (24 + size_of::<Value>()) + 16;
        assert!(taken(&json!({"a": 0})) >= node);
        assert!(taken(&json!([0])) >= 4 * size_of::<Value>());
        let fields: serde_json::Map<_, _> = (0..1000).map(|n| (n.to_string(), n.into())).collect();
        assert!(taken(&fields.into()) >= 1000 / 6 * node);
        assert!(taken(&vec![0; 1000].into()) >= 1000 * 2 * size_of::<Value>());
        assert!(taken(&"x".repeat(1000).into()) >= 1000);
    }

    #[test]
    fn it_is_used_up_once_and_for_all() {
        let mut memory = Memory::new(4096);
        assert_eq!(memory.take_value(&json!({"a": [1, "b"]})), Ok(()));
        assert!(!memory.is_exhausted());
        assert_eq!(memory.take_value(&"x".repeat(4096).into()), Err(Exhausted));
        assert!(memory.is_exhausted());
        assert_eq!(memory.take_object(), Err(Exhausted));
    }
}
