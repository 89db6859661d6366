//! The section `[streaming]`: streaming jobs.

use ironbrook_cloud::streaming::Settings;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Streaming jobs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Streaming {
    /// Most jobs, 1 to 1024; each has a thread of its own.
    pub max_jobs: usize,
    /// MiB that open windows and waiting events of a job may hold, 1 to 65536; a job that needs more fails.
    pub max_state_mib: usize,
    /// MiB of a blob of reference data, before and after compression, 1 to 64.
    pub max_reference_mib: u64,
    /// Seconds between two looks whether reference data changed, 1 to 3600.
    pub refresh_seconds: u64,
    /// Milliseconds between two checkpoints where nothing is to be sent, 100 to 60000. What came in since is read from the log again
    /// after a crash.
    pub checkpoint_ms: u64,
    /// Milliseconds that a window waits beyond its time for events on their way to the disk, where no event closes it, 10 to 60000.
    pub close_delay_ms: u64,
}

const MIB: u64 = 1 << 20;

impl Default for Streaming {
    fn default() -> Self {
        let usual = Settings::default();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            max_jobs: usual.max_jobs,
            max_state_mib: usual.max_state / MIB as usize,
            max_reference_mib: usual.max_reference / MIB,
            refresh_seconds: usual.refresh.as_secs(),
            checkpoint_ms: millis(usual.checkpoint),
            close_delay_ms: millis(usual.close_delay),
        }
    }
}

impl Streaming {
    /// As the jobs take them.
    pub fn settings(&self) -> Settings {
        Settings {
            max_jobs: self.max_jobs,
            max_state: self.max_state_mib.saturating_mul(MIB as usize),
            max_reference: self.max_reference_mib.saturating_mul(MIB),
            refresh: Duration::from_secs(self.refresh_seconds),
            checkpoint: Duration::from_millis(self.checkpoint_ms),
            close_delay: Duration::from_millis(self.close_delay_ms),
        }
    }

    /// Whether each lies in its range.
    pub(super) fn check(&self) -> Result<(), String> {
        let settings = self.settings();
        for (holds, message) in [
            (Settings::JOBS.contains(&settings.max_jobs), "max_jobs: 1 to 1024"),
            (Settings::STATE.contains(&settings.max_state), "max_state_mib: 1 to 65536"),
            (Settings::REFERENCE.contains(&settings.max_reference), "max_reference_mib: 1 to 64"),
            (Settings::REFRESH.contains(&settings.refresh), "refresh_seconds: 1 to 3600"),
            (Settings::CHECKPOINT.contains(&settings.checkpoint), "checkpoint_ms: 100 to 60000"),
            (Settings::CLOSE_DELAY.contains(&settings.close_delay), "close_delay_ms: 10 to 60000"),
        ] {
            if !holds {
                return Err(format!("streaming.{message}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_as_the_jobs_have_it() {
        let none: Streaming = toml::from_str("").unwrap();
        assert_eq!(none.settings(), Settings::default());
        assert!(none.check().is_ok());
        let some: Streaming = toml::from_str("max_jobs = 2\ncheckpoint_ms = 500\nmax_state_mib = 3").unwrap();
        let told = Settings {
            max_jobs: 2,
            checkpoint: Duration::from_millis(500),
            max_state: 3 << 20,
            ..Settings::default()
        };
        assert_eq!(some.settings(), told);
        assert!(toml::from_str::<Streaming>("jobs = 2").is_err());
    }
}
