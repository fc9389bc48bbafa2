//! A wall clock that jumps while spans are exported, spooled and replayed: nothing is lost, doubled or waits for it.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::database::TestDatabase;
use crate::support::load::{Outcome, Tally, letters, spans};
use crate::support::worker;
use opentelemetry_pgvector::{Settings, SpanExporter};
use opentelemetry_sdk::trace::SpanExporter as _;

/// Shifts the wall clock of a process by the seconds in a file, and leaves the monotonic clock alone.
const SHIM: &str = r"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *shift;

__attribute__((constructor)) static void begin(void) {
    int file = open(getenv(`CLOCK_SHIFT`), O_RDONLY);
    shift = mmap(0, sizeof *shift, PROT_READ, MAP_SHARED, file, 0);
    if (file < 0 || shift == MAP_FAILED) abort();
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *shift;
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    int result = clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec, now->tv_usec = exact.tv_nsec / 1000;
    return result;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
";

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// What a busy machine may take beyond what the settings say.
const GRACE: Duration = Duration::from_secs(8);
const BATCH: i64 = 10;

const DATABASE: &str = "OTEL_TEST_CLOCK_DATABASE";
const SPOOL: &str = "OTEL_TEST_CLOCK_SPOOL";

/// The shim as a library; `None` with a word on the screen where there is no compiler.
fn shim(folder: &Path) -> Option<PathBuf> {
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    std::fs::write(&source, SHIM.replace('`', "\"")).expect("written");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).output();
    let Ok(output) = compiled else {
        assert!(std::env::var_os("CI").is_none(), "there is no C compiler under CI");
        eprintln!("skipped: there is no C compiler");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(library)
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as i64
}

/// A process that exports all the time.
struct Worker {
    process: Child,
    lines: Receiver<String>,
    tally: Tally,
}

impl Worker {
    fn start(database: &TestDatabase, folder: &Path, library: &Path, shift: &Path) -> Self {
        let mut command =
            worker::command(module_path!(), "as_a_process_whose_clock_jumps", DATABASE, &database.url());
        command.env(SPOOL, folder.join("spool")).env("LD_PRELOAD", library).env("CLOCK_SHIFT", shift);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process");
        let stdout = BufReader::new(process.stdout.take().expect("its output"));
        let (tell, lines) = channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Worker { process, lines, tally: Tally::default() }
    }

    /// Takes note of an export, and returns the clock of the process after it; `None` once it has ended.
    fn next(&self) -> Option<i64> {
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(60));
            // The test harness writes its own words in front of what a test prints.
            let line = line.expect("the process goes on");
            if line.contains("worker ended") {
                return None;
            }
            let Some((_, exported)) = line.split_once("worker exported ") else { continue };
            let mut words = exported.splitn(4, ' ');
            let mut number = || words.next().expect("a word").parse::<i64>().expect("a number");
            let (first, clock, milliseconds) = (number(), number(), number());
            assert_eq!(words.next(), Some("Ok(())"), "{exported}");
            let limit = Duration::from_secs(1) + GRACE;
            assert!(milliseconds < limit.as_millis() as i64, "an export waits for the clock: {exported}");
            self.tally.record(first..first + BATCH, Outcome::Acknowledged);
            return Some(clock);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_by_hours_and_days_neither_loses_nor_doubles_nor_waits() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(library) = shim(folder.path()) else { return };
    let database = TestDatabase::create().await;
    database.store().migrate().await.expect("migrated");
    let path = folder.path().join("shift");
    std::fs::write(&path, 0_i64.to_ne_bytes()).expect("written");
    let shift = File::options().write(true).open(&path).expect("opened");
    let mut worker = Worker::start(&database, folder.path(), &library, &path);
    // Where the clock goes, and whether the database is there.
    let jumps = [
        (0, true),
        (5 * HOUR, true),
        (-7 * HOUR, true),
        (-7 * HOUR, false),
        (9 * HOUR, false),
        (-30 * DAY, false),
        // What waits seems older than the ledger remembers.
        (20 * DAY, false),
        (20 * DAY, true),
        (-HOUR, true),
        (3 * HOUR, false),
        (-5 * HOUR, true),
        (0, true),
    ];
    let mut is_there = true;
    for (by, there) in jumps {
        shift.write_all_at(&by.to_ne_bytes(), 0).expect("written");
        match (is_there, there) {
            (true, false) => database.take_away().await,
            (false, true) => database.bring_back().await,
            _ => {}
        }
        is_there = there;
        let (mut exports, begin) = (0, Instant::now());
        while exports < 5 {
            let clock = worker.next().expect("it exports until its input ends");
            let has_jumped = (clock - seconds(SystemTime::now()) - by).abs() < 60;
            exports += i32::from(has_jumped);
            assert!(begin.elapsed() < Duration::from_secs(60), "the clock of the process is at {clock}");
        }
    }
    drop(worker.process.stdin.take());
    while worker.next().is_some() {}
    assert!(worker.process.wait().expect("it ends").success());
    worker.tally.assert_stored_in_the_end(&database.config(), &worker.tally).await;
    println!("{}", worker.tally);
}

/// The process of the test above; does nothing when it is not called by it.
#[test]
fn as_a_process_whose_clock_jumps() {
    let Ok(url) = std::env::var(DATABASE) else { return };
    let mut settings = Settings::default();
    settings.connection_string = url;
    settings.spool_dir = std::env::var_os(SPOOL).map(PathBuf::from);
    settings.embedding_model = "/nonexistent/model".into();
    settings.embedding_budget_milliseconds = 0;
    settings.hand_over_seconds = 1;
    let exporter = SpanExporter::from_settings(settings).expect("built");
    let is_over = std::thread::spawn(|| std::io::stdin().read_to_end(&mut Vec::new()));
    for number in 0.. {
        if is_over.is_finished() {
            break;
        }
        let (first, begin) = (number * BATCH, Instant::now());
        let batch = spans(&format!("step {}", letters(number as u64 % 20)), first..first + BATCH);
        let result = futures_executor::block_on(exporter.export(batch));
        let took = begin.elapsed().as_millis();
        println!("worker exported {first} {} {took} {result:?}", seconds(SystemTime::now()));
        std::thread::sleep(Duration::from_millis(20));
    }
    exporter.shutdown_with_timeout(Duration::from_secs(20)).expect("shut down");
    println!("worker ended");
}
