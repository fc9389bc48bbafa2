//! What the integration tests share.
#![allow(dead_code, reason = "each test binary uses a part of this module")]

pub mod arbitrary;
#[cfg(feature = "cli")]
pub mod command;
pub mod database;
pub mod load;
#[cfg(unix)]
pub mod proxy;
#[cfg(target_os = "linux")]
pub mod server;
pub mod shared;
pub mod spans;
pub mod worker;
