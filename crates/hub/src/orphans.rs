//! Telemetry that no route wanted: told now and then, so that nobody looks for it in vain.

use ironbrook_model::{Identity, Timestamp};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// At most one line in this while.
const EVERY: Duration = Duration::from_secs(60);

/// Counts messages that no route wanted between two lines of the log.
#[derive(Debug, Default)]
pub(crate) struct Orphans {
    /// Milliseconds; 0 is never.
    told: AtomicI64,
    since: AtomicU64,
}

impl Orphans {
    /// rule ROUTE-08: what no route wants is dropped and counted, and its sender hears that all is well.
    pub(crate) fn note(&self, sender: &Identity, output: Option<&str>, now: Timestamp) {
        let count = self.since.fetch_add(1, Ordering::Relaxed) + 1;
        let told = self.told.load(Ordering::Relaxed);
        if told != 0 && now.since(Timestamp::from_millis(told)) < EVERY {
            return;
        }
        let mine = self.told.compare_exchange(told, now.as_millis(), Ordering::Relaxed, Ordering::Relaxed);
        if mine.is_ok() {
            self.since.fetch_sub(count, Ordering::Relaxed);
            tracing::warn!(messages = count, %sender, output = output.unwrap_or_default(),
                "telemetry was dropped because no route wants it; add a route, or the fallback route");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::EVERY;
    use crate::testing::{Bench, log_lines};
    use ironbrook_model::Message;

    #[tokio::test]
    async fn what_no_route_wants_is_taken_and_told_once_a_minute_rule_route_08() {
        let bench = Bench::new();
        bench.hub.router().replace(&[], false, &Default::default()).unwrap();
        let session = bench.connect("d1").await;
        let send = || assert!(bench.hub.telemetry(&session, &Message::new("x")).unwrap().is_none());
        let lines = log_lines(async {
            (0..3).for_each(|_| send());
            bench.clock.advance(EVERY);
            send();
        })
        .await;
        let told: Vec<_> = lines.iter().filter(|line| line.contains("no route wants it")).collect();
        assert_eq!(told.len(), 2, "{lines:?}");
        assert!(told[0].contains("messages=1") && told[0].contains("sender=d1"), "{told:?}");
        assert!(told[1].contains("messages=3"), "{told:?}");
        assert_eq!(bench.metrics.telemetry_orphaned.get(), 4);
    }
}
