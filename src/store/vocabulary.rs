//! The words of documents, each with an embedding of its own, which a search compares with those of a query.
//!
//! They are few, since documents are: some hundreds. What is missing in the database costs a search time, never results.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::TraceStore;
use super::columns::Columns;
use super::connection::Connection;
use crate::embedding::{Embedder, Vector};
use crate::error::{Error, Result};
use crate::span::vocabulary;

/// Documents looked through at a time, and words embedded at a time: about a quarter of a second of one core.
const DOCUMENTS: i64 = 1000;
const WORDS: usize = 256;

impl TraceStore {
    /// Embeds the words of all documents that have none, such as after a change of the model.
    pub(super) async fn embed_all_words(&self) -> Result<()> {
        self.inner.words_seen.store(0, Ordering::Release);
        self.inner.words_wait.store(true, Ordering::Release);
        self.embed_words().await
    }

    /// Embeds the words of documents that came since the last time, and stores those that are new.
    pub(super) async fn embed_words(&self) -> Result<()> {
        let _one_at_a_time = self.inner.looking.lock().await;
        if !self.inner.words_wait.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let result = self.look_through().await;
        if result.is_err() {
            self.inner.words_wait.store(true, Ordering::Release);
        }
        result
    }

    async fn look_through(&self) -> Result<()> {
        let tables = &self.inner.sql.schema;
        let doing = || Error::database("storing the embeddings of words");
        let seen = &self.inner.words_seen;
        while !self.inner.backfill.is_stopped() {
            let after = seen.load(Ordering::Acquire);
            let (connection, _) = self.connection().await?;
            let select =
                format!("SELECT id, text FROM {tables}.span_documents WHERE id > $1 ORDER BY id LIMIT $2");
            let rows = connection.query_prepared(&select, &[&after, &DOCUMENTS]).await.map_err(doing())?;
            let Some(last) = rows.last() else {
                connection.give_back();
                return Ok(());
            };
            let last = last.column(0)?;
            let mut words = HashSet::new();
            for row in &rows {
                words.extend(vocabulary(row.column(1)?));
            }
            let words: Vec<String> = words.into_iter().collect();
            let select = format!("SELECT word FROM {tables}.span_words WHERE word = ANY($1)");
            let stored = connection.query_prepared(&select, &[&words]).await.map_err(doing())?;
            connection.give_back();
            let stored = stored.iter().map(|row| row.column(0)).collect::<Result<HashSet<&str>>>()?;
            let missing: Vec<String> =
                words.into_iter().filter(|word| !stored.contains(word.as_str())).collect();
            for words in missing.chunks(WORDS) {
                if !self.store_words(words).await? {
                    // Another model made the embeddings: whoever has it looks at these documents.
                    return Ok(());
                }
            }
            seen.fetch_max(last, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Stores words with their embeddings; false where these are not the model's that made those of the documents.
    async fn store_words(&self, words: &[String]) -> Result<bool> {
        let own = self.own_model().await?;
        let vectors = self.embed_each(&self.inner.embedder, words).await?;
        let (words, bytes): (Vec<&str>, Vec<Vec<u8>>) = words
            .iter()
            .zip(vectors)
            .filter_map(|(word, vector)| Some((word.as_str(), to_bytes(&vector?))))
            .unzip();
        let doing = || Error::database("storing the embeddings of words");
        let (connection, _) = self.connection().await?;
        connection.batch_execute("BEGIN").await.map_err(doing())?;
        // Until the end of the transaction, this keeps out whoever changes the model.
        let lock = format!("SELECT FROM {}.span_documents WHERE id = 0", self.inner.sql.schema);
        connection.query_prepared(&lock, &[]).await.map_err(doing())?;
        if !self.embeddings(&connection).await?.fit(&own) {
            connection.batch_execute("ROLLBACK").await.map_err(doing())?;
            connection.give_back();
            return Ok(false);
        }
        // In order, so that two writers cannot wait for each other.
        let insert = format!(
            "INSERT INTO {}.span_words (word, embedding) SELECT * FROM unnest($1::text[], $2::bytea[]) AS new (word, embedding) \
             ORDER BY word ON CONFLICT DO NOTHING",
            self.inner.sql.schema
        );
        connection.execute_prepared(&insert, &[&words, &bytes]).await.map_err(doing())?;
        connection.batch_execute("COMMIT").await.map_err(doing())?;
        connection.give_back();
        Ok(true)
    }

    /// The unit vector of each of these words: remembered, stored, or, of up to some hundred, embedded now; `None` for others.
    ///
    /// `words` are in the order in which they matter, each once.
    pub(crate) async fn word_vectors(
        &self,
        connection: &Connection,
        embedder: &Embedder,
        words: &[String],
    ) -> Result<Vec<Option<Vector>>> {
        let remembered = self.is_own(embedder);
        let known = &self.inner.words;
        let mut vectors: Vec<Option<Vector>> =
            words.iter().map(|word| known.get(word).filter(|_| remembered)).collect();
        let unknown = words.iter().zip(&vectors).filter(|(_, vector)| vector.is_none());
        let wanted: Vec<String> = unknown.map(|(word, _)| word.clone()).collect();
        if wanted.is_empty() {
            return Ok(vectors);
        }
        let select =
            format!("SELECT word, embedding FROM {}.span_words WHERE word = ANY($1)", self.inner.sql.schema);
        let doing = || Error::database("reading the embeddings of words");
        let rows = connection.query_prepared(&select, &[&wanted]).await.map_err(doing())?;
        let mut found: HashMap<String, Vector> =
            rows.iter().map(|row| Ok((row.column(0)?, from_bytes(row.column(1)?)))).collect::<Result<_>>()?;
        let mut missing: Vec<String> = wanted.into_iter().filter(|word| !found.contains_key(word)).collect();
        missing.truncate(WORDS);
        let embedded = self.embed_each(embedder, &missing).await?;
        found.extend(missing.into_iter().zip(embedded).filter_map(|(word, vector)| Some((word, vector?))));
        if remembered {
            for (word, vector) in &found {
                known.insert(word.clone(), Arc::clone(vector));
            }
        }
        for (word, vector) in words.iter().zip(&mut vectors).filter(|(_, vector)| vector.is_none()) {
            *vector = found.remove(word);
        }
        Ok(vectors)
    }

    /// Embeds each word, on a thread for it; those that are left when the store is closed have no vector.
    async fn embed_each(&self, embedder: &Embedder, words: &[String]) -> Result<Vec<Option<Vector>>> {
        if words.is_empty() {
            return Ok(Vec::new());
        }
        let (words, inner, embedder) = (words.to_vec(), Arc::clone(&self.inner), embedder.clone());
        tokio::task::spawn_blocking(move || {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            embedder.embed_aside(&words, || !inner.backfill.is_stopped())
        })
        .await
        .map_err(|error| Error::Model(format!("the embedding was interrupted: {error}")))?
    }
}

/// A signed byte a dimension: the cosine to what it stands for is 0.9999.
fn to_bytes(vector: &[f32]) -> Vec<u8> {
    let largest = vector.iter().fold(f32::MIN_POSITIVE, |largest, number| largest.max(number.abs()));
    vector.iter().map(|number| (number / largest * 127.0).round() as i8 as u8).collect()
}

fn from_bytes(bytes: &[u8]) -> Vector {
    let numbers = bytes.iter().map(|&byte| f32::from(byte as i8));
    let length = numbers.clone().map(|number| number * number).sum::<f32>().sqrt().max(1.0);
    numbers.map(|number| number / length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_a_dimension_keeps_the_direction() {
        let vector: Vec<f32> = (0..384).map(|at| (at as f32 * 0.7).sin() / 13.85).collect();
        let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
        let restored = from_bytes(&to_bytes(&vector));
        let cosine = vector.iter().zip(&*restored).map(|(a, b)| a * b).sum::<f32>() / length;
        assert!(cosine > 0.9999, "{cosine}");
        assert!(from_bytes(&[]).is_empty() && from_bytes(&[0, 0]).iter().all(|number| *number == 0.0));
    }
}
