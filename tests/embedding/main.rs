//! Texts to vectors, by the real model and others.

mod models;
mod real_model;
#[path = "../support/mod.rs"]
mod support;
