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

/// As large as an archive may be.
pub const MOST_BYTES: usize = 20 << 20;

/// A chart with its values, before it is rendered.
pub struct ResolvedChart {
    /// What is rendered.
    pub content: Content,
    /// Of what was fetched: that of a manifest in a registry, or that of the archive.
    pub digest: String,
    /// The folder of the chart within the archive.
    pub path: Option<String>,
    /// The values for it.
    pub values: Vec<protocol::Values>,
    /// What of the values is a Secret's, and stands in no message.
    pub secrets: Secrets,
    /// What is told apart by digests.
    parsed: Vec<Value>,
}

/// The files of a chart.
#[derive(Clone)]
pub enum Content {
    /// As they were packaged.
    Archive(Arc<[u8]>),
    /// In a folder of this machine, whose path this is.
    Folder(String),
}

/// What a record's digest is made of. A null in values counts: it takes away what the chart has there.
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

    /// By which a change of it is told.
    pub fn inputs(&self) -> ChartInputs<'_> {
        ChartInputs { digest: &self.digest, path: self.path.as_deref(), values: &self.parsed }
    }
}

/// Where the chart of a source is.
pub enum ChartLocation<'a> {
    /// In a `ConfigMap` or a Secret.
    Archive(&'a ChartArchive),
    /// In a registry or a repository.
    Server(ServerChart<'a>),
    /// In what a source of Flux has published.
    Flux(&'a SourceRef),
}

impl<'a> ChartLocation<'a> {
    /// Where the spec says that the chart is.
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

    /// The folder of the chart within what is fetched.
    pub fn path(&self) -> Option<&'a str> {
        match self {
            Self::Flux(source) => source.path.as_deref(),
            Self::Archive(_) | Self::Server(_) => None,
        }
    }
}

/// Reads the archive that a `ConfigMap` or a Secret holds.
///
/// # Errors
/// It is not there, or no archive.
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

/// What to fetch where Flux has published a chart.
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
