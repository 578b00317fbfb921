//! The record's bytes: base64 of gzip of JSON.

use std::io::{Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::error::Category;
use serde_json::{Map, Value, json};

use super::{Hook, Info, Release};

/// The largest JSON of a record, in bytes. A Secret's 1 MiB can inflate to a gigabyte.
pub const MAX_INFLATED_BYTES: u64 = 64 * 1024 * 1024;
/// The most memory that a record may take once it is read: `[0,0]` is 5 bytes of text and 200 of
/// memory.
const MAX_MEMORY: usize = 48 * 1024 * 1024;

const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 0x08];

/// The reason why bytes are not a release record. It names the place of the error, never the data
/// there: a record holds the release's values.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RecordError {
    /// Not base64.
    #[error("the release record is not base64 (from byte {at} on): it was damaged or edited")]
    Base64 {
        /// The first bad byte, from 0, white space not counted.
        at: usize,
    },
    /// Not the gzip data that the beginning announces.
    #[error("the release record is damaged gzip data ({0})")]
    Gzip(std::io::ErrorKind),
    /// Inflates beyond [`MAX_INFLATED_BYTES`], or beyond what it may take in memory.
    #[error(
        "the release record inflates to more than {MAX_INFLATED_BYTES} bytes, or to more values \
         than can be held: no release is that large"
    )]
    TooLarge,
    /// Not JSON.
    #[error(
        "the release record is not JSON (line {line}, column {column}): it was damaged or \
         written by something other than Helm"
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

/// Returns the bytes of a record as they are stored under the Secret's key `release`, before the
/// base64 that every Secret value gets: `encodeRelease` in `pkg/storage/driver/util.go`.
///
/// # Errors
/// [`RecordError::TooLarge`]: it could not be read again.
pub fn encode(release: &Release) -> Result<Vec<u8>, RecordError> {
    let json = to_json(release);
    check_size(&json)?;
    Ok(pack(&json))
}

#[expect(clippy::expect_used, reason = "it fails on keys that are no strings")]
pub(crate) fn to_json(part: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(part).expect("it fails on keys that are no strings, and there are none")
}

/// Returns base64 of gzip.
#[expect(clippy::expect_used, reason = "a Vec takes all that is written")]
pub(crate) fn pack(json: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    let compressed = gzip.write_all(json).and_then(|()| gzip.finish());
    STANDARD.encode(compressed.expect("a Vec takes all that is written")).into_bytes()
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
    check_size(&json)?;
    serde_json::from_slice(&json).map_err(|error| match error.classify() {
        Category::Data => RecordError::Field(misfit(&json)),
        Category::Io | Category::Syntax | Category::Eof => {
            RecordError::Json { line: error.line(), column: error.column() }
        }
    })
}

fn inflate(gzip: &[u8]) -> Result<Vec<u8>, RecordError> {
    let mut json = Vec::new();
    MultiGzDecoder::new(gzip)
        .take(MAX_INFLATED_BYTES + 1)
        .read_to_end(&mut json)
        .map_err(|error| RecordError::Gzip(error.kind()))?;
    Ok(json)
}

/// Counts the memory that the text takes once it is read, before it is read.
fn check_size(json: &[u8]) -> Result<(), RecordError> {
    // As `manifests::memory` counts them: a mapping, its entries, the items of a list.
    const MAPPING: usize = 512;
    const ENTRY: usize = 160;
    const ITEM: usize = 64;
    if json.len() as u64 > MAX_INFLATED_BYTES {
        return Err(RecordError::TooLarge);
    }
    let (mut memory, mut in_text, mut escaped) = (json.len(), false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' => memory = memory.saturating_add(MAPPING),
            b':' => memory = memory.saturating_add(ENTRY),
            b'[' | b',' => memory = memory.saturating_add(ITEM),
            _ => {}
        }
    }
    if memory > MAX_MEMORY { Err(RecordError::TooLarge) } else { Ok(()) }
}

/// Returns the path of the field because of which JSON is not a release. It tries the fields one by
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
