//! The spool as one process, and as several, use it.

mod processes;
mod properties;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Barrier;
use std::thread;

use bytes::Bytes;
use opentelemetry_proto::tonic::trace::v1 as otlp;
use prost::Message;
use tempfile::TempDir;
use uuid::Uuid;

use super::name::Name;
use super::*;

const MIB: u64 = 1 << 20;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(folder: &Path) -> Spool {
    Spool::open(folder, MIB, WhenFull::DropNewest).unwrap()
}

/// A batch of three spans whose file has so many bytes.
fn sized(bytes: usize) -> Parcel {
    let spans = vec![otlp::Span::default(); 3];
    let scope_spans = vec![otlp::ScopeSpans { spans, ..Default::default() }];
    let resource_spans = vec![otlp::ResourceSpans { scope_spans, ..Default::default() }];
    let mut message = otlp::TracesData { resource_spans }.encode_to_vec();
    // A field of a later version, of two bytes or of three, as often as it takes.
    let size = bytes - format::HEADER;
    if (size - message.len()) % 2 == 1 {
        message.extend([b'x', 0xf8, 0]);
    }
    message.resize(size, b'x');
    Parcel { id: Uuid::new_v4(), spans: 3, otlp: Bytes::from(message) }
}

fn put(spool: &Spool, parcel: &Parcel) -> Dropped {
    match spool.put(parcel).unwrap() {
        Put::Stored { dropped } => dropped,
        full => panic!("{full:?}"),
    }
}

fn put_all(spool: &Spool, parcels: &[Parcel]) {
    parcels.iter().for_each(|parcel| assert_eq!(put(spool, parcel), Dropped::default()));
}

fn put_some(spool: &Spool, count: usize) -> Vec<Uuid> {
    let parcels: Vec<Parcel> = (0..count).map(|_| sized(1000)).collect();
    put_all(spool, &parcels);
    parcels.iter().map(|parcel| parcel.id).collect()
}

/// Replays everything, and says what came in which order.
fn drain(spool: &Spool) -> Vec<Uuid> {
    std::iter::from_fn(|| {
        let claimed = spool.claim(End::Oldest, |_| true).unwrap()?;
        let id = claimed.parcel().id;
        claimed.done().unwrap();
        Some(id)
    })
    .collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "spool")).collect();
    files.sort();
    files
}

fn temporary_files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    entries.filter(|name| is_temporary(name.to_str().unwrap())).count()
}

