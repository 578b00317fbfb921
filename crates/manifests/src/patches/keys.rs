//! The keys that identify the items of a list when a strategic merge patch is merged into it.
//!
//! They are from the API types of Kubernetes 1.36, for the fields that have
//! `patchStrategy:"merge"`: the key is `patchMergeKey`, or if there are several, `listMapKey`.
//! Lists that are not here are replaced as a whole, as are all lists of kinds that are not
//! Kubernetes' own.

/// The fields of a type that lead to lists which are merged.
pub(super) type Fields = &'static [(&'static str, Shape)];

/// The shape of a field.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// A mapping.
    Mapping(Fields),
    /// A list of mappings that are identified by these fields. The first is needed; the others have
    /// the value that Kubernetes would give them.
    Keyed(&'static [Key], Fields),
    /// A list of texts, each of which is there once.
    Set,
}

/// A field that identifies an item, and its default.
pub(super) type Key = (&'static str, &'static str);

use Shape::{Keyed, Mapping, Set};

const NAME: &[Key] = &[("name", "")];

const METADATA: (&str, Shape) =
    ("metadata", Mapping(&[("finalizers", Set), ("ownerReferences", Keyed(&[("uid", "")], &[]))]));

const CONTAINER: Fields = &[
    ("env", Keyed(NAME, &[])),
    ("ports", Keyed(&[("containerPort", ""), ("protocol", "TCP")], &[])),
    ("volumeDevices", Keyed(&[("devicePath", "")], &[])),
    ("volumeMounts", Keyed(&[("mountPath", "")], &[])),
];

const POD_SPEC: (&str, Shape) = (
    "spec",
    Mapping(&[
        ("containers", Keyed(NAME, CONTAINER)),
        ("initContainers", Keyed(NAME, CONTAINER)),
        ("ephemeralContainers", Keyed(NAME, CONTAINER)),
        ("hostAliases", Keyed(&[("ip", "")], &[])),
        ("imagePullSecrets", Keyed(NAME, &[])),
        ("resourceClaims", Keyed(NAME, &[])),
        ("schedulingGates", Keyed(NAME, &[])),
        (
            "topologySpreadConstraints",
            Keyed(&[("topologyKey", ""), ("whenUnsatisfiable", "")], &[]),
        ),
        ("volumes", Keyed(NAME, &[])),
    ]),
);

const POD_TEMPLATE: (&str, Shape) = ("template", Mapping(&[METADATA, POD_SPEC]));

const JOB_SPEC: (&str, Shape) = ("spec", Mapping(&[POD_TEMPLATE]));

const MATCH_CONDITIONS: (&str, Shape) = ("matchConditions", Keyed(NAME, &[]));

/// Kubernetes' own groups.
const GROUPS: [&str; 21] = [
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

/// The merged lists of a kind.
pub(super) fn of(group: &str, kind: &str) -> Fields {
    match (group, kind) {
        ("", "Pod") => &[METADATA, POD_SPEC],
        ("", "PodTemplate") => &[METADATA, POD_TEMPLATE],
        ("", "ReplicationController")
        | ("apps", "DaemonSet" | "Deployment" | "ReplicaSet" | "StatefulSet")
        | ("batch", "Job") => &[METADATA, JOB_SPEC],
        ("batch", "CronJob") => {
            const JOB_TEMPLATE: (&str, Shape) = ("jobTemplate", Mapping(&[METADATA, JOB_SPEC]));
            &[METADATA, ("spec", Mapping(&[JOB_TEMPLATE]))]
        }
        ("", "Service") => {
            const PORTS: &[Key] = &[("port", ""), ("protocol", "TCP")];
            &[METADATA, ("spec", Mapping(&[("ports", Keyed(PORTS, &[]))]))]
        }
        ("", "ServiceAccount") => &[METADATA, ("secrets", Keyed(NAME, &[]))],
        ("", "Node") => &[METADATA, ("spec", Mapping(&[("podCIDRs", Set)]))],
        (
            "admissionregistration.k8s.io",
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration",
        ) => &[METADATA, ("webhooks", Keyed(NAME, &[MATCH_CONDITIONS]))],
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => {
            &[METADATA, ("spec", Mapping(&[MATCH_CONDITIONS]))]
        }
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => {
            &[METADATA, ("spec", Mapping(&[MATCH_CONDITIONS, ("variables", Keyed(NAME, &[]))]))]
        }
        ("storage.k8s.io", "CSINode") => {
            &[METADATA, ("spec", Mapping(&[("drivers", Keyed(NAME, &[]))]))]
        }
        (group, _) if GROUPS.contains(&group) => &[METADATA],
        _ => &[],
    }
}
