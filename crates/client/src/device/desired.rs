//! Keeps the user's view of the desired properties whole: a full reading first, then changes, and a full reading again
//! after anything was missed, because the hub never sends missed changes later (rule CLIENT-05).

use super::twin::{DesiredUpdate, Twin};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Most changes kept while a full reading is under way.
const HELD_MAX: usize = 64;
/// The pause before the properties are read again after a refused reading.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How often a user who reads slowly is looked after.
const ROOM_CHECK: Duration = Duration::from_millis(200);

/// The state of the desired properties between hub and user.
#[derive(Debug)]
pub(crate) struct Desired {
    updates: mpsc::Sender<DesiredUpdate>,
    /// Whether a full reading is under way, and the changes that came meanwhile.
    reading: Option<Vec<DesiredUpdate>>,
    /// The version the user has.
    delivered: Option<u64>,
    /// When to read again, if something was missed.
    missed: Option<Instant>,
}

impl Desired {
    pub(crate) fn new(updates: mpsc::Sender<DesiredUpdate>) -> Self {
        Self { updates, reading: None, delivered: None, missed: None }
    }

    /// A full reading was asked for.
    pub(crate) fn begin_reading(&mut self) {
        self.missed = None;
        self.reading.get_or_insert_default();
    }

    pub(crate) fn disconnected(&mut self) {
        self.reading = None;
        self.missed = None;
    }

    /// When to ask [`must_read_again`](Self::must_read_again), if at all.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.missed
    }

    /// Whether the properties have to be read again now: something was missed, and the user has room for the whole.
    pub(crate) fn must_read_again(&mut self) -> bool {
        let due = self.reading.is_none() && self.missed.is_some_and(|at| at <= Instant::now());
        if due && self.updates.capacity() == 0 {
            self.missed = Some(Instant::now() + ROOM_CHECK);
            return false;
        }
        due
    }

    /// The full reading ended.
    pub(crate) fn read(&mut self, outcome: crate::Result<Twin>) {
        let held = self.reading.take().unwrap_or_default();
        let twin = match outcome {
            Ok(twin) => twin,
            Err(error) => {
                tracing::warn!(%error, "desired properties could not be read");
                self.missed = Some(Instant::now() + AGAIN_AFTER);
                return;
            }
        };
        // The same version as before the gap: nothing happened meanwhile.
        if self.delivered != Some(twin.desired_version) {
            let (version, properties) = (twin.desired_version, twin.desired);
            self.deliver(DesiredUpdate { version, properties, complete: true });
        }
        for update in held {
            self.changed(update);
        }
    }

    /// A change was notified.
    pub(crate) fn changed(&mut self, update: DesiredUpdate) {
        if let Some(held) = &mut self.reading {
            if held.len() < HELD_MAX {
                held.push(update);
            } else {
                self.missed = Some(Instant::now());
            }
            return;
        }
        // A version that a full reading already held; 0 means the hub sent none.
        if update.version != 0 && self.delivered.is_some_and(|seen| update.version <= seen) {
            return;
        }
        self.deliver(update);
    }

    fn deliver(&mut self, update: DesiredUpdate) {
        let version = update.version;
        match self.updates.try_send(update) {
            Ok(()) => self.delivered = Some(version),
            // The user reads slowly: one full reading later replaces all that does not fit now.
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.delivered = None;
                self.missed = Some(Instant::now());
            }
            Err(mpsc::error::TrySendError::Closed(_)) => self.delivered = Some(version),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, Value, json};

    fn twin(version: u64) -> crate::Result<Twin> {
        let mut desired = Map::new();
        desired.insert("v".to_owned(), json!(version));
        Ok(Twin { desired, desired_version: version, reported: Map::new(), reported_version: 1 })
    }

    fn change(version: u64) -> DesiredUpdate {
        DesiredUpdate { version, properties: Map::<String, Value>::new(), complete: false }
    }

    fn seen(updates: &mut mpsc::Receiver<DesiredUpdate>) -> Vec<(u64, bool)> {
        std::iter::from_fn(|| updates.try_recv().ok()).map(|u| (u.version, u.complete)).collect()
    }

    #[test]
    fn changes_during_a_reading_come_after_it_and_never_twice() {
        let (sender, mut updates) = mpsc::channel(8);
        let mut desired = Desired::new(sender);
        desired.begin_reading();
        desired.changed(change(4));
        desired.changed(change(5));
        desired.read(twin(4));
        desired.changed(change(5));
        desired.changed(change(6));
        assert_eq!(seen(&mut updates), [(4, true), (5, false), (6, false)]);
    }

    #[test]
    fn after_a_gap_the_whole_is_delivered_only_if_it_changed() {
        let (sender, mut updates) = mpsc::channel(8);
        let mut desired = Desired::new(sender);
        for version in [2, 2, 3] {
            desired.disconnected();
            desired.begin_reading();
            desired.read(twin(version));
        }
        assert_eq!(seen(&mut updates), [(2, true), (3, true)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_user_gets_the_whole_once_there_is_room() {
        let (sender, mut updates) = mpsc::channel(1);
        let mut desired = Desired::new(sender);
        desired.changed(change(1));
        desired.changed(change(2));
        assert!(!desired.must_read_again());
        assert_eq!(seen(&mut updates), [(1, false)]);
        tokio::time::sleep_until(desired.wake_at().unwrap()).await;
        assert!(desired.must_read_again());
        desired.begin_reading();
        desired.read(twin(2));
        assert_eq!(seen(&mut updates), [(2, true)]);
    }
}
