//! `spec.maxHistory`: the oldest records go once there are more.

use helm::record;
use serde_json::Value;

use super::Records;
use crate::error::Error;

/// A record, as its labels tell of it.
struct Known {
    revision: i32,
    /// `deployed` or `superseded`.
    was_deployed: bool,
    uid: String,
}

impl Records<'_> {
    /// Removes the oldest records beyond `most`. What a later operation goes by stays: the last one
    /// deployed, those since, and the pinned one.
    pub(crate) async fn prune(self, most: usize, pinned: Option<i32>) -> Result<(), Error> {
        let listed = self.of.tenant.list_metadata(&self.reference(0), &self.selector()).await?;
        for old in superfluous(listed.iter().filter_map(known).collect(), most, pinned) {
            // Somebody may have pinned it since.
            self.of.confirm().await?;
            self.of.tenant.delete(&self.reference(old.revision), &old.uid).await?;
        }
        Ok(())
    }
}

/// `None` where the labels are not those that Helm writes.
fn known(secret: &Value) -> Option<Known> {
    let metadata = &secret["metadata"];
    let label = |name: &str| metadata["labels"][name].as_str().unwrap_or_default();
    let revision = label("version").parse().ok()?;
    let named = record::secret_name(label("name"), revision);
    (metadata["name"] == named.as_str()).then(|| Known {
        revision,
        was_deployed: ["deployed", "superseded"].contains(&label("status")),
        uid: metadata["uid"].as_str().unwrap_or_default().to_owned(),
    })
}

fn superfluous(mut records: Vec<Known>, most: usize, pinned: Option<i32>) -> Vec<Known> {
    records.sort_by_key(|record| std::cmp::Reverse(record.revision));
    let last_deployed = records.iter().position(|record| record.was_deployed);
    // Where none was ever deployed, each failed attempt may have left objects.
    let kept = last_deployed.map_or(records.len(), |position| most.max(position + 1));
    let mut old = records.split_off(kept.min(records.len()));
    old.retain(|record| Some(record.revision) != pinned);
    old
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(records: &[(i32, bool)], most: usize, pinned: Option<i32>) -> Vec<i32> {
        let known = |&(revision, was_deployed): &(i32, bool)| Known {
            revision,
            was_deployed,
            uid: String::new(),
        };
        let old = superfluous(records.iter().map(known).collect(), most, pinned);
        old.iter().map(|record| record.revision).collect()
    }

    #[test]
    fn the_oldest_go_but_for_what_is_still_needed() {
        let all = [(1, true), (2, true), (3, true), (4, true)];
        assert_eq!(gone(&all, 4, None), Vec::<i32>::new());
        assert_eq!(gone(&all, 2, None), [2, 1]);
        assert_eq!(gone(&all, 2, Some(1)), [2]);
        let failing = [(1, true), (2, true), (3, false), (4, false), (5, false)];
        assert_eq!(gone(&failing, 1, None), [1], "2 is deployed, and 3 to 5 may have left objects");
        let never = [(1, false), (2, false), (3, false)];
        assert_eq!(gone(&never, 1, None), Vec::<i32>::new());
    }
}
