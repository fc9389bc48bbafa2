//! A batch that is being replayed, and what cannot be.

use std::fs::{self, File};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use opentelemetry::otel_warn;

use super::beside::Beside;
use super::files::{Taken, is_broken, sync_folder, take};
use super::folder::Kept;
use super::name::Name;
use super::{Inner, READABLE, format};
use crate::error::Result;
use crate::exporter::parcel::Parcel;
use crate::store::is_own_batch;

/// A batch that this process replays. Dropping it, or the process's death, gives it back.
pub(crate) struct Claimed {
    inner: Arc<Inner>,
    name: Name,
    parcel: Parcel,
    /// Locked until it is closed.
    file: Option<File>,
    is_done: bool,
}

impl Claimed {
    /// Locks and reads a file. `None` when somebody has it, it is gone, or it cannot be read, which is reported.
    pub(super) fn attempt(inner: &Arc<Inner>, name: Name) -> Option<Claimed> {
        let file = match take(&inner.path(&name)) {
            Ok(Taken::Locked(file)) => file,
            Ok(Taken::Busy) => return None,
            Ok(Taken::Gone) => {
                inner.index().remove(&name);
                return None;
            }
            Err(error) => {
                inner.pass_over(&name, &error);
                return None;
            }
        };
        match read(&file, &name, inner.max_bytes.max(READABLE)) {
            Ok(parcel) => {
                inner.index().remove(&name);
                Some(Claimed { inner: Arc::clone(inner), name, parcel, file: Some(file), is_done: false })
            }
            Err(error) => {
                match is_damage(&error) {
                    true => inner.set_aside(&name, &error),
                    false => inner.pass_over(&name, &error),
                }
                None
            }
        }
    }

    /// Whether this process wrote it.
    pub(crate) fn is_own(&self) -> bool {
        is_own_batch(self.name.id, self.name.sequence)
    }

    /// The batch.
    pub(crate) fn parcel(&self) -> &Parcel {
        &self.parcel
    }

    /// Removes the batch durably.
    ///
    /// # Errors
    /// As [`Spool::put`](super::Spool::put). The batch may come again then, with its own id.
    pub(crate) fn done(mut self) -> Result<()> {
        self.inner.remove(&self.name)?;
        self.is_done = true;
        sync_folder(&self.inner.folder.path).map_err(self.inner.folder.error("removing a batch"))
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        self.file = None;
        if !self.is_done {
            self.inner.index().insert(self.name);
        }
    }
}

/// The batch in a file that must hold it and nothing else.
fn read(mut file: &File, name: &Name, limit: u64) -> io::Result<Parcel> {
    let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    let length = file.metadata()?.len();
    if length != name.bytes {
        return Err(invalid(format!("it has {length} bytes instead of {}", name.bytes)));
    }
    let parcel = match format::read(&mut file, limit)? {
        Some(parcel) if format::size(&parcel) == length => parcel,
        _ => return Err(invalid("more than a batch is in it".to_owned())),
    };
    let spans = parcel.traces().and_then(|traces| traces.spans().map(|spans| spans.len()));
    match spans.map_err(|error| invalid(error.to_string()))? {
        spans if spans == parcel.spans as usize => Ok(parcel),
        spans => Err(invalid(format!("it has {spans} spans instead of {}", parcel.spans))),
    }
}

/// Whether the file is at fault, and not the moment.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) || is_broken(error)
}

impl Inner {
    /// Removes a batch, not yet durably.
    pub(super) fn remove(&self, name: &Name) -> Result<()> {
        let mut locked = self.enter()?;
        let account = locked.change();
        match fs::remove_file(self.path(name)) {
            Ok(()) => {
                account.remove(name);
                self.left(name);
            }
            // An operator was faster; the next count sees it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            Err(error) => return Err(self.folder.error("removing a batch")(error)),
        }
        self.index().remove(name);
        Ok(())
    }

    /// Leaves a file that cannot be read now until the folder is read the next time.
    fn pass_over(&self, name: &Name, error: &io::Error) {
        if self.index().pass_over(name) {
            otel_warn!(
                name: "SpanExporter.SpoolFileUnreadable",
                file = self.path(name).display().to_string(),
                reason = error.to_string()
            );
        }
    }

    /// Moves a damaged file into `corrupt/`.
    fn set_aside(&self, name: &Name, damage: &io::Error) {
        if let Err(error) = self.move_aside(name) {
            return self.pass_over(
                name,
                &io::Error::other(format!("{damage}; and it cannot be set aside: {error}")),
            );
        }
        otel_warn!(
            name: "SpanExporter.SpoolFileSetAside",
            file = self.corrupt.path.join(name.to_string()).display().to_string(),
            reason = damage.to_string()
        );
    }

    fn move_aside(&self, name: &Name) -> Result<()> {
        let failed = || self.folder.error("setting a damaged file aside");
        let mut locked = self.enter()?;
        let (from, to) = (self.path(name), self.corrupt.path.join(name.to_string()));
        self.corrupt.create().map_err(failed())?;
        let size = fs::symlink_metadata(&from).map_err(failed())?.len();
        let account = locked.change();
        fs::rename(from, to).map_err(failed())?;
        account.remove(name);
        self.lost(name);
        account.corrupt = self.kept(&self.corrupt, account.corrupt, size, name);
        self.index().remove(name);
        drop(locked);
        sync_folder(&self.corrupt.path).and_then(|()| sync_folder(&self.folder.path)).map_err(failed())
    }

    /// What a folder beside holds once a batch of `size` bytes came to it and the oldest made room.
    pub(super) fn kept(&self, beside: &Beside, before: Kept, size: u64, newest: &Name) -> Kept {
        let kept = Kept { files: before.files.saturating_add(1), bytes: before.bytes.saturating_add(size) };
        if !beside.is_too_much(kept) {
            return kept;
        }
        let folder = || beside.path.display().to_string();
        match beside.make_room(newest) {
            Ok((left, 0)) => left,
            Ok((left, removed)) => {
                self.evicted.fetch_add(removed, Ordering::Relaxed);
                otel_warn!(name: "SpanExporter.SpoolFilesRemoved", folder = folder(), files = removed);
                left
            }
            Err(error) => {
                otel_warn!(name: "SpanExporter.SpoolFilesNotRemoved", folder = folder(), reason = error.to_string());
                kept
            }
        }
    }
}
