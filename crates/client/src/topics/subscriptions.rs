//! What is subscribed, and what was asked and not answered.

use super::codec::Codec;
use super::ids::Ids;
use super::outbound::said;
use super::{Error, Reply, Result, Subscription};
use bytes::BytesMut;
use bytestring::ByteString;
use ironbrook_wire::mqtt::PacketId;
use ironbrook_wire::mqtt::v5::{
    Packet, ReasonCode, SubAck, Subscribe, SubscribeFilter, SubscribeProperties, UnsubAck, Unsubscribe,
    UnsubscribeProperties,
};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Filters of one SUBSCRIBE; also what the codec takes.
pub(super) const FILTERS_MAX: usize = ironbrook_wire::mqtt::v5::FILTERS_MAX;
/// Filters a client remembers, to subscribe to them again.
const REMEMBERED_MAX: usize = 4096;
/// Requests that are not answered, and such that wait for a connection.
const REQUESTS_MAX: usize = 256;

/// A request that is answered.
#[derive(Debug)]
pub(super) enum Request {
    /// Of subscriptions with the same id.
    Subscribe(Vec<Subscription>, Option<Reply<Vec<ReasonCode>>>),
    Unsubscribe(Vec<ByteString>, Reply<()>),
}

impl Request {
    pub(super) fn fail(self, error: Error) {
        match self {
            Self::Subscribe(_, Some(reply)) => drop(reply.send(Err(error))),
            Self::Subscribe(_, None) => {}
            Self::Unsubscribe(_, reply) => drop(reply.send(Err(error))),
        }
    }

    fn packet(&self, packet_id: PacketId) -> Packet {
        match self {
            Self::Subscribe(wishes, _) => {
                let subscription_identifier = wishes.first().and_then(|wish| wish.id);
                Packet::Subscribe(Subscribe {
                    packet_id,
                    properties: SubscribeProperties { subscription_identifier, ..Default::default() },
                    filters: wishes.iter().map(filter).collect(),
                })
            }
            Self::Unsubscribe(filters, _) => Packet::Unsubscribe(Unsubscribe {
                packet_id,
                properties: UnsubscribeProperties::default(),
                filters: filters.clone(),
            }),
        }
    }
}

fn filter(wish: &Subscription) -> SubscribeFilter {
    SubscribeFilter {
        filter: wish.filter.clone(),
        qos: wish.qos,
        no_local: wish.no_local,
        retain_as_published: wish.retain_as_published,
        retain_handling: wish.retain_handling,
    }
}

/// See the head of the file.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    remembered: BTreeMap<ByteString, Subscription>,
    asked: HashMap<PacketId, Request>,
    waiting: VecDeque<Request>,
}

impl Subscriptions {
    /// Takes a request, for [`send`](Self::send).
    pub(super) fn add(&mut self, request: Request) {
        let new = if let Request::Subscribe(wishes, _) = &request { wishes.len() } else { 0 };
        if self.asked.len() + self.waiting.len() >= REQUESTS_MAX {
            let busy =
                format!("{REQUESTS_MAX} requests are not answered yet; wait for some before you ask more");
            request.fail(Error::Configuration(busy));
        } else if self.remembered.len() + new > REMEMBERED_MAX {
            let many = format!("a client subscribes to at most {REMEMBERED_MAX} filters; use wildcards");
            request.fail(Error::Configuration(many));
        } else {
            self.waiting.push_back(request);
        }
    }

    /// Sends what waits. What cannot be written fails alone.
    pub(super) fn send(&mut self, codec: Codec, ids: &mut Ids, out: &mut BytesMut) {
        while let Some(request) = self.waiting.pop_front() {
            let id = ids.take();
            match codec.encode(&request.packet(id), out) {
                Ok(()) => drop(self.asked.insert(id, request)),
                Err(error) => {
                    ids.free(id);
                    request.fail(error);
                }
            }
        }
    }

    /// A connection was accepted: what was not answered is asked again, and a server without a session is told everything.
    pub(super) fn connected(&mut self, session_present: bool, ids: &mut Ids) {
        let mut asked: Vec<_> = self.asked.drain().collect();
        asked.sort_unstable_by_key(|(id, _)| *id);
        for (id, request) in asked.into_iter().rev() {
            ids.free(id);
            self.waiting.push_front(request);
        }
        if session_present {
            return;
        }
        let mut by_id: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for wish in self.remembered.values() {
            by_id.entry(wish.id).or_default().push(wish.clone());
        }
        for wishes in by_id.into_values().rev() {
            for wishes in wishes.chunks(FILTERS_MAX) {
                // Before what waits: an unsubscription among it comes later.
                self.waiting.push_front(Request::Subscribe(wishes.to_vec(), None));
            }
        }
    }

    /// SUBACK came.
    pub(super) fn sub_ack(&mut self, ack: SubAck, ids: &mut Ids) -> Result<()> {
        let Some(Request::Subscribe(wishes, reply)) = self.asked.remove(&ack.packet_id) else {
            return Err(Error::Protocol("a SUBACK that nobody waits for".to_owned()));
        };
        ids.free(ack.packet_id);
        if ack.reasons.len() != wishes.len() {
            let error = Error::Protocol("a SUBACK with a wrong number of answers".to_owned());
            Request::Subscribe(wishes, reply).fail(error.clone());
            return Err(error);
        }
        for (wish, reason) in wishes.into_iter().zip(&ack.reasons) {
            if !reason.is_error() {
                self.remembered.insert(wish.filter.clone(), wish);
            } else if reply.is_none() {
                let said = said(ack.properties.reason_string.as_ref());
                tracing::warn!(filter = %wish.filter, %reason, ?said, "the server refuses a subscription it had granted before");
            }
        }
        if let Some(reply) = reply {
            let _ = reply.send(Ok(ack.reasons));
        }
        Ok(())
    }

    /// UNSUBACK came.
    pub(super) fn unsub_ack(&mut self, ack: &UnsubAck, ids: &mut Ids) -> Result<()> {
        let Some(Request::Unsubscribe(filters, reply)) = self.asked.remove(&ack.packet_id) else {
            return Err(Error::Protocol("an UNSUBACK that nobody waits for".to_owned()));
        };
        ids.free(ack.packet_id);
        // In MQTT 3.1.1 there are no reasons.
        let refused = ack.reasons.iter().zip(&filters).find(|(reason, _)| reason.is_error());
        let outcome = match refused {
            Some((reason, filter)) => {
                let said = said(ack.properties.reason_string.as_ref());
                Err(Error::Refused { topic: filter.to_string(), reason: *reason, said })
            }
            None => Ok(()),
        };
        for filter in filters {
            self.remembered.remove(&filter);
        }
        let _ = reply.send(outcome);
        Ok(())
    }

    /// Nothing will ever be asked again.
    pub(super) fn fail(&mut self, error: &Error) {
        let asked = self.asked.drain().map(|(_, request)| request);
        asked.chain(self.waiting.drain(..)).for_each(|request| request.fail(error.clone()));
    }
}
