//! Bytes nobody thought of, for every parser and codec that reads what comes from outside.
//!
//! What a target looks for stands here, so that a finding can be run without a fuzzer too; the programs in `fuzz_targets` hand
//! bytes over. `seeds` writes what the fuzzers begin with. Start with `README.md`. What is *not* here: what was found; that
//! became tests in the crates.

pub mod amqp;
pub mod hub;
pub mod mqtt;
pub mod queries;
pub mod recovery;
pub mod streams;
pub mod texts;
pub mod topics;
pub mod twins;
