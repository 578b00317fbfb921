//! The record's bytes: base64 of gzip of JSON.

use std::io::{Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::{Map, Value, json};

use super::{Hook, Info, Release};

/// How large a record's JSON may be, in bytes. A Secret's 1 MiB can inflate to a gigabyte.
pub const MAX_INFLATED_BYTES: u64 = 64 * 1024 * 1024;

const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 0x08];

/// Why bytes are not a release record. Says where it is wrong, never what is there: a record
/// holds the release's values.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RecordError {
    /// Not base64.
    #[error(
        "the release record is not base64 (from byte {at} on): it was damaged or edited; \
         restore the Secret or roll back to another revision"
    )]
    Base64 {
        /// The first bad byte, from 0, white space not counted.
        at: usize,
    },
    /// Not the gzip data that it begins as.
    #[error(
        "the release record is damaged gzip data ({0}): restore the Secret or roll back to \
         another revision"
    )]
    Gzip(std::io::ErrorKind),
    /// Inflates beyond [`MAX_INFLATED_BYTES`].
    #[error(
        "the release record inflates to more than {MAX_INFLATED_BYTES} bytes, which no record \
         of Helm's does; delete the Secret if it is not yours"
    )]
    TooLarge,
    /// Not JSON.
    #[error(
        "the release record is not JSON (line {line}, column {column}): it was damaged or \
         written by something other than Helm; restore the Secret or roll back to another revision"
    )]
    Json {
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in bytes.
        column: usize,
    },
    /// JSON, but not a release.
    #[error(
        "the release record's field `{0}` is missing or not as Helm 3 and Helm 4 write it; if a \
         newer Helm wrote it, upgrade the operator"
    )]
    Field(String),
}

/// The bytes of a record as they go under the Secret's key `release`, before the base64 that every
/// Secret value gets: `encodeRelease` in `pkg/storage/driver/util.go`.
#[expect(clippy::missing_panics_doc, reason = "see below: it cannot")]
pub fn encode(release: &Release) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    let compressed = serde_json::to_vec(release)
        .map_err(std::io::Error::from)
        .and_then(|json| gzip.write_all(&json))
        .and_then(|()| gzip.finish());
    // JSON fails on keys that are no strings, gzip when its writer does; here neither can be.
    let bytes = compressed.expect("a release is written to memory");
    STANDARD.encode(bytes).into_bytes()
}

/// Reads what Helm 3, Helm 4 and [`encode`] write: `decodeRelease` in `pkg/storage/driver/util.go`.
/// Without the mark of gzip the decoded bytes are plain JSON, as the first Helm versions stored it.
pub fn decode(bytes: &[u8]) -> Result<Release, RecordError> {
    // Go ignores line breaks too, and people wrap base64.
    let text: Vec<u8> = bytes.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    let decoded = STANDARD.decode(&text).map_err(|error| RecordError::Base64 {
        at: match error {
            base64::DecodeError::InvalidByte(at, _)
            | base64::DecodeError::InvalidLastSymbol(at, _) => at,
            base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => {
                text.len()
            }
        },
    })?;
    let json = if decoded.starts_with(&GZIP_MAGIC) { inflate(&decoded)? } else { decoded };
    serde_json::from_slice(&json).map_err(|error| match error.classify() {
        Category::Data => RecordError::Field(misfit(&json)),
        Category::Io | Category::Syntax | Category::Eof => {
            RecordError::Json { line: error.line(), column: error.column() }
        }
    })
}

fn inflate(gzip: &[u8]) -> Result<Vec<u8>, RecordError> {
    let mut json = Vec::new();
    let length = MultiGzDecoder::new(gzip)
        .take(MAX_INFLATED_BYTES + 1)
        .read_to_end(&mut json)
        .map_err(|error| RecordError::Gzip(error.kind()))?;
    if length as u64 > MAX_INFLATED_BYTES {
        return Err(RecordError::TooLarge);
    }
    Ok(json)
}

/// The path of the field because of which JSON is no release. Found by trying the fields one by
/// one, since serde's own message quotes the data.
fn misfit(json: &[u8]) -> String {
    let Ok(Value::Object(release)) = serde_json::from_slice(json) else {
        return "(the whole record)".to_owned();
    };
    let least = json!({"name": "", "version": 1, "info": {}});
    let required = least.as_object().into_iter().flat_map(Map::keys);
    if let Some(missing) = required.into_iter().find(|key| !release.contains_key(*key)) {
        return missing.clone();
    }
    let Some(field) = first_misfit::<Release>(&least, &release) else {
        return "(the whole record)".to_owned();
    };
    let inner = match (field.as_str(), release.get(&field)) {
        ("info", Some(Value::Object(info))) => first_misfit::<Info>(&json!({}), info),
        ("hooks", Some(Value::Array(hooks))) => {
            hooks.iter().enumerate().find_map(|(index, hook)| {
                let at = first_misfit::<Hook>(&json!({}), hook.as_object()?)?;
                Some(format!("{index}.{at}"))
            })
        }
        _ => None,
    };
    inner.map_or(field.clone(), |inner| format!("{field}.{inner}"))
}

fn first_misfit<T: DeserializeOwned>(least: &Value, fields: &Map<String, Value>) -> Option<String> {
    let fits = |(key, value): (&String, &Value)| {
        let mut one = least.clone();
        one[key] = value.clone();
        serde_json::from_value::<T>(one).is_ok()
    };
    fields.iter().find(|field| !fits(*field)).map(|(key, _)| key.clone())
}
