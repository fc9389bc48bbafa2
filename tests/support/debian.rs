//! Servers of a test's own: Debian's PostgreSQL 15, which has TLS, and its PgBouncer.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The path of a program, or `None` with a word on the screen where it is absent.
///
/// # Panics
/// Under CI, where it must be there.
pub fn program(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(path);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is absent under CI", path.display());
    eprintln!("skipped: {} is absent; run scripts/debian_parts.sh", path.display());
    None
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A program that refuses to run as root, run by somebody else then.
fn unprivileged(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]).arg(program);
    command.current_dir("/");
    command
}

/// Gives a folder and all in it to whoever runs the servers.
fn give_away(folder: &Path) {
    if is_root() {
        let done = Command::new("chown").args(["-R", "nobody:nogroup"]).arg(folder).status();
        assert!(done.expect("chown runs").success());
    }
}

/// A port that is free now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// A running program with a folder of its own, both gone with it.
pub struct Server {
    child: Child,
    pub folder: TempDir,
    pub port: u16,
}

impl Server {
    /// Starts a program and waits until its log says that it is ready.
    fn launch(mut command: Command, folder: TempDir, port: u16, ready: &str) -> Self {
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("the log")).stderr(log);
        let mut server = Server { child: command.spawn().expect("it starts"), folder, port };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !server.log().contains(ready) {
            let ended = server.child.try_wait().expect("a child");
            assert!(ended.is_none() && Instant::now() < deadline, "{}", server.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // PostgreSQL's fast shutdown; PgBouncer's safe one ends at once too, its clients being gone.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        let deadline = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const POSTGRES: &str = "/usr/lib/postgresql/15/bin";

/// The superuser's password.
pub const PASSWORD: &str = "hunter2hunter2";

/// Starts Debian's PostgreSQL with these files, settings and lines of `pg_hba.conf`.
pub fn postgres(files: &[(&str, &str)], settings: &[&str], hba: &str) -> Option<Server> {
    let initdb = program(&format!("{POSTGRES}/initdb"))?;
    let folder = TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    std::fs::write(folder.path().join("password"), PASSWORD).expect("written");
    give_away(folder.path());
    let made = unprivileged(&initdb)
        .arg("-D")
        .arg(&data)
        .args([
            "--username=postgres",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ])
        .arg(format!("--pwfile={}", folder.path().join("password").display()))
        .output()
        .expect("initdb runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for (name, content) in files {
        let path = data.join(name);
        std::fs::write(&path, content).expect("written");
        Command::new("chmod").arg("0600").arg(path).status().expect("chmod runs");
    }
    std::fs::write(data.join("pg_hba.conf"), hba).expect("written");
    give_away(folder.path());
    let port = free_port();
    let mut command = unprivileged(Path::new(&format!("{POSTGRES}/postgres")));
    command.arg("-D").arg(&data).args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k", "", "-F"]);
    command.args(["-c", "shared_buffers=8MB", "-c", "max_connections=20"]);
    for setting in settings {
        command.args(["-c", setting]);
    }
    Some(Server::launch(command, folder, port, "is ready to accept connections"))
}

/// Starts Debian's PgBouncer in transaction mode, with this `[databases]` line and so many server connections.
pub fn pgbouncer(database: &str, connections: usize) -> Option<Server> {
    let program = program("/usr/sbin/pgbouncer")?;
    let folder = TempDir::new().expect("a folder");
    let port = free_port();
    let users = folder.path().join("users.txt");
    std::fs::write(&users, "\"app\" \"\"\n").expect("written");
    let path = folder.path().join("pgbouncer.ini");
    let text = format!(
        "[databases]\n{database}\n[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={port}\nunix_socket_dir=\n\
         auth_type=trust\nauth_file={}\npool_mode=transaction\ndefault_pool_size={connections}\nmax_client_conn=100\n",
        users.display()
    );
    std::fs::write(&path, text).expect("written");
    give_away(folder.path());
    let mut command = unprivileged(&program);
    command.arg(path);
    Some(Server::launch(command, folder, port, "process up"))
}
