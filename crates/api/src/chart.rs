//! Charts: their location and their values. Names and meanings are Flux's where it has them.

use std::fmt;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ObjectsFromKind;

/// Location of a chart. Exactly one of its fields must be set.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(has(self.oci) ? 1 : 0) + (has(self.repository) ? 1 : 0) + (has(self.archive) ? 1 : 0) == 1").message("spec.source.chart takes exactly one of oci, repository and archive"))]
pub struct Chart {
    /// Chart in an OCI registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<OciChart>,
    /// Chart in a Helm repository, served over HTTP or HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositoryChart>,
    /// Chart archive, as `helm package` makes it, in a `ConfigMap` or a Secret of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<ChartArchive>,
}

/// The field that is set in a chart.
#[derive(Clone, Copy, Debug)]
pub enum ChartKind<'a> {
    /// `oci`.
    Oci(&'a OciChart),
    /// `repository`.
    Repository(&'a RepositoryChart),
    /// `archive`.
    Archive(&'a ChartArchive),
}

impl<'a> ChartKind<'a> {
    /// Returns the Secrets that a chart on a server names.
    pub fn secrets(self) -> impl Iterator<Item = &'a SecretReference> {
        let (secrets, verify) = match self {
            Self::Oci(chart) => ([&chart.secret_ref, &chart.cert_secret_ref], &chart.verify),
            Self::Repository(chart) => ([&chart.secret_ref, &chart.cert_secret_ref], &chart.verify),
            Self::Archive(_) => ([&None, &None], &None),
        };
        let keys = verify.as_ref().map(|verify| &verify.secret_ref);
        secrets.into_iter().flatten().chain(keys)
    }
}

impl Chart {
    /// Returns the field that is set, if any is. The API server accepts exactly one.
    pub fn kind(&self) -> Option<ChartKind<'_>> {
        // Without `..`: a new field is to be named here.
        let Self { oci, repository, archive } = self;
        let archive = archive.as_ref().map(ChartKind::Archive);
        let oci = oci.as_ref().map(ChartKind::Oci);
        archive.or(oci).or_else(|| repository.as_ref().map(ChartKind::Repository))
    }

    /// Returns the number of fields that are set.
    pub fn fields(&self) -> usize {
        let Self { oci, repository, archive } = self;
        let given = [oci.is_some(), repository.is_some(), archive.is_some()];
        given.into_iter().filter(|is_given| *is_given).count()
    }
}

/// Chart in an OCI registry.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.version) || !has(self.digest)").message("spec.source.chart.oci takes a version or a digest, not both"))]
pub struct OciChart {
    /// URL of the chart without a tag, such as `oci://registry.example/charts/shop`.
    #[schemars(
        length(max = 2048),
        regex(pattern = r"^oci://[-a-zA-Z0-9.]+(:[0-9]+)?(/[-._a-z0-9]+)+$")
    )]
    pub url: String,
    /// Version of the chart, or a range such as `>=1.4 <2`, of which the newest version is used.
    /// Defaults to the newest version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub version: Option<String>,
    /// Digest of the chart's manifest, such as `sha256:…`. Cannot be combined with `version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub digest: Option<String>,
    /// Secret of this namespace with `username` and `password`, or of type
    /// `kubernetes.io/dockerconfigjson`. If absent, the registry is read anonymously.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
    /// Secret of this namespace with `ca.crt`, the certificate authority to trust, and with
    /// `tls.crt` and `tls.key` if the server requires a client certificate. Defaults to the usual
    /// authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_secret_ref: Option<SecretReference>,
    /// Connects to the registry over HTTP instead of HTTPS. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
    /// Verification of the chart before it is used. If absent, the chart needs no signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verification>,
}

