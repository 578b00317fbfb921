//! Helm's manifest text to objects.

use manifests::{
    memory::{MOST_PER_RELEASE, Memory},
    yaml,
};
use serde_json::Value;

use super::split;

pub use manifests::yaml::MAX_DEPTH;

/// The reason why a manifest is not a stream of objects. It quotes no value, since manifests hold
/// Secrets.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ManifestError {
    /// Not YAML, or beyond the reader's limits.
    #[error("document {document} (line {line}, column {column} of the manifest): {problem}")]
    Yaml {
        /// The document, from 1; blank documents are not counted.
        document: usize,
        /// The line of the whole text, from 1.
        line: u64,
        /// From 1.
        column: u64,
        /// The reader's message.
        problem: String,
    },
    /// YAML, but a list or a scalar.
    #[error(
        "document {document} (line {line} of the manifest) is a {found}, not a Kubernetes object; \
         look for a missing key or wrong indentation"
    )]
    NotAnObject {
        /// The document, from 1; blank documents are not counted.
        document: usize,
        /// The line of the whole text that it begins on, from 1.
        line: usize,
        /// Its type.
        found: &'static str,
    },
    /// Together with the documents before, more than one release may take.
    #[error(
        "document {document} (line {line} of the manifest): with it, the objects take more than \
         the {} MiB of memory that those of one release may; split it into several releases, or \
         shorten what YAML aliases (*name) repeat",
        MOST_PER_RELEASE >> 20
    )]
    TooLarge {
        /// The document, from 1; blank documents are not counted.
        document: usize,
        /// The line of the whole text that it begins on, from 1.
        line: usize,
    },
}

/// Returns the objects of a manifest, in order, without documents that have no content. Documents
/// are split as Helm's `SplitManifests` does, and read by Go's rules: the last of equal keys
/// counts, `1.0` is 1, keys are text.
///
/// One difference is kept: if a text ends within a `|` block, without a line break, as Helm 3's
/// trimmed hooks may, Go leaves out the block's last line break; here it is read as its author
/// wrote it.
pub fn parse(text: &str) -> Result<Vec<Value>, ManifestError> {
    Ok(parse_with_lines(text)?.into_iter().map(|(_, object)| object).collect())
}

/// Does the same as [`parse`], each object with the line of the text, from 1, that its document
/// begins on.
pub fn parse_with_lines(text: &str) -> Result<Vec<(usize, Value)>, ManifestError> {
    parse_within(text, &mut Memory::of_release())
}

/// Does the same as [`parse_with_lines`], for a release that has several texts, which share
/// `memory`.
pub fn parse_within(text: &str, memory: &mut Memory) -> Result<Vec<(usize, Value)>, ManifestError> {
    let mut objects = Vec::new();
    for (index, (line, content)) in split(text).into_iter().enumerate() {
        let document = index + 1;
        let read = yaml::read(content, memory);
        if memory.is_exhausted() || memory.take_object().is_err() {
            return Err(ManifestError::TooLarge { document, line });
        }
        let found = match read {
            Ok(Value::Object(object)) => {
                objects.push((line, Value::Object(object)));
                continue;
            }
            Ok(Value::Null) => continue,
            Ok(Value::Array(_)) => "list",
            Ok(Value::String(_)) => "text",
            Ok(Value::Bool(_)) => "boolean",
            Ok(Value::Number(_)) => "number",
            Err(yaml::YamlError { line: within, column, problem }) => {
                // The reader counts from the document.
                let line = line as u64 + within.saturating_sub(1);
                return Err(ManifestError::Yaml { document, line, column, problem });
            }
        };
        return Err(ManifestError::NotAnObject { document, line, found });
    }
    Ok(objects)
}
