//! The disk spool: batches that wait in files until the database takes them.
//!
//! A folder with a file a batch ([`format`]), named so that the oldest is the first ([`name`]). Who replays a batch
//! holds a lock on its file; who writes, removes or counts files holds the lock of the folder ([`folder`]). Locks die with
//! their process, so nothing needs to be mended after a crash. `docs/spool.md` is for whoever looks into the folder.

mod beside;
mod claimed;
mod files;
mod folder;
pub(crate) mod format;
mod index;
mod name;
#[cfg(all(test, unix))]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;
use uuid::Uuid;

use super::parcel::Parcel;
use super::resting::End;
use crate::error::{Error, Result};
use crate::settings::WhenFull;
use crate::store::is_own_batch;
use beside::Beside;
pub(crate) use claimed::Claimed;
use files::{Taken, Temporary, create_folder, sync_folder, take};
use folder::{Account, Folder, Locked, clean};
#[cfg(fuzzing)]
pub use format::fuzz_spool_file;
use index::Index;
use name::{Name, is_temporary, sequence_after};

/// Files that an index holds: about 2 MB of memory.
const INDEXED: usize = 16_384;

/// The least message that is read whatever the bound is, since the bound may have been larger once.
const READABLE: u64 = 256 << 20;

/// What `rejected/` and `corrupt/` may hold: so many times less than the spool.
const BESIDE_SHARE: u64 = 10;

/// A reason is cut here, in bytes.
const LONGEST_REASON: usize = 16 << 10;

/// Batches in a folder, which several processes may share. Cloning is cheap. Every call blocks.
#[derive(Clone)]
pub(crate) struct Spool {
    inner: Arc<Inner>,
}

struct Inner {
    folder: Folder,
    rejected: Beside,
    corrupt: Beside,
    max_bytes: u64,
    when_full: WhenFull,
    index: Mutex<Index>,
    dropped_batches: AtomicU64,
    dropped_spans: AtomicU64,
    evicted: AtomicU64,
    /// Spans of this process's own batches: those that lie here, and those that were removed or damaged.
    own_spans: AtomicU64,
    own_lost: AtomicU64,
}

/// What became of a batch that was put.
#[derive(Debug)]
pub(crate) enum Put {
    /// It is on disk, durably.
    Stored {
        /// What was removed to make room for it (`drop_oldest`).
        dropped: Dropped,
    },
    /// It is not kept: the bound is reached or the disk is full.
    Full {
        /// Which of them, for a message.
        reason: String,
        /// What was removed in vain (`drop_oldest`).
        dropped: Dropped,
    },
}

/// Batches that were removed to make room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Dropped {
    /// How many batches.
    pub batches: u64,
    /// How many spans they held.
    pub spans: u64,
}

/// What lies in the folder, of all processes together; `dropped` and `evicted` are this process's own since it opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SpoolUsage {
    /// Batches that wait, those that are being replayed included.
    pub batches: u64,
    /// Their spans.
    pub spans: u64,
    /// Those of them that this process wrote, as last seen: what others replayed is noticed within seconds.
    pub own_spans: u64,
    /// The bytes of their files.
    pub bytes: u64,
    /// Batches in `rejected/`.
    pub rejected: u64,
    /// Files in `corrupt/`.
    pub corrupt: u64,
    /// What `drop_oldest` removed.
    pub dropped: Dropped,
    /// Batches that were removed from `rejected/` and `corrupt/` to make room there.
    pub evicted: u64,
}

