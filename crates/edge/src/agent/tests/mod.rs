//! Tests of the agent on fakes and on a clock that tests turn.

mod connected;
mod convergence;
mod fakes;
mod planning;
mod reconciling;
mod reporting;
mod syncing;
mod whole;

pub(super) use fakes::{Bench, agent_desired, deployment, module};
