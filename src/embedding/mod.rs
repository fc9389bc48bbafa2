//! From text to vector: a local sentence-transformer behind a cache.
//!
//! [`Embedder`] is the way in. It finds the model's folder and ONNX Runtime (`locate`), loads them at first use
//! (`runtime`, `tokens`, `model`), and remembers the vectors of recent texts, because spans repeat themselves.

mod buckets;
mod exit;
mod fingerprint;
mod locate;
mod model;
mod pooling;
mod runtime;
mod tokens;
mod trim;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use moka::sync::Cache;

use crate::{Error, Result, Settings};
use model::Model;
use runtime::Runtime;

/// How long a failure to load the model is remembered: looking for it again costs file accesses at least.
const RETRY_LOADING: Duration = Duration::from_secs(30);

/// A text's embedding: as many numbers as the model has dimensions, of length 1 together.
///
/// The inner product of two embeddings is their cosine similarity.
pub type Vector = Arc<[f32]>;

/// A text's embedding, and that of each of its words in the context of the others.
pub(crate) struct InContext {
    pub vector: Vector,
    /// Words in lowercase, in their order, punctuation among them.
    pub words: Vec<(String, Vector)>,
}

/// How many queries are remembered with their words, at some 20 kB each.
const QUERIES: u64 = 256;

/// A cache's key: the text's hash, so that long texts take no more memory than short ones.
type Key = [u8; 32];

/// Turns texts into vectors that are close when the texts mean the same.
///
/// Cloning is cheap, and clones share the model and the cache. Nothing is loaded until a text is embedded, so that a
/// missing model never keeps an application from starting. Embedding is CPU-bound and blocks: about 0.2 ms a token.
/// Call it through `spawn_blocking` from asynchronous code.
///
/// ```no_run
/// # use opentelemetry_pgvector::{Result, Settings, embedding::Embedder};
/// # fn example(settings: &Settings) -> Result<()> {
/// let embedder = Embedder::new(settings);
/// let vectors = embedder.embed(&["payment declined", "card was rejected"])?;
/// let similarity: f32 = vectors[0].iter().zip(&*vectors[1]).map(|(a, b)| a * b).sum();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Embedder {
    inner: Arc<Inner>,
}

struct Inner {
    model_setting: String,
    model_name: String,
    dimension: usize,
    threads: usize,
    #[cfg_attr(not(feature = "load-dynamic"), allow(dead_code))]
    library: Option<PathBuf>,
    loading: Mutex<Loading>,
    cache: Cache<Key, Vector>,
    queries: Cache<Key, Arc<InContext>>,
    cache_hits: AtomicU64,
    cache_misses: AtomicU64,
}

/// What is known of the model.
enum Loading {
    Untried,
    Loaded(Arc<Model>),
    Failed { at: Instant, reason: String },
}

impl Embedder {
    /// Makes an embedder by the settings `embedding_model`, `embedding_dimension`, `embedding_threads`,
    /// `onnxruntime_library` and `cache_size`. It reads no file.
    pub fn new(settings: &Settings) -> Self {
        let model_setting = settings.embedding_model.clone();
        let base_name = Path::new(&model_setting).file_name().map(|name| name.to_string_lossy().into_owned());
        Self {
            inner: Arc::new(Inner {
                model_name: base_name.unwrap_or_else(|| model_setting.clone()),
                model_setting,
                dimension: usize::from(settings.embedding_dimension),
                threads: usize::from(settings.embedding_threads.max(1)),
                library: settings.onnxruntime_library.clone(),
                loading: Mutex::new(Loading::Untried),
                cache: Cache::new(settings.cache_size),
                queries: Cache::new(settings.cache_size.min(QUERIES)),
                cache_hits: AtomicU64::new(0),
                cache_misses: AtomicU64::new(0),
            }),
        }
    }

    /// Loads the model now instead of at first use, which takes some 250 ms, or says why it cannot be loaded.
    ///
    /// A failure is remembered: the model is looked for again at the earliest 30 s later.
    ///
    /// # Errors
    /// [`Error::Model`] when the model or ONNX Runtime is missing or unusable, or does not fit the settings.
    pub fn load(&self) -> Result<()> {
        self.model().map(drop)
    }

