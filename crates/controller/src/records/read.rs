//! Finds and reads records. Only records that are needed are fetched: a record may have a megabyte,
//! and a release may keep many.

use std::{cmp::Reverse, time::Instant};

use api::names::IMPORTED_THROUGH_ANNOTATION;
use helm::{record, secret::StorageError, stored::Holder};
use lifecycle::{object::ObjectRef, reason::Reason};
use manifests::memory::Memory;
use serde_json::Value;

use super::{Records, Stored};
use crate::cluster::{call::ApiError, error::Error};

/// The maximum number of records since the last deployed one that are read, however many attempts
/// have failed.
const MOST_RECORDS: usize = 64;

/// The maximum memory of them together: a tenant may write anything.
const MOST_MEMORY: usize = 64 << 20;

/// A record, as described by the metadata of its holder.
pub(super) struct Listed {
    pub(super) revision: i32,
    /// `deployed` or `superseded`.
    pub(super) was_deployed: bool,
    pub(super) uid: String,
    /// If it was copied from a `ConfigMap`: the newest revision that was to be copied.
    imported_through: Option<i32>,
}

impl Listed {
    /// Returns `None` if the name is not that of a record of `release`, whatever the labels say.
    fn of(holder: &Value, release: &str) -> Option<Self> {
        let metadata = &holder["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = text(&metadata["name"]);
        let (_, revision) = record::parse_secret_name(&name).filter(|(of, _)| *of == release)?;
        let status = text(&metadata["labels"][record::LABEL_STATUS]);
        let through = &metadata["annotations"][IMPORTED_THROUGH_ANNOTATION];
        Some(Self {
            revision,
            was_deployed: ["deployed", "superseded"].contains(&&*status),
            uid: text(&metadata["uid"]),
            imported_through: through.as_str().and_then(|through| through.parse().ok()),
        })
    }

    #[cfg(test)]
    pub(super) fn for_test(revision: i32, was_deployed: bool) -> Self {
        Self { revision, was_deployed, uid: String::new(), imported_through: None }
    }
}

impl Records<'_> {
    /// Returns the records since and including the last deployed one, newest first. Like Helm, it
    /// skips older ones that cannot be read; the newest one must be readable.
    pub(crate) async fn history(self) -> Result<Vec<Stored>, Error> {
        let (holder, listed) = self.newest_first().await?;
        let mut history: Vec<Stored> = Vec::new();
        let (mut newest, mut memory) = (true, Memory::new(MOST_MEMORY));
        let known = self.known();
        for Listed { revision, .. } in listed.into_iter().take(MOST_RECORDS) {
            let object = self.held_by(holder, revision);
            // It may have been removed since.
            let Some(found) = self.tenant.get(&object).await? else { continue };
            match Stored::read(holder, &found, &known) {
                Ok(stored) => {
                    let was_deployed = stored.was_deployed();
                    stored.take_from(&mut memory).map_err(|_| too_much(&object))?;
                    history.push(stored);
                    if was_deployed {
                        break;
                    }
                }
                Err(error) if newest => return Err(unreadable(&error, &object)),
                Err(error) => tracing::debug!("passed over: {error}"),
            }
            newest = false;
        }
        Ok(history)
    }

    /// Returns the records, and their holder: Secrets, or `ConfigMaps` if no Secret exists.
    pub(super) async fn newest_first(self) -> Result<(Holder, Vec<Listed>), ApiError> {
        let secrets = self.listed(Holder::Secret, "").await?;
        if !is_incomplete(&secrets) {
            return Ok((Holder::Secret, secrets));
        }
        if secrets.is_empty() && !self.has_config_maps().await? {
            return Ok((Holder::Secret, secrets));
        }
        let config_maps = readable(self.listed(Holder::ConfigMap, "").await)?;
        let newest = |listed: &[Listed]| listed.first().map(|newest| newest.revision);
        if newest(&config_maps) <= newest(&secrets) {
            return Ok((Holder::Secret, secrets));
        }
        Ok((Holder::ConfigMap, config_maps))
    }

    /// Returns whether a `ConfigMap` of the namespace is a record, of whatever release. Most namespaces
    /// have none, and all their releases ask.
    async fn has_config_maps(self) -> Result<bool, ApiError> {
        let lately = &self.tenant.cluster().in_config_maps;
        let key = (self.tenant.identity.clone(), self.namespace.to_owned());
        if let Some(known) = lately.get(&key) {
            return Ok(known);
        }
        let (like, asked_at) = (self.held_by(Holder::ConfigMap, 0), Instant::now());
        let first = self.tenant.list_some_metadata(&like, "owner=helm", 1).await;
        let found = !readable(first)?.is_empty();
        lately.keep(key, asked_at, found);
        Ok(found)
    }