fn rewrite(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// What the folder holds, counted by nobody but this test.
fn counted(folder: &Path) -> (u64, u64) {
    let sizes: Vec<u64> = files(folder).iter().map(|path| path.metadata().unwrap().len()).collect();
    (sizes.len() as u64, sizes.iter().sum())
}

#[test]
fn batches_come_back_whole_and_in_order() {
    let folder = folder();
    let spool = open(folder.path());
    let parcels: Vec<Parcel> = (0..20).map(|at| sized(500 + at)).collect();
    put_all(&spool, &parcels);
    for parcel in &parcels {
        let claimed = spool.claim(End::Oldest, |_| true).unwrap().unwrap();
        assert_eq!(claimed.parcel(), parcel);
        claimed.done().unwrap();
    }
    assert!(spool.claim(End::Oldest, |_| true).unwrap().is_none());
    assert_eq!(spool.usage(), SpoolUsage::default());
    assert!(files(folder.path()).is_empty());
}

#[test]
fn batches_outlive_the_spool_that_wrote_them() {
    let folder = folder();
    let ids = put_some(&open(folder.path()), 5);
    let spool = open(folder.path());
    assert_eq!((spool.usage().batches, spool.usage().spans, spool.usage().bytes), (5, 15, 5000));
    assert_eq!(drain(&spool), ids);
}

#[test]
fn a_batch_that_is_dropped_is_the_oldest_again() {
    let folder = folder();
    let spool = open(folder.path());
    let ids = put_some(&spool, 3);
    let first = spool.claim(End::Oldest, |_| true).unwrap().unwrap();
    let second = spool.claim(End::Oldest, |_| true).unwrap().unwrap();
    assert_eq!([first.parcel().id, second.parcel().id], ids[..2]);
    assert_eq!(spool.usage().batches, 3, "what is replayed still waits");
    drop(first);
    assert_eq!(spool.claim(End::Oldest, |_| true).unwrap().unwrap().parcel().id, ids[0]);
    drop(second);
    assert_eq!(drain(&spool), ids);
}

#[test]
fn two_spools_of_a_folder_share_its_batches() {
    let folder = folder();
    let (one, two) = (open(folder.path()), open(folder.path()));
    let mut ids = put_some(&one, 2);
    ids.extend(put_some(&two, 2));
    ids.extend(put_some(&one, 1));
    assert_eq!(one.usage(), two.usage());
    let held = two.claim(End::Oldest, |_| true).unwrap().unwrap();
    assert_eq!(held.parcel().id, ids[0]);
    assert_eq!(drain(&one), ids[1..]);
    assert!(two.claim(End::Oldest, |_| true).unwrap().is_none());
    drop(held);
    assert_eq!(drain(&one), ids[..1], "given back by another");
    assert_eq!(two.usage().batches, 0);
}

#[test]
fn many_threads_neither_lose_nor_double_a_batch() {
    let folder = folder();
    let spools = [open(folder.path()), open(folder.path())];
    let barrier = Barrier::new(8);
    let (put, taken) = thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|at| {
                let (spool, barrier) = (spools[at % 2].clone(), &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    put_some(&spool, 25)
                })
            })
            .collect();
        let readers: Vec<_> = (0..4)
            .map(|at| {
                let (spool, barrier) = (spools[at % 2].clone(), &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    (0..10).flat_map(|_| drain(&spool)).collect::<Vec<_>>()
                })
            })
            .collect();
        let put: Vec<Uuid> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        let taken: Vec<Uuid> = readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect();
        (put, taken)
    });
    let taken = [taken, drain(&spools[0])].concat();
    assert_eq!(taken.len(), 100);
    assert_eq!(taken.into_iter().collect::<HashSet<_>>(), put.into_iter().collect());
    assert_eq!(spools[1].usage(), SpoolUsage::default());
    assert_eq!(counted(folder.path()), (0, 0));
    assert_eq!(temporary_files(folder.path()), 0);
}

#[test]
fn the_newest_is_refused_when_the_bound_is_reached() {
    let folder = folder();
    let (one, two) = (open(folder.path()), open(folder.path()));
    let size = MIB as usize / 4;
    let ids: Vec<Uuid> = (0..4)
        .map(|at| {
            let parcel = sized(size);
            put([&one, &two][at % 2], &parcel);
            parcel.id
        })
        .collect();
    for spool in [&one, &two] {
        assert!(
            matches!(spool.put(&sized(160)).unwrap(), Put::Full { dropped, .. } if dropped == Dropped::default())
        );
    }
    assert_eq!(one.usage().bytes, MIB, "up to the bound, by both together");
    one.claim(End::Oldest, |_| true).unwrap().unwrap().done().unwrap();
    let last = sized(size);
    put(&two, &last);
    assert_eq!(drain(&two), [&ids[1..], &[last.id]].concat());
    assert!(matches!(one.put(&sized(MIB as usize + 1)).unwrap(), Put::Full { .. }), "larger than all");
    assert_eq!(temporary_files(folder.path()), 0);
}

#[test]
fn the_oldest_make_room_but_not_those_that_are_replayed() {
    let folder = folder();
    let other = open(folder.path());
    let spool = Spool::open(folder.path(), MIB, WhenFull::DropOldest).unwrap();
    let size = MIB as usize / 4;
    let parcels: Vec<Parcel> = (0..6).map(|_| sized(size)).collect();
    put_all(&other, &parcels[..4]);
    let held = other.claim(End::Oldest, |_| true).unwrap().unwrap();
    assert_eq!(put(&spool, &parcels[4]), Dropped { batches: 1, spans: 3 });
    assert_eq!(put(&spool, &parcels[5]), Dropped { batches: 1, spans: 3 });
    assert_eq!(put(&spool, &sized(size + 1)), Dropped { batches: 2, spans: 6 });
    let full = sized(MIB as usize);
    assert!(
        matches!(spool.put(&full).unwrap(), Put::Full { dropped: Dropped { batches: 2, .. }, .. }),
        "one is replayed"
    );
    assert_eq!(spool.usage().dropped, Dropped { batches: 6, spans: 18 });
    assert_eq!(held.parcel(), &parcels[0]);
    held.done().unwrap();
    assert_eq!(put(&spool, &full), Dropped::default());
    assert_eq!(drain(&other), [full.id]);
}

