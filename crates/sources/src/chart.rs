//! A chart with the values for it, before it is rendered.

use std::sync::Arc;

use api::{ChartArchive, ChartKind, ObjectsFromKind, Source, SourceKind, SourceRef};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use engine::protocol;
use lifecycle::reason::Reason;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    flux,
    holders::{holder, no_key},
    problems::{Blocked, Error},
    reads::Reads,
    secrets::Secrets,
    server::{ServerChart, WantedChart},
    values::Values,
};

/// The largest size of an archive.
pub const MOST_BYTES: usize = 20 << 20;

/// A chart with its values, before it is rendered.
pub struct ResolvedChart {
    /// The content that is rendered.
    pub content: Content,
    /// The digest of what was fetched: of a manifest in a registry, or of the archive.
    pub digest: String,
    /// The folder of the chart within the archive.
    pub path: Option<String>,
    /// The values for it.
    pub values: Vec<protocol::Values>,
    /// The parts of the values that come from Secrets, and must be in no message.
    pub secrets: Secrets,
    /// The values that the digest is made from.
    parsed: Vec<Value>,
}

/// The files of a chart.
#[derive(Clone)]
pub enum Content {
    /// The files as they were packaged.
    Archive(Arc<[u8]>),
    /// The path of a folder on this machine.
    Folder(String),
}

/// The inputs to a record's digest. A null in values counts: it removes a value of the chart.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChartInputs<'a> {
    digest: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    values: &'a [Value],
}

impl ResolvedChart {
    /// The chart of `digest` with `values`; within the archive it is at `path`.
    pub fn new(content: Content, digest: String, path: Option<String>, values: Values) -> Self {
        let Values { merged, parsed, secrets, .. } = values;
        Self { content, digest, path, values: merged, secrets, parsed }
    }

    /// Returns the inputs by which a change of it is detected.
    pub fn inputs(&self) -> ChartInputs<'_> {
        ChartInputs { digest: &self.digest, path: self.path.as_deref(), values: &self.parsed }
    }
}

/// The place of the chart of a source.
pub enum ChartLocation<'a> {
    /// In a `ConfigMap` or a Secret.
    Archive(&'a ChartArchive),
    /// In a registry or a repository.
    Server(ServerChart<'a>),
    /// In the artifact that a source of Flux has published.
    Flux(&'a SourceRef),
}

impl<'a> ChartLocation<'a> {
    /// Returns the place of the chart by the spec.
    ///
    /// # Errors
    /// It names none.
    pub fn of(source: &'a Source) -> Result<Self, Blocked> {
        let found = match source.kind() {
            SourceKind::SourceRef(source) => Some(Self::Flux(source)),
            SourceKind::Chart(chart) => chart.kind().map(|kind| match kind {
                ChartKind::Archive(from) => Self::Archive(from),
                ChartKind::Oci(chart) => Self::Server(ServerChart::oci(chart)),
                ChartKind::Repository(chart) => Self::Server(ServerChart::repository(chart)),
            }),
            SourceKind::Objects(_) | SourceKind::ObjectsFrom(_) => None,
        };
        found.ok_or_else(|| {
            Blocked::new(Reason::InvalidSource, "spec.source.chart: it names no chart")
        })
    }

    /// Returns the folder of the chart within the archive that is fetched.
    pub fn path(&self) -> Option<&'a str> {
        match self {
            Self::Flux(source) => source.path.as_deref(),
            Self::Archive(_) | Self::Server(_) => None,
        }
    }
}

/// Reads the archive in a `ConfigMap` or a Secret.
///
/// # Errors
/// It is not there, or not an archive.
pub async fn archive<R: Reads>(
    from: &ChartArchive,
    namespace: &str,
    reads: &R,
) -> Result<Vec<u8>, Error<R::Error>> {
    let place = format!("spec.source.chart.archive ({from})");
    let (object, live) = holder(reads, namespace, (from.kind, &from.name), &place).await?;
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
            return Err(Blocked::new(Reason::InvalidChart, message).into());
        }
        let empty = Map::new();
        let data = data.as_object().unwrap_or(&empty);
        return Err(no_key(&object, &from.key, data, &place).into());
    };
    STANDARD.decode(text).map_err(|error| {
        Blocked::new(Reason::InvalidChart, format!("{place}: key {}: {error}", from.key)).into()
    })
}

/// Returns the artifact to fetch if Flux has published a chart.
///
/// # Errors
/// It has published none, or none that can be checked.
pub async fn of_flux<R: Reads>(
    source: &SourceRef,
    namespace: &str,
    reads: &R,
) -> Result<WantedChart, Error<R::Error>> {
    flux::wanted(source, namespace, reads).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Digests in clusters are over these bytes.
    #[test]
    fn the_inputs_of_a_chart_stay_byte_for_byte() {
        let values = [json!({"b": null, "a": {"c": [1, "x"]}})];
        let of = |path, values| ChartInputs { digest: "sha256:ab", path, values };
        let text = |inputs| serde_json::to_string(&inputs).unwrap();
        assert_eq!(
            text(of(None, &values)),
            r#"{"digest":"sha256:ab","values":[{"a":{"c":[1,"x"]},"b":null}]}"#
        );
        assert_eq!(
            text(of(Some("charts/a"), &[])),
            r#"{"digest":"sha256:ab","path":"charts/a","values":[]}"#
        );
    }
}
