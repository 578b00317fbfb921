//! A cache on disk of charts that were fetched: by their source, their tenant and its credentials,
//! and by digest. It only saves time: a chart that it lacks, or cannot keep, is fetched again.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use lifecycle::digest::digest;
use sources::chart::MOST_BYTES;
use tokio::task::spawn_blocking;

/// The length of the header: the archive's own digest, since that of a registry is not the
/// archive's.
const HEADER: usize = "sha256:".len() + 64 + 1;
/// The suffix of a file that is being written.
const PART: &str = ".part";
/// The age at which an unfinished file is abandoned: whoever began it was killed.
const LEFT: Duration = Duration::from_hours(1);

/// The source of a chart, its tenant, the credentials, and the keys by which it was verified: a
/// client without them gets nothing from the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope(String);

impl Scope {
    /// Returns the scope of `parts`.
    pub(super) fn of(parts: &impl serde::Serialize) -> Self {
        // Serializing strings cannot fail; all values that fail would share one scope, which has no
        // file.
        let text = serde_json::to_vec(parts).unwrap_or_default();
        Self(digest(&text).trim_start_matches("sha256:").to_owned())
    }
}

#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    most: u64,
    /// The user that owns the files of this process.
    me: OnceLock<u32>,
    /// True if a failure of the cache was reported.
    said: AtomicBool,
}

impl Cache {
    pub(crate) fn new(folder: PathBuf, most: u64) -> Self {
        Self { folder, most, me: OnceLock::new(), said: AtomicBool::new(false) }
    }

    /// Returns the archive, if it exists and is complete.
    pub(super) async fn get(self: &Arc<Self>, scope: &Scope, digest: &str) -> Option<Arc<[u8]>> {
        let (this, path) = (Arc::clone(self), self.path(scope, digest)?);
        let found = spawn_blocking(move || {
            this.own()?;
            match read(&path) {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    // An incomplete file is of no use.
                    fs::remove_file(&path).ok();
                    Ok(None)
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
                Ok(archive) => Ok(Some(archive)),
            }
        });
        self.reported(found.await.ok()?)?
    }

    /// Returns the digest of the last used archive of this scope.
    pub(super) async fn newest(self: &Arc<Self>, scope: &Scope) -> Option<String> {
        let (this, prefix) = (Arc::clone(self), format!("{}-", scope.0));
        let found = spawn_blocking(move || {
            this.own()?;
            let of_scope = |entry: Entry| {
                let digits = entry.path.file_name()?.to_str()?.strip_prefix(&prefix)?.to_owned();
                Some((entry.used, digits))
            };
            Ok(this.entries()?.into_iter().filter_map(of_scope).max())
        });
        self.reported(found.await.ok()?)?.map(|(_, digits)| format!("sha256:{digits}"))
    }

    /// Stores the archive, and removes the least recently used ones to make room.
    pub(super) async fn put(self: &Arc<Self>, scope: &Scope, digest: &str, archive: Arc<[u8]>) {
        let Some(path) = self.path(scope, digest) else { return };
        if archive.len() as u64 > self.most {
            return;
        }
        let this = Arc::clone(self);
        let kept = spawn_blocking(move || {
            this.own()?;
            this.write(&path, &archive)?;
            this.make_room(&path)
        });
        if let Ok(kept) = kept.await {
            self.reported(kept);
        }
    }

    /// Returns `None` if it is not a digest, which could lead elsewhere.
    fn path(&self, scope: &Scope, digest: &str) -> Option<PathBuf> {
        let digits = digest.strip_prefix("sha256:")?;
        let is_digest = digits.len() == 64 && digits.bytes().all(|it| it.is_ascii_hexdigit());
        is_digest.then(|| self.folder.join(format!("{}-{digits}", scope.0)))
    }

