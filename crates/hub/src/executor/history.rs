//! What became of the last batches, so that people can ask about one message. Kept by batch, never by message.

use ironbrook_log::{Offset, PartitionId};
use ironbrook_model::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Dead letters of a batch that are told one by one.
const DEAD_LETTERS_MAX: usize = 32;
/// Longest reason that is kept.
const REASON_CHARS_MAX: usize = 200;

/// How a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BatchEnd {
    /// The endpoint took it, but for its dead letters.
    Taken,
    /// It outlived its time, or the log had no room for it: all of it is dead-lettered.
    DeadLettered,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchOutcome {
    /// The endpoint.
    pub endpoint: String,
    /// The partition.
    pub partition: u16,
    /// Offset of its first message. Messages between this and the last that are not in the endpoint's queue are not in it.
    pub first: u64,
    /// Offset of its last message.
    pub last: u64,
    /// How many messages it has.
    pub messages: usize,
    /// When it was sent for the first time.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// How often it was sent.
    pub attempts: u32,
    /// How it ended.
    pub end: BatchEnd,
    /// Where the endpoint put it, if it says so: the name of a blob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The reason of the last attempt that failed, or of the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Offsets of dead letters among what was taken, with reasons; the first 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dead_letters: Vec<(u64, String)>,
}

impl BatchOutcome {
    /// Whether a record may have been in it.
    pub fn holds(&self, endpoint: &str, partition: PartitionId, offset: Offset) -> bool {
        self.endpoint == endpoint
            && self.partition == partition.0
            && (self.first..=self.last).contains(&offset.0)
    }

    /// Cuts what came from outside, so that the history is bounded.
    fn bounded(mut self) -> Self {
        self.dead_letters.truncate(DEAD_LETTERS_MAX);
        let reasons = self.dead_letters.iter_mut().map(|(_, reason)| reason);
        reasons.chain(self.reason.as_mut()).chain(self.place.as_mut()).for_each(cut);
        self
    }
}

fn cut(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(REASON_CHARS_MAX) {
        text.truncate(end);
    }
}

/// The outcomes of the last batches of all endpoints, oldest first. Cheap to clone.
#[derive(Debug, Clone)]
pub struct History {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug)]
struct Kept {
    outcomes: VecDeque<Arc<BatchOutcome>>,
    most: usize,
    /// The number of the next outcome.
    next: u64,
}

impl History {
    pub(super) fn new(most: usize) -> Self {
        let kept = Kept { outcomes: VecDeque::new(), most, next: 0 };
        Self { kept: Arc::new(Mutex::new(kept)) }
    }

    pub(super) fn note(&self, outcome: BatchOutcome) {
        let mut kept = self.lock();
        if kept.most == 0 {
            return;
        }
        if kept.outcomes.len() >= kept.most {
            kept.outcomes.pop_front();
        }
        kept.outcomes.push_back(Arc::new(outcome.bounded()));
        kept.next += 1;
    }

    /// Puts outcomes of an earlier run before those of this one.
    pub fn restore(&self, earlier: Vec<BatchOutcome>) {
        let mut kept = self.lock();
        let room = kept.most.saturating_sub(kept.outcomes.len());
        for outcome in earlier.into_iter().rev().take(room) {
            kept.outcomes.push_front(Arc::new(outcome.bounded()));
        }
    }

    /// The outcomes noted since a number, and the number to ask with the next time; 0 at first. What was noted and is no longer
    /// kept is left out.
    pub fn since(&self, number: u64) -> (Vec<Arc<BatchOutcome>>, u64) {
        let kept = self.lock();
        let wanted = usize::try_from(kept.next.saturating_sub(number)).unwrap_or(usize::MAX);
        let skipped = kept.outcomes.len().saturating_sub(wanted);
        (kept.outcomes.iter().skip(skipped).cloned().collect(), kept.next)
    }

    /// The outcomes of batches a record may have been in, oldest first: more than one where a batch came again.
    pub fn of(&self, endpoint: &str, partition: PartitionId, offset: Offset) -> Vec<Arc<BatchOutcome>> {
        let kept = self.lock();
        kept.outcomes.iter().filter(|outcome| outcome.holds(endpoint, partition, offset)).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(first: u64) -> BatchOutcome {
        BatchOutcome {
            endpoint: "e".to_owned(),
            partition: 0,
            first,
            last: first + 9,
            messages: 10,
            started: Timestamp::from_millis(0),
            ended: Timestamp::from_millis(1),
            attempts: 1,
            end: BatchEnd::Taken,
            place: None,
            reason: Some("x".repeat(1000)),
            dead_letters: vec![(first, "y".repeat(1000)); 100],
        }
    }

    #[test]
    fn it_is_bounded_and_tells_what_is_new() {
        let history = History::new(3);
        (0..5).for_each(|n| history.note(outcome(n * 10)));
        let (all, next) = history.since(0);
        assert_eq!(all.iter().map(|o| o.first).collect::<Vec<_>>(), [20, 30, 40]);
        assert_eq!((all[0].dead_letters.len(), all[0].reason.as_ref().unwrap().len()), (32, 200));
        history.note(outcome(50));
        let (new, next) = history.since(next);
        assert_eq!((new.len(), new[0].first, next), (1, 50, 6));
        assert!(history.since(next).0.is_empty());
        let found = history.of("e", PartitionId(0), Offset(45));
        assert_eq!(found.len(), 1);
        assert!(history.of("e", PartitionId(1), Offset(45)).is_empty());
        assert!(history.of("f", PartitionId(0), Offset(45)).is_empty());
    }

    #[test]
    fn what_was_before_comes_first_and_is_not_new() {
        let history = History::new(3);
        history.note(outcome(50));
        history.restore((0..5).map(|n| outcome(n * 10)).collect());
        let (all, _) = history.since(0);
        assert_eq!(all.len(), 1);
        assert_eq!(history.of("e", PartitionId(0), Offset(35)).len(), 1);
        assert!(history.of("e", PartitionId(0), Offset(25)).is_empty());
    }
}
