// Package protocol holds the messages that the operator and the engine exchange,
// one JSON object a line, and the reading and writing of such lines.
package protocol

import (
	"encoding/json"
)

// Version is what every message carries as "v". Both ends are built from one
// commit, so there is one version and no negotiation.
const Version = 1

// In is a message to the engine: exactly one of its fields is set.
type In struct {
	V      int     `json:"v"`
	Render *Render `json:"render,omitempty"`
	Pull   *Pull   `json:"pull,omitempty"`
	// Evaluate asks for verdicts of health checks.
	Evaluate *Evaluate `json:"evaluate,omitempty"`
	// Found answers a lookup: an object, a list, or null.
	Found json.RawMessage `json:"found,omitempty"`
	// Failed answers a lookup that could not be answered.
	Failed *string `json:"failed,omitempty"`
}

// Out is a message of the engine: exactly one of its fields is set.
type Out struct {
	V         int        `json:"v"`
	Lookup    *Lookup    `json:"lookup,omitempty"`
	Rendered  *Rendered  `json:"rendered,omitempty"`
	Pulled    *Pulled    `json:"pulled,omitempty"`
	Evaluated *Evaluated `json:"evaluated,omitempty"`
	Error     *Error     `json:"error,omitempty"`
}

// Render asks for a chart to be rendered.
type Render struct {
	Chart  []byte `json:"chart,omitempty"`
	Folder string `json:"folder,omitempty"`
	// Path is the chart's folder inside the archive.
	Path         string        `json:"path,omitempty"`
	Values       []Values      `json:"values,omitempty"`
	Release      Release       `json:"release"`
	Capabilities *Capabilities `json:"capabilities,omitempty"`
	// Cluster is whether lookups are asked of the operator.
	Cluster bool `json:"cluster,omitempty"`
	// AddCRDs counts what crds/ defines as served.
	AddCRDs bool `json:"addCRDs,omitempty"`
}

// Values is one layer of user-supplied values: a text, an object, or one value
// for a path. Place says where it is from, for messages.
type Values struct {
	Place      string  `json:"place"`
	YAML       *string `json:"yaml,omitempty"`
	TargetPath *string `json:"targetPath,omitempty"`
	// Set is what follows `helm --set` or, with String, `--set-string`.
	Set    *string         `json:"set,omitempty"`
	String bool            `json:"string,omitempty"`
	Value  *string         `json:"value,omitempty"`
	Object json.RawMessage `json:"object,omitempty"`
}

// Release is what templates see as .Release.
type Release struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	Revision  int    `json:"revision"`
	Upgrade   bool   `json:"upgrade,omitempty"`
}

// Capabilities is what templates see as .Capabilities.
type Capabilities struct {
	KubeVersion string `json:"kubeVersion"`
	// Major and Minor are the API server's own words, which some providers
	// decorate ("33+"); without them they are taken from KubeVersion.
	Major       string   `json:"major,omitempty"`
	Minor       string   `json:"minor,omitempty"`
	APIVersions []string `json:"apiVersions"`
}

// Lookup is a template's question to the cluster; no name asks for a list.
type Lookup struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace"`
	Name       string `json:"name"`
}

// Rendered is a rendered chart.
type Rendered struct {
	Objects  []Object       `json:"objects"`
	Hooks    []Hook         `json:"hooks"`
	CRDs     []Object       `json:"crds"`
	Notes    string         `json:"notes"`
	Chart    Chart          `json:"chart"`
	Config   map[string]any `json:"config"`
	Warnings []string       `json:"warnings"`
}

// Object is a manifest and the file that it came from.
type Object struct {
	Path     string `json:"path"`
	Manifest string `json:"manifest"`
}

// Hook is a hook as Helm keeps it in a release.
type Hook struct {
	Path              string   `json:"path"`
	Manifest          string   `json:"manifest"`
	Name              string   `json:"name"`
	Kind              string   `json:"kind"`
	Events            []string `json:"events"`
	Weight            int      `json:"weight"`
	DeletePolicies    []string `json:"deletePolicies"`
	OutputLogPolicies []string `json:"outputLogPolicies"`
}

// Chart is what Helm needs of a chart after it was rendered.
type Chart struct {
	Metadata any            `json:"metadata"`
	Values   map[string]any `json:"values"`
}

