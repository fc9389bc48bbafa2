//! The end of the process, which the model must not run into.
//!
//! `exit` runs ONNX Runtime's destructors while other threads go on: an inference that is under way then reads freed
//! memory. The standard library has no hook for it, so C's `atexit` is used: what is registered after the library was
//! loaded runs before its destructors.

use std::ffi::c_int;
use std::sync::{Once, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

/// Held for reading by every inference, and by the end of the process for writing, for good.
static INFERENCES: RwLock<()> = RwLock::new(());

/// How long the end of the process waits for inferences, each of which takes about a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(2);

// SAFETY: the signature is the C standard's; `atexit` may be called at any time and from any thread.
unsafe extern "C" {
    safe fn atexit(hook: extern "C" fn()) -> c_int;
}

/// Lets the process end between inferences only. To be called once the library is loaded.
pub(super) fn guard_exit() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // Refused only where there is no memory; then the process ends as it would have.
        atexit(wait_for_inferences);
    });
}

/// Keeps the process from ending until it is dropped. At the end of the process it is never given.
pub(super) fn infer() -> RwLockReadGuard<'static, ()> {
    INFERENCES.read().unwrap_or_else(PoisonError::into_inner)
}

extern "C" fn wait_for_inferences() {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if let Ok(guard) = INFERENCES.try_write() {
            std::mem::forget(guard);
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
