//! Tests of the agent on fakes and on a clock that tests turn.

mod bench;
mod connected;
mod convergence;
mod fakes;
mod planning;
mod reconciling;
mod reporting;
mod syncing;
mod twin;
mod whole;

pub(super) use bench::Bench;
pub(super) use fakes::{agent_desired, deployment, module};
