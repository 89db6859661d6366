//! What is remembered of a batch when it has found its end.

use super::Task;
use crate::executor::history::{BatchEnd, BatchOutcome};
use crate::seams::Routed;
use ironbrook_log::Offset;
use ironbrook_model::Timestamp;

/// How often a batch was sent, since when, and why in vain.
pub(super) struct Tries {
    pub(super) started: Timestamp,
    pub(super) attempts: u32,
    pub(super) why: Option<String>,
}

impl Tries {
    pub(super) fn new(started: Timestamp) -> Self {
        Self { started, attempts: 0, why: None }
    }
}

/// Where messages of a queue lie.
pub(super) struct Span {
    pub(super) first: Offset,
    pub(super) last: Offset,
    pub(super) messages: usize,
}

impl Span {
    fn of(batch: &[Routed]) -> Option<Self> {
        let (first, last) = (batch.first()?.offset, batch.last()?.offset);
        Some(Self { first, last, messages: batch.len() })
    }
}

impl Task {
    /// Remembers a batch that the endpoint took.
    pub(super) fn note_taken(&self, tries: Tries, batch: &[Routed], rejected: Vec<(usize, String)>) {
        let Some(span) = Span::of(batch) else { return };
        let offset = |(index, why): (usize, String)| Some((batch.get(index)?.offset.0, why));
        self.history.note(BatchOutcome {
            place: self.entry.endpoint.place(self.partition),
            dead_letters: rejected.into_iter().filter_map(offset).collect(),
            ..self.outcome(tries, &span, BatchEnd::Taken)
        });
    }

    /// Remembers messages that no attempt will be made for any more.
    pub(super) fn note_lost(&self, tries: &Tries, messages: &[Routed], why: &str) {
        let tries = Tries { why: tries.why.clone(), ..*tries };
        if let Some(span) = Span::of(messages) {
            self.note(tries, span, why);
        }
    }

    pub(super) fn note(&self, tries: Tries, span: Span, why: &str) {
        let reason = match &tries.why {
            Some(failure) => format!("{why}; last failure: {failure}"),
            None => why.to_owned(),
        };
        let outcome = self.outcome(tries, &span, BatchEnd::DeadLettered);
        self.history.note(BatchOutcome { reason: Some(reason), ..outcome });
    }

    fn outcome(&self, tries: Tries, span: &Span, end: BatchEnd) -> BatchOutcome {
        BatchOutcome {
            endpoint: self.name().to_owned(),
            partition: self.partition.0,
            first: span.first.0,
            last: span.last.0,
            messages: span.messages,
            started: tries.started,
            ended: self.clock.now(),
            attempts: tries.attempts,
            end,
            place: None,
            reason: tries.why,
            dead_letters: Vec::new(),
        }
    }
}