impl Spool {
    /// Opens a folder, and makes it where there is none. Batches that lie there are replayed.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be written or locked; [`Error::Timeout`] where another process holds its lock.
    pub(crate) fn open(dir: &Path, max_bytes: u64, when_full: WhenFull) -> Result<Spool> {
        let unusable = |source| Error::Io {
            doing: format!(
                "opening the spool {} (it must be a folder on a local disk that this user can write; \
                 the setting `spool_dir` names it)",
                dir.display()
            ),
            source,
        };
        create_folder(dir).map_err(unusable)?;
        // Absolute: the process may go to another folder.
        let path = fs::canonicalize(dir).map_err(unusable)?;
        let spool = Spool {
            inner: Arc::new(Inner {
                rejected: Beside::new(&path, "rejected", max_bytes / BESIDE_SHARE),
                corrupt: Beside::new(&path, "corrupt", max_bytes / BESIDE_SHARE),
                folder: Folder::new(path),
                max_bytes,
                when_full,
                index: Mutex::new(Index::new(INDEXED)),
                dropped_batches: AtomicU64::new(0),
                dropped_spans: AtomicU64::new(0),
                evicted: AtomicU64::new(0),
                own_spans: AtomicU64::new(0),
                own_lost: AtomicU64::new(0),
            }),
        };
        let inner = &spool.inner;
        let tried = Temporary::write(&inner.folder.path, &[]);
        match tried.and_then(|_| inner.rejected.create()).and_then(|()| inner.corrupt.create()) {
            // A full disk may have room later.
            Err(error) if !files::is_full(&error) => return Err(unusable(error)),
            _ => (),
        }
        let mut locked = match inner.folder.lock() {
            Err(Error::Io { source, .. }) => return Err(unusable(source)),
            locked => locked?,
        };
        inner.list(&mut locked)?;
        drop(locked);
        Ok(spool)
    }

    /// Writes a batch; when it returns [`Put::Stored`], it is durable.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Timeout`] where another process holds the folder's lock. The batch is not kept then.
    pub(crate) fn put(&self, parcel: &Parcel) -> Result<Put> {
        let inner = &self.inner;
        let mut dropped = Dropped::default();
        let size = format::size(parcel);
        if size > inner.max_bytes {
            let reason = format!("a batch of {size} bytes is larger than the bound of {}", inner.max_bytes);
            return Ok(Put::Full { reason, dropped });
        }
        if inner.when_full == WhenFull::DropNewest
            && !inner.has_room(&mut inner.enter()?, size, &mut dropped)?
        {
            return Ok(Put::Full { reason: inner.bound_reached(), dropped });
        }
        let mut written = inner.write(parcel, &mut dropped);
        if let Err(error) = &written
            && is_full(error)
            && inner.when_full == WhenFull::DropOldest
        {
            // The disk has room for this batch when others of its size are gone.
            let mut locked = inner.enter()?;
            let target = locked.account().bytes.saturating_sub(size);
            inner.drop_oldest(&mut locked, target, &mut dropped)?;
            drop(locked);
            written = inner.write(parcel, &mut dropped);
        }
        match written {
            Ok(true) => Ok(Put::Stored { dropped }),
            Ok(false) => Ok(Put::Full { reason: inner.bound_reached(), dropped }),
            Err(error) if is_full(&error) => Ok(Put::Full { reason: error.to_string(), dropped }),
            Err(error) => Err(error),
        }
    }

