//! From a stream of bytes to records: one line, one message, or one document.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};

use uuid::Uuid;

use super::input::{Input, Rejoined, peek};
use super::sniff::{Format, RESOURCE_SPANS, SNIFFED, is_json, sniff};
use super::splitter::{Element, Splitter};
use crate::error::{Error, Result};
use crate::exporter::spool::format;

/// The largest protobuf message, which is the largest that protobuf allows.
const MAX_MESSAGE: u64 = 1 << 31;
/// A longer line is not read as a whole, but record by record.
const MAX_LINE: u64 = 16 << 20;

/// What a record's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A JSON document of traces in any format, or several.
    Json,
    /// A `ResourceSpans` in JSON.
    JsonResourceSpans,
    /// A protobuf `TracesData`.
    TracesData,
    /// A protobuf `ResourceSpans`.
    ResourceSpans,
    /// What cannot be taken apart, for this reason; what follows can.
    Broken(&'static str),
}

impl Kind {
    pub(super) fn is_json(self) -> bool {
        matches!(self, Kind::Json | Kind::JsonResourceSpans | Kind::Broken(_))
    }
}

/// A piece of the input that is understood, or not, by itself.
pub(super) struct Frame {
    pub kind: Kind,
    pub bytes: Vec<u8>,
    /// File and place, for messages.
    pub origin: String,
    /// The id of the batch that the record is, where it has one.
    pub batch: Option<Uuid>,
}

impl Frame {
    /// The record as a document that is understood without the others.
    pub(super) fn document(&self) -> Cow<'_, [u8]> {
        match self.kind {
            Kind::Json | Kind::TracesData | Kind::Broken(_) => Cow::Borrowed(&self.bytes),
            Kind::JsonResourceSpans => [b"{\"resourceSpans\":[", &*self.bytes, b"]}"].concat().into(),
            Kind::ResourceSpans => {
                let mut document = vec![RESOURCE_SPANS];
                prost::encoding::encode_varint(self.bytes.len() as u64, &mut document);
                document.extend_from_slice(&self.bytes);
                document.into()
            }
        }
    }
}

/// The records of an input, one after another.
pub(super) struct Frames {
    name: String,
    format: Format,
    source: Box<dyn BufRead + Send>,
    /// A JSON line that was read to see what the one before is.
    ahead: Option<Vec<u8>>,
    /// Until the first line with something in it.
    at_start: bool,
    line: u64,
    message: u64,
    /// The records of a line with several, or of all that follows.
    records: Option<Splitter>,
    /// Whether they are those of a line: another one follows it.
    is_line: bool,
}

impl Frames {
    pub(super) fn new(input: Input) -> Result<Frames> {
        let name = input.name().to_owned();
        let reading = |source| Error::Io { doing: format!("reading {name}"), source };
        let mut content = input.content().map_err(reading)?;
        let start = peek(&mut content, SNIFFED).map_err(reading)?;
        let Some(format) = sniff(&start) else {
            return Err(Error::Input {
                origin: name,
                reason: "is neither JSON of OTLP or Jaeger, nor OTLP protobuf, nor a batch of the spool"
                    .into(),
            });
        };
        let source = Box::new(Rejoined::new(start, content));
        Ok(Frames {
            name,
            format,
            source,
            ahead: None,
            at_start: true,
            line: 0,
            message: 0,
            records: None,
            is_line: false,
        })
    }

    /// The next record, `None` at the end. After an error nothing more can be read.
    pub(super) fn next(&mut self) -> Result<Option<Frame>> {
        let frame = match self.format {
            Format::Json => self.json(),
            Format::Message => self.field(),
            Format::VarintDelimited | Format::FixedDelimited | Format::FixedZstd => self.delimited(),
            Format::Spool => self.batch(),
        };
        frame.map_err(|source| {
            let at = match self.format {
                Format::Json => format!("after line {}", self.line),
                _ => format!("after message {}", self.message),
            };
            Error::Io { doing: format!("reading {} {at}", self.name), source }
        })
    }

