//! The end of the process, which the model must not run into.
//!
//! `exit` runs ONNX Runtime's destructors while other threads go on: whoever is in the library then, to load a model, to
//! run it or to drop it, reads freed memory. The standard library has no hook for it, so C's `atexit` is used: what is
//! registered after the library's destructors runs before them.

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use opentelemetry::otel_debug;

/// Held for reading by every thread that is in the library, and by the end of the process for writing, for good.
static IN_LIBRARY: RwLock<()> = RwLock::new(());

/// Whether a model was loaded, and whether the process ends.
static LOADED: AtomicBool = AtomicBool::new(false);
static ENDS: AtomicBool = AtomicBool::new(false);

/// How long the end of the process waits for these: a run takes about a tenth of a second, loading a quarter.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often what the library registers during a first load is followed by the hook. An end of the process in between is
/// not waited for.
const EVERY: Duration = Duration::from_micros(100);

// SAFETY: the signature is the C standard's; `atexit` may be called at any time and from any thread.
unsafe extern "C" {
    safe fn atexit(hook: extern "C" fn()) -> c_int;
}

/// The loading of a model, from before the library is there: keeps the process from ending until it is dropped.
///
/// What is registered last runs first, and the library registers destructors wherever it comes to: while a first model is
/// loaded, each of them is followed by the hook once more, by a thread and at each [`follow`].
pub(super) struct Loading {
    is_over: Arc<AtomicBool>,
    _exit_waits: RwLockReadGuard<'static, ()>,
}

impl Loading {
    pub(super) fn begin() -> Self {
        let loading = Loading { is_over: Arc::default(), _exit_waits: enter_library() };
        if !LOADED.load(Ordering::Acquire) {
            register();
            loading.watch();
        }
        loading
    }

    fn watch(&self) {
        let is_over = Arc::clone(&self.is_over);
        let watch = move || {
            while !(is_over.load(Ordering::Acquire) || ENDS.load(Ordering::Acquire)) {
                register();
                std::thread::sleep(EVERY);
            }
        };
        let thread = std::thread::Builder::new().name("otel-pgvector-load".into());
        if let Err(error) = thread.spawn(watch) {
            otel_debug!(name: "Embedding.LoadNotWatched", reason = error.to_string());
        }
    }

    /// To be called when the model has run: what the library registers for that is registered.
    pub(super) fn done(self) {
        register();
        LOADED.store(true, Ordering::Release);
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        follow();
    }
}

/// Follows what the library just registered, unless a model was loaded before.
pub(super) fn follow() {
    if !LOADED.load(Ordering::Acquire) {
        register();
    }
}

fn register() {
    // Refused only where there is no memory; then the process ends as it would have.
    atexit(wait_for_threads);
}

/// Keeps the process from ending until it is dropped. At the end of the process it is never given. A thread may take more than
/// one, since nobody waits for writing.
pub(super) fn enter_library() -> RwLockReadGuard<'static, ()> {
    IN_LIBRARY.read().unwrap_or_else(PoisonError::into_inner)
}

extern "C" fn wait_for_threads() {
    // It is registered many times.
    if ENDS.swap(true, Ordering::AcqRel) {
        return;
    }
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if let Ok(guard) = IN_LIBRARY.try_write() {
            std::mem::forget(guard);
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
