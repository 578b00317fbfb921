//! The release's records: Helm's Secrets, one for each revision, with our plans beside.
//!
//! - this file: what one means
//! - `adopt`: those of another client
//! - `body`: what stands in one
//! - `import`: copying those that are `ConfigMaps`
//! - `prune`: removing the oldest
//! - `read`: finding and reading them
//! - `write`: opening and closing one, and removing them all

mod adopt;
mod body;
mod import;
mod prune;
mod read;
mod write;

use api::{Install, Rollback, Upgrade};
use helm::{
    record::{self, Release, Status},
    secret::{KEY_DELETE_PLAN, KEY_PLAN, KEY_TEST_PLAN, Plans},
};
use jiff::Timestamp;
use kube::core::Duration;
use lifecycle::{
    digest::config_digest,
    event::Event,
    next::{Record, RecordState},
    object::ObjectRef,
    plan::Plan,
    tidy::Tidy,
};
use manifests::patches::Patch;
use serde::Serialize;
use serde_json::Value;

use sources::{ChartInputs, ResolvedSource};

use crate::cluster::error::Error;

pub(crate) use write::no_target;

/// The records of one release, as its tenant may see and change them.
#[derive(Clone, Copy)]
pub(crate) struct Records<'a> {
    of: &'a crate::release::Release<'a>,
}

/// What Helm keeps records in, by its drivers `secret` and `configmap`. The operator writes Secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Secret,
    ConfigMap,
}

/// A record as it is stored.
#[derive(Clone)]
pub(crate) struct Stored {
    holder: Holder,
    metadata: Value,
    pub(crate) release: Release,
    /// Of the operation that made it, with its digest; `None` where Helm wrote the record, or
    /// rewrote it and dropped the plan.
    pub(crate) plan: Option<(Plan, String)>,
    plans: Plans,
}

impl Stored {
    /// What the record means for the choice of the event.
    pub(crate) fn summary(&self, inputs: &Inputs<'_>) -> Record {
        let plan = self.plan.as_ref().map(|(plan, _)| plan);
        let revision = self.release.version;
        let state = match self.release.info.status {
            Status::Deployed => RecordState::Deployed,
            Status::Superseded => RecordState::Superseded,
            Status::Failed | Status::Unknown => RecordState::Failed,
            Status::Uninstalled => RecordState::Uninstalled,
            Status::Uninstalling => RecordState::Uninstalling,
            Status::PendingInstall | Status::PendingUpgrade | Status::PendingRollback => {
                RecordState::Pending
            }
        };
        let is_wanted = |digest: &str, plan: &Plan| inputs.have(digest, &plan.config_key);
        let (operation, remedial) = match (state, plan) {
            (RecordState::Uninstalling, _) => {
                let plan = self.plan_of(Event::Delete).map(|(plan, _)| plan);
                let remedial = plan.as_ref().is_some_and(|plan| plan.remedies.is_some());
                (plan.map(|plan| plan.operation), remedial)
            }
            // What was taken over had no operation that could be gone on with.
            (_, Some(plan)) if !plan.adopted => {
                let failed = plan.remedies.as_ref();
                let remedial = failed.is_some_and(|it| is_wanted(&it.config_digest, plan));
                (Some(plan.operation.clone()), remedial)
            }
            _ => (None, false),
        };
        Record {
            revision,
            origin: plan.and_then(|plan| plan.target).unwrap_or_else(|| self.origin()),
            state,
            owner: plan.map(|plan| plan.owner.name.clone()),
            matches: plan.is_some_and(|plan| is_wanted(&plan.config_digest, plan)),
            operation,
            remedial,
        }
    }

    /// The plan of an operation of this event, with its digest.
    pub(crate) fn plan_of(&self, event: Event) -> Option<(Plan, String)> {
        match key(event) {
            KEY_PLAN => self.plan.clone(),
            key => read::thaw(self.plans.get(key)?),
        }
    }

