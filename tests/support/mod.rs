//! What the integration tests share.
#![allow(dead_code, reason = "each test binary uses a part of this module")]

pub mod arbitrary;
pub mod shared;
