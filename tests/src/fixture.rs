//! The cluster's content in the middle of an operation of one version of the operator, recorded in
//! `tests/fixtures`: the release with its journal, its records with their plans, and its objects.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use helm::{
    pending,
    record::SECRET_TYPE,
    secret::{KEY_DELETE_PLAN, KEY_PLAN, KEY_RELEASE, KEY_TEST_PLAN},
};
use jiff::Timestamp;
use lifecycle::digest::digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::root;

const PLANS: [&str; 3] = [KEY_PLAN, KEY_DELETE_PLAN, KEY_TEST_PLAN];

/// The states of one scenario, in the order in which they were stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fixture {
    /// The namespace it was recorded in.
    pub namespace: String,
    /// The time when the recording ended.
    pub recorded_at: Timestamp,
    points: Vec<Point>,
    /// Each object once, though many states contain it.
    parts: Vec<Value>,
}

/// A state, by the indices of its parts.
#[derive(Debug, Serialize, Deserialize)]
struct Point {
    at: String,
    release: usize,
    status: usize,
    objects: Vec<usize>,
}

/// The content of the namespace at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The moment, by the journal.
    pub at: String,
    /// The release, without its status.
    pub release: Value,
    /// The status of the release.
    pub status: Value,
    /// Its records, its objects and the objects of its hooks.
    pub objects: Vec<Value>,
}

impl Fixture {
    /// Makes one without states, whose recording ends now.
    pub fn new(namespace: &str) -> Self {
        let (points, parts) = (Vec::new(), Vec::new());
        Self { namespace: namespace.to_owned(), recorded_at: Timestamp::now(), points, parts }
    }

    /// Reads every fixture in `tests/fixtures`, with its path below it.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn all() -> Result<BTreeMap<PathBuf, Self>> {
        let folder = folder();
        let mut all = BTreeMap::new();
        for version in fs::read_dir(&folder).context("list tests/fixtures")? {
            let version = version?.path();
            if !version.is_dir() {
                continue;
            }
            for file in fs::read_dir(&version).with_context(|| version.display().to_string())? {
                let path = file?.path();
                if path.extension().is_some_and(|extension| extension == "json") {
                    let text = fs::read(&path)?;
                    let fixture = serde_json::from_slice(&text);
                    let fixture = fixture.with_context(|| format!("read {}", path.display()))?;
                    all.insert(path.strip_prefix(&folder)?.to_owned(), fixture);
                }
            }
        }
        Ok(all)
    }

    /// Returns its states, in order.
    pub fn states(&self) -> impl Iterator<Item = State> {
        let part = |index: usize| self.parts.get(index).cloned().unwrap_or_default();
        self.points.iter().map(move |point| State {
            at: point.at.clone(),
            release: part(point.release),
            status: part(point.status),
            objects: point.objects.iter().map(|index| part(*index)).collect(),
        })
    }

    /// Adds a state.
    pub fn push(&mut self, state: State) {
        let objects = state.objects.into_iter().map(|object| self.part(object)).collect();
        let (release, status) = (self.part(state.release), self.part(state.status));
        self.points.push(Point { at: state.at, release, status, objects });
    }

    fn part(&mut self, part: Value) -> usize {
        self.parts.iter().position(|known| *known == part).unwrap_or_else(|| {
            self.parts.push(part);
            self.parts.len() - 1
        })
    }

    /// Writes it to `path` below `tests/fixtures`, a part a line.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        fn lines(items: &[impl Serialize]) -> Result<String> {
            let items = items.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
            Ok(format!("[\n{}\n]", items.join(",\n")))
        }
        let path = folder().join(path);
        fs::create_dir_all(path.parent().context("a folder")?)?;
        let text = format!(
            "{{\"namespace\": {}, \"recordedAt\": {},\n\"points\": {},\n\"parts\": {}}}\n",
            serde_json::to_string(&self.namespace)?,
            serde_json::to_string(&self.recorded_at)?,
            lines(&self.points)?,
            lines(&self.parts)?,
        );
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }
}