/// Chart in a Helm repository.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.verify) || self.verify.provider == 'helm'").message("spec.source.chart.repository.verify takes the provider helm; cosign and notation are for charts in OCI registries"))]
pub struct RepositoryChart {
    /// URL of the repository, such as `https://charts.example`.
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^\s@]+$"))]
    pub url: String,
    /// Name of the chart in the repository.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Version of the chart, or a range such as `>=1.4 <2`, of which the newest version is used.
    /// Defaults to the newest version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub version: Option<String>,
    /// Secret of this namespace with `username` and `password`. If absent, the repository is read
    /// anonymously.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
    /// Secret of this namespace with `ca.crt`, the certificate authority to trust, and with
    /// `tls.crt` and `tls.key` if the server requires a client certificate. Defaults to the usual
    /// authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_secret_ref: Option<SecretReference>,
    /// Verification of the chart before it is used, by the provider `helm`. If absent, the chart
    /// needs no signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verification>,
}

/// Verification of a chart's signature. A chart that is not signed, or not by these keys, is not
/// used.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// Tool that has signed the chart: `cosign` or `notation` (beside a chart in an OCI registry), or
    /// `helm` (a provenance file).
    pub provider: VerificationProvider,
    /// Secret of this namespace with the public keys. For `cosign`: keys that end with `.pub`, any
    /// of which may have signed. For `notation`: `trustpolicy.json`, and certificates in keys that end
    /// with `.crt` or `.pem`. For `helm`: PGP keyrings in keys that end with `.gpg` or `.asc`.
    pub secret_ref: SecretReference,
}

/// Tool that has signed a chart.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum VerificationProvider {
    Cosign,
    Notation,
    Helm,
}

impl VerificationProvider {
    /// Returns the name, such as `cosign`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cosign => "cosign",
            Self::Notation => "notation",
            Self::Helm => "helm",
        }
    }
}

impl fmt::Display for VerificationProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Chart archive in a `ConfigMap` (`binaryData`) or a Secret.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChartArchive {
    /// Kind of the object: `ConfigMap` or Secret.
    pub kind: ObjectsFromKind,
    /// Name of the object.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// Key whose value is the archive, such as `chart.tgz`.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

impl fmt::Display for ChartArchive {
    /// Writes `Secret/shop-chart key chart.tgz`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} key {}", self.kind.as_str(), self.name, self.key)
    }
}

/// Reference to a Secret of this namespace.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
}

/// Reference to a Flux source of this namespace whose artifact is a chart or contains one.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceRef {
    /// Kind of the source, in the API group `source.toolkit.fluxcd.io`.
    pub kind: SourceRefKind,
    /// Name of the source.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// Path of the chart's folder in the artifact, such as `./charts/shop`. Defaults to the
    /// artifact itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub path: Option<String>,
}

impl fmt::Display for SourceRef {
    /// Writes `OCIRepository/shop`, followed by ` path ./charts/shop` if a path is set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)?;
        self.path.as_ref().map_or(Ok(()), |path| write!(f, " path {path}"))
    }
}

/// Kind of a Flux source.
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
    /// Returns the kind, such as `OCIRepository`.
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

/// Reference to a `ConfigMap` or a Secret that holds values.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ValuesFrom {
    /// Kind of the object: `ConfigMap` or Secret.
    pub kind: ObjectsFromKind,
    /// Name of the object.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// Key whose value is read. Defaults to values.yaml.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub values_key: Option<String>,
    /// Path of the one value to set, in the notation of `helm --set`, such as `database.password`.
    /// If absent, the text that is read is YAML and is merged into the values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 250))]
    pub target_path: Option<String>,
    /// Ignores a missing object or key. If false, it is an error. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,
}

impl ValuesFrom {
    /// Returns the key whose value is read.
    pub fn key(&self) -> &str {
        self.values_key.as_deref().unwrap_or("values.yaml")
    }
}

impl fmt::Display for ValuesFrom {
    /// Writes `Secret/shop key values.yaml`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} key {}", self.kind.as_str(), self.name, self.key())
    }
}

/// Returns the schema of a chart's values, which have any structure.
pub(crate) fn values(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Values of a chart, as they are stored.
pub type Values = Map<String, Value>;
