//! The digests that detect a change of the desired state. Their bytes are the same in every version
//! of the operator: a deployed release is not deployed again because the operator is upgraded.

use api::{Install, ReleaseLifecycleSpec, Rollback, Upgrade};
use kube::core::Duration;
use lifecycle::{digest::config_digest, tidy::Tidy};
use manifests::patches::Patch;
use serde::Serialize;
use serde_json::Value;
use sources::{ChartInputs, ResolvedSource};

use crate::release::Release;

/// The input of a record's digest: the inputs of the release, never rendered text. The place that
/// they come from makes no difference.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DigestInput<'a> {
    /// `None` if they are not known, or come from a chart.
    objects: Option<Objects<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chart: Option<ChartInputs<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    patches: &'a [Patch],
    release_name: &'a str,
}

/// The objects of a source in a digest.
#[derive(Clone, Serialize)]
#[serde(untagged)]
enum Objects<'a> {
    Tidy(Vec<Tidy<'a>>),
    /// The form of earlier digests, so that an upgrade of the operator upgrades no release. Both
    /// forms are the same if there are neither nulls nor empty maps.
    AsWritten(Vec<&'a Value>),
}

impl DigestInput<'_> {
    /// Returns true if `digest` is of this configuration.
    pub(crate) fn have(&self, digest: &str, key: &str) -> bool {
        digest == config_digest(key.as_bytes(), self)
            || self.as_written().is_some_and(|it| digest == config_digest(key.as_bytes(), &it))
    }

    /// Returns the input in the form of an earlier version of the operator, if that may differ.
    fn as_written(&self) -> Option<Self> {
        let Some(Objects::Tidy(objects)) = &self.objects else { return None };
        let objects = objects.iter().map(|Tidy(object)| *object).collect();
        Some(Self { objects: Some(Objects::AsWritten(objects)), ..self.clone() })
    }
}

/// Returns the part of a record's digest that comes from the spec and its source.
pub(crate) fn input<'a>(release: &'a Release<'_>) -> DigestInput<'a> {
    let (objects, chart) = match release.known_source() {
        Some(ResolvedSource::Objects(objects)) => {
            let objects = objects.iter().map(|placed| Tidy(&placed.manifest)).collect();
            (Some(Objects::Tidy(objects)), None)
        }
        Some(ResolvedSource::Chart(chart)) => (None, Some(chart.inputs())),
        None => (None, None),
    };
    DigestInput {
        objects,
        chart,
        patches: &release.object.spec.patches,
        release_name: &release.name,
    }
}

/// Returns the digest of everything that requires a new operation: the configuration, the revision
/// at which the release is pinned, and the options and the identity of the operation.
pub(crate) fn wanted(release: &Release<'_>, key: &str) -> String {
    digest_of(release, input(release), key)
}

/// Returns true if `digest` is that of [`wanted`].
pub(crate) fn is_wanted(release: &Release<'_>, digest: &str, key: &str) -> bool {
    let inputs = input(release);
    let as_written = inputs.as_written();
    digest == digest_of(release, inputs, key)
        || as_written.is_some_and(|inputs| digest == digest_of(release, inputs, key))
}

fn digest_of(release: &Release<'_>, inputs: DigestInput<'_>, key: &str) -> String {
    config_digest(key.as_bytes(), &OperationDigestInput::of(&release.object.spec, inputs))
}

/// The inputs of which a change requires a new operation. The order of the fields counts.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OperationDigestInput<'a> {
    configuration: Option<DigestInput<'a>>,
    pin_revision: Option<i32>,
    rollback: Option<Rollback>,
    service_account_name: &'a Option<String>,
    timeout: Option<Duration>,
    wait: Option<bool>,
    // Later fields: omitted if they are not set, so that a configuration that was given up before
    // the operator knew these fields remains given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    install: Option<Install>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upgrade: Option<Upgrade>,
    #[serde(skip_serializing_if = "Option::is_none")]
    force_conflicts: Option<bool>,
}

