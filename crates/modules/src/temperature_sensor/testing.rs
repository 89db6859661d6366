//! Fakes for tests of the sensor.

use async_trait::async_trait;
use ironbrook_hub::seams::Clock;
use ironbrook_model::Timestamp;
use std::io::Write;
use std::sync::{Arc, Mutex};
use tokio::time::Instant;

/// The time of a paused runtime, which goes on by itself when everybody waits.
pub(super) struct PausedClock(Instant);

impl PausedClock {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }
}

#[async_trait]
impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_769_850_000).plus(self.0.elapsed())
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        tokio::time::sleep(deadline.since(self.now())).await;
    }
}

/// Lines that were written.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
