//! Settings, and the secrets among them.

mod layers;
mod secrets;
#[path = "../support/mod.rs"]
mod support;
