//! The file of a batch: a line of text that says what follows, and the OTLP message.
//!
//! ```text
//! otel-pgvector spool 1 id=<UUID> spans=<10 digits> bytes=<20 digits> xxh3=<32 hexadecimal digits>⏎
//! <TracesData as protobuf, so many bytes>
//! ```
//!
//! The checksum is XXH3 with 128 bits, over the line up to ` xxh3=` and the message.

use std::io::{self, Read};

use bytes::Bytes;
use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

use crate::exporter::parcel::Parcel;

/// What every file begins with: name and version of the format.
pub(crate) const MAGIC: &str = "otel-pgvector spool 1 ";

/// The length of the line in bytes.
pub(super) const HEADER: usize = 144;

const CHECKSUM: &str = " xxh3=";

/// The line for a batch.
pub(super) fn header(parcel: &Parcel) -> String {
    let described = described(parcel.id, parcel.spans, parcel.bytes() as u64);
    let checksum = checksum(&described, &parcel.otlp);
    format!("{described}{CHECKSUM}{checksum:032x}\n")
}

/// The size of a batch's file.
pub(super) fn size(parcel: &Parcel) -> u64 {
    (HEADER + parcel.bytes()) as u64
}

/// Reads one batch with a message of at most `limit` bytes; `None` where nothing follows any more.
///
/// # Errors
/// `InvalidData` or `UnexpectedEof` for what is no whole batch, and what the source says.
pub(crate) fn read(source: &mut impl Read, limit: u64) -> io::Result<Option<Parcel>> {
    let mut line = Vec::with_capacity(HEADER);
    source.take(HEADER as u64).read_to_end(&mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    let header = Header::parse(&line).ok_or_else(|| invalid("the first line is damaged"))?;
    if header.bytes > limit {
        return Err(invalid(format!("{} bytes are more than {limit}", header.bytes)));
    }
    // Grows with what is there, not with what a damaged length promises.
    let mut otlp = Vec::new();
    source.take(header.bytes).read_to_end(&mut otlp)?;
    if (otlp.len() as u64) < header.bytes {
        let reason = format!("it ends after {} of {} bytes", otlp.len(), header.bytes);
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
    }
    if checksum(&described(header.id, header.spans, header.bytes), &otlp) != header.checksum {
        return Err(invalid("the checksum does not match"));
    }
    Ok(Some(Parcel { id: header.id, spans: header.spans, otlp: Bytes::from(otlp) }))
}

struct Header {
    id: Uuid,
    spans: u32,
    bytes: u64,
    checksum: u128,
}

impl Header {
    /// `None` for a line that [`header`] would not have written, to the letter.
    fn parse(line: &[u8]) -> Option<Header> {
        let text = std::str::from_utf8(line).ok()?;
        let mut fields = text.strip_prefix(MAGIC)?.strip_suffix('\n')?.split(' ');
        let mut field = |key: &str| fields.next()?.strip_prefix(key);
        let header = Header {
            id: field("id=")?.parse().ok()?,
            spans: field("spans=")?.parse().ok()?,
            bytes: field("bytes=")?.parse().ok()?,
            checksum: u128::from_str_radix(field("xxh3=")?, 16).ok()?,
        };
        let described = described(header.id, header.spans, header.bytes);
        (text == format!("{described}{CHECKSUM}{:032x}\n", header.checksum)).then_some(header)
    }
}

fn described(id: Uuid, spans: u32, bytes: u64) -> String {
    format!("{MAGIC}id={id} spans={spans:010} bytes={bytes:020}")
}

fn checksum(described: &str, otlp: &[u8]) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(described.as_bytes());
    hasher.update(otlp);
    hasher.digest128()
}

fn invalid(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}

/// Any bytes as a spool file: read without a panic, and what is read is what would be written.
#[cfg(fuzzing)]
pub fn fuzz_spool_file(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some(parcel)) = read(&mut rest, 1 << 20) {
        let written = [header(&parcel).as_bytes(), &parcel.otlp].concat();
        let end = bytes.len() - rest.len();
        assert_eq!(bytes.get(end - written.len()..end), Some(&*written));
    }
    // No mutation finds a checksum: the bytes as the message of a file that is whole, too.
    let parcel = Parcel { id: Uuid::nil(), spans: 1, otlp: bytes::Bytes::copy_from_slice(bytes) };
    let written = [header(&parcel).as_bytes(), &parcel.otlp].concat();
    assert_eq!(read(&mut &*written, 1 << 20).ok().flatten().as_ref(), Some(&parcel));
    if let Ok(traces) = parcel.traces() {
        let _ = traces.spans();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parcel(otlp: &[u8]) -> Parcel {
        Parcel { id: Uuid::from_u128(7), spans: 2, otlp: Bytes::copy_from_slice(otlp) }
    }

    fn file(parcel: &Parcel) -> Vec<u8> {
        [header(parcel).as_bytes(), &parcel.otlp].concat()
    }

    #[test]
    fn the_format_is_what_the_documentation_says() {
        let expected = "otel-pgvector spool 1 id=00000000-0000-0000-0000-000000000007 spans=0000000002 \
                        bytes=00000000000000000003 xxh3=";
        let file = file(&parcel(b"abc"));
        assert!(file.starts_with(expected.as_bytes()));
        assert_eq!(&file[HEADER - 1..], b"\nabc");
        assert_eq!(file.len() as u64, size(&parcel(b"abc")));
    }

    #[test]
    fn batches_follow_one_another_in_a_stream() {
        let (first, second) = (parcel(b"abc"), parcel(b""));
        let stream = [file(&first), file(&second)].concat();
        let mut rest = &*stream;
        assert_eq!(read(&mut rest, 3).unwrap(), Some(first));
        assert_eq!(read(&mut rest, 3).unwrap(), Some(second));
        assert_eq!(read(&mut rest, 3).unwrap(), None);
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_it_is_read() {
        let error = read(&mut &*file(&parcel(b"abcd")), 3).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn a_flipped_bit_anywhere_is_found(otlp in proptest::collection::vec(any::<u8>(), 0..200), at: prop::sample::Index, bit in 0..8u32) {
            let mut file = file(&parcel(&otlp));
            let at = at.index(file.len());
            file[at] ^= 1u8 << bit;
            prop_assert!(read(&mut &*file, 1 << 20).is_err());
        }

        #[test]
        fn a_cut_anywhere_is_found(otlp in proptest::collection::vec(any::<u8>(), 0..200), at: prop::sample::Index) {
            let file = file(&parcel(&otlp));
            let cut = &file[..at.index(file.len())];
            prop_assert_eq!(read(&mut &*cut, 1 << 20).ok(), cut.is_empty().then_some(None));
        }

        #[test]
        fn anything_else_is_refused(bytes in proptest::collection::vec(any::<u8>(), 1..400)) {
            prop_assert!(read(&mut &*bytes, 1 << 20).is_err());
        }
    }
}