    /// The first wanted batch that nobody has, locked until it is done or dropped. What is damaged is set aside on the way.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub(crate) fn claim(&self, first: End, is_wanted: impl Fn(Uuid) -> bool) -> Result<Option<Claimed>> {
        let inner = &self.inner;
        if inner.index().is_old() {
            let mut locked = inner.enter()?;
            // Unless another thread was faster.
            if inner.index().is_old() {
                inner.list(&mut locked)?;
            }
        }
        // Twice at least, since the folder may turn out to have more; not for ever, when nothing in it can be read.
        for _ in 0..3 {
            let listings = inner.index().listings;
            let mut at = None;
            while let Some(name) = inner.next_from(first, at) {
                if is_wanted(name.id)
                    && let Some(claimed) = Claimed::attempt(inner, name)
                {
                    return Ok(Some(claimed));
                }
                at = Some(name);
            }
            let mut locked = inner.enter()?;
            let is_behind = inner.index().is_behind(locked.account().newest);
            if is_behind {
                inner.list(&mut locked)?;
            }
            if inner.index().listings == listings {
                break;
            }
        }
        Ok(None)
    }

    /// Keeps a batch that the database refuses for good in `rejected/`, with the reason in a text file beside it, and
    /// returns where. Durable.
    ///
    /// # Errors
    /// As [`put`](Self::put); a full disk is an error here, too.
    pub(crate) fn reject(&self, parcel: &Parcel, reason: &str) -> Result<PathBuf> {
        let inner = &self.inner;
        let failed = || inner.folder.error("keeping a rejected batch");
        let mut reason =
            reason.get(..reason.floor_char_boundary(LONGEST_REASON)).unwrap_or(reason).to_owned();
        reason.push('\n');
        let folder = &inner.rejected.path;
        inner.rejected.create().map_err(failed())?;
        let text = Temporary::write(folder, &[reason.as_bytes()]).map_err(failed())?;
        let batch =
            Temporary::write(folder, &[format::header(parcel).as_bytes(), &parcel.otlp]).map_err(failed())?;
        let mut locked = inner.enter()?;
        let name = inner.name(parcel, locked.account().newest);
        let path = folder.join(name.to_string());
        let account = locked.change();
        account.newest = name.sequence;
        text.rename(&folder.join(name.reason())).and_then(|()| batch.rename(&path)).map_err(failed())?;
        let size = name.bytes.saturating_add(reason.len() as u64);
        account.rejected = inner.kept(&inner.rejected, account.rejected, size, &name);
        drop(locked);
        sync_folder(folder).map_err(failed())?;
        Ok(path)
    }

    /// Reads the folder, so that what is known of it is right now.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub(crate) fn look(&self) -> Result<()> {
        self.inner.list(&mut self.inner.folder.lock()?)
    }

    /// Spans of this process's own batches that were removed to make room, or damaged.
    pub(crate) fn own_lost(&self) -> u64 {
        self.inner.own_lost.load(Ordering::Relaxed)
    }

    /// What waits. It reads no folder and waits for nobody: while the folder is being changed, it is what was last seen.
    pub(crate) fn usage(&self) -> SpoolUsage {
        let inner = &self.inner;
        let Account { batches, spans, bytes, rejected, corrupt, .. } = inner.folder.account();
        SpoolUsage {
            batches,
            spans,
            own_spans: inner.own_spans.load(Ordering::Relaxed),
            bytes,
            rejected: rejected.files,
            corrupt: corrupt.files,
            dropped: Dropped {
                batches: inner.dropped_batches.load(Ordering::Relaxed),
                spans: inner.dropped_spans.load(Ordering::Relaxed),
            },
            evicted: inner.evicted.load(Ordering::Relaxed),
        }
    }
}

impl Inner {
    /// A batch has left the folder; the folder is locked.
    fn left(&self, name: &Name) {
        // Set anew by each listing, so it may have missed a file that came by hand.
        let spans = self.own_spans.load(Ordering::Relaxed).saturating_sub(own(name));
        self.own_spans.store(spans, Ordering::Relaxed);
    }

    /// A batch has left the folder and will not be stored.
    fn lost(&self, name: &Name) {
        self.left(name);
        self.own_lost.fetch_add(own(name), Ordering::Relaxed);
    }

    /// The index is whole at every moment, so a panic elsewhere does not spoil it.
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_behind(&self, name: Option<Name>) -> Option<Name> {
        self.index().next(name)
    }

    fn next_from(&self, first: End, name: Option<Name>) -> Option<Name> {
        match first {
            End::Oldest => self.index().next(name),
            End::Newest => self.index().next_back(name),
        }
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.folder.path.join(name.to_string())
    }

    fn bound_reached(&self) -> String {
        format!("the spool holds its {} bytes", self.max_bytes)
    }

    fn name(&self, parcel: &Parcel, newest: u64) -> Name {
        let (sequence, bytes) = (sequence_after(newest), format::size(parcel));
        Name { sequence, id: parcel.id, spans: parcel.spans, bytes }
    }

