//! The records of a release: Helm's Secrets, as the user may read them.

use helm::{
    record::Status,
    stored::{Holder, Stored},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use lifecycle::{event::Event, known::KnownPlans};

use crate::cluster::Cluster;

/// The displayed facts of one revision.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) revision: i32,
    pub(crate) updated: Option<Timestamp>,
    pub(crate) status: Status,
    /// The event, or `None` if Helm wrote the record.
    pub(crate) event: Option<Event>,
    /// The revision that a rollback restored.
    pub(crate) target: Option<i32>,
    pub(crate) description: String,
}

impl Record {
    fn of(stored: Stored) -> Self {
        let event = stored.claimed().map(|(plan, _)| plan.event);
        let target = stored.target();
        let release = stored.release;
        Self {
            revision: release.version,
            updated: release.info.last_deployed,
            status: release.info.status,
            event,
            target,
            description: release.info.description,
        }
    }
}

/// The records that were found, by revision, and those that cannot be read.
pub(crate) struct Records {
    pub(crate) records: Vec<Record>,
    pub(crate) problems: Vec<String>,
}

/// Returns the labels of the records of a release.
pub(crate) fn selector(release: &str) -> String {
    format!("name={release},owner=helm")
}

/// Reads the records of a release; `None` if the user may not list Secrets.
pub(crate) async fn read(cluster: &Cluster, release: &str) -> anyhow::Result<Option<Records>> {
    let Some(secrets) = cluster.secrets(&selector(release)).await? else {
        return Ok(None);
    };
    let mut found = Records { records: Vec::new(), problems: Vec::new() };
    for secret in secrets {
        let name = secret.name_any();
        // The error's own words are not used: they may quote data.
        let Ok(value) = serde_json::to_value(&secret) else {
            found.problems.push(format!("Secret {name} is no JSON"));
            continue;
        };
        // What plans say is only shown.
        match Stored::read(Holder::Secret, &value, &KnownPlans::default()) {
            Ok(stored) => found.records.push(Record::of(stored)),
            Err(error) => found.problems.push(error.to_string()),
        }
    }
    found.records.sort_by_key(|record| record.revision);
    Ok(Some(found))
}

/// Returns the newest record of a release that can be read, if there is one; `None` if the user may not
/// list Secrets.
pub(crate) async fn newest(
    cluster: &Cluster,
    release: &str,
) -> anyhow::Result<Option<Option<Stored>>> {
    let Some(secrets) = cluster.secrets(&selector(release)).await? else { return Ok(None) };
    let read = |secret: &Secret| {
        let value = serde_json::to_value(secret).ok()?;
        Stored::read(Holder::Secret, &value, &KnownPlans::default()).ok()
    };
    Ok(Some(secrets.iter().filter_map(read).max_by_key(|stored| stored.release.version)))
}

/// Returns the revision to which `rollback` goes back by default: the one that was deployed before
/// the present one or, if the latest operation failed, the one that is deployed.
pub(crate) fn previous(records: &[Record]) -> Option<i32> {
    let was_deployed = |record: &&Record| record.status.was_deployed();
    let latest = records.iter().max_by_key(|record| record.revision)?;
    let before =
        |record: &&Record| record.revision < latest.revision || latest.status != Status::Deployed;
    let good = records.iter().filter(was_deployed).filter(before);
    good.map(|record| record.revision).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn previous_of(statuses: &[Status]) -> Option<i32> {
        let record = |(index, status): (usize, &Status)| Record {
            revision: i32::try_from(index).unwrap() + 1,
            updated: None,
            status: *status,
            event: None,
            target: None,
            description: String::new(),
        };
        previous(&statuses.iter().enumerate().map(record).collect::<Vec<_>>())
    }

    #[test]
    fn a_rollback_goes_back_to_what_was_good_last() {
        use Status::{Deployed, Failed, PendingUpgrade, Superseded};
        assert_eq!(previous_of(&[Superseded, Superseded, Deployed]), Some(2));
        // One that failed in between was never good.
        assert_eq!(previous_of(&[Superseded, Failed, Deployed]), Some(1));
        // The deployed one is the target after a failed upgrade.
        assert_eq!(previous_of(&[Superseded, Deployed, Failed]), Some(2));
        assert_eq!(previous_of(&[Superseded, Deployed, PendingUpgrade]), Some(2));
        assert_eq!(previous_of(&[Deployed]), None);
        assert_eq!(previous_of(&[Failed]), None);
        assert_eq!(previous_of(&[]), None);
    }
}