impl State {
    /// Returns this state with each text `from` replaced by `to`, in the records, too. The digest
    /// of a plan is updated.
    ///
    /// # Errors
    /// If a record cannot be read.
    pub fn replaced(&self, names: &[(String, String)]) -> Result<Self> {
        let mut names = names.to_vec();
        let mut objects = self.objects.clone();
        for record in objects.iter_mut().filter(|object| is_record(object)) {
            for key in PLANS {
                let Some(plan) = data(record, key)? else { continue };
                let (before, plan) = (gunzip(&plan)?, replace(&gunzip(&plan)?, &names)?);
                names.push((digest(&before), digest(&plan)));
                record["data"][key] = STANDARD.encode(gzip(&plan)?).into();
            }
            let Some(encoded) = data(record, KEY_RELEASE)? else { continue };
            let release = replace(&gunzip(&STANDARD.decode(encoded)?)?, &names)?;
            let release = STANDARD.encode(STANDARD.encode(gzip(&release)?));
            let before = record["data"][KEY_RELEASE].as_str().unwrap_or_default();
            names.push((digest(before.as_bytes()), digest(release.as_bytes())));
            record["data"][KEY_RELEASE] = release.into();
        }
        let text = |value: &Value| -> Result<Value> {
            Ok(serde_json::from_slice(&replace(&serde_json::to_vec(value)?, &names)?)?)
        };
        Ok(Self {
            at: self.at.clone(),
            release: text(&self.release)?,
            status: text(&self.status)?,
            objects: objects.iter().map(text).collect::<Result<_>>()?,
        })
    }

    /// Returns the plans in its records, by record and data key.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn plans(&self) -> Result<Vec<(String, &'static str, Vec<u8>)>> {
        let mut plans = Vec::new();
        for record in self.objects.iter().filter(|object| is_record(object)) {
            let name = record["metadata"]["name"].as_str().unwrap_or_default();
            for key in PLANS {
                if let Some(plan) = data(record, key)? {
                    plans.push((name.to_owned(), key, gunzip(&plan)?));
                }
            }
        }
        Ok(plans)
    }
}

/// Returns whether it is a record, or the plan of an operation that waits for an approval.
fn is_record(object: &Value) -> bool {
    [SECRET_TYPE, pending::SECRET_TYPE].iter().any(|type_| object["type"] == *type_)
}

/// Changes `status` as if it had been written that much later, so that no deadline has passed.
///
/// # Errors
/// If a time is out of range.
pub fn postponed(status: &mut Value, by: jiff::SignedDuration) -> Result<()> {
    match status {
        Value::String(text) => {
            if let Ok(time) = text.parse::<Timestamp>() {
                *text = time.checked_add(by)?.to_string();
            }
        }
        Value::Array(items) => items.iter_mut().try_for_each(|item| postponed(item, by))?,
        Value::Object(fields) => fields.values_mut().try_for_each(|it| postponed(it, by))?,
        _ => {}
    }
    Ok(())
}

/// Returns the folder of all fixtures.
pub fn folder() -> PathBuf {
    root().join("tests/fixtures")
}

fn data(secret: &Value, key: &str) -> Result<Option<Vec<u8>>> {
    let text = secret["data"][key].as_str();
    text.map(|text| STANDARD.decode(text).with_context(|| format!("decode {key}"))).transpose()
}

fn gunzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut text).context("decompress")?;
    Ok(text)
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

