//! What is said to the engine and what it answers: one JSON object a line, each with the version of
//! the protocol.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// The version of the protocol, field `v` of each line.
pub const VERSION: u32 = 1;

/// A chart and all that its rendering depends on.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Render<'a> {
    /// Where the chart is.
    #[serde(flatten)]
    pub chart: Chart<'a>,
    /// The folder of the chart within an archive that is no packaged chart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<&'a str>,
    /// Merged in this order; a later one wins.
    pub values: &'a [Values],
    /// What `.Release` says.
    pub release: Release<'a>,
    /// What `.Capabilities` says; without it, what Helm takes for granted without a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Whether `lookup` asks; otherwise it finds nothing.
    pub cluster: bool,
    /// Whether the kinds of the chart's `crds/` count as served.
    #[serde(rename = "addCRDs")]
    pub add_crds: bool,
}

/// Where a chart is.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Chart<'a> {
    /// In an archive (tar, gzip).
    #[serde(rename = "chart", serialize_with = "to_base64")]
    Archive(&'a [u8]),
    /// In a folder, for an engine that may read files.
    Folder(&'a str),
}

/// One of several sources of values. `place` says where it stands, for messages.
#[derive(Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Values {
    /// Values themselves.
    Object {
        /// Where they stand.
        place: String,
        /// The values.
        object: Map<String, Value>,
    },
    /// As YAML.
    Yaml {
        /// Where they stand.
        place: String,
        /// The text.
        yaml: String,
    },
    /// One value, whatever characters it has.
    #[serde(rename_all = "camelCase")]
    Target {
        /// Where it stands.
        place: String,
        /// What is set, in the notation of `helm --set`.
        target_path: String,
        /// What it is set to.
        value: String,
    },
    /// What follows `helm --set`, or `--set-string`.
    Set {
        /// Where it stands.
        place: String,
        /// Such as `a.b=1,c[0]=x`.
        set: String,
        /// Whether all values are strings.
        string: bool,
    },
}

/// What `.Release` says.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Release<'a> {
    /// `.Release.Name`.
    pub name: &'a str,
    /// `.Release.Namespace`.
    pub namespace: &'a str,
    /// `.Release.Revision`, from 1.
    pub revision: i32,
    /// `.Release.IsUpgrade`, and the contrary of `.Release.IsInstall`.
    pub upgrade: bool,
}

/// What `.Capabilities` says of the cluster.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// The version, such as `v1.33.1`.
    pub kube_version: String,
    /// Its parts in the API server's own words, which may be such as `33+`.
    pub major: String,
    /// As `major`.
    pub minor: String,
    /// What is served: `v1`, `apps/v1`, `apps/v1/Deployment`.
    pub api_versions: Vec<String>,
}

/// What a template looks up.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lookup {
    /// Such as `apps/v1`.
    pub api_version: String,
    /// Such as `Deployment`.
    pub kind: String,
    /// The namespace; empty for all, and for kinds without one.
    #[serde(default)]
    pub namespace: String,
    /// The name; empty for a list.
    #[serde(default)]
    pub name: String,
}

/// What became of a chart.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rendered {
    /// The objects in Helm's install order.
    #[serde(default, deserialize_with = "or_default")]
    pub objects: Vec<Document>,
    /// The hooks, in the order in which Helm stores them.
    #[serde(default, deserialize_with = "or_default")]
    pub hooks: Vec<HookDocument>,
    /// What stands in `crds/`.
    #[serde(default, deserialize_with = "or_default")]
    pub crds: Vec<Document>,
    /// `NOTES.txt`.
    #[serde(default)]
    pub notes: String,
    /// What Helm needs of a chart later on: `metadata` and `values`.
    #[serde(default)]
    pub chart: Map<String, Value>,
    /// The values that were given, merged.
    #[serde(default, deserialize_with = "or_default")]
    pub config: Map<String, Value>,
    /// What a person is to know of.
    #[serde(default, deserialize_with = "or_default")]
    pub warnings: Vec<String>,
}

/// An object as its template gave it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Document {
    /// Such as `shop/templates/web.yaml`.
    pub path: String,
    /// The text.
    pub manifest: String,
}