#[test]
fn a_lowered_bound_gives_up_what_is_above_it_only_when_told_so() {
    let folder = folder();
    let wide = Spool::open(folder.path(), 10 * MIB, WhenFull::DropNewest).unwrap();
    let parcels: Vec<Parcel> = (0..6).map(|_| sized(MIB as usize / 2)).collect();
    put_all(&wide, &parcels);
    let narrow = open(folder.path());
    assert!(matches!(narrow.put(&sized(200)).unwrap(), Put::Full { .. }));
    assert_eq!(narrow.usage().batches, 6);
    let spool = Spool::open(folder.path(), MIB, WhenFull::DropOldest).unwrap();
    assert_eq!(put(&spool, &sized(200)), Dropped { batches: 5, spans: 15 });
}

#[test]
fn an_operator_may_remove_files_at_any_time() {
    let folder = folder();
    let spool = open(folder.path());
    let ids = put_some(&spool, 3);
    let held = spool.claim(End::Oldest, |_| true).unwrap().unwrap();
    let names = files(folder.path());
    fs::remove_file(&names[0]).unwrap();
    fs::remove_file(&names[1]).unwrap();
    held.done().unwrap();
    assert_eq!(drain(&spool), ids[2..]);
    // The folder itself, with its lock.
    fs::remove_dir_all(folder.path()).unwrap();
    let ids = put_some(&spool, 1);
    assert_eq!(drain(&spool), ids);
    assert_eq!(open(folder.path()).usage(), SpoolUsage::default());
}

#[test]
fn files_that_are_moved_into_the_folder_are_replayed() {
    let (from, to) = (folder(), folder());
    let ids = put_some(&open(from.path()), 3);
    let spool = open(to.path());
    for file in files(from.path()) {
        fs::rename(&file, to.path().join(file.file_name().unwrap())).unwrap();
    }
    assert_eq!(drain(&open(to.path())), ids);
    assert!(spool.claim(End::Oldest, |_| true).unwrap().is_none());
}

#[test]
fn names_go_on_behind_the_newest_when_the_clock_jumps_back() {
    let folder = folder();
    let first = put_some(&open(folder.path()), 1);
    // Written when the clock was a year ahead.
    let path = files(folder.path()).remove(0);
    let mut name = Name::parse(path.file_name().unwrap().to_str().unwrap()).unwrap();
    name.sequence += 365 * 86_400 * 1_000_000;
    fs::rename(path, folder.path().join(name.to_string())).unwrap();
    let (one, two) = (open(folder.path()), open(folder.path()));
    let ids = [first, put_some(&one, 2), put_some(&two, 2), put_some(&one, 1)].concat();
    assert_eq!(drain(&two), ids);
    let later = put_some(&one, 1);
    let newest = files(folder.path()).remove(0);
    assert!(
        newest.file_name().unwrap().to_str().unwrap() > name.to_string().as_str(),
        "also when all is replayed"
    );
    assert_eq!(drain(&two), later);
}

