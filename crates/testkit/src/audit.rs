//! The API server's audit log: what really happened, told by neither the operator nor the test.
//!
//! Expects `--audit-log-mode=blocking`, JSON lines, the stage `ResponseComplete`, and the level
//! `RequestResponse` for Jobs, Pods and group `releaselifecycle.dev`. What is logged with less is
//! read too, but [`judge()`] sees no bodies there; the level `Request` for the verb `delete` of all
//! resources shows it every DELETE's precondition, and no Secret's content.
//!
//! - this file: reading the log into [`Event`]s
//! - `judge`: what the operator's protocol forbids

mod judge;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, value::RawValue};

pub use self::judge::{Kind, Violation, judge, starts};

/// One answered request.
#[derive(Clone, Debug)]
pub struct Event {
    /// The `auditID`, to find the line again.
    pub id: String,
    /// `create`, `get`, `list`, `watch`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: String,
    /// The path, with the query.
    pub uri: String,
    /// The API group; empty for the core group, and for paths that are no resource.
    pub group: String,
    /// Plural, such as `jobs`; empty for paths that are no resource.
    pub resource: String,
    /// Such as `status`.
    pub subresource: Option<String>,
    /// `None` for what has no namespace, and for requests across all.
    pub namespace: Option<String>,
    /// `None` for collections. For a create with `generateName`, the name that was made.
    pub name: Option<String>,
    /// Who authenticated.
    pub user: String,
    /// Whom `user` acted as, if not as itself.
    pub impersonated: Option<String>,
    /// The client's `User-Agent`.
    pub user_agent: Option<String>,
    /// The HTTP status.
    pub code: u16,
    /// Whether the level has bodies, so that an absent one means that none was sent.
    pub has_bodies: bool,
    /// The request's body: an object, a patch or `DeleteOptions`. Null if absent or not logged.
    pub request: Value,
    /// The answer's body: an object or a `Status`. Null if absent or not logged.
    pub response: Value,
    /// When the API server received the request.
    pub received: Timestamp,
    /// When it had answered: the time of the stage `ResponseComplete`.
    pub completed: Timestamp,
}

impl Event {
    /// Whether the API server did what was asked.
    pub fn succeeded(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Whether it was a rehearsal, which changes nothing.
    pub fn is_dry_run(&self) -> bool {
        // A DELETE may say so in its body.
        self.uri.contains("dryRun=") || self.request.pointer("/dryRun/0").is_some()
    }

    /// Whether it concerns an object of this namespace.
    pub fn is_in(&self, namespace: &str) -> bool {
        self.namespace.as_deref() == Some(namespace)
    }
}

/// The events of one namespace, in order.
pub fn in_namespace(events: &[Event], namespace: &str) -> Vec<Event> {
    events.iter().filter(|event| event.is_in(namespace)).cloned().collect()
}

/// The events from byte `offset` on, and the offset to go on from. A last line that is not yet
/// written to its end is left for the next call, and stages other than `ResponseComplete` are
/// passed over.
///
/// # Errors
/// When the file cannot be read, is shorter than `offset` (it was rotated), or has a line that is
/// no audit event; the message has the line's offset.
pub fn read_from(path: &Path, offset: u64) -> Result<(Vec<Event>, u64)> {
    let read = || -> Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        ensure!(length >= offset, "it has {length} bytes, fewer than the offset {offset}");
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().with_context(|| format!("read audit log {}", path.display()))?;

    let mut events = Vec::new();
    let mut next = offset;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if !line.ends_with(b"\n") {
            break;
        }
        if !line.trim_ascii().is_empty() {
            let event: Line = serde_json::from_slice(line)
                .with_context(|| format!("no audit event at byte {next} of {}", path.display()))?;
            if event.stage == "ResponseComplete" {
                events.push(event.into());
            }
        }
        next += line.len() as u64;
    }
    Ok((events, next))
}

/// An event as it is written, version `audit.k8s.io/v1`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    #[serde(rename = "auditID")]
    audit_id: String,
    level: String,
    stage: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    verb: String,
    user: User,
    impersonated_user: Option<User>,
    user_agent: Option<String>,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
    #[serde(default, deserialize_with = "body")]
    request_object: Value,
    #[serde(default, deserialize_with = "body")]
    response_object: Value,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
}

/// A body that is nested deeper than the reader goes counts as not logged.
fn body<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    let text = Box::<RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(text.get()).unwrap_or_default())
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    api_group: String,
    resource: String,
    subresource: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
}

impl From<Line> for Event {
    fn from(line: Line) -> Self {
        let made = line.response_object.pointer("/metadata/name").and_then(Value::as_str);
        let name = line.object_ref.name.or_else(|| made.map(ToOwned::to_owned));
        Self {
            id: line.audit_id,
            verb: line.verb,
            uri: line.request_uri,
            group: line.object_ref.api_group,
            resource: line.object_ref.resource,
            subresource: line.object_ref.subresource,
            namespace: line.object_ref.namespace,
            name,
            user: line.user.username,
            impersonated: line.impersonated_user.map(|user| user.username),
            user_agent: line.user_agent,
            code: line.response_status.code,
            has_bodies: matches!(&*line.level, "Request" | "RequestResponse"),
            request: line.request_object,
            response: line.response_object,
            received: line.request_received_timestamp,
            completed: line.stage_timestamp,
        }
    }
}
