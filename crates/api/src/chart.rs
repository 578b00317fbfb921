//! Charts: where one is, and the values for it. Names and meanings are Flux's where it has them.

use std::fmt;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ObjectsFromKind;

/// Where a chart is.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.oci) ? 1 : 0) + (has(self.repository) ? 1 : 0) + (has(self.archive) ? 1 : 0) == 1").message("spec.source.chart takes exactly one of oci, repository and archive"))]
pub struct Chart {
    /// In an OCI registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<OciChart>,
    /// In a repository with an index, over HTTP or HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositoryChart>,
    /// As `helm package` makes it, in a `ConfigMap` or a Secret of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<ChartArchive>,
}

/// The one of its fields that a chart has.
#[derive(Clone, Copy, Debug)]
pub enum ChartKind<'a> {
    /// `oci`.
    Oci(&'a OciChart),
    /// `repository`.
    Repository(&'a RepositoryChart),
    /// `archive`.
    Archive(&'a ChartArchive),
}

impl Chart {
    /// The field that it has; `None` where it has none. The API server takes exactly one.
    pub fn kind(&self) -> Option<ChartKind<'_>> {
        // Without `..`: a new field is to be named here.
        let Self { oci, repository, archive } = self;
        let archive = archive.as_ref().map(ChartKind::Archive);
        let oci = oci.as_ref().map(ChartKind::Oci);
        archive.or(oci).or_else(|| repository.as_ref().map(ChartKind::Repository))
    }

    /// How many of its fields are there.
    pub fn fields(&self) -> usize {
        let Self { oci, repository, archive } = self;
        let given = [oci.is_some(), repository.is_some(), archive.is_some()];
        given.into_iter().filter(|is_given| *is_given).count()
    }
}

/// A chart in an OCI registry.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.version) || !has(self.digest)").message("spec.source.chart.oci takes a version or a digest, not both"))]
pub struct OciChart {
    /// The chart without a tag, such as `oci://registry.example/charts/shop`.
    #[schemars(
        length(max = 2048),
        regex(pattern = r"^oci://[-a-zA-Z0-9.]+(:[0-9]+)?(/[-._a-z0-9]+)+$")
    )]
    pub url: String,
    /// A version, or a range such as `>=1.4 <2`; the newest that matches. Default: the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub version: Option<String>,
    /// The digest of its manifest, instead of a version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub digest: Option<String>,
    /// A Secret with `username` and `password`, or of type `kubernetes.io/dockerconfigjson`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
    /// A Secret with `ca.crt`, and `tls.crt` and `tls.key` where the server asks for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_secret_ref: Option<SecretReference>,
    /// True: over HTTP. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
}

/// A chart in a repository with an index.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryChart {
    /// The repository, such as `https://charts.example`.
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^\s@]+$"))]
    pub url: String,
    /// The chart's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// A version, or a range such as `>=1.4 <2`; the newest that matches. Default: the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub version: Option<String>,
    /// A Secret with `username` and `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
    /// A Secret with `ca.crt`, and `tls.crt` and `tls.key` where the server asks for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_secret_ref: Option<SecretReference>,
}

/// A chart as an archive in a `ConfigMap` (`binaryData`) or a Secret.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChartArchive {
    /// `ConfigMap` or Secret.
    pub kind: ObjectsFromKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// The key whose value is the archive, such as `chart.tgz`.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

impl fmt::Display for ChartArchive {
    /// `Secret/shop-chart key chart.tgz`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} key {}", self.kind.as_str(), self.name, self.key)
    }
}

/// Names a Secret of this namespace.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
}

/// Names a source of Flux in this namespace, whose artifact is or holds a chart.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceRef {
    /// The kind, of API group `source.toolkit.fluxcd.io`.
    pub kind: SourceRefKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// The folder of the chart within the artifact, such as `./charts/shop`. Default: the artifact
    /// is the chart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub path: Option<String>,
}

impl fmt::Display for SourceRef {
    /// `OCIRepository/shop`, and ` path ./charts/shop` where it names one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)?;
        self.path.as_ref().map_or(Ok(()), |path| write!(f, " path {path}"))
    }
}

/// The kinds of Flux's sources.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[allow(missing_docs)]
pub enum SourceRefKind {
    #[serde(rename = "OCIRepository")]
    OciRepository,
    GitRepository,
    Bucket,
    HelmChart,
    ExternalArtifact,
}

impl SourceRefKind {
    /// The word for it, such as `OCIRepository`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OciRepository => "OCIRepository",
            Self::GitRepository => "GitRepository",
            Self::Bucket => "Bucket",
            Self::HelmChart => "HelmChart",
            Self::ExternalArtifact => "ExternalArtifact",
        }
    }
}

/// Names a `ConfigMap` or a Secret that holds values.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ValuesFrom {
    /// `ConfigMap` or Secret.
    pub kind: ObjectsFromKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// The key whose value is read. Default: values.yaml.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub values_key: Option<String>,
    /// The one value to set, in the notation of `helm --set`, such as `database.password`. Default:
    /// what is read is YAML, and merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 250))]
    pub target_path: Option<String>,
    /// True: that it does not exist, or lacks the key, is no mistake. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,
}

impl ValuesFrom {
    /// The key whose value is read.
    pub fn key(&self) -> &str {
        self.values_key.as_deref().unwrap_or("values.yaml")
    }
}

impl fmt::Display for ValuesFrom {
    /// `Secret/shop key values.yaml`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} key {}", self.kind.as_str(), self.name, self.key())
    }
}

/// A chart's values, of any shape.
pub(crate) fn values(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// A chart's values as they are stored.
pub type Values = Map<String, Value>;
