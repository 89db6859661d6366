//! What tests share: the suites every implementation of a seam must pass, a clock that tests turn, and a whole hub in one
//! process on storage that can lose power.
//!
//! Start with [`suites`] for a new implementation of a seam, and with [`Node`] for a test of the whole. Never a dependency of the
//! binary; functions here panic where an assertion fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "assertions are what this crate is for"
)]

mod broker;
mod clock;
mod node;
pub mod suites;

pub use broker::BRIDGED;
pub use clock::TestClock;
pub use node::{CONTAINER, Node, Place, open_cloud};
