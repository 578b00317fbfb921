//! The logs of hooks that are kept, in Secrets beside the records.

use std::cmp::Reverse;

use helm::hook_log::{self, HookLog};
use lifecycle::object::ObjectRef;
use manifests::json;
use serde_json::Value;

use super::Records;
use crate::cluster::error::Error;

impl Records<'_> {
    /// Keeps the log of the attempt whose object has this UID, in place of what was kept of it before, and
    /// removes the oldest logs of the release beyond [`hook_log::MOST_LOGS`].
    pub(crate) async fn keep_log(self, uid: &str, log: &HookLog) -> Result<(), Error> {
        let name = hook_log::secret_name(self.name, uid);
        let mut body = hook_log::to_secret(&name, self.namespace, self.name, log);
        self.mark(&mut body);
        let object = self.log(&name);
        match self.tenant.get(&object).await? {
            None => {
                let permit = self.fence.guard().await?;
                self.tenant.create(permit, &object, &body).await?;
            }
            Some(live) if self.is_own_log(&live) => {
                let version = live["metadata"]["resourceVersion"].clone();
                json::set(&mut body, &["metadata", "resourceVersion"], version);
                let permit = self.fence.guard().await?;
                self.tenant.replace(permit, &object, &body).await?;
            }
            // Somebody else has made one of this name: it stays.
            Some(_) => return Ok(()),
        }
        self.remove_logs(hook_log::MOST_LOGS).await
    }

    /// Removes the logs of the release but the newest `most`.
    pub(crate) async fn remove_logs(self, most: usize) -> Result<(), Error> {
        let selector = hook_log::selector(self.name);
        let mut listed = self.tenant.list_metadata(&self.log(""), &selector).await?;
        listed.retain(|found| self.is_of_release(found));
        for (name, uid) in superfluous(listed, most) {
            let permit = self.fence.guard().await?;
            self.tenant.delete(permit, &self.log(&name), &uid).await?;
        }
        Ok(())
    }

    fn log(self, name: &str) -> ObjectRef {
        ObjectRef { name: name.to_owned(), ..self.reference(0) }
    }

    /// Returns whether the Secret is a log of this custom resource, by its own words.
    fn is_own_log(self, live: &Value) -> bool {
        live["type"] == hook_log::SECRET_TYPE && self.is_of_release(live)
    }

    /// A list of metadata does not say the type.
    fn is_of_release(self, live: &Value) -> bool {
        let metadata = &live["metadata"];
        let prefix = hook_log::secret_name(self.name, "");
        let prefix = prefix.rsplit_once('.').map_or("", |(prefix, _)| prefix);
        metadata["annotations"][api::names::OWNER_ANNOTATION] == self.owner().as_str()
            && metadata["name"].as_str().is_some_and(|name| name.starts_with(prefix))
    }
}

/// Returns names and UIDs of the oldest of `listed`, all but `most`.
fn superfluous(mut listed: Vec<Value>, most: usize) -> Vec<(String, String)> {
    let text =
        |found: &Value, key: &str| found["metadata"][key].as_str().unwrap_or_default().to_owned();
    listed.sort_by_key(|found| Reverse((text(found, "creationTimestamp"), text(found, "name"))));
    let oldest = listed.into_iter().skip(most);
    oldest.map(|found| (text(&found, "name"), text(&found, "uid"))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let found = |name: &str, second: u8| {
            let at = format!("2026-12-01T00:00:{second:02}Z");
            json!({"metadata": {"name": name, "uid": name, "creationTimestamp": at}})
        };
        let listed = || vec![found("b", 2), found("d", 4), found("a", 1), found("c", 3)];
        let names = |most| -> Vec<_> {
            superfluous(listed(), most).into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names(2), ["b", "a"]);
        assert_eq!(names(0), ["d", "c", "b", "a"]);
        assert!(names(4).is_empty() && names(9).is_empty());
    }
}
