//! What the integration tests share.
#![allow(dead_code, reason = "each test binary uses a part of this module")]

pub mod arbitrary;
#[cfg(unix)]
pub mod certificates;
#[cfg(feature = "cli")]
pub mod cluster;
#[cfg(feature = "cli")]
pub mod command;
pub mod database;
#[cfg(unix)]
pub mod debian;
#[cfg(target_os = "linux")]
pub mod disk;
#[cfg(feature = "import")]
pub mod fixtures;
pub mod former;
#[cfg(feature = "cli")]
pub mod http;
pub mod load;
pub mod operations;
#[cfg(unix)]
pub mod proxy;
#[cfg(unix)]
pub mod relay;
#[cfg(feature = "serve")]
pub mod serve;
#[cfg(target_os = "linux")]
pub mod server;
pub mod shared;
pub mod spans;
pub mod tiny_model;
pub mod worker;
