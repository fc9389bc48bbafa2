//! How traces are written.

use std::io::{self, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

use crate::import::otlp_json::write_spans;
use crate::span::{Span, spans_to_otlp};

/// A form of OTLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// A `TracesData` in JSON a line.
    #[default]
    Json,
    /// One `TracesData` message of all traces.
    Protobuf,
    /// A `TracesData` message a trace, each behind its length as a varint.
    ProtobufDelimited,
}

/// Writes the spans of a trace.
pub(super) fn write(output: &mut impl Write, format: Format, trace: &[Span<'_>]) -> io::Result<()> {
    match format {
        Format::Json => {
            write_spans(&mut *output, trace)?;
            output.write_all(b"\n")
        }
        // Messages one behind the other are one message, with the fields of all.
        Format::Protobuf => output.write_all(&spans_to_otlp(trace).encode_to_vec()),
        Format::ProtobufDelimited => output.write_all(&spans_to_otlp(trace).encode_length_delimited_to_vec()),
    }
}

/// An output that is compressed as the name of its file says: `.gz` with gzip, `.zst` with zstd.
pub enum Compressed<W: Write> {
    /// As it is.
    Plain(W),
    /// With gzip.
    Gzip(GzEncoder<W>),
    /// With zstd.
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> std::fmt::Debug for Compressed<W> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Compressed::Plain(_) => "Plain",
            Compressed::Gzip(_) => "Gzip",
            Compressed::Zstd(_) => "Zstd",
        })
    }
}

impl<W: Write> Compressed<W> {
    /// An output for a file of this name.
    ///
    /// # Errors
    /// When there is no memory for the compression.
    pub fn new(path: &Path, output: W) -> io::Result<Self> {
        const LEVEL: i32 = 3;
        Ok(match path.extension().and_then(|extension| extension.to_str()) {
            Some("gz") => Compressed::Gzip(GzEncoder::new(output, Compression::default())),
            Some("zst") => Compressed::Zstd(zstd::Encoder::new(output, LEVEL)?),
            _ => Compressed::Plain(output),
        })
    }

    /// Writes what ends the file, and gives the output back.
    ///
    /// # Errors
    /// The output's.
    pub fn finish(self) -> io::Result<W> {
        let mut output = match self {
            Compressed::Plain(output) => output,
            Compressed::Gzip(encoder) => encoder.finish()?,
            Compressed::Zstd(encoder) => encoder.finish()?,
        };
        output.flush()?;
        Ok(output)
    }
}

impl<W: Write> Write for Compressed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Compressed::Plain(output) => output.write(bytes),
            Compressed::Gzip(encoder) => encoder.write(bytes),
            Compressed::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Compressed::Plain(output) => output.flush(),
            Compressed::Gzip(encoder) => encoder.flush(),
            Compressed::Zstd(encoder) => encoder.flush(),
        }
    }
}
