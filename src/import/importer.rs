//! What imports: its options, its counts, and what becomes of a record that is not understood.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::frames::Frame;
use super::input::Input;
use super::rejects;
use super::{by_trace, in_order, reader};
use crate::error::{Error, Result};
use crate::store::{Stored, TraceStore};

/// Spans of a batch by default: more brings no speed, less costs some.
const BATCH_SIZE: usize = 2000;

/// Reasons that are told of a record of which many spans are not understood.
const REASONS: usize = 3;

/// What an import has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Imported {
    /// How many spans were read: those stored, those that were there, and those that were only counted.
    pub spans: u64,
    /// How many of them were stored.
    pub stored: u64,
    /// How many of them were there before, stored by an earlier import or twice in the input.
    pub already_there: u64,
    /// How many records or single spans were not understood.
    pub rejected: u64,
}

#[derive(Default)]
pub(super) struct Counts {
    stored: AtomicU64,
    already_there: AtomicU64,
    counted: AtomicU64,
    rejected: AtomicU64,
}

/// Imports recorded traces into a store. Cloning is cheap, and clones share the counts.
#[derive(Clone)]
pub struct Importer {
    /// Absent where it only counts.
    store: Option<TraceStore>,
    batch_size: usize,
    on_rejected: Arc<dyn Fn(&Error) + Send + Sync>,
    rejects: Option<Arc<Mutex<Box<dyn Write + Send>>>>,
    counts: Arc<Counts>,
}

impl std::fmt::Debug for Importer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Importer")
            .field("batch_size", &self.batch_size)
            .field("imported", &self.imported())
            .finish_non_exhaustive()
    }
}

impl Importer {
    /// An importer with batches of 2000 spans.
    pub fn new(store: TraceStore) -> Self {
        Importer { store: Some(store), ..Importer::counting() }
    }

    /// An importer that reads everything and stores nothing: a dry run, which needs no database.
    pub fn counting() -> Self {
        Importer {
            store: None,
            batch_size: BATCH_SIZE,
            on_rejected: Arc::new(|_| {}),
            rejects: None,
            counts: Arc::default(),
        }
    }

    /// With at most so many spans in one transaction, at least 1.
    pub fn with_batch_size(mut self, spans: usize) -> Self {
        self.batch_size = spans.max(1);
        self
    }

    /// With a function that is told what was not understood, and where: an [`Error::Input`] a record, with the first reasons
    /// where several of its spans are not. It is called in the reading thread.
    pub fn on_rejected(mut self, report: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        self.on_rejected = Arc::new(report);
        self
    }

    /// With a place for what was not understood: a line of JSON a record, with its `origin`, the `reason`, and the record
    /// itself, as text in `record` or in `record_base64`: a document with the spans that were refused, and no others.
    pub fn with_rejects(mut self, file: impl Write + Send + 'static) -> Self {
        self.rejects = Some(Arc::new(Mutex::new(Box::new(file))));
        self
    }

    /// What was done up to now, by all imports of this importer and its clones.
    pub fn imported(&self) -> Imported {
        let counts = &self.counts;
        let [stored, already_there, counted, rejected] =
            [&counts.stored, &counts.already_there, &counts.counted, &counts.rejected]
                .map(|count| count.load(Ordering::Relaxed));
        Imported { spans: stored + already_there + counted, stored, already_there, rejected }
    }

    /// Imports a recording in any form; returns when everything is committed, with what was done up to now.
    ///
    /// It may be dropped at any time, and repeated: batches that were committed are not stored again. Whether a batch is
    /// the same is told by its content and all that stands before it in the input, so equal records are all stored. New
    /// documents are embedded behind it; [`embed_waiting`](super::embed_waiting) or [`TraceStore::flush`] waits for them.
    ///
    /// # Errors
    /// [`Error::Input`] where it is no recording of traces at all, [`Error::Io`] where it cannot be read to its end, and
    /// what [`TraceStore::batch_store_with_id`] says.
    pub async fn otlp(&self, input: Input) -> Result<Imported> {
        let mut feed = reader::start(self, input)?;
        match &self.store {
            Some(store) => in_order::store_all(self, store, &mut feed).await?,
            None => self.count_all(&mut feed).await?,
        }
        Ok(self.imported())
    }

    /// As [`otlp`](Self::otlp), for traces that come from a store of traces, such as a download of Jaeger's UI: each span
    /// of a trace is stored once, wherever it comes from and however often. Spans are the same when they have the same
    /// trace, id, and start in microseconds.
    ///
    /// # Errors
    /// As [`otlp`](Self::otlp).
    pub async fn traces(&self, input: Input) -> Result<Imported> {
        self.store_by_trace(reader::start(self, input)?).await?;
        Ok(self.imported())
    }

    /// As [`traces`](Self::traces), for what has been read.
    pub(super) async fn store_by_trace(&self, mut feed: reader::Feed) -> Result<()> {
        match &self.store {
            Some(store) => by_trace::store_all(self, store, &mut feed).await,
            None => self.count_all(&mut feed).await,
        }
    }

    async fn count_all(&self, feed: &mut reader::Feed) -> Result<()> {
        while let Some(spans) = feed.take(self.batch_size).await? {
            self.counts.counted.fetch_add(spans.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(super) fn batch_size(&self) -> usize {
        self.batch_size
    }

    pub(super) fn count(&self, stored: Stored) {
        let count = if stored.new { &self.counts.stored } else { &self.counts.already_there };
        count.fetch_add(stored.spans as u64, Ordering::Relaxed);
    }

    pub(super) fn count_already_there(&self, spans: usize) {
        self.counts.already_there.fetch_add(spans as u64, Ordering::Relaxed);
    }

    /// Reports what was not understood of a record, and writes it aside: `refused` says which of its spans, all where it is
    /// empty, and `reasons` why.
    pub(super) fn reject(&self, frame: &Frame, refused: &[bool], reasons: &[String]) -> Result<()> {
        self.counts.rejected.fetch_add(reasons.len() as u64, Ordering::Relaxed);
        let reason = match reasons {
            [reason] => reason.clone(),
            _ => {
                let first = reasons.iter().take(REASONS).map(String::as_str).collect::<Vec<_>>().join("; ");
                let more = if reasons.len() > REASONS { "; …" } else { "" };
                format!("{} spans are not understood: {first}{more}", reasons.len())
            }
        };
        if let Some(file) = &self.rejects {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            rejects::write(&mut *file, frame, refused, &reason)
                .map_err(|source| Error::Io { doing: "writing a rejected record aside".into(), source })?;
        }
        (self.on_rejected)(&Error::Input { origin: frame.origin.clone(), reason });
        Ok(())
    }
}
