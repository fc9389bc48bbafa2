//! A disk that can be full.

use std::io::Write;
use std::path::Path;
use std::process::Command;

/// A small file system in memory, unmounted when it is dropped.
pub struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// `None` with a word on the screen where this user may not have one.
    ///
    /// # Panics
    /// Under CI, for root, who may.
    pub fn mount(at: &'a Path, megabytes: u32) -> Option<Self> {
        std::fs::create_dir(at).expect("a folder");
        let size = format!("size={megabytes}m,mode=0777");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(SmallDisk(at));
        }
        let must_be = std::env::var_os("CI").is_some() && rustix::process::geteuid().is_root();
        assert!(!must_be, "a tmpfs cannot be mounted under CI");
        eprintln!("skipped: a tmpfs cannot be mounted, which takes root");
        None
    }

    /// Fills it up to the last byte.
    pub fn fill(&self) {
        let mut ballast = std::fs::File::create(self.0.join("ballast")).expect("a file");
        while ballast.write_all(&[0; 4096]).is_ok() {}
    }

    /// Takes away what filled it.
    pub fn make_room(&self) {
        std::fs::remove_file(self.0.join("ballast")).expect("removed");
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.0).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()) || std::thread::panicking(),
            "it is unmounted"
        );
    }
}
