//! A chart and the values for it, read from where the spec says, as the tenant.

mod cache;
mod charts;
mod credentials;
mod entry;
pub(crate) mod flux;
mod pull;
mod secrets;
mod wanted;

use std::sync::Arc;

use api::{ChartArchive, ChartKind, ObjectsFromKind, SourceKind, ValuesFrom};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use engine::protocol::Values;
use lifecycle::{digest::digest, reason::Reason};
use manifests::{json, memory::Memory, yaml};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    cluster::error::Error,
    desired::source::{holder, no_key, text_of},
    release::Release,
    support::key::key,
};

pub(crate) use cache::Cache;
pub(crate) use charts::Charts;
pub(crate) use pull::Settings;
pub(crate) use secrets::Secrets;
use wanted::Wanted;

/// As large as an archive may be.
const MOST_BYTES: usize = 20 << 20;

/// A chart with its values, before it is rendered.
pub(crate) struct Chart {
    pub(crate) archive: Arc<[u8]>,
    /// Of what was fetched: that of a manifest in a registry, or that of the archive.
    pub(crate) digest: String,
    /// The folder of the chart within the archive.
    pub(crate) path: Option<String>,
    pub(crate) values: Vec<Values>,
    /// What of the values is a Secret's, and stands in no message.
    pub(crate) secrets: Secrets,
    /// What is told apart by digests: how values are written makes no difference.
    parsed: Vec<Value>,
}

/// What a record's digest is made of. A null in values counts: it takes away what the chart has there.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Inputs<'a> {
    digest: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    values: &'a [Value],
}

impl Chart {
    pub(crate) fn inputs(&self) -> Inputs<'_> {
        Inputs { digest: &self.digest, path: self.path.as_deref(), values: &self.parsed }
    }
}

/// The chart that the spec names.
pub(crate) async fn read(release: &Release<'_>) -> Result<Chart, Error> {
    // Before the chart: to correct them, nothing has to be fetched.
    let Read { values, parsed, secrets } = values(release).await?;
    let none = || Error::blocked(Reason::InvalidSource, "spec.source.chart: it names no chart");
    let (wanted, path) = match release.object.spec.source.kind() {
        SourceKind::Chart(chart) => match chart.kind().ok_or_else(none)? {
            ChartKind::Archive(from) => {
                release.ctx.rendering.charts.forget(&key(&release.object));
                let archive: Arc<[u8]> = archive(release, from).await?.into();
                let digest = digest(&archive);
                return Ok(Chart { archive, digest, path: None, values, secrets, parsed });
            }
            ChartKind::Oci(chart) => (Wanted::oci(release, chart).await?, None),
            ChartKind::Repository(chart) => (Wanted::repository(release, chart).await?, None),
        },
        SourceKind::SourceRef(source) => {
            (flux::wanted(release, source).await?, source.path.clone())
        }
        SourceKind::Objects(_) | SourceKind::ObjectsFrom(_) => return Err(none()),
    };
    let charts::Fetched { archive, digest } =
        release.ctx.rendering.charts.get(release, wanted).await?;
    Ok(Chart { archive, digest, path, values, secrets, parsed })
}

async fn archive(release: &Release<'_>, from: &ChartArchive) -> Result<Vec<u8>, Error> {
    let place = format!("spec.source.chart.archive ({from})");
    let (object, live) = holder(release, from.kind, &from.name, &place).await?;
    let data = match from.kind {
        ObjectsFromKind::ConfigMap => &live["binaryData"],
        ObjectsFromKind::Secret => &live["data"],
    };
    let Some(text) = data[&from.key].as_str() else {
        if live["data"][&from.key].is_string() {
            let message = format!(
                "{place}: key {} of {object} is text, and an archive is not; put it into binaryData, \
                 as `kubectl create configmap --from-file` does",
                from.key
            );
            return Err(Error::blocked(Reason::InvalidChart, message));
        }
        let empty = serde_json::Map::new();
        let message = no_key(&object, &from.key, data.as_object().unwrap_or(&empty), &place);
        return Err(Error::blocked(Reason::SourceNotFound, message));
    };
    STANDARD.decode(text).map_err(|error| {
        Error::blocked(Reason::InvalidChart, format!("{place}: key {}: {error}", from.key))
    })
}

/// The values as the engine merges them, and as they are told apart.
#[derive(Default)]
struct Read {
    values: Vec<Values>,
    parsed: Vec<Value>,
    secrets: Secrets,
}

async fn values(release: &Release<'_>) -> Result<Read, Error> {
    let spec = &release.object.spec;
    let mut found = Read::default();
    let mut memory = Memory::of_release();
    for (index, from) in spec.values_from.iter().enumerate() {
        let place = format!("spec.valuesFrom[{index}] ({from})");
        let Some(text) = value_from(release, from, &place).await? else { continue };
        let is_secret = from.kind == ObjectsFromKind::Secret;
        if let Some(target) = &from.target_path {
            if is_secret {
                found.secrets.add(&Value::String(text.clone()));
            }
            found.parsed.push(json!({"set": [target, text]}));
            let target_path = target.clone();
            found.values.push(Values::Target { place, target_path, value: text });
            continue;
        }
        // Whether it can be read is for Helm's own reader to say.
        let parsed = yaml::read(&text, &mut memory).unwrap_or_else(|_| Value::String(text.clone()));
        if is_secret {
            found.secrets.add(&parsed);
        }
        found.parsed.push(json!({"merge": parsed}));
        found.values.push(Values::Yaml { place, yaml: text });
    }
    if let Some(object) = &spec.values {
        found.parsed.push(json!({"merge": object}));
        let place = "spec.values".to_owned();
        found.values.push(Values::Object { place, object: object.clone() });
    }
    Ok(found)
}

/// The text that `from` names; `None` where it may be missing and is.
async fn value_from(
    release: &Release<'_>,
    from: &ValuesFrom,
    place: &str,
) -> Result<Option<String>, Error> {
    let missing = |error| match error {
        Error::Blocked(failure)
            if failure.reason == Reason::SourceNotFound && from.optional == Some(true) =>
        {
            Ok(None)
        }
        error => Err(error),
    };
    let (object, mut live) = match holder(release, from.kind, &from.name, place).await {
        Ok(found) => found,
        Err(error) => return missing(error),
    };
    let data = json::take(&mut live, "data");
    let empty = serde_json::Map::new();
    let data = data.as_object().unwrap_or(&empty);
    match data.get(from.key()) {
        Some(value) => text_of(from.kind, value, &object, from.key(), place).map(Some),
        None => missing(Error::blocked(
            Reason::SourceNotFound,
            no_key(&object, from.key(), data, place),
        )),
    }
}