impl<'a> OperationDigestInput<'a> {
    fn of(spec: &'a ReleaseLifecycleSpec, inputs: DigestInput<'a>) -> Self {
        // What follows a failure is an operation of its own.
        let install =
            spec.install.clone().map(|it| Install { on_failure: None, retries: None, ..it });
        let upgrade =
            spec.upgrade.clone().map(|it| Upgrade { on_failure: None, retries: None, ..it });
        let is_more = |it: &Rollback| it.retries.is_none() || it.hooks_from.is_some();
        let rollback = spec.rollback.clone().filter(is_more);
        Self {
            // If the release is pinned at a revision, its source is not part of the desired state.
            configuration: spec.pin_revision.is_none().then_some(inputs),
            pin_revision: spec.pin_revision,
            rollback: rollback.map(|it| Rollback { retries: None, ..it }),
            service_account_name: &spec.service_account_name,
            timeout: spec.timeout,
            wait: spec.wait,
            install: install.filter(|it| *it != Install::default()),
            upgrade: upgrade.filter(|it| *it != Upgrade::default()),
            force_conflicts: spec.force_conflicts,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn inputs(objects: &[Value]) -> DigestInput<'_> {
        let objects = objects.iter().map(Tidy).collect();
        DigestInput {
            objects: Some(Objects::Tidy(objects)),
            chart: None,
            patches: &[],
            release_name: "shop",
        }
    }

    /// Returns the digest of earlier versions: of the objects as they were written.
    fn former(objects: &[Value]) -> String {
        config_digest(b"key", &json!({"objects": objects, "releaseName": "shop"}))
    }

    fn map(metadata: Value, data: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    }

    #[test]
    fn a_digest_of_an_earlier_version_is_known_and_a_change_is_one() {
        let plain = [map(json!({"name": "a"}), json!({"v": "1"}))];
        let written = [map(
            json!({"name": "a", "creationTimestamp": null, "labels": {}}),
            json!({"v": "1", "w": null}),
        )];
        let changed = [map(json!({"name": "a"}), json!({"v": "2"}))];
        let digest = |objects: &[Value]| config_digest(b"key", &inputs(objects));
        assert_eq!(digest(&plain), former(&plain), "what is tidy has the digest that it had");
        assert_ne!(digest(&written), former(&written));
        assert_eq!(digest(&written), digest(&plain));
        for objects in [&plain, &written] {
            assert!(inputs(objects).have(&former(objects), "key"));
            assert!(inputs(objects).have(&digest(&plain), "key"));
            assert!(!inputs(objects).have(&former(&changed), "key"));
            assert!(!inputs(objects).have(&former(objects), "another key"));
            assert!(!inputs(objects).have("", "key"));
        }
    }

    fn text(input: &impl Serialize) -> String {
        serde_json::to_string(input).unwrap()
    }

    fn spec(spec: Value) -> ReleaseLifecycleSpec {
        let mut whole = json!({"source": {"objects": []}});
        for (field, value) in spec.as_object().unwrap() {
            whole[field] = value.clone();
        }
        serde_json::from_value(whole).unwrap()
    }

    /// Records and statuses in clusters hold such digests: neither these bytes nor the digests may
    /// change.
    #[test]
    fn what_is_digested_and_the_digests_stay_byte_for_byte() {
        let objects = [map(json!({"name": "a", "labels": {}}), json!({"v": "1", "w": null}))];
        let configuration = inputs(&objects);
        let unknown = DigestInput { objects: None, ..inputs(&objects) };
        let as_written = configuration.as_written().unwrap();
        for (input, bytes, digest) in [
            (
                &configuration,
                r#"{"objects":[{"apiVersion":"v1","data":{"v":"1"},"kind":"ConfigMap","metadata":{"name":"a"}}],"releaseName":"shop"}"#,
                "hmac-sha256:bb37865d1ff00d5b9b2fa48425a9feb58711257dcb106355ffd340961da06df0",
            ),
            (
                &as_written,
                r#"{"objects":[{"apiVersion":"v1","data":{"v":"1","w":null},"kind":"ConfigMap","metadata":{"labels":{},"name":"a"}}],"releaseName":"shop"}"#,
                "hmac-sha256:804c188767bd43b7105d051988ad0f00a23c63982ef8eacdda18add01bd1a6eb",
            ),
            (
                &unknown,
                r#"{"objects":null,"releaseName":"shop"}"#,
                "hmac-sha256:3137c6f6bb732de85e175140c5ed11940c2415c0b7fca10ffdf5f54d63216303",
            ),
        ] {
            assert_eq!(text(input), bytes);
            assert_eq!(config_digest(b"key", input), digest);
            assert!(input.have(digest, "key"));
        }
        let defaults = spec(json!({
            "install": {"onFailure": "Uninstall", "retries": 3},
            "upgrade": {"retries": 2},
            "rollback": {"retries": 1},
        }));
        let pinned = spec(json!({
            "pinRevision": 4,
            "rollback": {"hooksFrom": "Current", "retries": 1},
            "serviceAccountName": "deployer",
            "timeout": "90s",
            "wait": false,
            "install": {"takeOwnership": true},
            "upgrade": {"takeOwnership": true, "onFailure": "Rollback"},
            "forceConflicts": true,
        }));
        for (spec, bytes, digest) in [
            (
                &defaults,
                r#"{"configuration":{"objects":[{"apiVersion":"v1","data":{"v":"1"},"kind":"ConfigMap","metadata":{"name":"a"}}],"releaseName":"shop"},"pinRevision":null,"rollback":null,"serviceAccountName":null,"timeout":null,"wait":null}"#,
                "hmac-sha256:359c99f821d23ba19b6557d213574f2feaabf0e2b276ab2e3925a9e02db6badb",
            ),
            (
                &pinned,
                r#"{"configuration":null,"pinRevision":4,"rollback":{"hooksFrom":"Current"},"serviceAccountName":"deployer","timeout":"90s","wait":false,"install":{"takeOwnership":true},"upgrade":{"takeOwnership":true},"forceConflicts":true}"#,
                "hmac-sha256:6aa93ebd456908298af72eab0615eda3b2dc95bb49397721d044000825146826",
            ),
        ] {
            let input = OperationDigestInput::of(spec, configuration.clone());
            assert_eq!(text(&input), bytes);
            assert_eq!(config_digest(b"key", &input), digest);
        }
    }
}
