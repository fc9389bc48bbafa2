//! ONNX Runtime: loaded once per process, and set up so that it stays out of the application's way.

use std::path::Path;
#[cfg(feature = "load-dynamic")]
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::{otel_error, otel_warn};
use ort::environment::{Environment, EnvironmentBuilder};
use ort::ep;
use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::AutoDevicePolicy;

use super::exit;
use crate::{Error, Result};

/// Where ONNX Runtime comes from, which the crate's features decide.
pub(super) enum Runtime {
    /// A shared library, at this absolute path.
    #[cfg(feature = "load-dynamic")]
    Library(PathBuf),
    /// The executable itself.
    #[cfg(not(feature = "load-dynamic"))]
    Linked,
}

/// The process's environment, once it could be made. It is never dropped: `ort` allows only one to be made ever.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// Opens the ONNX graph in the file `graph` for inference on `threads` threads.
///
/// To be called while [`exit::Loading`] is held. A library that was loaded before stays in use, whatever `runtime` says: a
/// process can only hold one.
///
/// # Errors
/// [`Error::Model`] when the library cannot be loaded or is too old (then the next call tries again), or when the
/// file cannot be read or is not a graph that this ONNX Runtime understands.
pub(super) fn open(graph: &Path, runtime: &Runtime, threads: usize) -> Result<Session> {
    let environment = environment(runtime)?;
    exit::follow();
    session(&environment, graph, threads)
        .map_err(|error| Error::Model(format!("cannot load {}: {error}", graph.display())))
}

fn environment(runtime: &Runtime) -> Result<Environment> {
    let mut environment = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = &*environment {
        return Ok(environment.clone());
    }
    let builder = builder(runtime)?;
    exit::follow();
    let made = builder
        .with_name("opentelemetry-pgvector")
        .with_telemetry(false)
        .with_logger(Arc::new(log))
        .build()
        .map_err(|error| Error::Model(format!("cannot start ONNX Runtime: {error}")))?;
    // With a logger, `ort` asks for everything, which formats thousands of messages while a model loads.
    made.set_log_level(LogLevel::Warning);
    Ok(environment.insert(made).clone())
}

#[cfg(feature = "load-dynamic")]
fn builder(runtime: &Runtime) -> Result<EnvironmentBuilder> {
    let Runtime::Library(path) = runtime;
    ort::init_from(path).map_err(|error| {
        Error::Model(format!(
            "cannot load ONNX Runtime: {error}; run `make setup`, or set onnxruntime_library or ORT_DYLIB_PATH to a \
             library of version 1.{} or newer",
            ort::MINOR_VERSION
        ))
    })
}

#[cfg(not(feature = "load-dynamic"))]
fn builder(runtime: &Runtime) -> Result<EnvironmentBuilder> {
    let Runtime::Linked = runtime;
    Ok(ort::init())
}

fn session(environment: &Environment, graph: &Path, threads: usize) -> ort::Result<Session> {
    Session::builder(environment)?
        .with_auto_device(AutoDevicePolicy::PreferCPU)?
        // The shapes differ from batch to batch: the arena would keep the largest of each for ever, and a memory
        // pattern is remembered per shape. Without both, memory stays flat (198 instead of 233 MB after 1,500 texts),
        // at no measurable cost in speed.
        .with_execution_providers([ep::CPU::default().with_arena_allocator(false).build()])?
        .with_memory_pattern(false)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        // Spinning burns the application's cores between two batches.
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        .commit_from_file(graph)
}

/// Passes ONNX Runtime's own messages on, which would otherwise go to standard error.
fn log(level: LogLevel, _category: &str, _id: &str, location: &str, message: &str) {
    match level {
        LogLevel::Verbose | LogLevel::Info => {}
        LogLevel::Warning => {
            otel_warn!(name: "OnnxRuntime.Warning", location = location, message = message);
        }
        LogLevel::Error | LogLevel::Fatal => {
            otel_error!(name: "OnnxRuntime.Error", location = location, message = message);
        }
    }
}