    /// Reports an error once. A cache that does not work is no reason to stop.
    fn reported<T>(&self, result: io::Result<T>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let folder = self.folder.display();
        if self.said.swap(true, Relaxed) {
            tracing::debug!("the cache of charts in {folder} (--chart-cache): {error}");
        } else {
            tracing::warn!(
                "the cache of charts in {folder} (--chart-cache) does not work, and charts are \
                 fetched each time: {error}"
            );
        }
        None
    }

    /// Creates the folder, and refuses one that others can write to, as another user could prepare
    /// it in a temp folder: its content is rendered and applied.
    fn own(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let folder = fs::symlink_metadata(&self.folder)?;
        let me = if let Some(me) = self.me.get() {
            *me
        } else {
            let (file, path) = self.part()?;
            let me = file.metadata()?.uid();
            fs::remove_file(path)?;
            *self.me.get_or_init(|| me)
        };
        let is_private = folder.mode().trailing_zeros() >= 6;
        if folder.is_dir() && folder.uid() == me && is_private {
            return Ok(());
        }
        Err(io::Error::other(
            "it has to be a folder of the operator's own with mode 0700; name another",
        ))
    }

    fn part(&self) -> io::Result<(File, PathBuf)> {
        let path = self.folder.join(format!("{}{PART}", uuid::Uuid::new_v4().simple()));
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok((file, path))
    }

    /// Writes the whole file or nothing.
    fn write(&self, path: &Path, archive: &[u8]) -> io::Result<()> {
        let (mut file, part) = self.part()?;
        let written = (|| {
            writeln!(file, "{}", digest(archive))?;
            file.write_all(archive)?;
            fs::rename(&part, path)
        })();
        if written.is_err() {
            fs::remove_file(&part).ok();
        }
        written
    }

    /// Removes the least recently used archives, except `kept`, until the total is small enough.
    fn make_room(&self, kept: &Path) -> io::Result<()> {
        let mut entries = self.entries()?;
        entries.sort_by_key(|entry| entry.used);
        let mut total: u64 = entries.iter().map(|entry| entry.size).sum();
        for entry in entries {
            let is_part = entry.path.extension().is_some();
            let is_left = is_part && entry.used.elapsed().is_ok_and(|age| age > LEFT);
            if is_left || (total > self.most && !is_part && entry.path != kept) {
                total = total.saturating_sub(entry.size);
                gone(fs::remove_file(&entry.path))?;
            }
        }
        Ok(())
    }

    fn entries(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            // Another process may have removed it.
            let Ok(metadata) = entry.metadata() else { continue };
            let used = metadata.modified()?;
            entries.push(Entry { path: entry.path(), size: metadata.len(), used });
        }
        Ok(entries)
    }
}

struct Entry {
    path: PathBuf,
    size: u64,
    used: SystemTime,
}

/// Reads an archive. A file that has changed since it was written is `InvalidData`.
fn read(path: &Path) -> io::Result<Arc<[u8]>> {
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    (&file).take((HEADER + MOST_BYTES + 1) as u64).read_to_end(&mut bytes)?;
    let archive = bytes.split_off(bytes.len().min(HEADER));
    if bytes.strip_suffix(b"\n") != Some(digest(&archive).as_bytes()) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    file.set_modified(SystemTime::now())?;
    Ok(archive.into())
}