    /// A line, or a record of a line with several; or of the whole input where the first line is not a document by itself
    /// and none begins in the second, or where a line is too long to be read as one.
    fn json(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(records) = &mut self.records {
                let next = records.next();
                self.line = records.line();
                let next = match next {
                    Err(_) if self.is_line => return self.rest_of_line().map(Some),
                    next => next?,
                };
                match next {
                    Some(record) => {
                        self.message += 1;
                        let origin = format!("{}:{}: record {}", self.name, record.line, self.message);
                        let kind = match record.element {
                            Element::Document => Kind::Json,
                            Element::ResourceSpans => Kind::JsonResourceSpans,
                        };
                        return Ok(Some(Frame { kind, bytes: record.json, origin, batch: None }));
                    }
                    None => self.records = None,
                }
                continue;
            }
            let Some(mut bytes) =
                self.ahead.take().map_or_else(|| self.read_line(), |line| Ok(Some(line)))?
            else {
                return Ok(None);
            };
            self.line += 1;
            let number = self.line;
            if number == 1 && bytes.starts_with(b"\xef\xbb\xbf") {
                bytes.drain(..3);
            }
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            if bytes.len() as u64 >= MAX_LINE && bytes.last() != Some(&b'\n') {
                self.split(bytes, number);
                continue;
            }
            if std::mem::take(&mut self.at_start) && is_cut(&bytes) {
                self.ahead = self.read_line()?;
                let is_line = |next: &Vec<u8>| next.starts_with(b"{") && !goes_on(&bytes);
                if self.ahead.as_ref().is_some_and(|next| !is_line(next)) {
                    bytes.append(&mut self.ahead.take().unwrap_or_default());
                    self.split(bytes, number);
                    continue;
                }
            }
            bytes.truncate(bytes.trim_ascii_end().len());
            if has_records(&bytes) && !is_cut(&bytes) {
                self.records = Some(Splitter::new(Box::new(io::Cursor::new(bytes)), number));
                self.is_line = true;
                continue;
            }
            let origin = format!("{}:{number}", self.name);
            return Ok(Some(Frame { kind: Kind::Json, bytes, origin, batch: None }));
        }
    }

    /// Goes on record by record, to the end.
    fn split(&mut self, start: Vec<u8>, line: u64) {
        let rest = std::mem::replace(&mut self.source, Box::new(io::empty()));
        self.records = Some(Splitter::new(Box::new(Rejoined::new(start, rest)), line));
        self.is_line = false;
    }

    /// A line is broken behind some of its records.
    fn rest_of_line(&mut self) -> io::Result<Frame> {
        let bytes = self.records.take().map(Splitter::rest).transpose()?.unwrap_or_default();
        let origin = format!("{}:{}: behind record {}", self.name, self.line, self.message);
        let kind = Kind::Broken("this is not JSON; nothing of the rest of the line is read");
        Ok(Frame { kind, bytes, origin, batch: None })
    }

    /// A line, or as much of it as may be read as one.
    fn read_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        self.source.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
        Ok((!line.is_empty()).then_some(line))
    }

    /// A field of the one message; the message itself may be larger than memory.
    fn field(&mut self) -> io::Result<Option<Frame>> {
        let Some(tag) = self.byte()? else { return Ok(None) };
        if tag != RESOURCE_SPANS {
            return Err(invalid(format!("a field of TracesData has the tag {tag:#04x}")));
        }
        let length = self.varint()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.message(length, Kind::ResourceSpans).map(Some)
    }

    fn delimited(&mut self) -> io::Result<Option<Frame>> {
        let length = match self.format {
            Format::VarintDelimited => self.varint()?,
            _ => self.fixed()?,
        };
        let Some(length) = length else { return Ok(None) };
        let mut frame = self.message(length, Kind::TracesData)?;
        if self.format == Format::FixedZstd {
            let mut unpacked = Vec::new();
            let unpack = zstd::Decoder::new(&*frame.bytes).map(|decoder| decoder.take(MAX_MESSAGE + 1));
            if unpack.and_then(|mut unpack| unpack.read_to_end(&mut unpacked)).is_err() {
                frame.kind = Kind::Broken("the message cannot be unpacked with zstd: it is damaged");
                return Ok(Some(frame));
            }
            if unpacked.len() as u64 > MAX_MESSAGE {
                return Err(invalid(format!("a message of more than {MAX_MESSAGE} bytes")));
            }
            frame.bytes = unpacked;
        }
        if is_json(&frame.bytes) {
            frame.kind = Kind::Json;
        }
        Ok(Some(frame))
    }

    fn message(&mut self, length: u64, kind: Kind) -> io::Result<Frame> {
        if length > MAX_MESSAGE {
            return Err(invalid(format!("a message of {length} bytes: no OTLP stream, or damaged")));
        }
        // Grows with what is there, not with what a damaged length promises.
        let mut bytes = Vec::new();
        self.source.by_ref().take(length).read_to_end(&mut bytes)?;
        if (bytes.len() as u64) < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(self.frame(kind, bytes, None))
    }

    /// A batch of the spool; several may follow one another.
    fn batch(&mut self) -> io::Result<Option<Frame>> {
        let parcel = format::read(&mut self.source, MAX_MESSAGE)?;
        Ok(parcel.map(|parcel| self.frame(Kind::TracesData, parcel.otlp.into(), Some(parcel.id))))
    }

    fn frame(&mut self, kind: Kind, bytes: Vec<u8>, batch: Option<Uuid>) -> Frame {
        self.message += 1;
        Frame { kind, bytes, origin: format!("{}: message {}", self.name, self.message), batch }
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        let byte = self.source.fill_buf()?.first().copied();
        self.source.consume(usize::from(byte.is_some()));
        Ok(byte)
    }

    fn fixed(&mut self) -> io::Result<Option<u64>> {
        if self.source.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let mut length = [0; 4];
        self.source.read_exact(&mut length)?;
        Ok(Some(u32::from_be_bytes(length).into()))
    }

    fn varint(&mut self) -> io::Result<Option<u64>> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let Some(byte) = self.byte()? else {
                return if shift == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            };
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(Some(value));
            }
        }
        Err(invalid("a length of more than ten bytes".into()))
    }
}

/// Whether it begins an array or Jaeger's envelope: each record in it is to stand by itself. A line of OTLP is one.
fn has_records(json: &[u8]) -> bool {
    let json = json.trim_ascii_start();
    json.starts_with(b"[") || json.starts_with(b"{\"data\"") || json.starts_with(b"{\"total\"")
}

/// Whether a line that is no document was not cut off, but broken where a document may be.
fn goes_on(line: &[u8]) -> bool {
    has_records(line) || matches!(line.trim_ascii_end().last(), Some(b'[' | b'{' | b','))
}

/// Whether the text ends within a JSON value.
fn is_cut(text: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0u64, false, false);
    for &byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    depth > 0
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
