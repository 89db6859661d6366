//! How jobs do, for Prometheus: read when somebody asks.

use super::{Job, State, Streaming};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;

/// Shows all jobs in a registry.
pub(crate) fn register(registry: &mut Registry, streaming: &Streaming) {
    registry.register_collector(Box::new(Jobs(streaming.clone())));
}

struct Jobs(Streaming);

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs").finish_non_exhaustive()
    }
}

impl Collector for Jobs {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let jobs = self.0.list();
        let encoder = &mut encoder;
        gauge(encoder, "hub_streaming_job_running", "1 where a job is at work", &jobs, |job| {
            Some(f64::from(u8::from(job.report.state == State::Running)))
        })?;
        let help = "How far a job's watermark is behind the clock, in seconds";
        gauge(encoder, "hub_streaming_job_watermark_delay_seconds", help, &jobs, |job| {
            job.report.watermark_delay_seconds
        })?;
        let help = "Records of the log a job has still to look at";
        gauge(encoder, "hub_streaming_job_backlogged_events", help, &jobs, |job| {
            Some(job.report.backlogged_events as f64)
        })?;
        counter(encoder, "hub_streaming_job_input_events", "Events a job read", &jobs, |job| {
            vec![(None, job.report.input_events)]
        })?;
        let help = "Events a job left out or moved, and rows that could not be computed";
        counter(encoder, "hub_streaming_job_data_errors", help, &jobs, |job| {
            vec![(None, job.report.data_errors)]
        })?;
        let help = "Messages that were gone before a job read them";
        counter(encoder, "hub_streaming_job_lost_messages", help, &jobs, |job| {
            vec![(None, job.report.lost_messages)]
        })?;
        let by_output = |count: fn(&super::OutputReport) -> u64| {
            move |job: &Job| {
                let outputs = job.report.outputs.iter();
                outputs.map(|(name, output)| (Some(name.clone()), count(output))).collect()
            }
        };
        counter(
            encoder,
            "hub_streaming_job_output_rows",
            "Rows of a job's output",
            &jobs,
            by_output(|o| o.rows),
        )?;
        let help = "Attempts of a job's output that failed, since the job was started";
        counter(encoder, "hub_streaming_job_output_retries", help, &jobs, by_output(|o| o.retries))?;
        let help = "Rows a job's output left out, since the job was started";
        counter(encoder, "hub_streaming_job_output_dropped", help, &jobs, by_output(|o| o.dropped_rows))
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    jobs: &[Job],
    value: impl Fn(&Job) -> Option<f64>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for job in jobs {
        if let Some(value) = value(job) {
            ConstGauge::new(value).encode(family.encode_family(&[("job", job.name.as_str())])?)?;
        }
    }
    Ok(())
}

fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    jobs: &[Job],
    values: impl Fn(&Job) -> Vec<(Option<String>, u64)>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for job in jobs {
        for (output, value) in values(job) {
            let mut labels = vec![("job", job.name.as_str())];
            labels.extend(output.as_deref().map(|output| ("output", output)));
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