fn replace(bytes: &[u8], names: &[(String, String)]) -> Result<Vec<u8>> {
    let text = String::from_utf8(bytes.to_vec()).context("JSON is UTF-8")?;
    let text = names.iter().fold(text, |text, (from, to)| text.replace(from, to));
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use api::ReleaseLifecycleStatus;
    use helm::secret::{Written, from_secret, to_secret};
    use lifecycle::{event::Event, plan::Plan};

    use super::*;

    fn states() -> impl Iterator<Item = (String, State)> {
        Fixture::all().unwrap().into_iter().flat_map(|(path, fixture)| {
            let states: Vec<_> = fixture.states().collect();
            states
                .into_iter()
                .map(move |state| (format!("{}: {}", path.display(), state.at), state))
        })
    }

    /// Returns the status with the phases' names of today.
    fn renamed(mut status: Value) -> Value {
        for field in ["phase", "failedIn"] {
            if let Some(phase) = status.pointer_mut(&format!("/operation/{field}")) {
                match phase.as_str() {
                    Some("Ready") => *phase = "WaitingForReady".into(),
                    Some("Gone") => *phase = "WaitingForDeletion".into(),
                    _ => {}
                }
            }
        }
        status
    }

    #[test]
    fn every_recorded_journal_reads_as_it_was_written() {
        for (place, state) in states() {
            let status: ReleaseLifecycleStatus =
                serde_json::from_value(state.status.clone()).expect(&place);
            assert!(status.journal().is_some(), "{place}");
            assert_eq!(serde_json::to_value(&status).unwrap(), renamed(state.status), "{place}");
        }
    }

    #[test]
    fn every_recorded_plan_freezes_to_the_same_bytes() {
        for (place, state) in states() {
            let mut digests = BTreeSet::new();
            for (record, key, bytes) in state.plans().unwrap() {
                let (plan, digest) = Plan::thaw(&bytes).expect(&place);
                assert_eq!(plan.freeze(), (bytes, digest.clone()), "{place}: {key} of {record}");
                digests.insert(digest);
            }
            let operation = &state.status["operation"];
            if let Some(digest) = operation["planDigest"].as_str()
                && operation["completedAt"].is_null()
            {
                assert!(digests.contains(digest) || is_purged(&state), "{place}: {digest}");
            }
        }
    }

    /// Returns whether the plan is removed. A deletion ends with the removal of the record that its
    /// plan is in, a test with that of its plan.
    fn is_purged(state: &State) -> bool {
        let operation = &state.status["operation"];
        let event: Event = serde_json::from_value(operation["event"].clone()).unwrap();
        matches!(event, Event::Delete | Event::Test) && operation["phase"] == "Closing"
    }

    #[test]
    fn every_recorded_record_reads_as_it_was_written() {
        for (place, state) in states() {
            for record in state.objects.iter().filter(|object| object["type"] == SECRET_TYPE) {
                let (release, plans) = from_secret(record).expect(&place);
                let written = Written::Created(Timestamp::UNIX_EPOCH);
                let again = to_secret(&release, written, &plans).unwrap();
                let decoded = |secret: &Value| -> Value {
                    let release = data(secret, KEY_RELEASE).unwrap().unwrap();
                    let release = gunzip(&STANDARD.decode(release).unwrap()).unwrap();
                    serde_json::from_slice(&release).unwrap()
                };
                assert_eq!(decoded(&again), decoded(record), "{place}");
            }
        }
    }

    #[test]
    fn a_plan_that_is_renamed_keeps_its_digest_in_the_journal() {
        let Some((_, state)) = states().find(|(_, state)| !state.plans().unwrap().is_empty())
        else {
            panic!("no fixture has a plan");
        };
        let uid = state.release["metadata"]["uid"].as_str().unwrap().to_owned();
        let other = uid.chars().rev().collect::<String>();
        let renamed = state.replaced(&[(uid.clone(), other.clone())]).unwrap();
        assert_ne!(renamed, state);
        assert_eq!(renamed.release["metadata"]["uid"], other.as_str());
        let plans = renamed.plans().unwrap();
        assert!(plans.iter().all(|(_, _, plan)| Plan::thaw(plan).unwrap().0.owner.uid == other));
    }
}
