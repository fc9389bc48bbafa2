//! The folder's lock, and behind it the account of what lies in the folder.
//!
//! The account stands in the lock's file, so that nobody needs to read the folder to know whether there is room. It is
//! marked while the folder is changed: whoever finds the mark, since the process that left it died, counts anew.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64;

use super::files::{self, create_folder, lies_at, private, try_lock};
use super::name::Name;
use crate::error::{Error, Result};

/// The file that is locked.
const LOCK: &str = "spool.lock";

/// A process that was stopped may hold the lock; nobody waits for it for longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pauses between attempts to lock.
const FIRST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(2);

/// Files and their bytes in one of the folders beside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// What lies in the folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// The sequence of the newest file that there ever was.
    pub(super) newest: u64,
    pub(super) batches: u64,
    pub(super) spans: u64,
    pub(super) bytes: u64,
    pub(super) rejected: Kept,
    pub(super) corrupt: Kept,
}

/// The numbers of an account, and their checksum.
const ACCOUNT: usize = 9 * 8;

impl Account {
    pub(super) fn add(&mut self, name: &Name) {
        self.newest = self.newest.max(name.sequence);
        self.batches = self.batches.saturating_add(1);
        self.spans = self.spans.saturating_add(name.spans.into());
        self.bytes = self.bytes.saturating_add(name.bytes);
    }

    pub(super) fn remove(&mut self, name: &Name) {
        self.batches = self.batches.saturating_sub(1);
        self.spans = self.spans.saturating_sub(name.spans.into());
        self.bytes = self.bytes.saturating_sub(name.bytes);
    }

    fn to_bytes(self) -> Vec<u8> {
        let Account { newest, batches, spans, bytes, rejected, corrupt } = self;
        let numbers =
            [newest, batches, spans, bytes, rejected.files, rejected.bytes, corrupt.files, corrupt.bytes];
        let mut text: Vec<u8> = numbers.into_iter().flat_map(u64::to_le_bytes).collect();
        text.extend(xxh3_64(&text).to_le_bytes());
        text
    }

    fn from_bytes(bytes: &[u8]) -> Option<Account> {
        let (numbers, []) = bytes.as_chunks::<8>() else { return None };
        let [newest, batches, spans, bytes, rejected, rejected_bytes, corrupt, corrupt_bytes, _] =
            <[u64; 9]>::try_from(
                numbers.iter().map(|number| u64::from_le_bytes(*number)).collect::<Vec<_>>(),
            )
            .ok()?;
        let account = Account {
            newest,
            batches,
            spans,
            bytes,
            rejected: Kept { files: rejected, bytes: rejected_bytes },
            corrupt: Kept { files: corrupt, bytes: corrupt_bytes },
        };
        (account.to_bytes().as_chunks().0 == numbers).then_some(account)
    }
}