    /// Returns the metadata of the release's records, newest first; `more` is added to the
    /// selector.
    pub(super) async fn listed(self, holder: Holder, more: &str) -> Result<Vec<Listed>, ApiError> {
        let like = self.held_by(holder, 0);
        let found = self.tenant.list_metadata(&like, &(self.selector() + more)).await?;
        let mut listed: Vec<_> =
            found.iter().filter_map(|holder| Listed::of(holder, self.name)).collect();
        listed.sort_by_key(|listed| Reverse(listed.revision));
        Ok(listed)
    }

    /// Returns the newest revision before `revision` that was ever deployed, by the labels of its
    /// record.
    pub(crate) async fn deployed_before(self, revision: i32) -> Result<Option<i32>, Error> {
        let listed = self.listed(Holder::Secret, "").await?;
        let mut before = listed.iter().filter(|it| it.was_deployed && it.revision < revision);
        Ok(before.next().map(|listed| listed.revision))
    }

    /// Returns the record of one revision.
    pub(crate) async fn get(self, revision: i32) -> Result<Option<Stored>, Error> {
        let object = self.reference(revision);
        self.stored(&object, self.tenant.get(&object).await?)
    }

    /// Like [`Self::get`], but a record that was written a moment ago is not read again: whoever
    /// replaces it names its version.
    pub(super) async fn get_once(self, revision: i32) -> Result<Option<Stored>, Error> {
        let object = self.reference(revision);
        self.stored(&object, self.tenant.get_once(&object).await?)
    }

    fn stored(self, object: &ObjectRef, secret: Option<Value>) -> Result<Option<Stored>, Error> {
        let Some(secret) = secret else { return Ok(None) };
        let stored = Stored::read(Holder::Secret, &secret, &self.known());
        stored.map(Some).map_err(|error| unreadable(&error, object))
    }

    /// Calls `each` with every record of the release that can be read, newest first and one at a
    /// time.
    pub(crate) async fn for_each(self, mut each: impl FnMut(Stored)) -> Result<(), Error> {
        for Listed { revision, .. } in self.listed(Holder::Secret, "").await? {
            match self.get(revision).await {
                Ok(stored) => stored.into_iter().for_each(&mut each),
                Err(Error::Blocked(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Takes objects that may not be read for none.
fn readable<T>(listed: Result<Vec<T>, ApiError>) -> Result<Vec<T>, ApiError> {
    match listed {
        Err(error) if error.is_forbidden() => {
            tracing::debug!("taken for none: {error}");
            Ok(Vec::new())
        }
        listed => listed,
    }
}

/// Returns true if there are no Secrets, or not all that were to be copied.
fn is_incomplete(newest_first: &[Listed]) -> bool {
    let through = |newest: &Listed| newest.imported_through.unwrap_or(0);
    newest_first.first().is_none_or(|newest| newest.revision < through(newest))
}

fn too_much(object: &ObjectRef) -> Error {
    Error::blocked(
        Reason::RecordTooLarge,
        format!(
            "the records of the release since the last deployed one take more than {} MiB of memory, \
             with {}: remove those of failed revisions that are not needed",
            MOST_MEMORY >> 20,
            object.name
        ),
    )
}

fn unreadable(error: &StorageError, object: &ObjectRef) -> Error {
    let namespace = object.namespace.as_deref().unwrap_or_default();
    Error::blocked(
        Reason::RecordUnreadable,
        format!(
            "{error}. Restore it from a backup or, if it is not needed, remove it: kubectl delete \
             {} -n {namespace} {}",
            object.kind.to_lowercase(),
            object.name
        ),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn listed(name: &str, metadata: Value) -> Option<Listed> {
        let mut holder = json!({ "metadata": metadata });
        holder["metadata"]["name"] = name.into();
        Listed::of(&holder, "shop")
    }

    #[test]
    fn the_name_says_which_revision_it_is_and_the_label_what_became_of_it() {
        let labels =
            |status: &str| json!({"labels": {"version": "9", "name": "shop", "status": status}});
        let deployed = |status| {
            let listed = listed("sh.helm.release.v1.shop.v12", labels(status));
            listed.map(|listed| (listed.revision, listed.was_deployed))
        };
        assert_eq!(deployed("deployed"), Some((12, true)));
        assert_eq!(deployed("superseded"), Some((12, true)));
        assert_eq!(deployed("pending-upgrade"), Some((12, false)));
        for name in ["sh.helm.release.v1.store.v1", "sh.helm.release.v1.shop.v1.bak", "backup"] {
            assert!(listed(name, labels("deployed")).is_none(), "{name}");
        }
    }

    #[test]
    fn what_was_copied_in_part_is_copied_on() {
        let copied = |revision: i32, through: &str| {
            let annotations = json!({"annotations": {IMPORTED_THROUGH_ANNOTATION: through}});
            listed(&record::secret_name("shop", revision), annotations)
        };
        let of = |found: Vec<Option<Listed>>| {
            is_incomplete(&found.into_iter().flatten().collect::<Vec<_>>())
        };
        assert!(of(vec![]));
        assert!(of(vec![copied(3, "4")]));
        assert!(!of(vec![copied(4, "4"), copied(3, "4")]));
        assert!(!of(vec![copied(5, "x"), copied(4, "4")]));
    }
}
