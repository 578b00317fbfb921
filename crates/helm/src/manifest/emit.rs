//! An object to YAML 1.1.

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_saphyr::{DoubleQuoted, ser_options};

/// Returns one YAML document, ended by one line break, that Go's reader reads back as exactly
/// `value`: whatever could be taken for a boolean, number, date, null or merge key is quoted. Text
/// of several lines becomes a block if that is safe.
///
/// It is lost that a whole number was written `1.0`, as it is in Kubernetes. An object nested
/// deeper than [`super::MAX_DEPTH`] is written, but [`super::parse`] refuses to read it back.
pub fn to_yaml(value: &Value) -> String {
    // No folding: a folded block reads worse than a long line.
    let options = ser_options! { folded_wrap_chars: usize::MAX };
    let node = Node { value, last: true };
    let mut yaml = String::new();
    match serde_saphyr::to_fmt_writer_with_options(&mut yaml, &node, options) {
        Ok(()) if yaml.lines().any(at_risk) => quote_margin_keys(&yaml),
        Ok(()) => yaml,
        // No JSON is known that saphyr refuses; if there is one, JSON is YAML too.
        Err(_) => format!("{value}\n"),
    }
}

/// A value for saphyr to write. Its own choice of quotes is right for YAML 1.1 except in the two
/// cases here.
struct Node<'a> {
    value: &'a Value,
    /// True if nothing follows it in the document.
    last: bool,
}

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::String(text) if self.needs_quotes(text) => {
                DoubleQuoted(text).serialize(serializer)
            }
            Value::Array(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                for (index, value) in items.iter().enumerate() {
                    let last = self.last && index + 1 == items.len();
                    seq.serialize_element(&Node { value, last })?;
                }
                seq.end()
            }
            Value::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (index, (key, value)) in fields.iter().enumerate() {
                    let last = self.last && index + 1 == fields.len();
                    map.serialize_entry(key, &Node { value, last })?;
                }
                map.end()
            }
            scalar => scalar.serialize(serializer),
        }
    }
}

impl Node<'_> {
    fn needs_quotes(&self, text: &str) -> bool {
        // Go's reader refuses a block whose first line of text begins with a tab.
        let tab = text.contains('\n') && text.trim_start_matches('\n').starts_with('\t');
        // Helm 3 trims documents, and with them the end of a block.
        tab || (self.last && text.ends_with(char::is_whitespace))
    }
}

/// Quotes the keys at the left margin that begin with `---`, at which Helm would split the
/// document, or with a space that is not ASCII's, which Helm would trim at the document's start. No
/// other line that saphyr writes begins so: blocks and inner keys are indented. A plain key has no
/// colon.
fn quote_margin_keys(yaml: &str) -> String {
    let quote = |line: &str| match line.split_once(':') {
        Some((key, rest)) if at_risk(line) => format!("'{}':{rest}", key.replace('\'', "''")),
        _ => line.to_owned(),
    };
    yaml.split_inclusive('\n').map(quote).collect()
}

fn at_risk(line: &str) -> bool {
    line.starts_with("---") || line.starts_with(|c: char| !c.is_ascii() && c.is_whitespace())
}
