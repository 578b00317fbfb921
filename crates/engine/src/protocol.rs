//! The messages to the engine and its answers: one JSON object a line, each with the version of the
//! protocol.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// The version of the protocol, field `v` of each line.
pub const VERSION: u32 = 1;

/// A chart and all that its rendering depends on.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Render<'a> {
    /// The place of the chart.
    #[serde(flatten)]
    pub chart: Chart<'a>,
    /// The folder of the chart within an archive that is no packaged chart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<&'a str>,
    /// The values, merged in this order; a later one wins.
    pub values: &'a [Values],
    /// The content of `.Release`.
    pub release: Release<'a>,
    /// The content of `.Capabilities`; without it, Helm's defaults without a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// True if `lookup` asks the cluster; otherwise it finds nothing.
    pub cluster: bool,
    /// True if the kinds of the chart's `crds/` count as served.
    #[serde(rename = "addCRDs")]
    pub add_crds: bool,
}

/// The place of a chart.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Chart<'a> {
    /// An archive (tar, gzip).
    #[serde(rename = "chart", serialize_with = "to_base64")]
    Archive(&'a [u8]),
    /// A folder, for an engine that may read files.
    Folder(&'a str),
}

/// One of several sources of values. `place` names its origin, for messages.
#[derive(Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Values {
    /// Values themselves.
    Object {
        /// The origin of the values.
        place: String,
        /// The values.
        object: Map<String, Value>,
    },
    /// Values as YAML.
    Yaml {
        /// The origin of the values.
        place: String,
        /// The text.
        yaml: String,
    },
    /// One value, which may contain any characters.
    #[serde(rename_all = "camelCase")]
    Target {
        /// The origin of the value.
        place: String,
        /// The path that is set, in the notation of `helm --set`.
        target_path: String,
        /// The value that it is set to.
        value: String,
    },
    /// The argument of `helm --set`, or `--set-string`.
    Set {
        /// The origin of the argument.
        place: String,
        /// The argument, such as `a.b=1,c[0]=x`.
        set: String,
        /// True if all values are strings.
        string: bool,
    },
}

/// The content of `.Release`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Release<'a> {
    /// `.Release.Name`.
    pub name: &'a str,
    /// `.Release.Namespace`.
    pub namespace: &'a str,
    /// `.Release.Revision`, from 1.
    pub revision: i32,
    /// `.Release.IsUpgrade`, and the opposite of `.Release.IsInstall`.
    pub upgrade: bool,
}

/// The facts about the cluster in `.Capabilities`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// The version, such as `v1.33.1`.
    pub kube_version: String,
    /// Its major part in the API server's own words, which may be such as `33+`.
    pub major: String,
    /// Its minor part, like `major`.
    pub minor: String,
    /// The APIs that are served: `v1`, `apps/v1`, `apps/v1/Deployment`.
    pub api_versions: Vec<String>,
}

/// A lookup by a template.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lookup {
    /// The API version, such as `apps/v1`.
    pub api_version: String,
    /// The kind, such as `Deployment`.
    pub kind: String,
    /// The namespace; empty for all, and for kinds without one.
    #[serde(default)]
    pub namespace: String,
    /// The name; empty for a list.
    #[serde(default)]
    pub name: String,
}

/// The result of rendering a chart.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rendered {
    /// The objects in Helm's install order.
    #[serde(default, deserialize_with = "or_default")]
    pub objects: Vec<Document>,
    /// The hooks, in the order in which Helm stores them.
    #[serde(default, deserialize_with = "or_default")]
    pub hooks: Vec<HookDocument>,
    /// The content of `crds/`.
    #[serde(default, deserialize_with = "or_default")]
    pub crds: Vec<Document>,
    /// `NOTES.txt`.
    #[serde(default)]
    pub notes: String,
    /// The part of a chart that Helm needs later: `metadata` and `values`.
    #[serde(default)]
    pub chart: Map<String, Value>,
    /// The values that were given, merged.
    #[serde(default, deserialize_with = "or_default")]
    pub config: Map<String, Value>,
    /// The warnings for a person.
    #[serde(default, deserialize_with = "or_default")]
    pub warnings: Vec<String>,
}

/// An object as its template rendered it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Document {
    /// The path of the template, such as `shop/templates/web.yaml`.
    pub path: String,
    /// The text.
    pub manifest: String,
}

/// A hook as its template rendered it, and as Helm reads it.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HookDocument {
    /// Its text and its path.
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

