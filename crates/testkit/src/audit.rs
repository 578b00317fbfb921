//! The API server's audit log: the real sequence of requests, reported by neither the operator nor
//! the test.
//!
//! Expects `--audit-log-mode=blocking`, JSON lines, the stage `ResponseComplete`, and the level
//! `RequestResponse` for Jobs, Pods and group `releaselifecycle.dev`. Entries with a lower level
//! are read too, but [`judge()`] sees no bodies there; the level `Request` for the verb `delete` of
//! all resources shows it every DELETE's precondition, and no Secret's content.
//!
//! - this file: reading the log into [`Event`]s
//! - `judge`: the rules of the operator's protocol

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

pub use self::judge::{Kind, Ran, Violation, judge, starts};

/// One answered request.
#[derive(Clone, Debug)]
pub struct Event {
    /// The `auditID`, to find the line again.
    pub id: String,
    /// `create`, `get`, `list`, `watch`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: String,
    /// The path, with the query.
    pub uri: String,
    /// The API group; empty for the core group, and for paths that are not a resource.
    pub group: String,
    /// The plural of the resource, such as `jobs`; empty for paths that are not a resource.
    pub resource: String,
    /// The subresource, such as `status`.
    pub subresource: Option<String>,
    /// `None` for cluster-scoped objects, and for requests across all namespaces.
    pub namespace: Option<String>,
    /// `None` for collections. For a create with `generateName`, the generated name.
    pub name: Option<String>,
    /// The authenticated user.
    pub user: String,
    /// The user that `user` impersonated, if any.
    pub impersonated: Option<String>,
    /// The client's `User-Agent`.
    pub user_agent: Option<String>,
    /// The HTTP status.
    pub code: u16,
    /// True if the level has bodies, so that an absent one means that none was sent.
    pub has_bodies: bool,
    /// The request's body: an object, a patch or `DeleteOptions`. Null if absent or not logged.
    pub request: Value,
    /// The answer's body: an object or a `Status`. Null if absent or not logged.
    pub response: Value,
    /// The time when the API server received the request.
    pub received: Timestamp,
    /// The time when it had answered: that of the stage `ResponseComplete`.
    pub completed: Timestamp,
}

impl Event {
    /// Returns whether the request succeeded.
    pub fn succeeded(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Returns whether it was a dry run, which changes nothing.
    pub fn is_dry_run(&self) -> bool {
        // A DELETE may say so in its body.
        self.uri.contains("dryRun=") || self.request.pointer("/dryRun/0").is_some()
    }

    /// Returns whether it concerns an object of this namespace.
    pub fn is_in(&self, namespace: &str) -> bool {
        self.namespace.as_deref() == Some(namespace)
    }
}

/// Returns the events of one namespace, in order.
pub fn in_namespace(events: &[Event], namespace: &str) -> Vec<Event> {
    events.iter().filter(|event| event.is_in(namespace)).cloned().collect()
}

/// Returns the events from byte `offset` on, and the offset of the next call. A last line that is
/// not yet complete is left for the next call, and stages other than `ResponseComplete` are
/// skipped.
///
/// # Errors
/// If the file cannot be read, is shorter than `offset` (it was rotated), or has a line that is not
/// an audit event; the message has the line's offset.
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

/// Reads a body. One that is nested deeper than the reader goes counts as not logged.
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
