//! What a job at work tells of itself.

use super::Worker;
use crate::streaming::status::{SAMPLES, Sample};
use ironbrook_analytics::engine::DataError;
use ironbrook_analytics::value::DateTime;

impl Worker {
    /// Tells how it goes.
    pub(super) fn tell(&mut self) {
        self.count();
        self.status.count(self.counts);
        let now = self.clock.now();
        let watermark = self.engine.watermark();
        let delay = (watermark > DateTime::MIN)
            .then(|| (now.as_millis() - watermark.unix_millis()).max(0) as f64 / 1000.0);
        let (backlog, state) = (self.events.backlog(), self.engine.state_bytes() as u64);
        let outputs = &self.outputs;
        self.status.change(|report| {
            report.backlogged_events = backlog;
            report.watermark_delay_seconds = delay;
            report.state_bytes = state;
            for output in outputs {
                let report = report.outputs.entry(output.name().to_string()).or_default();
                (report.rows, report.waiting_rows) = (output.rows(), output.waiting() as u64);
            }
        });
        if self.sampled == self.counts.data_errors {
            return;
        }
        self.sampled = self.counts.data_errors;
        let samples = self.engine.data_errors().samples();
        let surplus = samples.len().saturating_sub(SAMPLES);
        let sample = |error: &DataError| Sample {
            kind: error.kind.name().to_owned(),
            source: error.source.to_string(),
            time: error.at.to_string(),
            message: error.message.clone(),
        };
        let samples = samples.skip(surplus).map(sample).collect();
        self.status.change(|report| report.samples = samples);
    }
}