/// The chart to fetch, and the options.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pull {
    /// The chart.
    #[serde(flatten)]
    pub from: Origin,
    /// The credentials, for that server only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// The keys of those who may have signed it; without them it needs no signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// The digest of the chart that is already known, which is neither fetched nor verified again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known: Option<String>,
    /// Addresses to which no request is ever sent, each on all ports or on one: `10.0.0.1`,
    /// `127.0.0.1:6443`.
    pub refuse: Vec<String>,
    /// The parts of private networks and of this machine to which requests are sent: an address, a
    /// range, a host, `host:port` or `*.suffix`.
    pub allow: Vec<String>,
    /// True if requests are sent to all private networks.
    pub private: bool,
    /// True if a registry or a repository without TLS is refused.
    pub https_only: bool,
    /// The servers of artifacts, in private networks too.
    pub artifact_hosts: Vec<String>,
    /// The maximum size of an archive.
    pub max_bytes: u64,
    /// The maximum time of the fetch.
    pub seconds: u64,
    /// The user agent for servers.
    pub user_agent: &'static str,
}

/// The origin of a chart.
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
        /// True if it speaks HTTP.
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
        /// The folders of the source that names it, each with a slash at both ends: the path of the
        /// URL must begin with one.
        under: Vec<String>,
    },
}

/// The credentials for a server.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Credentials {
    /// The user name for basic authentication.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// The password for basic authentication.
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

/// The keys of those who may have signed a chart.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Verify {
    /// The tool that has signed it: `cosign`, `notation` or `helm`.
    pub provider: &'static str,
    /// The keys, certificates and policies, in the order of their names.
    pub files: Vec<File>,
}

/// One key of a Secret.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
pub struct File {
    /// Its name.
    pub name: String,
    /// Its value.
    #[serde(serialize_with = "to_base64")]
    pub data: Vec<u8>,
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

/// Health checks, and objects to which they apply. Without objects the expressions are only compiled.
#[derive(Serialize)]
pub struct Evaluate<'a> {
    /// The checks.
    pub checks: Vec<Expressions<'a>>,
    /// The objects.
    pub objects: Vec<Checked<'a>>,
}

/// The expressions of a health check, in CEL.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Expressions<'a> {
    /// True if the object is ready.
    pub current: &'a str,
    /// True while it is not ready yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_progress: Option<&'a str>,
    /// True if it has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<&'a str>,
}

/// An object to which a health check applies.
#[derive(Clone, Copy, Serialize)]
pub struct Checked<'a> {
    /// The place of the check.
    pub check: usize,
    /// The object.
    pub object: &'a Value,
}

/// The result of health checks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Evaluated {
    /// The expressions that do not compile.
    #[serde(default, deserialize_with = "or_default")]
    pub invalid: Vec<InvalidExpression>,
    /// The verdicts, in the order of the objects.
    #[serde(default, deserialize_with = "or_default")]
    pub verdicts: Vec<Verdict>,
}

/// An expression that does not compile.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct InvalidExpression {
    /// The place of its check.
    pub check: usize,
    /// The field that holds it.
    pub field: String,
    /// The reason, in the words of CEL.
    pub message: String,
}

/// The verdict of a health check on an object.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Verdict {
    /// The verdict.
    pub verdict: VerdictKind,
    /// The field of the expression that decided it.
    pub field: String,
    /// The reason why that expression has no result, without any value of the object.
    #[serde(default)]
    pub message: String,
}

/// The verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum VerdictKind {
    /// The object is ready.
    Current,
    /// It is not ready yet.
    InProgress,
    /// It has failed.
    Failed,
    /// There was no time for it: another try may have a result.
    Unknown,
}

/// The reason why the engine failed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Failure {
    /// The kind of failure.
    pub kind: FailureKind,
    /// The message, with file and line if a template is at fault.
    pub message: String,
    /// True if waiting may help.
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
    NotVerified,
    BadRequest,
}

/// A line to the engine.
#[derive(Serialize)]
pub(crate) struct Request<T> {
    pub(crate) v: u32,
    #[serde(flatten)]
    pub(crate) body: T,
}

/// A request to the engine, or an answer to it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum ToEngine<'a> {
    Render(&'a Render<'a>),
    Pull(&'a Pull),
    Evaluate(&'a Evaluate<'a>),
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
    Evaluated(Evaluated),
    Error(Failure),
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| STANDARD.decode(text).map_err(serde::de::Error::custom)).transpose()
}

/// Reads null as an empty list, since Go writes an empty list as `null`.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
