//! A PostgreSQL of a test's own, which the test may kill, freeze and fill up.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use opentelemetry_pgvector::Settings;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio_postgres::Config;

/// The user and group `nobody`: PostgreSQL refuses to run as root.
const NOBODY: u32 = 65_534;
const PATIENCE: Duration = Duration::from_secs(60);

/// A server with pgvector in the database `postgres`; its processes end and its folder is removed when it is dropped.
pub struct PrivateServer {
    programs: PathBuf,
    home: tempfile::TempDir,
    port: u16,
    postmaster: Mutex<Option<Child>>,
}

impl PrivateServer {
    /// A running server with these settings besides the usual ones, such as `max_connections=10`.
    ///
    /// `None` with a word on the screen where there is no PostgreSQL in `.local`.
    ///
    /// # Panics
    /// Under CI, where it must be there.
    pub async fn start(settings: &[&str]) -> Option<Self> {
        let local = Path::new(env!("CARGO_MANIFEST_DIR")).join(".local");
        // Where the server of `scripts/postgres.sh` had to live outside the tree, its programs are there.
        let candidates = [local.join("run/pg18/postgres/18"), local.join("postgres/18")];
        let Some(programs) = candidates.iter().find(|path| path.join("bin/postgres").exists()) else {
            assert!(std::env::var_os("CI").is_none(), "there is no PostgreSQL in .local under CI");
            eprintln!("skipped: there is no PostgreSQL in .local");
            return None;
        };
        let server = PrivateServer {
            programs: programs.canonicalize().expect("a path"),
            home: tempfile::tempdir().expect("a folder"),
            port: free_port(),
            postmaster: Mutex::new(None),
        };
        server.initialise(settings).expect("a new server");
        server.restart();
        let (client, connection) =
            server.config().connect(tokio_postgres::NoTls).await.expect("the new server answers");
        tokio::spawn(connection);
        client.batch_execute("CREATE EXTENSION vector").await.expect("pgvector");
        Some(server)
    }

    /// The database for the driver, as superuser.
    pub fn config(&self) -> Config {
        self.url().parse().expect("a connection string")
    }

    pub fn url(&self) -> String {
        format!("host=127.0.0.1 port={} dbname=postgres user=postgres", self.port)
    }

    /// Settings without embeddings and with short times.
    pub fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        settings.connection_string = self.url();
        settings.embedding_model = "/nonexistent/model".into();
        settings.embedding_budget_milliseconds = 0;
        settings.connect_timeout_seconds = 2;
        settings.statement_timeout_seconds = 2;
        settings.export_timeout_seconds = 10;
        settings.flush_timeout_seconds = 2;
        settings.batch_interval_seconds = 1;
        settings
    }

    /// The folder that goes with the server; its owner may write there.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Lets the server's owner write to a folder.
    pub fn give(&self, folder: &Path) {
        if geteuid().is_root() {
            chown(folder, Some(NOBODY), Some(NOBODY)).expect("its owner");
        }
    }

    fn initialise(&self, settings: &[&str]) -> io::Result<()> {
        fs::set_permissions(self.home(), fs::Permissions::from_mode(0o755))?;
        self.give(self.home());
        let mut initdb = self.program("initdb");
        initdb.args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]);
        initdb.arg("--no-instructions").arg("-D").arg(self.data());
        // The processes are killed, not the machine: what was written stays written without fsync.
        let usual = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "shared_buffers=32MB",
            "fsync=off",
            "full_page_writes=off",
            "wal_level=minimal",
            "max_wal_senders=0",
        ];
        for setting in usual.iter().chain(settings) {
            initdb.arg(format!("--set={setting}"));
        }
        let output = initdb.output()?;
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// One of the server's programs, as its owner.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join("bin").join(name));
        command.current_dir("/").env("LC_ALL", "C").stdin(Stdio::null());
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    fn data(&self) -> PathBuf {
        self.home().join("data")
    }

    /// Starts the server, which is stopped, and waits until it lets clients in.
    pub fn restart(&self) {
        let pid_file = self.data().join("postmaster.pid");
        let _ = fs::remove_file(&pid_file);
        let log = File::options().create(true).append(true).open(self.home().join("log")).expect("a log");
        let mut postgres = self.program("postgres");
        postgres.arg("-D").arg(self.data()).arg("-p").arg(self.port.to_string());
        postgres.stdout(Stdio::null()).stderr(log);
        *self.postmaster.lock().expect("no panic") = Some(postgres.spawn().expect("the server starts"));
        self.wait("the server is ready", || {
            let lines = fs::read_to_string(&pid_file).unwrap_or_default();
            lines.lines().nth(7).is_some_and(|status| status.trim() == "ready")
        });
    }

    /// SIGKILL to every process of the server.
    pub fn kill(&self) {
        let Some(mut postmaster) = self.postmaster.lock().expect("no panic").take() else { return };
        // Stopped, it starts no more processes while they are counted.
        signal(postmaster.id(), Signal::STOP);
        let children = children(postmaster.id());
        for &child in &children {
            signal(child, Signal::KILL);
        }
        signal(postmaster.id(), Signal::KILL);
        postmaster.wait().expect("the postmaster ends");
        self.wait("the server's processes end", || children.iter().all(|&child| has_ended(child)));
    }

    /// An immediate shutdown: the server aborts, and recovers when it is started again.
    pub fn stop_immediately(&self) {
        self.stop(Signal::QUIT);
    }

    /// A fast shutdown: clients are disconnected.
    pub fn stop_fast(&self) {
        self.stop(Signal::INT);
    }

    fn stop(&self, how: Signal) {
        let Some(mut postmaster) = self.postmaster.lock().expect("no panic").take() else { return };
        signal(postmaster.id(), how);
        self.wait("the server stops", || postmaster.try_wait().expect("a child").is_some());
    }

    /// SIGSTOP to every process of the server: it keeps its connections and answers nothing.
    pub fn freeze(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Ends a freeze.
    pub fn thaw(&self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, what: Signal) {
        let postmaster = self.postmaster.lock().expect("no panic").as_ref().expect("it runs").id();
        signal(postmaster, what);
        for child in children(postmaster) {
            signal(child, what);
        }
    }

    fn wait(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            let log = || fs::read_to_string(self.home().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}; its log:\n{}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid as i32) {
        // It may have ended by itself.
        let _ = kill_process(pid, signal);
    }
}

/// The fields of `/proc/PID/stat` after the name: state, parent, …
fn stat(pid: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("/proc");
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid| stat(pid).is_some_and(|(_, of)| of == parent))
        .collect()
}

fn has_ended(pid: u32) -> bool {
    stat(pid).is_none_or(|(state, _)| state == "Z" || state == "X")
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
