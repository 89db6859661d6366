//! How a job does, for people and for Prometheus.

use super::state::Counts;
use ironbrook_model::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many errors are shown.
pub(super) const SAMPLES: usize = 10;
/// Longest text of an error, in characters.
const TEXT_LEN_MAX: usize = 1024;

/// What a job does. The words are Azure's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum State {
    /// It was never started since it was made, or since the hub was started.
    #[default]
    Stopped,
    /// It gets ready: its reference data is being waited for.
    Starting,
    /// It works.
    Running,
    /// It writes down where it is.
    Stopping,
    /// It gave up; `error` says why.
    Failed,
}

/// Everything told of a job.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What it does.
    pub state: State,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Messages read.
    pub input_messages: u64,
    /// Events in them.
    pub input_events: u64,
    /// Events that were left out or moved, and rows that could not be computed.
    pub data_errors: u64,
    /// Messages that the log had dropped before they were read.
    pub lost_messages: u64,
    /// Records of the log that are still to be looked at.
    pub backlogged_events: u64,
    /// How far the watermark is behind the clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watermark_delay_seconds: Option<f64>,
    /// About how many bytes open windows hold.
    pub state_bytes: u64,
    /// By name.
    pub outputs: BTreeMap<String, OutputReport>,
    /// The last data errors, oldest first.
    pub samples: VecDeque<Sample>,
}

/// Everything told of an output.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputReport {
    /// Rows the query made for it that are part of a delivery.
    pub rows: u64,
    /// Rows that wait for others.
    pub waiting_rows: u64,
    /// Rows its receiver took since the job was started.
    pub delivered_rows: u64,
    /// Attempts that failed since then.
    pub retries: u64,
    /// Rows that were left out since then.
    pub dropped_rows: u64,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error_time: Option<String>,
}

/// A data error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// Azure's name.
    pub kind: String,
    /// Input or step.
    pub source: String,
    /// When.
    pub time: String,
    /// What.
    pub message: String,
}

/// How a job does. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Status(Arc<Mutex<Report>>);

impl Status {
    /// A copy of everything.
    pub(super) fn report(&self) -> Report {
        self.lock().clone()
    }

    pub(super) fn state(&self) -> State {
        self.lock().state
    }

    pub(super) fn set(&self, state: State) {
        let mut report = self.lock();
        report.state = state;
        if state == State::Running {
            report.error = None;
        }
    }

    /// What stands in the way while the job goes on trying.
    pub(super) fn trouble(&self, why: &str) {
        self.lock().error = Some(short(why));
    }

    pub(super) fn fail(&self, why: &str) {
        let mut report = self.lock();
        (report.state, report.error) = (State::Failed, Some(short(why)));
    }

    pub(super) fn count(&self, counts: Counts) {
        let mut report = self.lock();
        report.input_messages = counts.messages;
        report.input_events = counts.events;
        report.data_errors = counts.data_errors;
        report.lost_messages = counts.lost;
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.lock());
    }

    pub(super) fn output(&self, name: &str, change: impl FnOnce(&mut OutputReport)) {
        change(self.lock().outputs.entry(name.to_owned()).or_default());
    }

    /// An attempt of an output failed.
    pub(super) fn retry(&self, name: &str, why: &str, now: Timestamp) {
        self.output(name, |output| {
            output.retries += 1;
            output.last_error = Some(short(why));
            output.last_error_time = Some(now.to_string());
        });
    }

    /// Rows of an output were left out.
    pub(super) fn dropped(&self, name: &str, rows: u64, why: &str, now: Timestamp) {
        self.output(name, |output| {
            output.dropped_rows += rows;
            output.last_error = Some(short(why));
            output.last_error_time = Some(now.to_string());
        });
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn short(text: &str) -> String {
    text.chars().take(TEXT_LEN_MAX).collect()
}
