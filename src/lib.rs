#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

pub mod embedding;
pub mod error;
pub mod settings;
pub mod span;

pub use error::{Error, Result};
pub use settings::Settings;
