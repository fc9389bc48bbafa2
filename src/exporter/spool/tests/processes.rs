//! Several processes, of which some die at the worst moment; and a disk that is full.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use super::*;

const WORK: &str = "OTEL_PGVECTOR_TEST_SPOOL_WORK";
const FOLDER: &str = "OTEL_PGVECTOR_TEST_SPOOL_FOLDER";

/// Another process, which does what [`another_process`] says.
struct Process {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Process {
    fn start(work: &str, folder: &Path) -> Process {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "exporter::spool::tests::processes::another_process", "--nocapture"])
            .env(WORK, work)
            .env(FOLDER, folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Process { child, lines }
    }

    /// The next id that it says; what the test's harness prints is none. `None` at its end.
    fn id(&mut self) -> Option<Uuid> {
        loop {
            let mut line = String::new();
            // A last line may be cut, where the process was killed.
            if self.lines.read_line(&mut line).unwrap() == 0 || !line.ends_with('\n') {
                return None;
            }
            // The harness's own text stands before the first one, without an end of line.
            if let Some(id) = line.trim_end().rsplit(' ').next().and_then(|word| word.parse().ok()) {
                return Some(id);
            }
        }
    }

    fn ids(&mut self) -> Vec<Uuid> {
        std::iter::from_fn(|| self.id()).collect()
    }

    /// SIGKILL, and the ids that it had said by then.
    fn kill(mut self) -> Vec<Uuid> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.ids()
    }

    fn end(mut self) -> Vec<Uuid> {
        let ids = self.ids();
        assert!(self.child.wait().unwrap().success());
        ids
    }
}

/// Not a test by itself: the work of the other process, which says the ids of the batches that are safe or taken.
#[test]
fn another_process() {
    let (Ok(work), Ok(folder)) = (std::env::var(WORK), std::env::var(FOLDER)) else { return };
    // Never full.
    let spool = Spool::open(folder.as_ref(), 1 << 30, WhenFull::DropNewest).unwrap();
    let say = |id: Uuid| println!(" {id}");
    match work.as_str() {
        "put 50" => put_some(&spool, 50).into_iter().for_each(say),
        "put" => loop {
            let parcel = sized(50_000);
            put(&spool, &parcel);
            say(parcel.id);
        },
        "drain" => drain(&spool).into_iter().for_each(say),
        "claim" => {
            let claimed = spool.claim(End::Oldest, |_| true).unwrap().unwrap();
            say(claimed.parcel().id);
            loop {
                thread::park();
            }
        }
        other => panic!("{other}"),
    }
}

#[test]
fn processes_share_a_folder_without_losing_or_doubling_a_batch() {
    let folder = folder();
    let writers = [(); 3].map(|()| Process::start("put 50", folder.path()));
    let put: Vec<Uuid> = writers.into_iter().flat_map(Process::end).collect();
    assert_eq!(put.len(), 150);
    assert_eq!(open(folder.path()).usage().batches, 150);
    let readers = [(); 3].map(|()| Process::start("drain", folder.path()));
    let mut taken: Vec<Uuid> = readers.into_iter().flat_map(Process::end).collect();
    taken.extend(drain(&open(folder.path())));
    assert_eq!(taken.len(), 150);
    assert_eq!(taken.into_iter().collect::<HashSet<_>>(), put.into_iter().collect());
    assert_eq!(open(folder.path()).usage(), SpoolUsage::default());
}

#[test]
fn a_process_that_is_killed_while_it_writes_loses_nothing_that_it_acknowledged() {
    for round in 0..12 {
        let folder = folder();
        let open = || Spool::open(folder.path(), 1 << 30, WhenFull::DropNewest).unwrap();
        let spool = open();
        let mut process = Process::start("put", folder.path());
        // It goes on while this thread reads: it is killed at any step of one of the next batches.
        let mut acknowledged: Vec<Uuid> = (0..1 + round).filter_map(|_| process.id()).collect();
        acknowledged.extend(process.kill());
        assert!(acknowledged.len() > round);
        let (batches, bytes) = counted(folder.path());
        put(&spool, &sized(200));
        assert_eq!((spool.usage().batches, spool.usage().bytes), (batches + 1, bytes + 200));

        let spool = open();
        assert_eq!(temporary_files(folder.path()), 0);
        let left = drain(&spool);
        assert_eq!(spool.usage(), SpoolUsage::default(), "nothing is torn");
        assert_eq!(left[..acknowledged.len()], acknowledged);
        // At most one was written and not acknowledged, besides this test's own.
        assert!(left.len() <= acknowledged.len() + 2);
    }
}

#[test]
fn a_process_that_is_killed_while_it_replays_gives_its_batch_back() {
    let folder = folder();
    let spool = open(folder.path());
    let ids = put_some(&spool, 2);
    let mut process = Process::start("claim", folder.path());
    assert_eq!(process.id(), Some(ids[0]));
    let second = spool.claim(End::Oldest, |_| true).unwrap().unwrap();
    assert_eq!(second.parcel().id, ids[1]);
    assert!(spool.claim(End::Oldest, |_| true).unwrap().is_none(), "the other process has it");
    process.kill();
    assert_eq!(spool.claim(End::Oldest, |_| true).unwrap().unwrap().parcel().id, ids[0]);
}

/// A disk of 1 MiB; `None`, and a word about it, where this user may not have one.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<SmallDisk> {
        let folder = folder();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(folder.path())
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
            assert!(std::env::var_os("CI").is_none() || !is_root, "root cannot mount a tmpfs under CI");
            println!("skipped: no tmpfs can be mounted (that takes root)");
            return None;
        }
        Some(SmallDisk(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_a_full_spool() {
    let Some(disk) = SmallDisk::mount() else { return };
    let folder = disk.0.path().join("spool");
    let spool = Spool::open(&folder, 1 << 30, WhenFull::DropNewest).unwrap();
    let mut ids = Vec::new();
    let reason = loop {
        let parcel = sized(200_000);
        match spool.put(&parcel).unwrap() {
            Put::Stored { .. } => ids.push(parcel.id),
            Put::Full { reason, dropped } => {
                assert_eq!(dropped, Dropped::default());
                break reason;
            }
        }
    };
    assert_eq!(ids.len(), 5);
    assert!(reason.contains("No space left"), "{reason}");
    assert_eq!(temporary_files(&folder), 0);
    assert_eq!(spool.usage().batches, 5);

    let oldest = Spool::open(&folder, 1 << 30, WhenFull::DropOldest).unwrap();
    let last = sized(300_000);
    assert_eq!(put(&oldest, &last), Dropped { batches: 2, spans: 6 });
    assert!(matches!(
        oldest.put(&sized(2_000_000)).unwrap(),
        Put::Full { dropped: Dropped { batches: 4, .. }, .. }
    ));
    assert_eq!(temporary_files(&folder), 0);
    assert_eq!(oldest.usage().batches, 0);
    put(&oldest, &last);
    assert_eq!(drain(&spool), [last.id], "{ids:?}");

    // Full of something else, before the spool is there.
    let _ = fs::write(disk.0.path().join("filler"), vec![b'x'; 2_000_000]);
    let spool = Spool::open(&folder.join("another"), MIB, WhenFull::DropOldest).unwrap();
    assert!(matches!(spool.put(&sized(5000)).unwrap(), Put::Full { .. }));
    assert_eq!(spool.usage(), SpoolUsage::default());
    fs::remove_file(disk.0.path().join("filler")).unwrap();
    put(&spool, &last);
    assert_eq!(drain(&spool), [last.id]);
}
