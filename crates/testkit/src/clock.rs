//! A clock that stands still until a test turns it.

use async_trait::async_trait;
use ironbrook_hub::seams::Clock;
use ironbrook_model::Timestamp;
use std::time::Duration;
use tokio::sync::watch;

/// Time as a test says it is.
#[derive(Debug, Clone)]
pub struct TestClock {
    now: watch::Sender<Timestamp>,
}

impl TestClock {
    /// A clock that shows `now`.
    pub fn new(now: Timestamp) -> Self {
        Self { now: watch::Sender::new(now) }
    }

    /// Turns the clock forward and wakes who waited for that time.
    pub fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now = now.plus(by));
    }
}

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        let mut now = self.now.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = now.wait_for(|now| *now >= deadline).await;
    }
}
