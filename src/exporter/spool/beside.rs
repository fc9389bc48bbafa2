//! The folders `rejected/` and `corrupt/`, each bounded by itself: the oldest files make room.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::files::create_folder;
use super::folder::{Kept, clean};
use super::name::{Name, is_batch, is_kept, is_temporary};

/// A folder of files that are kept for an operator.
pub(super) struct Beside {
    pub(super) path: PathBuf,
    max_bytes: u64,
}

impl Beside {
    pub(super) fn new(spool: &Path, name: &str, max_bytes: u64) -> Beside {
        Beside { path: spool.join(name), max_bytes }
    }

    /// Makes it where it is missing; a link in its place is refused.
    pub(super) fn create(&self) -> io::Result<()> {
        match fs::symlink_metadata(&self.path) {
            Ok(there) if there.is_dir() => Ok(()),
            Ok(_) => Err(io::Error::new(
                io::ErrorKind::NotADirectory,
                format!("{} is not a folder", self.path.display()),
            )),
            Err(_) => create_folder(&self.path),
        }
    }

    /// What lies in it.
    pub(super) fn count(&self) -> io::Result<Kept> {
        let mut kept = Kept::default();
        for (name, bytes) in self.files()? {
            kept.files += u64::from(is_batch(&name));
            kept.bytes = kept.bytes.saturating_add(bytes);
        }
        Ok(kept)
    }

    /// Removes the oldest files until the rest fits, but for a batch that just came. Returns what is left and how many
    /// batches were removed.
    pub(super) fn make_room(&self, newest: &Name) -> io::Result<(Kept, u64)> {
        let mut kept = self.count()?;
        let mut removed = 0;
        let mut files = self.files()?;
        files.sort();
        let newest = [newest.to_string(), newest.reason()];
        for (name, bytes) in files.iter().filter(|(name, _)| !newest.contains(name)) {
            if kept.bytes <= self.max_bytes {
                break;
            }
            match fs::remove_file(self.path.join(name)) {
                Ok(()) => removed += u64::from(is_batch(name)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => (),
                Err(error) => return Err(error),
            }
            kept.files = kept.files.saturating_sub(u64::from(is_batch(name)));
            kept.bytes = kept.bytes.saturating_sub(*bytes);
        }
        Ok((kept, removed))
    }

    pub(super) fn is_too_much(&self, kept: Kept) -> bool {
        kept.bytes > self.max_bytes
    }

    /// The files that the spool puts here, with their sizes. No folder is an empty one.
    fn files(&self) -> io::Result<Vec<(String, u64)>> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if is_temporary(&name) {
                clean(&entry.path());
            }
            if !is_kept(&name) {
                continue;
            }
            // Gone in the meantime, or not to be looked at: not ours.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_file() {
                files.push((name, metadata.len()));
            }
        }
        Ok(files)
    }
}
