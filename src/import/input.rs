//! Where records come from: a file or the standard input, unpacked on the way.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use crate::error::{Error, Result};

const BUFFER: usize = 256 * 1024;
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Something to import.
pub struct Input {
    name: String,
    size: Option<u64>,
    source: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Input")
            .field("name", &self.name)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl Input {
    /// A file.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Input> {
        let path = path.as_ref();
        let doing = |source| Error::Io { doing: format!("opening {}", path.display()), source };
        let file = File::open(path).map_err(doing)?;
        let metadata = file.metadata().map_err(doing)?;
        if metadata.is_dir() {
            return Err(doing(io::ErrorKind::IsADirectory.into()));
        }
        let size = metadata.is_file().then_some(metadata.len());
        Ok(Input { size, ..Input::reader(path.display().to_string(), file) })
    }

    /// The standard input.
    pub fn stdin() -> Input {
        Input::reader("stdin", io::stdin())
    }

    /// Anything that can be read; `name` is for messages.
    pub fn reader(name: impl Into<String>, source: impl Read + Send + 'static) -> Input {
        Input { name: name.into(), size: None, source: Box::new(source), read: Arc::default() }
    }

    /// The name for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The size in bytes as it lies on the disk, where that is known.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Counts the bytes, as they lie on the disk, that were read so far.
    pub fn bytes_read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.read)
    }

    /// The content, unpacked where it is gzip or zstd.
    pub(super) fn content(self) -> io::Result<Box<dyn BufRead + Send>> {
        let mut raw = BufReader::with_capacity(BUFFER, Counted { source: self.source, read: self.read });
        let start = peek(&mut raw, ZSTD.len())?;
        if start.starts_with(&GZIP) {
            let unpacked = MultiGzDecoder::new(Rejoined::new(start, raw));
            return Ok(Box::new(BufReader::with_capacity(BUFFER, unpacked)));
        }
        if start == ZSTD {
            let unpacked = zstd::Decoder::with_buffer(Rejoined::new(start, raw))?;
            return Ok(Box::new(BufReader::with_capacity(BUFFER, unpacked)));
        }
        Ok(Box::new(Rejoined::new(start, raw)))
    }
}

/// Takes the first bytes off a source, fewer only where it ends.
pub(super) fn peek(source: &mut impl Read, count: usize) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(count);
    source.take(count as u64).read_to_end(&mut start)?;
    Ok(start)
}

/// A source with the bytes put back that were taken off it.
pub(super) struct Rejoined<R> {
    start: io::Cursor<Vec<u8>>,
    rest: R,
}

impl<R> Rejoined<R> {
    pub(super) fn new(start: Vec<u8>, rest: R) -> Self {
        Rejoined { start: io::Cursor::new(start), rest }
    }

    fn at_rest(&self) -> bool {
        self.start.position() >= self.start.get_ref().len() as u64
    }
}

impl<R: BufRead> BufRead for Rejoined<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at_rest() { self.rest.fill_buf() } else { self.start.fill_buf() }
    }

    fn consume(&mut self, amount: usize) {
        if self.at_rest() { self.rest.consume(amount) } else { self.start.consume(amount) }
    }
}

impl<R: BufRead> Read for Rejoined<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

struct Counted<R> {
    source: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
