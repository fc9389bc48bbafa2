//! What the spool asks of the file system: private, durable, and never through a symbolic link.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::name;

/// How often a new temporary file may be taken away by who cleans up.
const ATTEMPTS: usize = 8;

/// Makes a folder for this user alone, with those above it, where it is missing.
pub(super) fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)?;
    if let Some(parent) = path.parent() {
        // Durable where this user may open the folder above.
        let _ = sync_folder(parent);
    }
    Ok(())
}

/// How files are created: for this user alone.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes what was renamed or removed in a folder durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// Locks a file, unless somebody else has.
pub(super) fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(fs::TryLockError::WouldBlock) => Ok(false),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Whether this file itself, not a link to it, still lies at the path.
pub(super) fn lies_at(file: &File, path: &Path) -> io::Result<bool> {
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let here = file.metadata()?;
        Ok((here.dev(), here.ino()) == (there.dev(), there.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        Ok(there.is_file())
    }
}

/// What came of an attempt to have a file alone.
pub(super) enum Taken {
    /// Ours, until it is closed.
    Locked(File),
    Busy,
    Gone,
}

/// Opens and locks a file that lies in the spool.
pub(super) fn take(path: &Path) -> io::Result<Taken> {
    let open = || {
        // A pipe would block, and a link lead away.
        if !fs::symlink_metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "it is not a regular file"));
        }
        File::open(path)
    };
    let file = match open() {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Taken::Gone),
        Err(error) => return Err(error),
    };
    if !try_lock(&file)? {
        return Ok(Taken::Busy);
    }
    // Between opening and locking, who had it may have removed it.
    Ok(if lies_at(&file, path)? { Taken::Locked(file) } else { Taken::Gone })
}

/// A file that is being written under a temporary name; dropping it removes it.
pub(super) struct Temporary {
    path: PathBuf,
    /// Locked, so that nobody takes it for a dead process's.
    file: File,
    renamed: bool,
}

impl Temporary {
    /// Writes a file, durably.
    pub(super) fn write(folder: &Path, parts: &[&[u8]]) -> io::Result<Temporary> {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        if largest_file().is_some_and(|largest| bytes as u64 > largest) {
            let reason =
                format!("a batch of {bytes} bytes is larger than a file of this process may be (ulimit -f)");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
        }
        for _ in 0..ATTEMPTS {
            let path = folder.join(name::temporary());
            let file = private().create_new(true).open(&path)?;
            // Whoever cleans up may have been faster.
            let is_ours = try_lock(&file)? && lies_at(&file, &path)?;
            let mut temporary = Temporary { path, file, renamed: false };
            if is_ours {
                for part in parts {
                    temporary.file.write_all(part)?;
                }
                temporary.file.sync_all()?;
                return Ok(temporary);
            }
        }
        Err(io::Error::other("temporary files disappear as they are made"))
    }

    /// Gives it its name. The folder is not synced yet.
    pub(super) fn rename(mut self, to: &Path) -> io::Result<()> {
        fs::rename(&self.path, to)?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // What cannot be removed now is removed by the next scan, once it is unlocked.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// How many bytes a file of this process may have, where Linux limits it: a write beyond ends the process (SIGXFSZ).
fn largest_file() -> Option<u64> {
    static LARGEST: OnceLock<Option<u64>> = OnceLock::new();
    *LARGEST.get_or_init(|| {
        let limits = fs::read_to_string("/proc/self/limits").ok()?;
        let limit = limits.lines().find_map(|line| line.strip_prefix("Max file size"))?;
        // Or `unlimited`.
        limit.split_whitespace().next()?.parse().ok()
    })
}

/// Removes a temporary file if its process is gone.
pub(super) fn remove_abandoned(path: &Path) -> io::Result<()> {
    match take(path)? {
        Taken::Locked(_) => fs::remove_file(path),
        Taken::Busy | Taken::Gone => Ok(()),
    }
}

/// Whether the disk has no room, or refuses to write.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge) || is_broken(error)
}

/// Whether the disk failed (EIO), which has no `ErrorKind`.
pub(super) fn is_broken(error: &io::Error) -> bool {
    cfg!(unix) && error.raw_os_error() == Some(5)
}
