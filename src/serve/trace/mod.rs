//! What there is to say of a trace's spans together: for the page, and for the command.

mod critical;
mod outline;
mod own;
mod tree;
mod words;

pub use critical::{Segment, critical_path, total};
pub use outline::{Line, MAX_DEPTH, lines, period};
pub use own::own_times;
pub use tree::{Tree, has_parent};
pub use words::{between, kind, message, text, undirected};

#[cfg(test)]
pub(in crate::serve) use tree::tests;