// Pull asks for a chart to be fetched from exactly one kind of source.
type Pull struct {
	OCI         *OCI         `json:"oci,omitempty"`
	Repository  *Repository  `json:"repository,omitempty"`
	Artifact    *Artifact    `json:"artifact,omitempty"`
	Credentials *Credentials `json:"credentials,omitempty"`
	// Verify asks for a signature of the chart.
	Verify *Verify `json:"verify,omitempty"`
	// Known is the digest that the caller has, verified by the same keys if there are any.
	Known string `json:"known,omitempty"`
	// Refuse lists addresses that are never dialled, each perhaps with a port: those of
	// the API server.
	Refuse []string `json:"refuse,omitempty"`
	// Allow lists what is dialled though it is in a private network, or this machine.
	Allow []string `json:"allow,omitempty"`
	// Private is whether private networks are dialled without being listed.
	Private bool `json:"private,omitempty"`
	// HTTPSOnly refuses what is not encrypted.
	HTTPSOnly bool `json:"httpsOnly,omitempty"`
	// ArtifactHosts are the servers of artifacts.
	ArtifactHosts []string `json:"artifactHosts,omitempty"`
	MaxBytes      int64    `json:"maxBytes,omitempty"`
	// Seconds is the deadline of the whole pull.
	Seconds int `json:"seconds,omitempty"`
	// UserAgent is what servers are told of who asks.
	UserAgent string `json:"userAgent,omitempty"`
}

// OCI is a chart in an OCI registry.
type OCI struct {
	URL       string `json:"url"`
	Version   string `json:"version,omitempty"`
	Digest    string `json:"digest,omitempty"`
	PlainHTTP bool   `json:"plainHttp,omitempty"`
}

// Repository is a chart in an HTTP repository with an index.
type Repository struct {
	URL     string `json:"url"`
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
}

// Artifact is an archive at a URL, as Flux's sources publish them.
type Artifact struct {
	URL    string `json:"url"`
	Digest string `json:"digest"`
	// Under lists the folders of the source that names it: the URL's path begins with one.
	Under []string `json:"under"`
}

// Credentials are sent to the host of the source's URL only.
type Credentials struct {
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
	CA       string `json:"ca,omitempty"`
	Cert     string `json:"cert,omitempty"`
	Key      string `json:"key,omitempty"`
}

// Provider is a tool whose signatures are verified.
type Provider string

// The tools.
const (
	Cosign         Provider = "cosign"
	Notation       Provider = "notation"
	HelmProvenance Provider = "helm"
)

// Verify is who may have signed a chart.
type Verify struct {
	Provider Provider `json:"provider"`
	// Files are the keys, certificates and policies of a Secret.
	Files []File `json:"files"`
}

// File is one key of a Secret.
type File struct {
	Name string `json:"name"`
	Data []byte `json:"data"`
}

// Pulled is a fetched chart; Chart is null if it is the known one.
type Pulled struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Digest  string `json:"digest"`
	Chart   []byte `json:"chart"`
}

// Evaluate asks for the verdicts of health checks over objects. Without objects, the expressions are
// only compiled.
type Evaluate struct {
	Checks  []HealthCheck `json:"checks"`
	Objects []Checked     `json:"objects,omitempty"`
}

// HealthCheck is the CEL expressions for objects of one kind.
type HealthCheck struct {
	Current    string `json:"current"`
	InProgress string `json:"inProgress,omitempty"`
	Failed     string `json:"failed,omitempty"`
}

// Checked is an object, and the index of the check for its kind.
type Checked struct {
	Check  int             `json:"check"`
	Object json.RawMessage `json:"object"`
}

// Evaluated is the answer: what does not compile, and a verdict for each object, in their order.
type Evaluated struct {
	Invalid  []Invalid `json:"invalid"`
	Verdicts []Verdict `json:"verdicts"`
}

// Invalid is an expression that does not compile.
type Invalid struct {
	Check   int    `json:"check"`
	Field   string `json:"field"`
	Message string `json:"message"`
}

// VerdictKind is the state of an object.
type VerdictKind string

// The states.
const (
	Current    VerdictKind = "Current"
	InProgress VerdictKind = "InProgress"
	Failed     VerdictKind = "Failed"
	// Unknown is the state of an object for which there was no time: another try may have a result.
	Unknown VerdictKind = "Unknown"
)

// Verdict is the state of an object, and the expression that decided it. Message is why that
// expression has no result; it holds no value of the object.
type Verdict struct {
	Verdict VerdictKind `json:"verdict"`
	Field   string      `json:"field"`
	Message string      `json:"message,omitempty"`
}
