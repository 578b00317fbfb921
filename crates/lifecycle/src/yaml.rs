//! YAML text to values, by the rules of Helm's and kubectl's reader, `sigs.k8s.io/yaml`: YAML 1.1,
//! so that `yes` is true and `0777` is 511; the last of equal keys counts, `1.0` is 1, keys are
//! text.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Options, budget::BudgetBreach, options::DuplicateKeyPolicy};
use thiserror::Error;

/// How deep a document may be nested, in lists and mappings; deeper ones are errors, though Helm
/// takes them. The reader recurses, with up to 4 KiB of stack per level when optimized and about
/// 25 KiB when not, so this is what a thread of 2 MiB bears in tests.
pub const MAX_DEPTH: usize = 64;

/// Why a text cannot be read. Quotes no value, since what is read may be Secrets.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct YamlError {
    /// The line of the text, from 1.
    pub line: u64,
    /// From 1.
    pub column: u64,
    /// What the reader says.
    pub problem: String,
}

/// The one document of `text`.
pub fn read(text: &str) -> Result<Value, YamlError> {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
    };
    serde_saphyr::from_str_with_options::<Node>(text, options)
        .map(|node| node.0)
        .map_err(|error| located(&error))
}

/// The documents of a short `text`, those without content left out. It may not grow to more than
/// `max_bytes` by its aliases.
pub fn read_all(text: &str, max_bytes: usize) -> Result<Vec<Value>, YamlError> {
    let options: Options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_total_scalar_bytes: max_bytes,
        },
        // What an alias repeats takes memory even where it has no text.
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 16_384 },
    };
    serde_saphyr::from_multiple_with_options::<Node>(text, options)
        .map(|nodes| nodes.into_iter().map(|node| node.0).collect())
        .map_err(|error| located(&error))
}

fn located(error: &serde_saphyr::Error) -> YamlError {
    let at = error.location();
    YamlError {
        line: at.map_or(1, |at| at.line()),
        column: at.map_or(1, |at| at.column()),
        problem: problem(error.without_snippet()),
    }
}

/// The reader's message without place and without values.
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

/// A value as Go makes it of YAML.
struct Node(Value);

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor).map(Node)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
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

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Node(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(Node(key)) = map.next_key()? {
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
            fields.insert(key, map.next_value::<Node>()?.0);
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