/// Ignores that the file was already removed by another process.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn digest(number: u8) -> String {
        format!("sha256:{}", format!("{number:02x}").repeat(32))
    }

    fn bytes(number: u8) -> Arc<[u8]> {
        vec![number; 100].into()
    }

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            Self(std::env::temp_dir().join(format!("charts-{}", uuid::Uuid::new_v4().simple())))
        }

        fn cache(&self, most: u64) -> Arc<Cache> {
            Arc::new(Cache::new(self.0.clone(), most))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
            fs::remove_file(&self.0).ok();
        }
    }

    #[tokio::test]
    async fn what_was_put_is_found_again_by_whoever_has_the_credentials() {
        let folder = Folder::new();
        let (mine, other) = (Scope::of(&("a", "secret")), Scope::of(&("b", "secret")));
        let cache = folder.cache(10_000);
        assert_eq!(cache.get(&mine, &digest(1)).await, None);
        cache.put(&mine, &digest(1), bytes(1)).await;
        cache.put(&mine, &digest(2), bytes(2)).await;
        assert_eq!(cache.get(&mine, &digest(1)).await, Some(bytes(1)));
        assert_eq!(cache.get(&other, &digest(1)).await, None);
        // As another process finds it.
        let cache = folder.cache(10_000);
        assert_eq!(cache.newest(&mine).await, Some(digest(1)));
        assert_eq!(cache.newest(&other).await, None);
        assert_eq!(cache.get(&mine, &digest(2)).await, Some(bytes(2)));
        let modes = fs::read_dir(&folder.0).unwrap();
        let modes = modes.map(|it| it.unwrap().metadata().unwrap().mode() & 0o777);
        assert_eq!(modes.collect::<Vec<_>>(), [0o600; 2]);
    }

    #[tokio::test]
    async fn what_was_not_used_for_longest_goes() {
        let folder = Folder::new();
        let scope = Scope::of(&"a");
        // Two archives of 100 bytes with their headers.
        let cache = folder.cache(2 * (100 + HEADER as u64));
        for number in [1, 2] {
            cache.put(&scope, &digest(number), bytes(number)).await;
        }
        assert!(cache.get(&scope, &digest(1)).await.is_some());
        cache.put(&scope, &digest(3), bytes(3)).await;
        assert!(cache.get(&scope, &digest(2)).await.is_none());
        assert!(cache.get(&scope, &digest(1)).await.is_some());
        assert!(cache.get(&scope, &digest(3)).await.is_some());
        // An archive that alone is too large is not stored, and no other is removed for it.
        cache.put(&scope, &digest(4), vec![4; 1000].into()).await;
        assert!(cache.get(&scope, &digest(4)).await.is_none());
        assert!(cache.get(&scope, &digest(3)).await.is_some());
    }

    #[tokio::test]
    async fn what_was_changed_on_disk_is_not_believed() {
        let folder = Folder::new();
        let scope = Scope::of(&"a");
        let cache = folder.cache(10_000);
        cache.put(&scope, &digest(1), bytes(1)).await;
        let path = cache.path(&scope, &digest(1)).unwrap();
        for wrong in [&b"sha256:0"[..], b"", &[7; 300]] {
            fs::write(&path, wrong).unwrap();
            assert_eq!(cache.get(&scope, &digest(1)).await, None);
            assert!(!path.exists());
        }
    }

    #[tokio::test]
    async fn a_folder_of_somebody_else_is_not_used() {
        let folder = Folder::new();
        let scope = Scope::of(&"a");
        fs::create_dir(&folder.0).unwrap();
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o777)).unwrap();
        let cache = folder.cache(10_000);
        cache.put(&scope, &digest(1), bytes(1)).await;
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
        fs::remove_dir(&folder.0).unwrap();
        // A file is not accepted either.
        fs::write(&folder.0, "").unwrap();
        cache.put(&scope, &digest(1), bytes(1)).await;
        assert_eq!(cache.get(&scope, &digest(1)).await, None);
        // The cache works again as soon as it can.
        fs::remove_file(&folder.0).unwrap();
        cache.put(&scope, &digest(1), bytes(1)).await;
        assert_eq!(cache.get(&scope, &digest(1)).await, Some(bytes(1)));
    }

    #[tokio::test]
    async fn what_is_no_digest_leads_nowhere() {
        let folder = Folder::new();
        let cache = folder.cache(10_000);
        let scope = Scope::of(&"a");
        for digest in ["sha256:../../etc/passwd", "sha512:00", "", "sha256:00"] {
            cache.put(&scope, digest, bytes(1)).await;
            assert_eq!(cache.get(&scope, digest).await, None);
        }
        assert!(!folder.0.exists() || fs::read_dir(&folder.0).unwrap().count() == 0);
    }
}
