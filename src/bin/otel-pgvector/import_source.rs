//! What the arguments of `import` stand for.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use opentelemetry_pgvector::import::HttpSource;
use opentelemetry_pgvector::{Error, Result};

use crate::args::HttpOptions;

/// Files of a folder that are read.
const EXTENSIONS: [&str; 5] = ["json", "jsonl", "pb", "gz", "zst"];

pub enum Source {
    Stdin,
    File(PathBuf),
    Url(String),
}

/// The sources in their order, with a folder's files by name.
pub fn sources(names: &[String], urls: bool) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for name in names {
        if name == "-" {
            sources.push(Source::Stdin);
        } else if urls && (name.starts_with("http://") || name.starts_with("https://")) {
            sources.push(Source::Url(name.clone()));
        } else if Path::new(name).is_dir() {
            sources.extend(files(Path::new(name))?.into_iter().map(Source::File));
        } else {
            sources.push(Source::File(name.into()));
        }
    }
    Ok(sources)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let doing = |source| Error::Io { doing: format!("reading {}", folder.display()), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(doing)? {
        let path = entry.map_err(doing)?.path();
        let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        if EXTENSIONS.contains(&extension) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        let reason = format!("has no files *.{}", EXTENSIONS.join(", *."));
        return Err(Error::Input { origin: folder.display().to_string(), reason });
    }
    Ok(files)
}

impl HttpOptions {
    pub fn source(&self, url: &str) -> Result<HttpSource> {
        let mut source = HttpSource::new(url)?
            .with_services(self.services.iter().cloned())
            .with_page_size(self.page_size as usize);
        if let Some(since) = self.since {
            source = source.with_since(since);
        }
        if let Some(until) = self.until {
            source = source.with_until(until);
        }
        for (name, value) in &self.headers {
            source = source.with_header(name, value)?;
        }
        Ok(source)
    }
}
