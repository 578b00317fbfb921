//! The records of one release: their place, and their owner.

use api::{ReleaseLifecycle, ReleaseLifecycleStatus};
use helm::{record, stored::Holder};
use lifecycle::{known::KnownPlans, object::ObjectRef};
use serde_json::Value;

use crate::{
    cluster::{error::Error, tenant::Tenant},
    release::{Release, fence::Fence},
};

/// The records of one release, with the access of its tenant.
#[derive(Clone, Copy)]
pub(crate) struct Records<'a> {
    pub(super) tenant: &'a Tenant<'a>,
    pub(super) fence: Fence<'a>,
    pub(super) object: &'a ReleaseLifecycle,
    /// The release, and its namespace.
    pub(super) name: &'a str,
    pub(super) namespace: &'a str,
}

impl<'a> Records<'a> {
    /// Returns the records of `release`.
    pub(crate) fn of(release: &'a Release<'_>) -> Self {
        Self {
            tenant: &release.tenant,
            fence: release.fence(),
            object: &release.object,
            name: &release.name,
            namespace: &release.namespace,
        }
    }
}

impl Records<'_> {
    /// Returns the revision after `revision`, if another client has created it meanwhile, in a
    /// sentence.
    pub(crate) async fn newer(self, revision: i32) -> Result<Option<String>, Error> {
        let next = revision.saturating_add(1);
        let found = self.tenant.get_once(&self.reference(next)).await?;
        // One without Helm's labels is none of the release's records, for Helm neither.
        let is_record = |found: &Value| {
            let labels = &found["metadata"]["labels"];
            labels["owner"] == "helm" && labels["name"] == self.name
        };
        Ok(found.filter(is_record).map(|_| {
            format!(
                "another client made revision {next} of release {release} meanwhile; check it \
                 with `helm history {release}`",
                release = self.name
            )
        }))
    }

    /// Returns the plans that the operator has made.
    pub(super) fn known(self) -> KnownPlans {
        let status = self.object.status.as_ref();
        status.map(ReleaseLifecycleStatus::known_plans).unwrap_or_default()
    }

    /// Returns the labels of all records of the release.
    pub(super) fn selector(self) -> String {
        format!("name={},owner=helm", self.name)
    }

    /// Returns the reference to the Secret of a revision.
    pub(crate) fn reference(self, revision: i32) -> ObjectRef {
        self.held_by(Holder::Secret, revision)
    }

    pub(super) fn held_by(self, holder: Holder, revision: i32) -> ObjectRef {
        let kind = match holder {
            Holder::Secret => "Secret",
            Holder::ConfigMap => "ConfigMap",
        };
        ObjectRef {
            api_version: "v1".to_owned(),
            kind: kind.to_owned(),
            namespace: Some(self.namespace.to_owned()),
            name: record::secret_name(self.name, revision),
        }
    }
}
