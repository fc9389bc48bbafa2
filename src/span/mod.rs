//! A span and its two halves: the *document* (what is constant) and the *row* (what varies).

mod model;

pub use model::{Attribute, Event, Link, Resource, Scope, Span, Status, StatusCode, Timestamp, Value};
