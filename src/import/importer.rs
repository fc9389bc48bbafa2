//! Reads in a thread of its own, and stores behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::batches::{Queue, stored_from_here};
use super::frames::Frames;
use super::input::Input;
use super::otlp;
use crate::error::{Error, Result};
use crate::span::Span;
use crate::store::{Stored, TraceStore};

/// Spans of a batch by default: more brings no speed, less costs some.
const BATCH_SIZE: usize = 2000;
/// Batches that are being stored at the same time.
const AT_ONCE: usize = 2;
/// Records that wait between reading and storing; a record of the collector has up to 8192 spans.
const READ_AHEAD: usize = 8;

/// What an import has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Imported {
    /// How many spans were read: those stored, and those that were there.
    pub spans: u64,
    /// How many of them were stored.
    pub stored: u64,
    /// How many of them an earlier import had stored.
    pub already_there: u64,
    /// How many records or single spans were not understood.
    pub rejected: u64,
}

#[derive(Default)]
struct Counts {
    stored: AtomicU64,
    already_there: AtomicU64,
    rejected: AtomicU64,
}

/// Imports recorded traces into a store. Cloning is cheap, and clones share the counts.
#[derive(Clone)]
pub struct Importer {
    store: TraceStore,
    batch_size: usize,
    on_rejected: Arc<dyn Fn(&Error) + Send + Sync>,
    counts: Arc<Counts>,
}

/// What the reading thread passes on: a record's spans.
struct Record {
    /// The hash of all content up to its end.
    content: [u8; 32],
    /// The id of the batch that it is, where it has one.
    batch: Option<Uuid>,
    spans: Vec<Span<'static>>,
}

impl Importer {
    /// An importer with batches of 2000 spans.
    pub fn new(store: TraceStore) -> Self {
        Importer { store, batch_size: BATCH_SIZE, on_rejected: Arc::new(|_| {}), counts: Arc::default() }
    }

    /// With at most so many spans in one transaction, at least 1.
    pub fn with_batch_size(mut self, spans: usize) -> Self {
        self.batch_size = spans.max(1);
        self
    }

    /// With a function that is told what was not understood, and where: an [`Error::Input`]. It is called in the
    /// reading thread.
    pub fn on_rejected(mut self, report: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        self.on_rejected = Arc::new(report);
        self
    }

    /// What was done up to now, by all imports of this importer and its clones.
    pub fn imported(&self) -> Imported {
        let [stored, already_there, rejected] =
            [&self.counts.stored, &self.counts.already_there, &self.counts.rejected]
                .map(|count| count.load(Ordering::Relaxed));
        Imported { spans: stored + already_there, stored, already_there, rejected }
    }

    /// Imports OTLP in any form; returns when everything is committed, with what was done up to now.
    ///
    /// It may be dropped at any time, and repeated: batches that were committed are not stored again. New documents are
    /// embedded behind it; [`embed_waiting`](super::embed_waiting) or [`TraceStore::flush`] waits for them.
    ///
    /// # Errors
    /// [`Error::Input`] where it is not OTLP at all, [`Error::Io`] where it cannot be read to its end, and what
    /// [`TraceStore::batch_store_with_id`] says.
    pub async fn otlp(&self, input: Input) -> Result<Imported> {
        let (sender, records) = mpsc::channel(READ_AHEAD);
        let reader = self.clone();
        // A thread, not a blocking task: one that waits for the standard input would keep the runtime from ending.
        std::thread::Builder::new()
            .name("otlp-reader".into())
            .spawn(move || reader.read(input, &sender))
            .map_err(|source| Error::Io { doing: "starting a thread that reads".into(), source })?;

        let mut feed = Feed { records, queue: Queue::default(), failure: None };
        let mut storing = JoinSet::new();
        let result = self.store_all(&mut feed, &mut storing).await;
        while let Some(stored) = storing.join_next().await {
            self.finish(stored)?;
        }
        result.map(|()| self.imported())
    }

    async fn store_all(&self, feed: &mut Feed, storing: &mut JoinSet<Result<Stored>>) -> Result<()> {
        loop {
            feed.fill(self.batch_size).await;
            let (id, spans) = match feed.queue.take_whole() {
                Some(whole) => whole,
                None => {
                    let Some(id) = feed.queue.id(feed.queue.len().min(self.batch_size)) else {
                        return feed.failure.take().map_or(Ok(()), Err);
                    };
                    if self.skip_stored(feed).await? {
                        continue;
                    }
                    (id, feed.queue.take(self.batch_size))
                }
            };
            let store = self.store.clone();
            storing.spawn(async move { store.batch_store_with_id(id, &spans).await });
            if storing.len() >= AT_ONCE
                && let Some(stored) = storing.join_next().await
            {
                self.finish(stored)?;
            }
        }
    }

    /// Passes over the batch that an earlier import stored from here, if there is one.
    async fn skip_stored(&self, feed: &mut Feed) -> Result<bool> {
        for (id, count) in stored_from_here(&self.store, &feed.queue).await? {
            feed.fill(count).await;
            if feed.queue.id(count) == Some(id) {
                feed.queue.take(count);
                self.counts.already_there.fetch_add(count as u64, Ordering::Relaxed);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn finish(&self, stored: Result<Result<Stored>, tokio::task::JoinError>) -> Result<()> {
        let doing = |error: tokio::task::JoinError| Error::Io {
            doing: "storing a batch".into(),
            source: error.into(),
        };
        let stored = stored.map_err(doing)??;
        let count = if stored.new { &self.counts.stored } else { &self.counts.already_there };
        count.fetch_add(stored.spans as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Reads until the end, a failure, or until nobody listens any more.
    fn read(&self, input: Input, records: &mpsc::Sender<Result<Record>>) {
        if let Err(error) = self.read_frames(input, records) {
            let _ = records.blocking_send(Err(error));
        }
    }

    fn read_frames(&self, input: Input, records: &mpsc::Sender<Result<Record>>) -> Result<()> {
        let mut frames = Frames::new(input)?;
        let mut content = blake3::Hasher::new();
        while let Some(frame) = frames.next()? {
            content.update(&(frame.bytes.len() as u64).to_le_bytes()).update(&frame.bytes);
            let spans = match otlp::spans(&frame) {
                Ok(spans) => spans.into_iter().filter_map(|span| self.accept(span, &frame.origin)).collect(),
                Err(reason) => {
                    self.reject(reason, &frame.origin);
                    continue;
                }
            };
            let record = Record { content: content.finalize().into(), batch: frame.batch, spans };
            if records.blocking_send(Ok(record)).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn accept(&self, span: Result<Span<'static>, String>, origin: &str) -> Option<Span<'static>> {
        span.map_err(|reason| self.reject(reason, origin)).ok()
    }

    fn reject(&self, reason: String, origin: &str) {
        self.counts.rejected.fetch_add(1, Ordering::Relaxed);
        (self.on_rejected)(&Error::Input { origin: origin.to_owned(), reason });
    }
}

/// What the reading thread has read.
struct Feed {
    records: mpsc::Receiver<Result<Record>>,
    queue: Queue,
    /// Why it could not read to the end. What it read before is stored all the same.
    failure: Option<Error>,
}

impl Feed {
    /// Waits until the queue has so many spans, or there are no more.
    async fn fill(&mut self, count: usize) {
        while self.queue.len() < count {
            match self.records.recv().await {
                Some(Ok(Record { batch: Some(id), spans, .. })) => self.queue.push_whole(id, spans),
                Some(Ok(record)) => self.queue.push(record.content, record.spans),
                Some(Err(error)) => self.failure = Some(error),
                None => break,
            }
        }
    }
}