    /// When it was created, which is when its operation began.
    pub(crate) fn created(&self) -> Option<Timestamp> {
        self.metadata.get("creationTimestamp")?.as_str()?.parse().ok()
    }

    /// Whether the custom resource `owner` made it, or has taken it over.
    pub(crate) fn is_of(&self, owner: &str) -> bool {
        self.owner() == Some(owner)
    }

    /// Whether it is, or was, in the cluster.
    pub(crate) fn was_deployed(&self) -> bool {
        matches!(self.release.info.status, Status::Deployed | Status::Superseded)
    }

    /// Whether it has to be copied before anything of ours can be written to it.
    pub(crate) fn is_in_config_map(&self) -> bool {
        self.holder == Holder::ConfigMap
    }

    /// Whether it was taken over as it was.
    pub(crate) fn is_adopted(&self) -> bool {
        self.plan.as_ref().is_some_and(|(plan, _)| plan.adopted)
    }

    /// The UID of its owner, who may be another object of that name.
    pub(crate) fn owner_uid(&self) -> Option<&str> {
        self.plan.as_ref().map(|(plan, _)| &*plan.owner.uid)
    }

    /// The custom resource that made it, or has taken it over; `None` where it is Helm's.
    pub(crate) fn owner(&self) -> Option<&str> {
        self.plan.as_ref().map(|(plan, _)| &*plan.owner.name)
    }

    /// The revision that a rollback by Helm copied into it; its own for all others. Helm 3 says it in
    /// the description alone (`prepareRollback`).
    pub(crate) fn origin(&self) -> i32 {
        let info = &self.release.info;
        let described = info.description.strip_prefix("Rollback to ");
        match info.rollback_revision {
            0 => described.and_then(|it| it.parse().ok()).unwrap_or(self.release.version),
            target => target,
        }
    }
}

/// Where the plan of an operation stands: it is of the revision that it makes, or beside it.
fn key(event: Event) -> &'static str {
    match event {
        Event::Install | Event::Upgrade | Event::Rollback => KEY_PLAN,
        Event::Delete => KEY_DELETE_PLAN,
        Event::Test => KEY_TEST_PLAN,
    }
}

/// What a record's digest is made of: the inputs, never rendered text. Where they come from makes no
/// difference.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Inputs<'a> {
    /// `None` where they are not known, or come from a chart.
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
    /// As digests were made once, so that nothing is upgraded because the operator is. Both are the
    /// same where there are neither nulls nor empty maps.
    AsWritten(Vec<&'a Value>),
}

impl Inputs<'_> {
    /// Whether `digest` is of this configuration.
    pub(crate) fn have(&self, digest: &str, key: &str) -> bool {
        digest == config_digest(key.as_bytes(), self)
            || self.as_written().is_some_and(|it| digest == config_digest(key.as_bytes(), &it))
    }

    /// The same for a digest that an earlier version of the operator has made, where that may be
    /// another one.
    fn as_written(&self) -> Option<Self> {
        let Some(Objects::Tidy(objects)) = &self.objects else { return None };
        let objects = objects.iter().map(|Tidy(object)| *object).collect();
        Some(Self { objects: Some(Objects::AsWritten(objects)), ..self.clone() })
    }
}

pub(crate) fn config_inputs<'a>(release: &'a crate::release::Release<'_>) -> Inputs<'a> {
    let (objects, chart) = match release.known_source() {
        Some(ResolvedSource::Objects(objects)) => {
            let objects = objects.iter().map(|placed| Tidy(&placed.manifest)).collect();
            (Some(Objects::Tidy(objects)), None)
        }
        Some(ResolvedSource::Chart(chart)) => (None, Some(chart.inputs())),
        None => (None, None),
    };
    Inputs { objects, chart, patches: &release.object.spec.patches, release_name: &release.name }
}

/// The digest of all that makes an operation another one: the configuration, where the release is
/// held, and how and as whom it is done.
pub(crate) fn wanted(release: &crate::release::Release<'_>, key: &str) -> String {
    digest_of(release, config_inputs(release), key)
}

