//! Reads in a thread of its own, ahead of what is being stored.

use tokio::sync::mpsc;
use uuid::Uuid;

use super::batches::Queue;
use super::frames::Frames;
use super::importer::Importer;
use super::input::Input;
use super::record;
use crate::error::{Error, Result};
use crate::span::Span;

/// Records that wait between reading and storing; a record of the collector has up to 8192 spans.
const READ_AHEAD: usize = 8;

/// What the reading thread passes on: a record's spans.
struct Record {
    /// The hash of all content up to its end.
    content: [u8; 32],
    /// The id of the batch that it is, where it has one.
    batch: Option<Uuid>,
    spans: Vec<Span<'static>>,
}

/// What the reading thread has read.
pub(super) struct Feed {
    records: mpsc::Receiver<Result<Record>>,
    pub(super) queue: Queue,
    /// Why it could not read to the end. What it read before is stored all the same.
    failure: Option<Error>,
}

/// Starts to read.
///
/// # Errors
/// [`Error::Io`] when there can be no thread.
pub(super) fn start(importer: &Importer, input: Input) -> Result<Feed> {
    start_and(importer, input, Err)
}

/// As [`start`]; what cannot be read to its end is given to `unread`, with the reason.
///
/// # Errors
/// As [`start`].
pub(super) fn start_and(
    importer: &Importer,
    input: Input,
    unread: impl FnOnce(Error) -> Result<()> + Send + 'static,
) -> Result<Feed> {
    let (sender, records) = mpsc::channel(READ_AHEAD);
    let importer = importer.clone();
    // A thread, not a blocking task: one that waits for the standard input would keep the runtime from ending.
    std::thread::Builder::new()
        .name("import-reader".into())
        .spawn(move || {
            // Until the end, a failure, or until nobody listens any more.
            if let Err(error) = read(&importer, input, &sender, unread) {
                let _ = sender.blocking_send(Err(error));
            }
        })
        .map_err(|source| Error::Io { doing: "starting a thread that reads".into(), source })?;
    Ok(Feed { records, queue: Queue::default(), failure: None })
}

fn read(
    importer: &Importer,
    input: Input,
    records: &mpsc::Sender<Result<Record>>,
    unread: impl FnOnce(Error) -> Result<()>,
) -> Result<()> {
    let mut frames = match Frames::new(input) {
        Ok(frames) => frames,
        Err(error) => return unread(error),
    };
    let mut content = blake3::Hasher::new();
    loop {
        let frame = match frames.next() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(()),
            Err(error) => return unread(error),
        };
        content.update(&(frame.bytes.len() as u64).to_le_bytes()).update(&frame.bytes);
        let spans = match record::spans(&frame) {
            Ok(spans) => spans,
            Err(reason) => {
                importer.reject(&frame, &[], &[reason])?;
                continue;
            }
        };
        let refused: Vec<bool> = spans.iter().map(Result::is_err).collect();
        let (mut accepted, mut reasons) = (Vec::with_capacity(spans.len()), Vec::new());
        for span in spans {
            match span {
                Ok(span) => accepted.push(span),
                Err(reason) => reasons.push(reason),
            }
        }
        if !reasons.is_empty() {
            importer.reject(&frame, &refused, &reasons)?;
        }
        let record = Record { content: content.finalize().into(), batch: frame.batch, spans: accepted };
        if records.blocking_send(Ok(record)).is_err() {
            return Ok(());
        }
    }
}

impl Feed {
    /// Waits until the queue has so many spans, or there are no more.
    pub(super) async fn fill(&mut self, count: usize) {
        while self.queue.len() < count {
            match self.records.recv().await {
                Some(Ok(Record { batch: Some(id), spans, .. })) => self.queue.push_whole(id, spans),
                Some(Ok(record)) => self.queue.push(record.content, record.spans),
                Some(Err(error)) => self.failure = Some(error),
                None => break,
            }
        }
    }

    /// At most so many spans, whatever batches they are in; `None` at the end.
    ///
    /// # Errors
    /// Where it could not read to the end, once everything before is taken.
    pub(super) async fn take(&mut self, count: usize) -> Result<Option<Vec<Span<'static>>>> {
        self.fill(count).await;
        if self.queue.len() == 0 {
            return self.end().map(|()| None);
        }
        Ok(Some(self.queue.take(count)))
    }

    /// What to say at the end.
    pub(super) fn end(&mut self) -> Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }
}
