//! YAML text to values, by the rules of Helm's and kubectl's reader, `sigs.k8s.io/yaml`: YAML 1.1,
//! so that `yes` is true and `0777` is 511; the last of equal keys counts, `1.0` is 1, keys are
//! text.

use std::fmt;

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Options, budget::BudgetBreach, options::DuplicateKeyPolicy};
use thiserror::Error;

use crate::memory::{MOST_PER_RELEASE, Memory};

/// The deepest nesting of a document, in lists and mappings; deeper ones are errors, though Helm
/// takes them. The reader recurses, with up to 4 KiB of stack per level when optimized and about 25
/// KiB when not, so this is the most that a thread of 2 MiB bears in tests.
pub const MAX_DEPTH: usize = 64;

/// The reason why a text cannot be read. It quotes no value, since the text may be a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct YamlError {
    /// The line of the text, from 1.
    pub line: u64,
    /// From 1.
    pub column: u64,
    /// The reader's message.
    pub problem: String,
}

/// The most nodes that aliases (`*name`) may repeat in one text. The memory budget counts repeated
/// nodes as if they were written out; this bounds the memory that the reader keeps for them.
const MAX_ALIASED: usize = 16_384;

/// Reads the one document of `text`, which takes from `memory` while it is read.
///
/// # Errors
/// It cannot be read, or there is not enough memory: `memory` knows.
pub fn read(text: &str, memory: &mut Memory) -> Result<Value, YamlError> {
    serde_saphyr::with_deserializer_from_str_with_options(text, options(), |deserializer| {
        Reader(memory).deserialize(deserializer)
    })
    .map_err(|error| located(&error))
}

/// Reads the documents of a short `text`, without those that have no content. They take from
/// `memory` when they have been read, which is soon enough for a text of some ten KiB.
///
/// # Errors
/// It cannot be read, or there is not enough memory: `memory` knows.
pub fn read_all(text: &str, memory: &mut Memory) -> Result<Vec<Value>, YamlError> {
    let documents = serde_saphyr::from_multiple_with_options::<Document>(text, options())
        .map_err(|error| located(&error))?;
    let documents: Vec<_> = documents.into_iter().map(|document| document.0).collect();
    match documents.iter().try_for_each(|document| memory.take_value(document)) {
        Ok(()) => Ok(documents),
        Err(exhausted) => Err(YamlError { line: 1, column: 1, problem: exhausted.to_string() }),
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        legacy_octal_numbers: true,
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_recorded_anchor_events: 4 * MAX_ALIASED,
            max_recorded_anchor_bytes: MOST_PER_RELEASE / 4,
            // Aliases count each time.
            max_total_scalar_bytes: MOST_PER_RELEASE / 4,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_ALIASED },
    }
}

fn located(error: &serde_saphyr::Error) -> YamlError {
    let at = error.location();
    YamlError {
        line: at.map_or(1, |at| at.line()),
        column: at.map_or(1, |at| at.column()),
        problem: problem(error.without_snippet()),
    }
}

/// Returns the reader's message without the place and without values.
fn problem(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error as E;
    match error {
        E::ExternalMessage { msg, .. } | E::Message { msg, .. } => msg.clone(),
        E::Budget { breach: BudgetBreach::Depth { .. }, .. } => {
            format!("nested deeper than {MAX_DEPTH} levels")
        }
        E::Budget { .. } => "too large: too many nodes, aliases (*name) or merges (<<)".to_owned(),
        E::AliasError { error, .. } => problem(error),
        E::UnknownAnchor { .. } => "an alias (*name) to an anchor that does not exist".to_owned(),
        E::AliasReplayLimitExceeded { .. }
        | E::AliasExpansionLimitExceeded { .. }
        | E::AliasReplayStackDepthExceeded { .. } => {
            "too large: too many nodes, aliases (*name) or merges (<<)".to_owned()
        }
        E::NonFiniteFloat { .. } => "infinity and not-a-number have no place in JSON".to_owned(),
        E::InvalidBinaryBase64 { .. } => "a !!binary value is not base64".to_owned(),
        E::BinaryNotUtf8 { .. } => "a !!binary value is not UTF-8".to_owned(),
        E::MergeValueNotMapOrSeqOfMaps { .. } => {
            "a merge (<<) of something else than mappings".into()
        }
        E::SerdeInvalidType { expected, .. } => format!("found something else than {expected}"),
        _ => "not readable as YAML".to_owned(),
    }
}

/// Returns whether `value` is nested deeper than [`read`] would read it.
pub fn is_too_deep(value: &Value) -> bool {
    is_deeper(value, MAX_DEPTH)
}

/// Returns whether `value` has more than `levels` nested lists and mappings. If it has, the check
/// stops there.
pub(crate) fn is_deeper(value: &Value, levels: usize) -> bool {
    let Some(inner) = levels.checked_sub(1) else {
        return value.is_array() || value.is_object();
    };
    match value {
        Value::Array(items) => items.iter().any(|item| is_deeper(item, inner)),
        Value::Object(fields) => fields.values().any(|value| is_deeper(value, inner)),
        _ => false,
    }
}

/// A document whose memory the caller counts.
struct Document(Value);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Reader(&mut Memory::new(usize::MAX)).deserialize(deserializer).map(Self)
    }
}

/// Makes a value of YAML as Go does.
struct Reader<'a>(&'a mut Memory);

impl Reader<'_> {
    fn inner(&mut self) -> Reader<'_> {
        Reader(self.0)
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
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
        Ok(number(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        self.0.take_text(value).map_err(E::custom)?;
        Ok(value.into())
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        self.0.take_text(&value).map_err(E::custom)?;
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Value, A::Error> {
        self.0.take_list().map_err(A::Error::custom)?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self.inner())? {
            self.0.take_item().map_err(A::Error::custom)?;
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        self.0.take_mapping().map_err(A::Error::custom)?;
        let mut fields = Map::new();
        while let Some(key) = map.next_key_seed(self.inner())? {
            // `convertToJSONableObject` in sigs.k8s.io/yaml.
            let key = match key {
                Value::String(key) => key,
                Value::Bool(_) | Value::Number(_) => key.to_string(),
                Value::Null => {
                    return Err(A::Error::custom("a key is null; quote it if it is text"));
                }
                Value::Array(_) | Value::Object(_) => {
                    return Err(A::Error::custom("a key is a list or a mapping, not text"));
                }
            };
            // The key itself was counted when it was read.
            self.0.take_entry("").map_err(A::Error::custom)?;
            fields.insert(key, map.next_value_seed(self.inner())?);
        }
        Ok(fields.into())
    }
}

/// Go writes whole floats as integers into JSON, so `replicas: 2.0` works.
fn number(value: f64) -> Value {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0; // 2^63
    if value.fract() == 0.0 && value.abs() < LIMIT {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within i64")]
        return Value::from(value as i64);
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}
