//! Reads a value from outside within a budget: of memory, since `{"":0},` is 7 bytes of text and 700
//! of memory, and of nesting, since a parser fails at 128 levels together with everything else that
//! it was about to read. What is beyond the budget is skipped instead of refused, so that one object
//! does not spoil a list; the caller then asks the budget.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::memory::{Exhausted, Memory};

/// The nesting limit of JSON whose depth nobody else checks, below that of the parser.
pub const MOST_LEVELS: usize = 120;

/// Reads JSON that takes at most `most` bytes of memory; `None` if it takes more. Values below
/// [`MOST_LEVELS`] levels are read as null.
///
/// # Errors
/// If it is not JSON.
pub fn from_slice(json: &[u8], most: usize) -> serde_json::Result<Option<Value>> {
    let mut memory = Memory::new(most);
    let mut text = serde_json::Deserializer::from_slice(json);
    let value = Bounded::new(&mut memory, MOST_LEVELS).deserialize(&mut text)?;
    text.end()?;
    Ok(Some(value).filter(|_| !memory.is_exhausted()))
}

/// A field that the reader does not need, by the way to it.
#[derive(Clone, Copy, Debug)]
pub enum Skip {
    /// The field is skipped.
    Field(&'static str),
    /// Fields within this one are skipped.
    Within(&'static str, &'static [Skip]),
    /// Every field whose name does not begin like this is skipped.
    AllBut(&'static str),
}

/// A reader of one value.
#[derive(Debug)]
pub struct Bounded<'a> {
    memory: &'a mut Memory,
    levels: usize,
    skip: &'a [Skip],
}

impl<'a> Bounded<'a> {
    /// A reader that takes at most `memory`, and reads values below `levels` levels as null.
    pub fn new(memory: &'a mut Memory, levels: usize) -> Self {
        Self { memory, levels, skip: &[] }
    }

    /// The same reader without these fields.
    #[must_use]
    pub fn without(self, skip: &'a [Skip]) -> Self {
        Self { skip, ..self }
    }

    fn inner<'b>(&'b mut self, skip: &'b [Skip]) -> Bounded<'b> {
        Bounded { memory: self.memory, levels: self.levels.saturating_sub(1), skip }
    }

    /// Returns the rules for the field of this name; `None` if it is skipped.
    fn rules(&self, name: &str) -> Option<&'a [Skip]> {
        let mut within: &[Skip] = &[];
        for rule in self.skip {
            match rule {
                Skip::Field(skipped) if *skipped == name => return None,
                Skip::AllBut(prefix) if !name.starts_with(prefix) => return None,
                Skip::Within(outer, inner) if *outer == name => within = inner,
                Skip::Field(_) | Skip::AllBut(_) | Skip::Within(..) => {}
            }
        }
        Some(within)
    }

    fn value(
        &mut self,
        value: impl Into<Value>,
        take: impl FnOnce(&mut Memory) -> Result<(), Exhausted>,
    ) -> Value {
        take(self.memory).map_or(Value::Null, |()| value.into())
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.levels == 0 || self.memory.is_exhausted() {
            return deserializer.deserialize_ignored_any(IgnoredAny).map(|_| Value::Null);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(mut self, value: &str) -> Result<Value, E> {
        Ok(self.value(value, |memory| memory.take_text(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        let mut fits = self.memory.take_list().is_ok();
        while fits && let Some(item) = seq.next_element_seed(self.inner(&[]))? {
            fits = self.memory.take_item().is_ok();
            items.push(item);
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        let mut fits = self.memory.take_mapping().is_ok();
        while fits && let Some(key) = map.next_key::<String>()? {
            let Some(rules) = self.rules(&key) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            fits = self.memory.take_entry(&key).is_ok();
            let value = map.next_value_seed(self.inner(rules))?;
            fields.insert(key, value);
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(fields.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, memory: &mut Memory, levels: usize, skip: &[Skip]) -> Value {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let reader = Bounded::new(memory, levels).without(skip);
        let value = reader.deserialize(&mut deserializer).unwrap();
        deserializer.end().unwrap();
        value
    }

    #[test]
    fn what_fits_is_read_as_it_is() {
        let text = r#"{"a":[1,-2,0.5,"x",null,true,{"b":{}}],"c":"y"}"#;
        let mut memory = Memory::of_release();
        assert_eq!(read(text, &mut memory, 10, &[]).to_string(), text);
        assert!(!memory.is_exhausted());
    }

    #[test]
    fn what_does_not_fit_is_skipped_to_its_end_and_noted() {
        for item in [r#"{"":0}"#, "[[]]", "0", r#""some text""#] {
            let text = format!(r#"{{"a":[{}0],"b":1}}"#, format!("{item},").repeat(10_000));
            let mut memory = Memory::new(100 << 10);
            let value = read(&text, &mut memory, 10, &[]);
            assert!(memory.is_exhausted(), "{item}");
            let mut again = Memory::new(120 << 10);
            assert_eq!(again.take_value(&value), Ok(()), "{item}: no more than that was read");
        }
    }

    #[test]
    fn what_is_nested_deeper_is_null() {
        let mut memory = Memory::of_release();
        let value = read(r#"{"a":{"b":{"c":1}},"d":2}"#, &mut memory, 2, &[]);
        assert_eq!(value.to_string(), r#"{"a":{"b":null},"d":2}"#);
    }

    #[test]
    fn fields_that_are_not_needed_cost_nothing() {
        const SKIP: &[Skip] = &[
            Skip::Within("spec", &[Skip::Field("values")]),
            Skip::Within("notes", &[Skip::AllBut("our/")]),
        ];
        let bulk = "[1],".repeat(100_000);
        let text = format!(
            r#"{{"spec":{{"values":[{bulk}0],"a":1}},"notes":{{"x":"{bulk}","our/y":2}},"values":3}}"#
        );
        let mut memory = Memory::new(8192);
        let value = read(&text, &mut memory, 10, SKIP);
        let expected = r#"{"notes":{"our/y":2},"spec":{"a":1},"values":3}"#;
        assert_eq!(serde_json::from_str::<Value>(expected).unwrap(), value);
        assert!(!memory.is_exhausted());
    }
}
