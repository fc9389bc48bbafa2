//! The exporter's own tokio runtime.

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkError;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use crate::error::{Error, Result};

/// Two threads for the network, and more for as long as the model embeds, the spool waits for the disk, or the system
/// looks up names, which must not keep the spool waiting.
pub(super) struct OwnedRuntime {
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
    /// Whose threads they are: a process that forks does not hand them on.
    process: u32,
}

impl OwnedRuntime {
    pub(super) fn new() -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(16)
            .thread_name("otel-pgvector")
            .enable_all()
            // What happens on these threads is telemetry's own work, and must not make telemetry. The guard would end
            // the scope: it is forgotten, and the scope ends with the thread.
            .on_thread_start(|| std::mem::forget(Context::enter_telemetry_suppressed_scope()))
            .build()
            .map_err(|source| Error::Io { doing: "starting the exporter's threads".into(), source })?;
        Ok(OwnedRuntime {
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
            process: std::process::id(),
        })
    }

    /// Runs a task; refused once the runtime is shut down, and in a fork of its process.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> std::result::Result<JoinHandle<T>, OTelSdkError> {
        if self.is_forked() || self.runtime.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return Err(OTelSdkError::AlreadyShutdown);
        }
        Ok(self.handle.spawn(task))
    }

    fn is_forked(&self) -> bool {
        self.process != std::process::id()
    }

    /// Ends the threads without waiting for them, so it may be called from async code.
    pub(super) fn shut_down(&self) {
        if let Some(runtime) = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take() {
            match self.is_forked() {
                // Its tasks, and the connections that they hold, are the other process's.
                true => std::mem::forget(runtime),
                false => runtime.shutdown_background(),
            }
        }
    }
}

impl Drop for OwnedRuntime {
    fn drop(&mut self) {
        self.shut_down();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_threads_make_no_telemetry() {
        let runtime = OwnedRuntime::new().expect("threads");
        let (tell, hear) = std::sync::mpsc::channel();
        let blocking = tell.clone();
        let task = runtime.spawn(async move {
            tell.send(Context::is_current_telemetry_suppressed()).expect("heard");
            let told = move || blocking.send(Context::is_current_telemetry_suppressed());
            tokio::task::spawn_blocking(told).await.expect("no panic").expect("heard");
        });
        task.expect("running");
        assert!(hear.recv().expect("a worker") && hear.recv().expect("a blocking thread"));
    }
}