#[test]
fn damaged_files_are_set_aside_and_the_rest_is_replayed_in_order() {
    let folder = folder();
    let ids = put_some(&open(folder.path()), 7);
    let damaged = files(folder.path());
    rewrite(&damaged[0], |bytes| bytes.truncate(500));
    rewrite(&damaged[1], |bytes| bytes.clear());
    rewrite(&damaged[3], |bytes| bytes[999] ^= 1);
    rewrite(&damaged[4], |bytes| bytes.push(0));
    rewrite(&damaged[6], |bytes| bytes[30] ^= 0x20);
    let spool = open(folder.path());
    assert_eq!(drain(&spool), [ids[2], ids[5]]);
    assert_eq!(spool.usage(), SpoolUsage { corrupt: 5, ..SpoolUsage::default() });
    let aside = files(&folder.path().join("corrupt"));
    let names =
        |paths: &[PathBuf]| paths.iter().map(|path| path.file_name().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&aside), names(&[&damaged[..2], &damaged[3..5], &damaged[6..]].concat()));
    assert_eq!(open(folder.path()).usage().corrupt, 5);
}

#[test]
fn foreign_files_stay_where_they_are_and_stop_nothing() {
    let folder = folder();
    let outside = tempfile::NamedTempFile::new().unwrap();
    let ids = put_some(&open(folder.path()), 3);
    let of = |sequence: u64, kind: &str| {
        let name = Name { sequence, id: Uuid::nil(), spans: 1, bytes: 1 };
        folder.path().join(format!("{name}{kind}"))
    };
    for name in [".DS_Store", "README.md", "a.spool", ".x.tmp", "\u{1F980}"] {
        fs::write(folder.path().join(name), "not a batch").unwrap();
    }
    fs::write(of(1, "~"), "a backup").unwrap();
    fs::create_dir(of(2, "")).unwrap();
    symlink(outside.path(), of(3, "")).unwrap();
    symlink("/nonexistent", of(4, "")).unwrap();
    assert!(Command::new("mkfifo").arg(of(5, "")).status().unwrap().success());
    let before = fs::read_dir(folder.path()).unwrap().count();
    let spool = open(folder.path());
    assert_eq!(drain(&spool), ids);
    assert_eq!(spool.usage(), SpoolUsage::default());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before - ids.len());
}

#[test]
fn a_link_to_a_batch_outside_is_not_replayed() {
    let (folder, outside) = (folder(), self::folder());
    put_some(&open(outside.path()), 1);
    let target = files(outside.path()).remove(0);
    let spool = open(folder.path());
    symlink(&target, folder.path().join(target.file_name().unwrap())).unwrap();
    assert!(spool.claim(End::Oldest, |_| true).unwrap().is_none());
    assert!(open(folder.path()).claim(End::Oldest, |_| true).unwrap().is_none());
    // Nor is what became a link, or a folder, after the folder was read; the rest is.
    let ids = put_some(&spool, 3);
    for (at, path) in files(folder.path()).into_iter().filter(|path| !path.is_symlink()).take(2).enumerate() {
        fs::remove_file(&path).unwrap();
        if at == 0 { symlink(&target, &path).unwrap() } else { fs::create_dir(&path).unwrap() }
    }
    assert_eq!(drain(&spool), ids[2..]);
    assert!(target.exists());
    assert_eq!(spool.usage().corrupt, 0);
}

