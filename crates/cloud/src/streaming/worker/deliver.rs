//! Deliveries on their way, until their receivers have them.

use super::{RETRY, RETRY_AFTER_MAX, Worker};
use crate::streaming::JobError;
use crate::streaming::definition::OutputErrors;
use crate::streaming::output::Delivery;
use crate::streaming::output::send::{self, Sender, Sent};
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

impl Worker {
    /// Sends what is in the outbox; each output waits for its own receiver only. False where it was cancelled before the end.
    pub(super) async fn deliver(&mut self, cancel: &CancellationToken) -> Result<bool, JobError> {
        let mut by_output: BTreeMap<Arc<str>, Vec<Delivery>> = BTreeMap::new();
        for delivery in self.outbox.drain(..) {
            by_output.entry(delivery.output.clone()).or_default().push(delivery);
        }
        // It is kept as it was until the next time; what was sent is in there no more then.
        self.is_dirty = true;
        let this = &*self;
        let ends =
            join_all(by_output.into_iter().map(|(output, deliveries)| async move {
                this.deliver_to(&output, deliveries, cancel).await
            }));
        let (mut left, mut refused) = (Vec::new(), None);
        for (rest, end) in ends.await {
            left.extend(rest);
            refused = refused.or(end.err());
        }
        self.outbox = left;
        match refused {
            Some(error) => {
                self.save(cancel).await;
                Err(error)
            }
            None => Ok(self.outbox.is_empty()),
        }
    }

    /// Sends in order; gives back what was not sent.
    async fn deliver_to(
        &self,
        output: &Arc<str>,
        deliveries: Vec<Delivery>,
        cancel: &CancellationToken,
    ) -> (Vec<Delivery>, Result<(), JobError>) {
        let same = |(name, _): &&(Arc<str>, Sender)| name.eq_ignore_ascii_case(output);
        let Some((_, sender)) = self.senders.iter().find(same) else {
            let rows = deliveries.iter().map(|delivery| delivery.rows).sum();
            let why = "the output was removed before it took these rows";
            self.status.dropped(output, rows, why, self.clock.now());
            return (Vec::new(), Ok(()));
        };
        let mut left = std::collections::VecDeque::from(deliveries);
        while let Some(delivery) = left.front() {
            let sent = tokio::select! {
                sent = self.deliver_one(sender, output, delivery) => sent,
                () = cancel.cancelled() => return (left.into(), Ok(())),
            };
            if let Err(why) = sent {
                if self.definition.output_error_policy == OutputErrors::Stop {
                    let error = JobError::Output { output: output.to_string(), why };
                    return (left.into(), Err(error));
                }
                tracing::warn!(job = self.name, %output, first = delivery.first, why, "rows of a streaming job left out");
                self.status.dropped(output, delivery.rows, &why, self.clock.now());
            } else {
                self.status.output(output, |report| report.delivered_rows += delivery.rows);
            }
            left.pop_front();
        }
        (Vec::new(), Ok(()))
    }

    /// Tries again until the receiver has it, will never have it, or its time is over.
    async fn deliver_one(&self, sender: &Sender, output: &str, delivery: &Delivery) -> Result<(), String> {
        let patience = self.definition.output(output).and_then(send::patience);
        let (began, mut wait) = (self.clock.now(), *RETRY.start());
        loop {
            let (asked, why) = match sender.send(delivery).await {
                Sent::Done => return Ok(()),
                Sent::Refused(why) => return Err(why),
                Sent::Later(asked, why) => (asked, why),
            };
            let now = self.clock.now();
            self.status.retry(output, &why, now);
            if patience.is_some_and(|patience| now.since(began) >= patience) {
                return Err(format!("given up after {} s: {why}", now.since(began).as_secs()));
            }
            tracing::debug!(job = self.name, output, why, "a delivery is tried again");
            self.clock.sleep(asked.map_or(wait, |asked| asked.max(wait).min(RETRY_AFTER_MAX))).await;
            wait = (wait * 2).min(*RETRY.end());
        }
    }
}