/// A folder that is changed by one process at a time.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// Within the process, since a lock belongs to the open file.
    lock: Mutex<Option<File>>,
    /// The account when this process last saw it.
    last: Mutex<Account>,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Folder {
        Folder { path, lock: Mutex::new(None), last: Mutex::default() }
    }

    /// Waits until nobody else changes the folder.
    pub(super) fn lock(&self) -> Result<Locked<'_>> {
        let until = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        // What it guards is a file handle: whole, whatever thread panicked.
        let mut file = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.attempt(&mut file).map_err(|source| self.failed("locking", source))? {
            if Instant::now() >= until {
                let doing = "waiting for the lock of the spool's folder";
                return Err(Error::Timeout { doing, seconds: PATIENCE.as_secs_f64() });
            }
            thread::sleep(pause);
            pause = LONGEST_PAUSE.min(pause * 2);
        }
        self.locked(file)
    }

    /// The account as it is; as this process last saw it while somebody changes the folder. It never waits.
    pub(super) fn account(&self) -> Account {
        let mut file = match self.lock.try_lock() {
            Ok(file) => file,
            Err(TryLockError::Poisoned(file)) => file.into_inner(),
            Err(TryLockError::WouldBlock) => return self.last(),
        };
        if let Ok(true) = self.attempt(&mut file)
            && let Ok(locked) = self.locked(file)
            && locked.is_counted
        {
            return locked.account;
        }
        self.last()
    }

    fn last(&self) -> Account {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the file that lies there now: an operator may have removed it, or the whole folder.
    fn attempt(&self, file: &mut Option<File>) -> io::Result<bool> {
        let path = self.path.join(LOCK);
        let opened = match file {
            Some(file) => file,
            None => file.insert(self.open(&path)?),
        };
        let is_ours = match try_lock(opened) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
            tried => tried?,
        };
        match lies_at(opened, &path) {
            Ok(true) => Ok(is_ours),
            elsewhere => {
                // Closing it unlocks it.
                *file = None;
                elsewhere
            }
        }
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        create_folder(&self.path)?;
        match fs::symlink_metadata(path) {
            Ok(there) if !there.is_file() => {
                Err(io::Error::new(io::ErrorKind::Unsupported, format!("{LOCK} is not a regular file")))
            }
            _ => private().create(true).truncate(false).open(path),
        }
    }

    fn locked<'a>(&'a self, guard: MutexGuard<'a, Option<File>>) -> Result<Locked<'a>> {
        let mut locked =
            Locked { folder: self, account: self.last(), is_counted: false, is_marked: false, file: guard };
        let read = match locked.file.as_mut() {
            Some(file) => read(file),
            None => Ok(Vec::new()),
        };
        if let Some(account) = Account::from_bytes(&read.map_err(|source| self.failed("reading", source))?) {
            locked.account = account;
            locked.is_counted = true;
            locked.remember();
        }
        Ok(locked)
    }

    fn failed(&self, what: &str, source: io::Error) -> Error {
        Error::Io { doing: format!("{what} {}", self.path.join(LOCK).display()), source }
    }

    /// An error with the folder's name.
    pub(super) fn error(&self, doing: &str) -> impl FnOnce(io::Error) -> Error {
        let doing = format!("{doing} in the spool {}", self.path.display());
        move |source| Error::Io { doing, source }
    }
}

/// The folder, locked until this is dropped.
pub(super) struct Locked<'a> {
    folder: &'a Folder,
    file: MutexGuard<'a, Option<File>>,
    account: Account,
    /// Whether the account is right.
    is_counted: bool,
    is_marked: bool,
}

impl Locked<'_> {
    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    /// Whether somebody died while changing the folder, so that it must be counted anew.
    pub(super) fn must_count(&self) -> bool {
        !self.is_counted
    }

    /// What was counted.
    pub(super) fn count(&mut self, account: Account) {
        *self.change() = account;
        self.is_counted = true;
    }

    /// The account, to be changed together with the folder: called before the folder is.
    pub(super) fn change(&mut self) -> &mut Account {
        if !self.is_marked {
            self.is_marked = true;
            self.write(&[0; ACCOUNT]);
        }
        &mut self.account
    }

    /// An account that cannot be written is counted anew by the next who needs it, and in any case from time to time.
    fn write(&mut self, bytes: &[u8]) {
        if let Some(file) = self.file.as_mut() {
            let _ = file.rewind().and_then(|()| file.write_all(bytes));
        }
    }

    fn remember(&self) {
        *self.folder.last.lock().unwrap_or_else(PoisonError::into_inner) = self.account;
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if self.is_marked {
            self.remember();
            if self.is_counted {
                self.write(&self.account.to_bytes());
            }
        }
        if let Some(file) = self.file.as_mut()
            && file.unlock().is_err()
        {
            // Closing it unlocks it as well.
            *self.file = None;
        }
    }
}

fn read(file: &mut File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(ACCOUNT);
    file.rewind()?;
    file.take(ACCOUNT as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Removes what a dead process left behind; what is alive or not ours stays.
pub(super) fn clean(path: &Path) {
    // A file that cannot be removed does no harm, and is tried again.
    let _ = files::remove_abandoned(path);
}
