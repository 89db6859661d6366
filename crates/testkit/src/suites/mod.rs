//! One suite per seam. Each takes a way to make a fresh implementation and asserts the contract in the trait's documentation.

pub mod checkpoints;
pub mod inbox;
pub mod log;
pub mod twins;