/// A hook as its template gave it, and as Helm reads it.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HookDocument {
    /// Its text and where it stands.
    #[serde(flatten)]
    pub document: Document,
    /// `Hook.Name` in Helm's record.
    #[serde(default)]
    pub name: String,
    /// `Hook.Kind`.
    #[serde(default)]
    pub kind: String,
    /// `Hook.Events`.
    #[serde(default, deserialize_with = "or_default")]
    pub events: Vec<String>,
    /// `Hook.Weight`.
    #[serde(default)]
    pub weight: i64,
    /// `Hook.DeletePolicies`.
    #[serde(default, deserialize_with = "or_default")]
    pub delete_policies: Vec<String>,
    /// `Hook.OutputLogPolicies`.
    #[serde(default, deserialize_with = "or_default")]
    pub output_log_policies: Vec<String>,
}

/// Which chart is fetched, and how.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pull {
    /// Which.
    #[serde(flatten)]
    pub from: Origin,
    /// For that server only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// The digest of what is there already, which is not fetched again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known: Option<String>,
    /// Addresses that nothing is asked of, each with its port.
    pub refuse: Vec<String>,
    /// Whether this machine itself may be asked.
    pub loopback: bool,
    /// As large as an archive may be.
    pub max_bytes: u64,
    /// As long as it may take.
    pub seconds: u64,
    /// What servers are told of who asks.
    pub user_agent: &'static str,
}

/// Where a chart comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// A registry.
    #[serde(rename_all = "camelCase")]
    Oci {
        /// `oci://…`, without a tag.
        url: String,
        /// A version or a range; empty for the newest.
        version: String,
        /// The digest of the manifest, instead of a version.
        #[serde(skip_serializing_if = "Option::is_none")]
        digest: Option<String>,
        /// Whether it speaks HTTP.
        plain_http: bool,
    },
    /// A repository with an index.
    Repository {
        /// Its URL.
        url: String,
        /// The chart's name.
        name: String,
        /// A version or a range; empty for the newest.
        version: String,
    },
    /// One file.
    Artifact {
        /// Its URL.
        url: String,
        /// Its digest, `sha256:…`.
        digest: String,
    },
}

/// What a server wants to see.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Credentials {
    /// For basic authentication.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// For basic authentication.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub password: String,
    /// The authorities to trust, instead of the usual ones (PEM).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ca: String,
    /// The client's certificate (PEM).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cert: String,
    /// Its key (PEM).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
}

/// A chart that was fetched.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Pulled {
    /// Its name; empty for an artifact.
    #[serde(default)]
    pub name: String,
    /// Its version; empty for an artifact.
    #[serde(default)]
    pub version: String,
    /// The digest of the manifest (OCI) or of the archive, `sha256:…`.
    pub digest: String,
    /// The archive; `None` where it is known.
    #[serde(default, deserialize_with = "from_base64")]
    pub chart: Option<Vec<u8>>,
}

/// Why the engine could not do it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Failure {
    /// The kind of it.
    pub kind: FailureKind,
    /// What happened, with file and line where a template is at fault.
    pub message: String,
    /// Whether waiting may help.
    #[serde(default)]
    pub transient: bool,
}

/// The kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[allow(missing_docs)]
pub enum FailureKind {
    InvalidChart,
    MissingDependencies,
    IncompatibleKubeVersion,
    NotInstallable,
    InvalidValues,
    SchemaViolation,
    TemplateError,
    NotYaml,
    Lookup,
    ChartNotFound,
    Unauthorized,
    DigestMismatch,
    TooLarge,
    Refused,
    InvalidIndex,
    Unreachable,
    BadRequest,
}

/// A line to the engine.
#[derive(Serialize)]
pub(crate) struct Request<T> {
    pub(crate) v: u32,
    #[serde(flatten)]
    pub(crate) body: T,
}

/// What is asked of the engine, or answered to it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ToEngine<'a> {
    Render(&'a Render<'a>),
    Pull(&'a Pull),
    Found(Value),
    Failed(String),
}

/// A line from the engine.
#[derive(Deserialize)]
pub(crate) struct FromEngine {
    pub(crate) v: u32,
    #[serde(flatten)]
    pub(crate) body: Said,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Said {
    Lookup(Lookup),
    Rendered(Box<Rendered>),
    Pulled(Pulled),
    Error(Failure),
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| STANDARD.decode(text).map_err(serde::de::Error::custom)).transpose()
}

/// Go writes an empty list as `null`.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