    /// Embeds texts: one vector for each, in the same order.
    ///
    /// A text that occurs twice is embedded once. A text may be empty; of a long one only the first 256 tokens count
    /// (or what the model's `sentence_bert_config.json` says).
    ///
    /// # Errors
    /// [`Error::Model`] when the model is needed and cannot be loaded (see [`Embedder::load`]), or when it fails.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Vector>> {
        let vectors = self.embed_while(texts, || true)?;
        // Without a deadline every text has its vector.
        vectors.into_iter().collect::<Option<_>>().ok_or_else(|| Error::Model("a text was left out".into()))
    }

    /// Embeds as many texts as the time until `deadline` allows: for each text, in the same order, its vector or `None`.
    ///
    /// What is cached costs no time. Then texts are embedded in small buckets, short texts first, and no bucket is
    /// started after the deadline; the one that is running then takes less than 100 ms on a usual core. Loading the
    /// model, which only the first call does, is not interrupted.
    ///
    /// # Errors
    /// The same as [`Embedder::embed`]. After the deadline the model is not loaded, so that cannot fail.
    pub fn embed_within(&self, texts: &[&str], deadline: Instant) -> Result<Vec<Option<Vector>>> {
        self.embed_while(texts, || Instant::now() < deadline)
    }

    /// Embeds a query with its words, which takes no longer than without them; recent ones are remembered.
    ///
    /// # Errors
    /// The same as [`Embedder::embed`].
    pub(crate) fn embed_in_context(&self, text: &str) -> Result<Arc<InContext>> {
        let key = key(text);
        if let Some(known) = self.inner.queries.get(&key) {
            self.inner.cache_hits.fetch_add(1, Ordering::Relaxed);
            return Ok(known);
        }
        let (vector, words) = self.model()?.embed_in_context(text)?;
        self.inner.cache_misses.fetch_add(1, Ordering::Relaxed);
        let words = words.into_iter().map(|(word, vector)| (word, vector.into())).collect();
        let embedded = Arc::new(InContext { vector: vector.into(), words });
        self.inner.queries.insert(key, Arc::clone(&embedded));
        Ok(embedded)
    }

    /// Embeds texts that are not to take the cache's place, as far as `proceed` allows: for each, its vector or `None`.
    ///
    /// # Errors
    /// The same as [`Embedder::embed`].
    pub(crate) fn embed_aside(
        &self,
        texts: &[&str],
        proceed: impl FnMut() -> bool,
    ) -> Result<Vec<Option<Vector>>> {
        let mut vectors = vec![None; texts.len()];
        self.model()?.embed_each(texts, proceed, |index, vector| vectors[index] = Some(vector.into()))?;
        Ok(vectors)
    }

    /// The vector of a text that was embedded recently. Never loads or runs the model.
    pub fn cached(&self, text: &str) -> Option<Vector> {
        self.lookup(&key(text))
    }

    /// How many vectors the cache holds.
    pub fn cache_size(&self) -> u64 {
        self.inner.cache.run_pending_tasks();
        self.inner.cache.entry_count()
    }

    /// How many vectors were answered from the cache so far.
    pub fn cache_hits(&self) -> u64 {
        self.inner.cache_hits.load(Ordering::Relaxed)
    }

    /// How many texts the model had to embed so far.
    pub fn cache_misses(&self) -> u64 {
        self.inner.cache_misses.load(Ordering::Relaxed)
    }

    /// What the model is: a hash of its files, its pooling and its limit, the same wherever its folder lies. Vectors of
    /// models with the same fingerprint can be compared.
    ///
    /// # Errors
    /// As [`Embedder::load`], which it calls.
    pub fn fingerprint(&self) -> Result<String> {
        Ok(self.model()?.fingerprint().to_owned())
    }

    /// The model's name, for people: the base name of the folder that the settings name.
    pub fn model_name(&self) -> &str {
        &self.inner.model_name
    }

    /// How many numbers a vector has: the setting `embedding_dimension`, which the model was checked against.
    pub fn dimension(&self) -> usize {
        self.inner.dimension
    }

    /// As [`embed_within`](Self::embed_within), for as long as `proceed` says.
    pub(crate) fn embed_while(
        &self,
        texts: &[&str],
        mut proceed: impl FnMut() -> bool,
    ) -> Result<Vec<Option<Vector>>> {
        let keys: Vec<Key> = texts.iter().map(|text| key(text)).collect();
        let mut vectors: HashMap<Key, Option<Vector>> = HashMap::with_capacity(texts.len());
        let mut missing: Vec<(Key, &str)> = Vec::new();
        for (&key, &text) in keys.iter().zip(texts) {
            if let Entry::Vacant(entry) = vectors.entry(key)
                && entry.insert(self.lookup(&key)).is_none()
            {
                missing.push((key, text));
            }
        }
        if !missing.is_empty() && proceed() {
            let texts: Vec<&str> = missing.iter().map(|(_, text)| *text).collect();
            self.model()?.embed_each(&texts, proceed, |index, vector| {
                let (key, vector) = (missing[index].0, Vector::from(vector));
                self.inner.cache_misses.fetch_add(1, Ordering::Relaxed);
                self.inner.cache.insert(key, Arc::clone(&vector));
                vectors.insert(key, Some(vector));
            })?;
        }
        Ok(keys.iter().map(|key| vectors.get(key).cloned().flatten()).collect())
    }

    fn lookup(&self, key: &Key) -> Option<Vector> {
        let vector = self.inner.cache.get(key)?;
        self.inner.cache_hits.fetch_add(1, Ordering::Relaxed);
        Some(vector)
    }

    /// The model, loaded by the first caller while the others wait.
    fn model(&self) -> Result<Arc<Model>> {
        let mut loading = self.inner.loading.lock().unwrap_or_else(PoisonError::into_inner);
        match &*loading {
            Loading::Loaded(model) => return Ok(Arc::clone(model)),
            Loading::Failed { at, reason } if at.elapsed() < RETRY_LOADING => {
                return Err(Error::Model(reason.clone()));
            }
            Loading::Untried | Loading::Failed { .. } => {}
        }
        match self.inner.load() {
            Ok(model) => {
                *loading = Loading::Loaded(Arc::clone(&model));
                Ok(model)
            }
            Err(error) => {
                let reason = match &error {
                    Error::Model(reason) => reason.clone(),
                    other => other.to_string(),
                };
                *loading = Loading::Failed { at: Instant::now(), reason };
                Err(error)
            }
        }
    }
}

