//! A file that has its name only once it is whole.

use std::fs::{self, File};
use std::io;
#[cfg(unix)]
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where links stand for what is open already, such as `/dev/stdout`.
const OPEN_ALREADY: [&str; 2] = ["/dev", "/proc"];

/// What is written as `FILE.part` in the folder of `FILE` and then takes its place. Dropped before that, it is removed.
/// A device or a pipe is written as it is.
pub struct WholeFile {
    place: PathBuf,
    /// `None` where it is written in its place.
    part: Option<PathBuf>,
}

impl WholeFile {
    pub fn create(path: &Path) -> io::Result<(WholeFile, File)> {
        let existing = match fs::metadata(path) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let is_open = OPEN_ALREADY.iter().any(|folder| path.starts_with(folder));
        if is_open || existing.as_ref().is_some_and(|metadata| !metadata.is_file()) {
            return Ok((WholeFile { place: path.to_owned(), part: None }, File::create(path)?));
        }
        // A link stays, and what it leads to is replaced.
        let place = if existing.is_some() { fs::canonicalize(path)? } else { path.to_owned() };
        let mut part = place.clone().into_os_string();
        part.push(".part");
        // What an earlier export left goes; a link that somebody made meanwhile is not followed.
        if let Err(error) = fs::remove_file(&part)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let mut options = File::options();
        options.write(true).create_new(true);
        if let Some(metadata) = &existing {
            // What may not be written may not be replaced either, and who may read it stays.
            File::options().write(true).open(&place)?;
            #[cfg(unix)]
            options.mode(metadata.permissions().mode());
        }
        let file = options.open(&part)?;
        let whole = WholeFile { place, part: Some(part.into()) };
        if let Some(metadata) = existing {
            // The mask of the process took away from the mode.
            file.set_permissions(metadata.permissions())?;
        }
        Ok((whole, file))
    }

    /// Gives the file its name, once it is on the disk.
    pub fn complete(mut self, file: File) -> io::Result<()> {
        let Some(part) = &self.part else { return Ok(()) };
        file.sync_all()?;
        // Windows renames no open file.
        drop(file);
        fs::rename(part, &self.place)?;
        self.part = None;
        Ok(())
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if let Some(part) = &self.part {
            // What cannot be removed is known by its name, and the next export overwrites it.
            let _ = fs::remove_file(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_by_a_whole_one_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.gz");
        for (before, is_whole, after) in
            [(None, true, "new"), (Some("old"), false, "old"), (Some("old"), true, "new")]
        {
            if let Some(text) = before {
                fs::write(&path, text).expect("written");
            }
            let (whole, mut file) = WholeFile::create(&path).expect("a part");
            file.write_all(b"new").expect("written");
            assert_eq!(fs::read_to_string(&path).ok().as_deref(), before, "nothing is lost meanwhile");
            match is_whole {
                true => whole.complete(file).expect("renamed"),
                false => drop(whole),
            }
            assert_eq!(fs::read_to_string(&path).expect("the file"), after);
            assert_eq!(names(folder.path()), ["a.gz"]);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_and_permissions_stay_and_a_device_is_written_as_it_is() {
        use std::os::unix::fs::symlink;

        let folder = tempfile::tempdir().expect("a folder");
        let (path, link) = (folder.path().join("a"), folder.path().join("link"));
        fs::write(&path, "old").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("changed");
        symlink(&path, &link).expect("a link");
        // Of another one, who waits for this.
        let other = folder.path().join("other");
        symlink(&other, folder.path().join("a.part")).expect("a link");
        let (whole, file) = WholeFile::create(&link).expect("a part");
        whole.complete(file).expect("renamed");
        assert_eq!(fs::read_to_string(&path).expect("the file"), "");
        assert_eq!(fs::metadata(&path).expect("the file").permissions().mode() & 0o777, 0o600);
        assert_eq!(
            names(folder.path()),
            ["a", "link"],
            "what the link of another one leads to is not written"
        );

        let (whole, file) = WholeFile::create(Path::new("/dev/null")).expect("a device");
        whole.complete(file).expect("nothing to do");
        assert!(!Path::new("/dev/null").is_file());
    }
}
