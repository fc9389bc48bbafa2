//! Where the password comes from, in libpq's order. Each source is read anew for each connection.

use std::fs;
use std::path::{Path, PathBuf};

use opentelemetry::otel_warn;

use crate::settings::Settings;
use crate::settings::connection::ConnectionString;

/// Whom a line of `.pgpass` is for.
pub(super) struct Login<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) database: &'a str,
    pub(super) user: &'a str,
}

/// The folders for sockets that libpq is built with: PostgreSQL's own, and that of Debian, Red Hat and others.
const SOCKETS: [&str; 3] = ["/tmp", "/var/run/postgresql", "/run/postgresql"];

/// The password, `None` where no source has one, or why a source cannot be read.
pub(super) fn find(
    settings: &Settings,
    string: &ConnectionString,
    login: &Login<'_>,
) -> Result<Option<Vec<u8>>, String> {
    if let Some(password) = given(settings, string)? {
        return Ok(Some(password));
    }
    if let Some(password) = std::env::var_os("PGPASSWORD").filter(|password| !password.is_empty()) {
        return Ok(Some(password.into_encoded_bytes()));
    }
    let variable = || std::env::var_os("PGPASSFILE").filter(|path| !path.is_empty()).map(PathBuf::from);
    let default = || std::env::home_dir().map(|home| home.join(".pgpass"));
    let path = string.passfile.clone().or_else(variable).or_else(default);
    Ok(path.and_then(|path| passfile(&path)).and_then(|lines| look_up(&lines, login)))
}

/// The password that the settings give.
pub(super) fn given(settings: &Settings, string: &ConnectionString) -> Result<Option<Vec<u8>>, String> {
    if let Some(password) = string.config.get_password().filter(|password| !password.is_empty()) {
        return Ok(Some(password.to_owned()));
    }
    if !settings.password.is_empty() {
        return Ok(Some(settings.password.clone().into_bytes()));
    }
    settings.password_file.as_deref().map(from_file).transpose()
}

fn from_file(path: &Path) -> Result<Vec<u8>, String> {
    // Without the path: it may be the password itself, given in the place of its file.
    let mut password = fs::read(path).map_err(|error| {
        format!("`password_file` cannot be read: {error}; it names a file that holds the password")
    })?;
    if password.ends_with(b"\n") {
        password.pop();
        if password.ends_with(b"\r") {
            password.pop();
        }
    }
    if password.is_empty() {
        Err(format!("`password_file` {} is empty", path.display()))
    } else {
        Ok(password)
    }
}

/// The content of a `.pgpass` that is there and that nobody else may read.
fn passfile(path: &Path) -> Option<Vec<u8>> {
    let refuse = |reason: &str| {
        otel_warn!(name: "TraceStore.PassfileIgnored", path = path.display().to_string(), reason = reason.to_owned());
        None
    };
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() {
        return refuse("it is not a plain file");
    }
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::mode(&metadata) & 0o077 != 0 {
        return refuse("group or others may read it: run chmod 0600 on it");
    }
    fs::read(path).or_else(|error| refuse(&error.to_string()).ok_or(error)).ok()
}

/// The password of the first line `host:port:database:user:password` that fits.
fn look_up(lines: &[u8], login: &Login<'_>) -> Option<Vec<u8>> {
    let port = login.port.to_string();
    // Where servers have their sockets by default, the host is this one, as it is for libpq.
    let host = if SOCKETS.contains(&login.host) { "localhost" } else { login.host };
    let wanted = [host, &port, login.database, login.user];
    lines.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"#")).find_map(|line| {
        let mut rest = line.strip_suffix(b"\r").unwrap_or(line);
        for wanted in wanted {
            let (field, behind) = field(rest);
            let is_any = rest.starts_with(b"*:");
            if !is_any && field != wanted.as_bytes() {
                return None;
            }
            rest = behind?;
        }
        Some(field(rest).0).filter(|password| !password.is_empty())
    })
}

/// The field in front, with `\:` and `\\` resolved, and what follows its colon.
fn field(text: &[u8]) -> (Vec<u8>, Option<&[u8]>) {
    let mut field = Vec::new();
    let mut bytes = text.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b':' => return (field, text.get(at + 1..)),
            b'\\' => field.extend(bytes.next().map(|(_, escaped)| *escaped)),
            plain => field.push(*plain),
        }
    }
    (field, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN: Login<'_> = Login { host: "db", port: 5433, database: "traces", user: "a:p\\p" };

    fn found(lines: &str) -> Option<String> {
        look_up(lines.as_bytes(), &LOGIN).map(|password| String::from_utf8(password).expect("UTF-8"))
    }

    #[test]
    fn the_first_line_of_a_passfile_that_fits_wins() {
        assert_eq!(found("db:5433:traces:a\\:p\\\\p:first\n*:*:*:*:second").as_deref(), Some("first"));
        assert_eq!(found("other:5433:traces:*:first\r\n*:*:*:*:second\r\n").as_deref(), Some("second"));
        assert_eq!(found("#db:*:*:*:comment\n\n*:5433:traces:*:x\\:y\\\\z:rest").as_deref(), Some("x:y\\z"));
    }

    #[test]
    fn a_default_folder_of_sockets_is_localhost_and_another_one_itself() {
        let found = |host, lines: &str| look_up(lines.as_bytes(), &Login { host, ..LOGIN });
        let (local, folder) = ("localhost:*:*:*:local", "/srv/sockets:*:*:*:folder");
        for host in SOCKETS {
            assert_eq!(found(host, local).as_deref(), Some(&b"local"[..]), "{host}");
            assert_eq!(found(host, &format!("{host}:*:*:*:x")), None, "{host}");
        }
        assert_eq!(found("/srv/sockets", folder).as_deref(), Some(&b"folder"[..]));
        assert_eq!(found("/srv/sockets", local), None);
    }

    #[test]
    fn lines_for_others_and_torn_lines_do_not_fit() {
        for lines in ["", "*", "db:5433:traces", "db:5432:*:*:x", "\\*:*:*:*:x", "*:*:*:*:", "db::traces:*:x"]
        {
            assert_eq!(found(lines), None, "{lines}");
        }
    }
}