#[test]
fn files_are_for_their_owner_alone() {
    let folder = folder();
    let path = folder.path().join("a/spool");
    let spool = open(&path);
    put_some(&spool, 1);
    let rejected = spool.reject(&sized(200), "no").unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    for folder in [path.clone(), path.join("rejected"), path.join("corrupt"), folder.path().join("a")] {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
    }
    for file in [files(&path).remove(0), path.join("spool.lock"), rejected.with_extension("txt"), rejected] {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_rejected_batch_is_kept_with_its_reason() {
    let folder = folder();
    let spool = open(folder.path());
    let parcel = sized(700);
    let path = spool.reject(&parcel, "invalid byte sequence [22021]").unwrap();
    assert_eq!(path.parent(), Some(&*spool.inner.rejected.path));
    assert_eq!(fs::read_to_string(path.with_extension("txt")).unwrap(), "invalid byte sequence [22021]\n");
    let bytes = fs::read(&path).unwrap();
    assert_eq!(format::read(&mut &*bytes, MIB).unwrap(), Some(parcel.clone()));
    assert!(spool.claim(End::Oldest, |_| true).unwrap().is_none(), "it is not replayed");
    assert_eq!(spool.usage(), SpoolUsage { rejected: 1, ..SpoolUsage::default() });
    // Until an operator says so.
    fs::rename(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    assert_eq!(drain(&open(folder.path())), [parcel.id]);
    let long = spool.reject(&parcel, &"é".repeat(LONGEST_REASON)).unwrap();
    assert_eq!(fs::read_to_string(long.with_extension("txt")).unwrap().len(), LONGEST_REASON + 1);
}

#[test]
fn rejected_and_damaged_files_have_their_own_bound() {
    let folder = folder();
    let spool = open(folder.path());
    let paths: Vec<PathBuf> = (0..15).map(|_| spool.reject(&sized(10_000), "no").unwrap()).collect();
    assert_eq!(spool.usage(), SpoolUsage { rejected: 10, evicted: 5, ..SpoolUsage::default() });
    assert!(paths[5..].iter().all(|path| path.exists() && path.with_extension("txt").exists()));
    assert!(paths[..5].iter().all(|path| !path.exists()));

    let ids: Vec<Uuid> = (0..15)
        .map(|_| sized(10_000))
        .map(|parcel| {
            put(&spool, &parcel);
            parcel.id
        })
        .collect();
    files(folder.path())[..14].iter().for_each(|path| rewrite(path, |bytes| bytes[9_999] ^= 1));
    assert_eq!(drain(&spool), ids[14..]);
    assert_eq!(spool.usage(), SpoolUsage { rejected: 10, corrupt: 10, evicted: 9, ..SpoolUsage::default() });
    // The last that came stays, however large it is.
    let large = spool.reject(&sized(MIB as usize / 2), "too large").unwrap();
    assert!(large.exists());
    assert_eq!(spool.usage().rejected, 1);
}

#[test]
fn a_folder_that_cannot_be_used_is_named_with_the_way_to_mend_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for path in [file.path().to_owned(), file.path().join("spool"), "/proc/spool".into()] {
        let error = Spool::open(&path, MIB, WhenFull::DropNewest).err().unwrap().to_string();
        assert!(error.contains("`spool_dir`") && error.contains(&*path.display().to_string()), "{error}");
    }
    let folder = folder();
    symlink("/tmp", folder.path().join("rejected")).unwrap();
    assert!(Spool::open(folder.path(), MIB, WhenFull::DropNewest).is_err(), "a link out of the folder");
}

#[test]
fn an_account_that_was_left_marked_or_damaged_is_counted_anew() {
    let folder = folder();
    let spool = open(folder.path());
    put_some(&spool, 3);
    let lock = folder.path().join("spool.lock");
    let good = fs::read(&lock).unwrap();
    let mut locked = spool.inner.enter().unwrap();
    locked.change();
    assert_eq!(fs::read(&lock).unwrap(), [0; 72], "the mark, before anything is changed");
    drop(locked);
    assert_eq!(fs::read(&lock).unwrap(), good);
    for bad in [vec![0; 72], Vec::new(), b"hello".to_vec(), [&good[..71], &[!good[71]]].concat()] {
        fs::write(&lock, &bad).unwrap();
        put_some(&spool, 1);
        let (batches, bytes) = counted(folder.path());
        assert_eq!((spool.usage().batches, spool.usage().bytes), (batches, bytes), "{bad:?}");
    }
}

#[test]
fn a_process_that_holds_the_folder_is_not_waited_for_without_end() {
    let folder = folder();
    let spool = open(folder.path());
    put_some(&spool, 1);
    let lock = fs::File::open(folder.path().join("spool.lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(spool.usage().batches, 1, "as it was last seen");
    assert!(matches!(spool.put(&sized(200)), Err(Error::Timeout { .. })));
    lock.unlock().unwrap();
    put_some(&spool, 1);
    assert_eq!(temporary_files(folder.path()), 0);
}

#[test]
fn what_a_dead_process_was_writing_is_removed_and_what_is_being_written_stays() {
    let folder = folder();
    let spool = open(folder.path());
    let alive = Temporary::write(folder.path(), &[b"half a b"]).unwrap();
    for folder in [folder.path().to_owned(), folder.path().join("rejected")] {
        fs::write(folder.join(name::temporary()), b"half a b").unwrap();
    }
    drop(open(folder.path()));
    assert_eq!(temporary_files(folder.path()), 1);
    assert_eq!(temporary_files(&folder.path().join("rejected")), 0);
    drop(alive);
    assert_eq!(temporary_files(folder.path()), 0);
    assert_eq!(spool.usage(), SpoolUsage::default());
}

#[test]
fn a_folder_of_very_many_files_is_not_read_for_each_batch() {
    let folder = folder();
    let spool = open(folder.path());
    put_some(&spool, 1);
    let first = files(folder.path()).remove(0);
    let name = Name::parse(first.file_name().unwrap().to_str().unwrap()).unwrap();
    for at in 1..20_000 {
        // Links to one file: what counts here are the names.
        fs::hard_link(&first, folder.path().join(Name { sequence: name.sequence + at, ..name }.to_string()))
            .unwrap();
    }
    let spool = Spool::open(folder.path(), 1 << 30, WhenFull::DropNewest).unwrap();
    assert_eq!(spool.usage().batches, 20_000);
    let started = Instant::now();
    for _ in 0..100 {
        drop(spool.claim(End::Oldest, |_| true).unwrap().unwrap());
    }
    put_some(&spool, 1);
    let (listings, took) = (spool.inner.index().listings, started.elapsed());
    assert!(listings <= 1 + took.as_secs() / 5, "{listings} listings in {took:?}");
}

#[test]
fn a_file_whose_content_is_no_batch_or_has_another_number_of_spans_is_set_aside() {
    let folder = folder();
    let spool = open(folder.path());
    let ids = put_some(&spool, 1);
    // Their checksums are right.
    put(&spool, &Parcel { otlp: Bytes::from_static(b"no protobuf"), ..sized(300) });
    put(&spool, &Parcel { spans: 4, ..sized(300) });
    put(&spool, &Parcel { spans: 2, ..sized(300) });
    let last = put_some(&spool, 1);
    assert_eq!(drain(&spool), [ids, last].concat());
    assert_eq!(spool.usage(), SpoolUsage { corrupt: 3, ..SpoolUsage::default() });
}

#[test]
fn batches_that_are_skipped_let_the_others_go_first_and_keep_their_place() {
    let folder = folder();
    let spool = open(folder.path());
    let ids = put_some(&spool, 3);
    let second = spool.claim(End::Oldest, |id| id != ids[0]).unwrap().unwrap();
    assert_eq!(second.parcel().id, ids[1]);
    assert!(spool.claim(End::Newest, |id| id == ids[1]).unwrap().is_none());
    drop(second);
    assert_eq!(drain(&spool), ids);
}

#[test]
fn it_tells_what_of_it_is_this_process_s_own_and_what_of_that_is_lost() {
    let folder = folder();
    let spool = Spool::open(folder.path(), MIB, WhenFull::DropOldest).unwrap();
    let own = || Parcel { id: crate::store::new_batch_id(), ..sized(MIB as usize / 4) };
    put_all(&spool, &[own(), sized(1000), own(), own()]);
    assert_eq!((spool.usage().own_spans, spool.own_lost()), (9, 0));
    assert_eq!(open(folder.path()).usage().own_spans, 9, "listed");
    spool.claim(End::Oldest, |_| true).unwrap().unwrap().done().unwrap();
    assert_eq!((spool.usage().own_spans, spool.own_lost()), (6, 0));
    put(&spool, &sized(3 * MIB as usize / 4));
    assert_eq!((spool.usage().own_spans, spool.own_lost()), (3, 3));
    rewrite(&files(folder.path())[0], |bytes| bytes[500] ^= 1);
    drain(&spool);
    assert_eq!((spool.usage().own_spans, spool.own_lost()), (0, 6));
    // What somebody else did is seen with the next look.
    put(&spool, &own());
    fs::remove_file(&files(folder.path())[0]).unwrap();
    spool.look().unwrap();
    assert_eq!((spool.usage().own_spans, spool.own_lost()), (0, 6));
}
