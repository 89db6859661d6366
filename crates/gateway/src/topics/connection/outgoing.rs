//! What a client is sent.

use super::{Connection, End, OUTPUT_MAX};
use crate::topics::speech::Reply;
use ironbrook_model::Timestamp;
use ironbrook_pubsub::{Outgoing, OutgoingPublish, QoS, Reason};
use std::cell::RefCell;
use tokio::io::{AsyncRead, AsyncWrite};

/// Packets taken out at a time.
const TAKE_MAX: usize = 128;

thread_local! {
    /// One per thread, so that an idle connection has none.
    static TAKEN: RefCell<Vec<Outgoing>> = RefCell::new(Vec::with_capacity(TAKE_MAX));
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Answers a packet, at once where nothing has to be waited for.
    pub(super) fn reply(&mut self, mark: Option<u64>, reply: Reply) -> Result<(), End> {
        if mark.is_some() || !self.answers.is_empty() {
            self.answers.push(mark, reply);
            return Ok(());
        }
        self.put_answer(&reply)
    }

    /// Writes the answers that may leave.
    pub(super) fn answer(&mut self) -> Result<(), End> {
        while let Some(reply) = self.answers.pop(&self.broker) {
            self.put_answer(&reply)?;
        }
        if self.freed > 0 {
            self.session.answered(std::mem::take(&mut self.freed));
        }
        Ok(())
    }

    fn put_answer(&mut self, reply: &Reply) -> Result<(), End> {
        self.freed += u16::from(matches!(reply, Reply::PubAck(..)));
        Ok(self.io.put_reply(self.speech, reply)?)
    }

    pub(super) fn pong(&mut self) -> Result<(), End> {
        Ok(self.io.put_reply(self.speech, &Reply::Pong)?)
    }

    /// Takes out messages until none is left or enough output waits.
    pub(super) fn deliver(&mut self, now: Timestamp) -> Result<(), End> {
        if self.stalled.is_some() || self.io.pending() >= OUTPUT_MAX {
            // Nothing below asks the broker, which may have ended the connection.
            return self.session.ended().map_or(Ok(()), |reason| Err(End::Broker(reason)));
        }
        TAKEN.with_borrow_mut(|taken| {
            let result = self.deliver_by(taken, now);
            taken.clear();
            result
        })
    }

    fn deliver_by(&mut self, taken: &mut Vec<Outgoing>, now: Timestamp) -> Result<(), End> {
        let mut more = true;
        while more && self.io.pending() < OUTPUT_MAX {
            more = match self.session.take(now, TAKE_MAX, taken) {
                Ok(more) => more,
                Err(Reason::ServerBusy) => {
                    self.stall(None);
                    false
                }
                Err(reason) => return Err(End::Broker(reason)),
            };
            // Once for all of them, instead of growing step by step.
            self.io.reserve(taken.iter().map(length).sum());
            self.sent.inc_by(taken.len() as u64);
            for outgoing in taken.drain(..) {
                match outgoing {
                    Outgoing::Publish(publish) => self.send(&publish, now)?,
                    Outgoing::PubRel(id) => self.io.put_reply(self.speech, &Reply::PubRel(id, None))?,
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, publish: &OutgoingPublish, now: Timestamp) -> Result<(), End> {
        let speech = self.speech;
        let Err(error) = self.io.put_with(|out| speech.publish(publish, out)) else { return Ok(()) };
        // It would come again for ever; no client can be sent it.
        tracing::warn!(topic = %publish.message.topic, %error, "a message cannot be written and is left out");
        let done = match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, Some(id)) => self.session.puback(id),
            (QoS::ExactlyOnce, Some(id)) => self.session.pubrec(id, true, now).map(drop),
            _ => Ok(()),
        };
        done.map_err(End::Broker)
    }
}

/// About how many bytes a packet takes, properties aside.
fn length(outgoing: &Outgoing) -> usize {
    match outgoing {
        Outgoing::Publish(publish) => 16 + publish.message.topic.len() + publish.message.payload.len(),
        Outgoing::PubRel(_) => 4,
    }
}
