//! The commands that find and list.
