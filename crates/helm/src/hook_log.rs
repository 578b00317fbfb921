//! The Secret in which the log of an attempt of a hook is kept: a log may hold secrets. It is none of
//! Helm's records.

use std::io::{Read as _, Write as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use lifecycle::digest::digest;
use serde_json::{Value, json};

/// The type of the Secret.
pub const SECRET_TYPE: &str = "releaselifecycle.dev/hook-log.v1";
/// The label with the name of the release.
pub const RELEASE_LABEL: &str = "releaselifecycle.dev/log-of";
/// The most bytes of a log that are kept, counted from its end.
pub const MOST_BYTES: usize = 256 * 1024;
/// The most logs that are kept of a release; the oldest go first.
pub const MOST_LOGS: usize = 10;

const REVISION: &str = "releaselifecycle.dev/revision";
const EVENT: &str = "helm.sh/hook";
const HOOK: &str = "releaselifecycle.dev/hook";
const ATTEMPT: &str = "releaselifecycle.dev/attempt";
const KEY: &str = "log.gz";

/// The log of an attempt of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookLog {
    /// Kind and name of the hook's object: `Job/migrate`.
    pub hook: String,
    /// The hook event, as in the annotation `helm.sh/hook`.
    pub event: String,
    /// The revision whose operation ran the hook.
    pub revision: i32,
    /// The number of the attempt.
    pub attempt: i32,
    /// The log, as the containers wrote it.
    pub text: Vec<u8>,
}

/// Returns the name of the Secret for the log of the hook's object of this UID.
pub fn secret_name(release: &str, uid: &str) -> String {
    let digest = digest(uid.as_bytes());
    let digits = digest.rsplit(':').next().and_then(|digits| digits.get(..16)).unwrap_or_default();
    format!("releaselifecycle.v1.{release}.log.{digits}")
}

/// Returns the label selector of all logs of a release.
pub fn selector(release: &str) -> String {
    format!("{RELEASE_LABEL}={release}")
}

/// Returns the Secret of this name with the log.
///
/// # Panics
/// Never: a `Vec` takes all that is written.
#[expect(clippy::expect_used, reason = "a Vec takes all that is written")]
pub fn to_secret(name: &str, namespace: &str, release: &str, log: &HookLog) -> Value {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let written = encoder.write_all(&log.text).and_then(|()| encoder.finish());
    let bytes = written.expect("a Vec takes all that is written");
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": SECRET_TYPE,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {RELEASE_LABEL: release, REVISION: log.revision.to_string(), EVENT: log.event},
            "annotations": {HOOK: log.hook, ATTEMPT: log.attempt.to_string()},
        },
        "data": {KEY: STANDARD.encode(bytes)},
    })
}

/// Returns the log in the Secret, of at most [`MOST_BYTES`]; `None` if there is none that can be read. A
/// tenant can write it.
pub fn from_secret(secret: &Value) -> Option<HookLog> {
    let metadata = &secret["metadata"];
    let text = |from: &str, key: &str| Some(metadata[from][key].as_str()?.to_owned());
    let encoded = STANDARD.decode(secret["data"][KEY].as_str()?).ok()?;
    let mut log = Vec::new();
    let most = u64::try_from(MOST_BYTES).ok()?;
    GzDecoder::new(&*encoded).take(most).read_to_end(&mut log).ok()?;
    (secret["type"] == SECRET_TYPE).then_some(HookLog {
        hook: text("annotations", HOOK)?,
        event: text("labels", EVENT)?,
        revision: text("labels", REVISION)?.parse().ok()?,
        attempt: text("annotations", ATTEMPT)?.parse().ok()?,
        text: log,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(text: &[u8]) -> HookLog {
        HookLog {
            hook: "Job/migrate".to_owned(),
            event: "pre-upgrade".to_owned(),
            revision: 7,
            attempt: 2,
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_log_comes_back_as_it_was_kept() {
        let name = secret_name("shop", "0af3");
        assert!(name.starts_with("releaselifecycle.v1.shop.log.") && name.len() == 45, "{name}");
        assert_ne!(name, secret_name("shop", "0af4"));
        for text in [&b"migrating\n"[..], b"", b"\xff\x00\x1b[31m"] {
            let secret = to_secret(&name, "prod", "shop", &log(text));
            assert_eq!(from_secret(&secret), Some(log(text)));
        }
    }

    #[test]
    fn a_log_that_others_wrote_takes_no_more_memory_than_one_of_ours() {
        let secret = to_secret("x", "prod", "shop", &log(&vec![b'a'; 64 << 20]));
        assert_eq!(from_secret(&secret).map(|log| log.text.len()), Some(MOST_BYTES));
    }

    #[test]
    fn other_secrets_are_no_logs() {
        let mut secret = to_secret("x", "prod", "shop", &log(b"a"));
        secret["type"] = "Opaque".into();
        assert_eq!(from_secret(&secret), None);
        for odd in [json!({}), json!({"type": SECRET_TYPE, "data": {KEY: "bm8="}})] {
            assert_eq!(from_secret(&odd), None);
        }
    }
}
