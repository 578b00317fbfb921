//! The complete records of a release that another client made. Helm keeps them in Secrets or, if it
//! is configured so, in `ConfigMap`s.

use anyhow::bail;
use helm::{
    record::{Release, Status},
    stored::{self, Holder},
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::ResourceExt as _;
use lifecycle::known::KnownPlans;
use serde_json::Value;

use crate::{cluster::Cluster, records};

/// One revision.
pub(super) struct Stored {
    pub(super) release: Release,
    /// The `ReleaseLifecycle` that made it or has adopted it.
    pub(super) owner: Option<String>,
    pub(super) written: Written,
}

/// The last writer of a record, and the time.
#[derive(Default)]
pub(super) struct Written {
    pub(super) by: Option<String>,
    pub(super) at: Option<Timestamp>,
}

/// All records of a release.
pub(super) struct History {
    /// The records by revision; at least one.
    pub(super) stored: Vec<Stored>,
    pub(super) in_config_maps: bool,
    /// The records that cannot be read.
    pub(super) problems: Vec<String>,
}

/// Reads the records.
///
/// # Errors
/// If there is none, or it may not be read.
pub(super) async fn read(cluster: &Cluster, release: &str) -> anyhow::Result<History> {
    let selector = records::selector(release);
    let Some(secrets) = cluster.secrets(&selector).await? else {
        bail!(
            "you may not list Secrets in {}, and what Helm has recorded of release {release} is in \
             such: ask for a role with the verb list of secrets",
            cluster.scope()
        );
    };
    let mut history = History { stored: Vec::new(), in_config_maps: false, problems: Vec::new() };
    for secret in secrets {
        let written = Written::of(secret.metadata.managed_fields.as_deref().unwrap_or_default());
        // The error's own words are not used: they may quote data.
        let Ok(value) = serde_json::to_value(&secret) else {
            history.problems.push(format!("Secret {} is no JSON", secret.name_any()));
            continue;
        };
        history.add(Holder::Secret, &value, written);
    }
    if history.stored.is_empty() && history.problems.is_empty() {
        for map in cluster.config_maps(&selector).await?.unwrap_or_default() {
            history.in_config_maps = true;
            let written = Written::of(map.metadata.managed_fields.as_deref().unwrap_or_default());
            let Ok(value) = serde_json::to_value(&map) else {
                history.problems.push(format!("ConfigMap {} is no JSON", map.name_any()));
                continue;
            };
            history.add(Holder::ConfigMap, &value, written);
        }
    }
    history.stored.sort_by_key(|stored| stored.release.version);
    match (&*history.stored, &*history.problems) {
        ([], []) => bail!("{}", missing(cluster, release).await?),
        ([], problems) => bail!("no record can be read: {}", problems.join("; ")),
        _ => Ok(history),
    }
}

async fn missing(cluster: &Cluster, release: &str) -> anyhow::Result<String> {
    let others: Vec<_> = cluster.helm_releases().await?.into_iter().take(10).collect();
    let there = match &*others {
        [] => "nor any other; `helm list -A` lists those of all namespaces".to_owned(),
        others => format!("there: {}", others.join(", ")),
    };
    Ok(format!("Helm has recorded no release {release} in {}; {there}", cluster.scope()))
}

impl Written {
    fn of(fields: &[ManagedFieldsEntry]) -> Self {
        let time = |entry: &ManagedFieldsEntry| entry.time.as_ref().map(|time| time.0);
        let last = fields.iter().max_by_key(|entry| time(entry));
        Self { by: last.and_then(|it| it.manager.clone()), at: last.and_then(time) }
    }
}

impl History {
    fn add(&mut self, holder: Holder, found: &Value, written: Written) {
        match stored::Stored::read(holder, found, &KnownPlans::default()) {
            Ok(stored) => {
                let owner = stored.owner().map(str::to_owned);
                self.stored.push(Stored { release: stored.release, owner, written });
            }
            Err(error) => self.problems.push(error.to_string()),
        }
    }

    /// Returns the deployed revision: the highest of those that are deployed.
    pub(super) fn deployed(&self) -> Option<&Stored> {
        self.all_deployed().next_back()
    }

    pub(super) fn all_deployed(&self) -> impl DoubleEndedIterator<Item = &Stored> {
        self.stored.iter().filter(|stored| stored.release.info.status == Status::Deployed)
    }

    pub(super) fn newest(&self) -> Option<&Stored> {
        self.stored.last()
    }
}
