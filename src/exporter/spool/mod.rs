//! The disk spool: batches that wait in files until the database takes them.

use std::path::{Path, PathBuf};

use super::parcel::Parcel;
use crate::error::Result;
use crate::settings::WhenFull;

/// Batches in a folder, which several processes may share. Cloning is cheap. Every call blocks.
#[derive(Clone)]
pub(crate) struct Spool {}

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Dropped {
    pub batches: u64,
    pub spans: u64,
}

/// What lies in the folder, of all processes together; `dropped` and `evicted` are this process's own since it opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SpoolUsage {
    /// Batches that wait, those that are being replayed included.
    pub batches: u64,
    /// Their spans.
    pub spans: u64,
    /// The bytes of their files.
    pub bytes: u64,
    /// Batches in `rejected/`.
    pub rejected: u64,
    /// Files in `corrupt/`.
    pub corrupt: u64,
    /// What `drop_oldest` removed.
    pub dropped: Dropped,
    /// Files that were removed from `rejected/` and `corrupt/` to make room there.
    pub evicted: u64,
}

impl Spool {
    /// Opens a folder, and makes it where there is none.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) where it cannot be written.
    pub(crate) fn open(dir: &Path, max_bytes: u64, when_full: WhenFull) -> Result<Spool> {
        let _ = (dir, max_bytes, when_full);
        todo!()
    }

    /// Writes a batch; when it returns [`Put::Stored`], it is durable.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io); [`Error::Timeout`](crate::Error::Timeout) where another process holds the folder.
    pub(crate) fn put(&self, parcel: &Parcel) -> Result<Put> {
        let _ = parcel;
        todo!()
    }

    /// The oldest batch that nobody has, locked until it is done or dropped.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub(crate) fn claim(&self) -> Result<Option<Claimed>> {
        todo!()
    }

    /// Keeps a batch that the database refuses for good in `rejected/`, with the reason in a text file beside it.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub(crate) fn reject(&self, parcel: &Parcel, reason: &str) -> Result<PathBuf> {
        let _ = (parcel, reason);
        todo!()
    }

    /// What waits. It reads no folder.
    pub(crate) fn usage(&self) -> SpoolUsage {
        todo!()
    }
}

/// A batch that this process replays. Dropping it, or the process's death, gives it back.
pub(crate) struct Claimed {
    parcel: Parcel,
}

impl Claimed {
    pub(crate) fn parcel(&self) -> &Parcel {
        &self.parcel
    }

    /// Removes the batch durably.
    ///
    /// # Errors
    /// As [`Spool::put`].
    pub(crate) fn done(self) -> Result<()> {
        todo!()
    }
}