/// Folder, threads and dimension: what makes two models the same.
type ModelKey = (PathBuf, usize, usize);

/// The models in use in this process: two exporters share one, which takes some 170 MB.
static MODELS: Mutex<Vec<(ModelKey, Weak<Model>)>> = Mutex::new(Vec::new());

impl Inner {
    fn load(&self) -> Result<Arc<Model>> {
        let roots = locate::roots();
        let key = (locate::model(&self.model_setting, &roots)?, self.threads, self.dimension);
        #[cfg(feature = "load-dynamic")]
        let runtime =
            Runtime::Library(locate::library(self.library.as_deref(), locate::library_variable(), &roots)?);
        #[cfg(not(feature = "load-dynamic"))]
        let runtime = Runtime::Linked;
        let mut models = MODELS.lock().unwrap_or_else(PoisonError::into_inner);
        models.retain(|(_, model)| model.strong_count() > 0);
        let shared = models.iter().find(|(known, _)| *known == key);
        if let Some(model) = shared.and_then(|(_, model)| model.upgrade()) {
            return Ok(model);
        }
        let model = Arc::new(Model::load(&key.0, &runtime, self.threads, self.dimension)?);
        models.push((key, Arc::downgrade(&model)));
        Ok(model)
    }
}

impl fmt::Debug for Embedder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Embedder")
            .field("model_name", &self.inner.model_name)
            .field("dimension", &self.inner.dimension)
            .finish_non_exhaustive()
    }
}

fn key(text: &str) -> Key {
    *blake3::hash(text.as_bytes()).as_bytes()
}
