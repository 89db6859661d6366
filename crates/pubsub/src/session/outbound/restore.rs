//! The line as the journal keeps it, and put back from there.

use super::{Delivery, Outbound, Slot, State, earlier};
use crate::QoS;

impl Outbound {
    /// What is in the line, for the journal: number, state, QoS, message.
    pub(crate) fn line(&self) -> impl Iterator<Item = (u64, State, QoS, Option<&Delivery>)> {
        self.line
            .iter()
            .filter(|slot| slot.state != State::Done)
            .map(|slot| (slot.number, slot.state, slot.qos, slot.delivery.as_ref()))
    }

    /// Puts a message read back from disk at its number. False if that is in the past.
    pub(crate) fn restore(
        &mut self,
        number: u64,
        state: State,
        qos: QoS,
        delivery: Option<Delivery>,
    ) -> bool {
        if number < self.next {
            return false;
        }
        self.restore_next(number);
        if let Some(delivery) = &delivery {
            self.held += 1;
            self.bytes += delivery.message.size();
            self.expires = earlier(self.expires, delivery.message.expires);
        }
        self.line.push_back(Slot { number, delivery, state, qos });
        self.next = number + 1;
        true
    }

    /// Numbers below this may have been sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// The same, read back from disk.
    pub(crate) fn restore_sent(&mut self, sent: u64) {
        self.sent = self.sent.max(sent);
        let below = self.line.iter_mut().take_while(|slot| slot.number < sent);
        for slot in below.filter(|slot| slot.state == State::Waiting) {
            slot.state = State::Sent;
        }
    }

    /// The connection was there when the process ended, and nobody knows how far it had come: all may have been sent.
    pub(crate) fn restore_all_sent(&mut self) {
        self.restore_sent(self.next);
    }

    /// Sets the next number of a line read back from disk.
    pub(crate) fn restore_next(&mut self, number: u64) {
        self.next = self.next.max(number);
        if self.line.is_empty() {
            self.cursor = self.next;
        }
    }

    /// All is read back. Nobody knows what was sent to a client that was connected: the first messages may have been.
    pub(crate) fn restored(&mut self, maybe_sent: Option<u16>) {
        let alive = self.line.iter_mut().filter(|slot| slot.state != State::Done);
        let alive = alive.take(maybe_sent.unwrap_or_default().into());
        for slot in alive.filter(|slot| slot.state == State::Waiting) {
            slot.state = State::Sent;
        }
        self.tracked = true;
    }
}
