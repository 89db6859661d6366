//! Telemetry that was sent and not yet acknowledged: kept in order, bounded, sent again on the next connection.

use super::Reply;
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use ironbrook_wire::mqtt::v4::{self, Packet, PacketId, Publish, QoS};
use std::collections::VecDeque;

/// A message on its way out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub topic: ByteString,
    pub payload: Bytes,
    pub done: Reply<()>,
}

/// The window of unacknowledged messages.
#[derive(Debug)]
pub(crate) struct Window {
    in_flight: VecDeque<(PacketId, Outgoing)>,
    capacity: usize,
}

impl Window {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { in_flight: VecDeque::with_capacity(capacity), capacity }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.in_flight.len() < self.capacity
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    pub(crate) fn uses(&self, id: PacketId) -> bool {
        self.in_flight.iter().any(|(used, _)| *used == id)
    }

    /// Sends a message for the first time. A message that cannot be encoded fails alone.
    pub(crate) fn send(&mut self, id: PacketId, message: Outgoing, out: &mut BytesMut) {
        match v4::encode(&publish(id, &message, false), out) {
            Ok(()) => self.in_flight.push_back((id, message)),
            Err(error) => drop(message.done.send(Err(crate::Error::Configuration(error.to_string())))),
        }
    }

    /// Sends everything again, oldest first, as a new connection begins (rule CLIENT-03).
    pub(crate) fn resend(&self, out: &mut BytesMut) {
        for (id, message) in &self.in_flight {
            // It was encoded before, so it can be again.
            let _ = v4::encode(&publish(*id, message, true), out);
        }
    }

    /// The hub has it. An unknown id is an answer to an earlier connection's copy and means nothing.
    pub(crate) fn acknowledge(&mut self, id: PacketId) {
        if let Some(at) = self.in_flight.iter().position(|(used, _)| *used == id)
            && let Some((_, message)) = self.in_flight.remove(at)
        {
            let _ = message.done.send(Ok(()));
        }
    }

    pub(crate) fn fail(&mut self, error: &crate::Error) {
        for (_, message) in self.in_flight.drain(..) {
            let _ = message.done.send(Err(error.clone()));
        }
    }
}

fn publish(id: PacketId, message: &Outgoing, dup: bool) -> Packet {
    Packet::Publish(Publish {
        dup,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: message.topic.clone(),
        packet_id: Some(id),
        payload: message.payload.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    fn message(topic: &'static str) -> (Outgoing, oneshot::Receiver<crate::Result<()>>) {
        let (done, receipt) = oneshot::channel();
        (Outgoing { topic: topic.into(), payload: Bytes::new(), done }, receipt)
    }

    #[test]
    fn resends_in_order_what_was_not_acknowledged() {
        let mut window = Window::new(2);
        let mut out = BytesMut::new();
        let id = |n| PacketId::new(n).unwrap();
        let (first, mut first_receipt) = message("a");
        let (second, mut second_receipt) = message("b");
        window.send(id(7), first, &mut out);
        window.send(id(8), second, &mut out);
        assert!(!window.has_room());
        window.acknowledge(id(7));
        window.acknowledge(id(99));
        assert!(matches!(first_receipt.try_recv(), Ok(Ok(()))));
        out.clear();
        window.resend(&mut out);
        let Ok(Some(Packet::Publish(again))) = v4::decode(&mut out, 1024) else { panic!("no publish") };
        assert!(again.dup && again.topic == "b" && again.packet_id == Some(id(8)) && out.is_empty());
        window.fail(&crate::Error::Closed);
        assert!(matches!(second_receipt.try_recv(), Ok(Err(crate::Error::Closed))));
    }

    #[test]
    fn a_message_that_cannot_be_encoded_fails_alone() {
        let mut window = Window::new(2);
        let (done, mut receipt) = oneshot::channel();
        let topic = "x".repeat(70_000).into();
        window.send(PacketId::MIN, Outgoing { topic, payload: Bytes::new(), done }, &mut BytesMut::new());
        assert!(matches!(receipt.try_recv(), Ok(Err(_))));
        assert!(window.is_empty());
    }
}
