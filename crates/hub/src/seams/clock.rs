//! Time as a seam, so that tests pass a day in a second.

use async_trait::async_trait;
use ironbrook_model::Timestamp;
use std::time::Duration;

/// The clock. `now` never has to be monotonic; durations are measured with [`sleep`](Self::sleep).
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// The time of day.
    fn now(&self) -> Timestamp;

    /// Waits until the time of day is `deadline` or later.
    async fn sleep_until(&self, deadline: Timestamp);

    /// Waits for a while.
    async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now().plus(duration)).await;
    }
}

/// The operating system's clock on tokio's timer.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        // The time of day may be set back while we wait, so look again after each sleep.
        loop {
            let left = deadline.since(self.now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(Duration::from_secs(60))).await;
        }
    }
}
