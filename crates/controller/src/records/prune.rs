//! `spec.maxHistory`: the oldest records are removed once there are more.

use helm::stored::Holder;

use super::{Records, read::Listed};
use crate::cluster::error::Error;

impl Records<'_> {
    /// Removes the oldest records beyond `most`. Records that a later operation needs are kept: the
    /// last deployed one, those since, and the pinned one.
    pub(crate) async fn prune(self, most: usize, pinned: Option<i32>) -> Result<(), Error> {
        let listed = self.listed(Holder::Secret, "").await?;
        for old in superfluous(listed, most, pinned) {
            // Somebody may have pinned it since.
            let permit = self.fence.guard().await?;
            self.tenant.delete(permit, &self.reference(old.revision), &old.uid).await?;
        }
        Ok(())
    }
}

fn superfluous(mut newest_first: Vec<Listed>, most: usize, pinned: Option<i32>) -> Vec<Listed> {
    let last_deployed = newest_first.iter().position(|record| record.was_deployed);
    // If none was ever deployed, each failed attempt may have left objects.
    let kept = last_deployed.map_or(newest_first.len(), |position| most.max(position + 1));
    let mut old = newest_first.split_off(kept.min(newest_first.len()));
    old.retain(|record| Some(record.revision) != pinned);
    old
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gone(records: &[(i32, bool)], most: usize, pinned: Option<i32>) -> Vec<i32> {
        let listed =
            |&(revision, was_deployed): &(i32, bool)| Listed::for_test(revision, was_deployed);
        let old = superfluous(records.iter().rev().map(listed).collect(), most, pinned);
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