    /// The folder, locked and counted.
    fn enter(&self) -> Result<Locked<'_>> {
        let mut locked = self.folder.lock()?;
        if locked.must_count() {
            self.list(&mut locked)?;
        }
        Ok(locked)
    }

    /// Reads the folder: what waits is indexed and counted, what a dead process was writing is removed.
    fn list(&self, locked: &mut Locked<'_>) -> Result<()> {
        let started = Instant::now();
        let failed = || self.folder.error("listing the batches");
        let mut account = Account { newest: locked.account().newest, ..Account::default() };
        let mut oldest = self.index().oldest();
        let mut own_spans = 0;
        for entry in fs::read_dir(&self.folder.path).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if is_temporary(&name) {
                clean(&entry.path());
            } else if let Some(name) = Name::parse(&name)
                && entry.file_type().is_ok_and(|kind| kind.is_file())
            {
                account.add(&name);
                own_spans += own(&name);
                oldest.offer(name);
            }
        }
        // What lies beside never stops what waits.
        account.rejected = self.rejected.count().unwrap_or(locked.account().rejected);
        account.corrupt = self.corrupt.count().unwrap_or(locked.account().corrupt);
        self.index().replace(oldest, account.newest, started.elapsed());
        self.own_spans.store(own_spans, Ordering::Relaxed);
        locked.count(account);
        Ok(())
    }

    /// Writes a batch, durably; false when the bound leaves no room for it.
    fn write(&self, parcel: &Parcel, dropped: &mut Dropped) -> Result<bool> {
        let failed = || self.folder.error("writing a batch");
        let header = format::header(parcel);
        let temporary =
            Temporary::write(&self.folder.path, &[header.as_bytes(), &parcel.otlp]).map_err(failed())?;
        let mut locked = self.enter()?;
        if !self.has_room(&mut locked, format::size(parcel), dropped)? {
            return Ok(false);
        }
        let before = locked.account().newest;
        let name = self.name(parcel, before);
        let account = locked.change();
        temporary.rename(&self.path(&name)).map_err(failed())?;
        account.add(&name);
        self.own_spans.fetch_add(own(&name), Ordering::Relaxed);
        self.index().wrote(name, before);
        drop(locked);
        if let Err(error) = sync_folder(&self.folder.path) {
            self.remove(&name)?;
            return Err(failed()(error));
        }
        Ok(true)
    }

    /// Whether a file of so many bytes fits, once the policy has been applied.
    fn has_room(&self, locked: &mut Locked<'_>, size: u64, dropped: &mut Dropped) -> Result<bool> {
        // The size is at most the bound.
        let target = self.max_bytes - size;
        if locked.account().bytes > target && self.index().is_old() {
            // An operator may have removed files.
            self.list(locked)?;
        }
        if self.when_full == WhenFull::DropOldest {
            self.drop_oldest(locked, target, dropped)?;
        }
        Ok(locked.account().bytes <= target)
    }

    /// Removes the oldest batches that nobody replays until at most `target` bytes are left, or none.
    fn drop_oldest(&self, locked: &mut Locked<'_>, target: u64, dropped: &mut Dropped) -> Result<()> {
        // Whether the folder was read and nothing was removed since.
        let mut is_listed = false;
        let mut at = None;
        while locked.account().bytes > target {
            let Some(name) = self.next_behind(at) else {
                if is_listed {
                    break;
                }
                // Files of other processes may not be known yet.
                self.list(locked)?;
                (at, is_listed) = (None, true);
                continue;
            };
            at = Some(name);
            let path = self.path(&name);
            let taken = take(&path);
            if let Ok(Taken::Busy) = taken {
                continue;
            }
            self.index().remove(&name);
            let account = locked.change();
            // What this user may not remove stays, as what others replay does.
            if let Ok(Taken::Locked(_file)) = taken
                && fs::remove_file(&path).is_ok()
            {
                account.remove(&name);
                self.lost(&name);
                is_listed = false;
                dropped.batches += 1;
                dropped.spans += u64::from(name.spans);
                self.dropped_batches.fetch_add(1, Ordering::Relaxed);
                self.dropped_spans.fetch_add(name.spans.into(), Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// The spans of a batch that this process wrote; 0 of another's.
fn own(name: &Name) -> u64 {
    if is_own_batch(name.id, name.sequence) { name.spans.into() } else { 0 }
}

/// Whether the disk has no room, or refuses to write.
fn is_full(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if files::is_full(source))
}
