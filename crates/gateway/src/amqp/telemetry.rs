//! The hot path: transfers of a read are offered to the hub one after the other, waited for once, and answered in ranges.

use super::convert;
use super::device::{Device, DeviceState};
use super::door::{Done, Door};
use super::failure;
use super::link::Key;
use futures_util::FutureExt as _;
use ironbrook_hub::Hub;
use ironbrook_log::Ticket;
use ironbrook_model::{ErrorCode, Message, Refusal};
use ironbrook_wire::amqp::{self, AmqpError, DeliveryState, LinkId};
use std::collections::VecDeque;

/// Deliveries of a link that may wait for the disk.
pub(super) const WINDOW: u32 = 500;

/// A delivery whose messages were all taken; to be accepted when they are on disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    link: LinkId,
    id: u32,
    len: usize,
    settled: bool,
    ticket: Option<Ticket>,
}

/// A delivery that could not be taken yet.
pub(super) struct Stalled {
    taken: Taken,
    /// What is left of its messages.
    messages: VecDeque<Message>,
}

impl Door {
    pub(super) fn take_telemetry(&mut self, key: Key, delivery: amqp::Delivery) {
        let amqp::Delivery { link, id, format, settled, payload, .. } = delivery;
        let len = payload.len();
        let mut taken = Taken { link, id, len, settled, ticket: None };
        let messages = match read(format, &payload) {
            Ok(messages) => messages,
            Err(error) => return self.reject(&taken, error),
        };
        self.received.inc_by(messages.len() as u64);
        let Some(hub) = self.services.hub.clone() else { return };
        let Some(DeviceState::Live(device)) = self.devices.get_mut(&key) else {
            return self.answered(link, len);
        };
        let mut messages = VecDeque::from(messages);
        if !device.stalled.is_empty() {
            // Order is kept: nobody overtakes those who wait.
            device.stalled.push_back(Stalled { taken, messages });
            return;
        }
        match offer(&hub, device, &mut taken, &mut messages) {
            Ok(()) => {
                if device.taken.is_empty() {
                    self.touched.push(key);
                }
                device.taken.push(taken);
            }
            Err(refusal) if is_busy(&refusal) => {
                device.stalled.push_back(Stalled { taken, messages });
                self.wait_for_room(key);
            }
            Err(refusal) => {
                let error = failure::error(&refusal, self.now());
                self.reject(&taken, error);
            }
        }
    }

    /// Begins to wait for the disk, once per device for all of the read: its tickets are in order.
    pub(super) fn flush_telemetry(&mut self) {
        while let Some(key) = self.touched.pop() {
            let Some(DeviceState::Live(device)) = self.devices.get_mut(&key) else { continue };
            let taken = std::mem::take(&mut device.taken);
            let last = taken.iter().rev().find_map(|t| t.ticket);
            match (last, self.services.hub.clone()) {
                (Some(ticket), Some(hub)) => {
                    self.jobs.push(async move { Done::Durable(taken, hub.durable(ticket).await) }.boxed())
                }
                // No queue wanted any of them.
                _ => self.on_durable(&taken, Ok(())),
            }
        }
    }

    /// Answers deliveries, those that follow each other with one disposition.
    pub(super) fn on_durable(&mut self, taken: &[Taken], result: Result<(), Refusal>) {
        if let Err(refusal) = result {
            tracing::warn!(peer = %self.peer.addr, code = %refusal.code, reason = %refusal.message,
                "telemetry is not on disk and is rejected");
            let error = failure::error(&refusal, self.now());
            for one in taken {
                self.reject(one, error.clone());
            }
            return;
        }
        let unsettled: Vec<_> = taken.iter().filter(|t| !t.settled).collect();
        let follows = |a: &&Taken, b: &&Taken| a.link == b.link && a.id.wrapping_add(1) == b.id;
        for range in unsettled.chunk_by(follows) {
            let (Some(first), Some(last)) = (range.first(), range.last()) else { continue };
            self.conn.settle(first.link, first.id, last.id, DeliveryState::Accepted);
        }
        for one in taken {
            self.answered(one.link, one.len);
        }
    }

    fn reject(&mut self, taken: &Taken, error: AmqpError) {
        if taken.settled {
            tracing::debug!(peer = %self.peer.addr, %error, "a message that was sent settled is dropped");
        } else {
            self.conn.settle(taken.link, taken.id, taken.id, DeliveryState::Rejected(Some(error)));
        }
        self.answered(taken.link, taken.len);
    }

    fn wait_for_room(&mut self, key: Key) {
        let (Some(hub), Some(session)) = (self.services.hub.clone(), self.session_of(key)) else { return };
        self.jobs.push(async move { Done::Room(key, hub.room(&session).await) }.boxed());
    }

    /// There is room again: those who waited are offered, in order.
    pub(super) fn on_room(&mut self, key: Key, result: Result<(), Refusal>) {
        let Some(hub) = self.services.hub.clone() else { return };
        loop {
            let Some(DeviceState::Live(device)) = self.devices.get_mut(&key) else { return };
            let Some(mut stalled) = device.stalled.pop_front() else { break };
            let offered =
                result.clone().and_then(|()| offer(&hub, device, &mut stalled.taken, &mut stalled.messages));
            match offered {
                Ok(()) => {
                    if device.taken.is_empty() {
                        self.touched.push(key);
                    }
                    device.taken.push(stalled.taken);
                }
                Err(refusal) if result.is_ok() && is_busy(&refusal) => {
                    device.stalled.push_front(stalled);
                    self.wait_for_room(key);
                    break;
                }
                Err(refusal) => {
                    let error = failure::error(&refusal, self.now());
                    self.reject(&stalled.taken, error);
                }
            }
        }
        self.flush_telemetry();
    }

    /// Forgets what a device's links have under way; its links are gone, so nobody is answered.
    pub(super) fn drop_telemetry(&mut self, device: &mut Device) {
        let stalled = device.stalled.drain(..).map(|s| s.taken.len);
        let taken = device.taken.drain(..).map(|t| t.len);
        self.in_flight = self.in_flight.saturating_sub(stalled.chain(taken).sum());
    }
}

/// The messages of a delivery: one, or those of a batch.
fn read(format: u32, payload: &bytes::Bytes) -> Result<Vec<Message>, AmqpError> {
    let messages = amqp::Message::decode_delivery(format, payload)
        .map_err(|error| AmqpError::new("amqp:decode-error", error.to_string()))?;
    messages
        .iter()
        .map(|m| {
            convert::from_amqp(m)
                .map_err(|r| AmqpError::new(r.code.amqp_condition().0, r.message.into_owned()))
        })
        .collect()
}

/// Offers the messages of a delivery to the hub, taking off the front what it took.
fn offer(
    hub: &Hub,
    device: &Device,
    taken: &mut Taken,
    messages: &mut VecDeque<Message>,
) -> Result<(), Refusal> {
    while let Some(message) = messages.front() {
        // The last ticket covers those before it.
        taken.ticket = hub.telemetry(&device.session, message)?.or(taken.ticket);
        messages.pop_front();
    }
    Ok(())
}

/// Whether the same message may be offered again.
fn is_busy(refusal: &Refusal) -> bool {
    refusal.code == ErrorCode::ServerBusy || refusal.code.http_status() == 429
}
