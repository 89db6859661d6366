//! Waiting between attempts: exponential, capped, jittered.

use rand::Rng as _;
use std::time::Duration;

/// A connection that lived this long was a good one: the next failure starts with a short wait again.
const GOOD_AFTER: Duration = Duration::from_secs(10);

/// How long to wait between attempts to connect.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// The wait after the first failure, before jitter.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { first: Duration::from_millis(200), longest: Duration::from_secs(30) }
    }
}

/// Counts failures and says how long to wait.
#[derive(Debug)]
pub(crate) struct Backoff {
    policy: RetryPolicy,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(policy: RetryPolicy) -> Self {
        Self { policy, failures: 0 }
    }

    /// The next attempt starts from the shortest wait.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// A connection ended that had lived so long.
    pub(crate) fn lived(&mut self, time: Duration) {
        if time >= GOOD_AFTER {
            self.reset();
        }
    }

    /// The wait after one more failure: between half and all of the doubled time, so that a fleet which lost its hub
    /// at one moment does not come back at one moment.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let doubled = self.policy.first.saturating_mul(2_u32.saturating_pow(self.failures.min(20)));
        self.failures = self.failures.saturating_add(1);
        doubled.min(self.policy.longest).mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_again_after_reset() {
        let policy = RetryPolicy { first: Duration::from_millis(100), longest: Duration::from_secs(1) };
        let mut backoff = Backoff::new(policy);
        for full in [100, 200, 400, 800, 1000, 1000, 1000] {
            let wait = backoff.next_wait().as_millis();
            assert!((full / 2..=full).contains(&wait), "{wait} of {full}");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(100));
    }
}