/// Whether `digest` is that of [`wanted`].
pub(crate) fn is_wanted(release: &crate::release::Release<'_>, digest: &str, key: &str) -> bool {
    let inputs = config_inputs(release);
    let as_written = inputs.as_written();
    digest == digest_of(release, inputs, key)
        || as_written.is_some_and(|inputs| digest == digest_of(release, inputs, key))
}

fn digest_of(release: &crate::release::Release<'_>, inputs: Inputs<'_>, key: &str) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Wanted<'a> {
        configuration: Option<Inputs<'a>>,
        pin_revision: Option<i32>,
        rollback: &'a Option<Rollback>,
        service_account_name: &'a Option<String>,
        timeout: Option<Duration>,
        wait: Option<bool>,
        // Later fields: absent where they are not given, so that what was given up before the
        // operator knew them stays given up.
        #[serde(skip_serializing_if = "Option::is_none")]
        install: Option<Install>,
        #[serde(skip_serializing_if = "Option::is_none")]
        upgrade: Option<Upgrade>,
        #[serde(skip_serializing_if = "Option::is_none")]
        force_conflicts: Option<bool>,
    }
    let spec = &release.object.spec;
    // What is done once it has failed is another operation's.
    let install = spec.install.clone().map(|it| Install { on_failure: None, ..it });
    let upgrade = spec.upgrade.clone().map(|it| Upgrade { on_failure: None, ..it });
    let wanted = Wanted {
        // Where the release is held at a revision, its source has no part in it.
        configuration: spec.pin_revision.is_none().then_some(inputs),
        pin_revision: spec.pin_revision,
        rollback: &spec.rollback,
        service_account_name: &spec.service_account_name,
        timeout: spec.timeout,
        wait: spec.wait,
        install: install.filter(|it| *it != Install::default()),
        upgrade: upgrade.filter(|it| *it != Upgrade::default()),
        force_conflicts: spec.force_conflicts,
    };
    config_digest(key.as_bytes(), &wanted)
}

/// The newest of `history`.
pub(crate) fn newest(history: &[Stored]) -> Option<&Stored> {
    history.iter().max_by_key(|stored| stored.release.version)
}

impl<'a> Records<'a> {
    pub(crate) fn of(release: &'a crate::release::Release<'a>) -> Self {
        Self { of: release }
    }
}

impl Records<'_> {
    /// The revision after `revision`, if another client has made it meanwhile, in a sentence.
    pub(crate) async fn newer(self, revision: i32) -> Result<Option<String>, Error> {
        let next = revision.saturating_add(1);
        let found = self.of.tenant.get(&self.reference(next)).await?;
        Ok(found.map(|_| {
            format!(
                "another client made revision {next} of release {release} meanwhile; look at it \
                 with `helm history {release}`",
                release = self.of.name
            )
        }))
    }

    /// What all records of the release are labelled with.
    fn selector(self) -> String {
        format!("name={},owner=helm", self.of.name)
    }

    /// Names the Secret of a revision.
    pub(crate) fn reference(self, revision: i32) -> ObjectRef {
        self.held_by(Holder::Secret, revision)
    }

    fn held_by(self, holder: Holder, revision: i32) -> ObjectRef {
        let kind = match holder {
            Holder::Secret => "Secret",
            Holder::ConfigMap => "ConfigMap",
        };
        ObjectRef {
            api_version: "v1".to_owned(),
            kind: kind.to_owned(),
            namespace: Some(self.of.namespace.clone()),
            name: record::secret_name(&self.of.name, revision),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn inputs(objects: &[Value]) -> Inputs<'_> {
        let objects = objects.iter().map(Tidy).collect();
        Inputs {
            objects: Some(Objects::Tidy(objects)),
            chart: None,
            patches: &[],
            release_name: "shop",
        }
    }

    /// As versions before made it: of the objects as they were written.
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
}
