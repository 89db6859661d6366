//! What a client sends.

use super::{Connection, End};
use crate::topics::convert::{publish_v4, publish_v5, subscription_v4, subscription_v5};
use crate::topics::enhanced::{self, ExchangeStep};
use crate::topics::speech::{Reply, Speech};
use bytes::Buf as _;
use bytestring::ByteString;
use ironbrook_model::Timestamp;
use ironbrook_pubsub::{Publish, QoS, Reason, Subscription, Wakes};
use ironbrook_wire::mqtt::v5::ReasonCode;
use ironbrook_wire::mqtt::{PacketId, Sender, topic, v4, v5};
use tokio::io::{AsyncRead, AsyncWrite};

/// What the broker may have no room for at first.
#[derive(Debug)]
pub(super) enum Request {
    Publish(Publish),
    PubRec(PacketId, bool),
    PubRel(PacketId),
    Subscribe(PacketId, Vec<Subscription>),
    Unsubscribe(PacketId, Vec<ByteString>),
}

impl From<v4::Violation> for End {
    fn from(violation: v4::Violation) -> Self {
        Self::Fault { code: ReasonCode::MalformedPacket, text: violation.to_string() }
    }
}

impl From<v5::Violation> for End {
    fn from(violation: v5::Violation) -> Self {
        Self::Fault { code: violation.reason(), text: violation.to_string() }
    }
}

/// The identifier of a PUBACK without reason and properties.
fn puback(packet: &[u8]) -> Option<PacketId> {
    match packet {
        [0x40, 2, high, low] => PacketId::new(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}

fn unexpected(what: &str) -> End {
    End::Fault { code: ReasonCode::ProtocolError, text: format!("it sent {what}") }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Takes every whole packet of what was read, unless something has to be waited for.
    pub(super) fn parse(&mut self, now: Timestamp, wakes: &mut Wakes) -> Result<(), End> {
        while !self.is_blocked() {
            self.take_pubacks()?;
            match self.speech {
                Speech::V4 => match self.io.take(v4::decode)? {
                    Some(packet) => self.on_v4(packet, now, wakes)?,
                    None => break,
                },
                Speech::V5(_) => match self.io.take(v5::decode)? {
                    Some(packet) => self.on_v5(packet, now, wakes)?,
                    None => break,
                },
            }
        }
        Ok(())
    }

    /// Takes PUBACKs in their shortest form, which is the same in both versions and stands in long rows where a client takes
    /// much: decoded and looked up one by one they would cost more than the messages they answer.
    fn take_pubacks(&mut self) -> Result<(), End> {
        let session = &mut self.session;
        let taken = self.io.take(|input, _| {
            let row = input.chunks_exact(4).take_while(|packet| puback(packet).is_some()).count() * 4;
            if row > 0 {
                session.pubacks(input[..row].chunks_exact(4).filter_map(puback))?;
                input.advance(row);
            }
            Ok::<_, Reason>(None::<()>)
        });
        taken.map(drop).map_err(End::Broker)
    }

    fn on_v4(&mut self, packet: v4::Packet, now: Timestamp, wakes: &mut Wakes) -> Result<(), End> {
        match packet {
            v4::Packet::Publish(publish) => self.publish(publish_v4(publish), now, wakes),
            v4::Packet::PubAck(id) => self.on_puback(id),
            v4::Packet::PubRec(id) => self.perform(Request::PubRec(id, false), now, wakes),
            v4::Packet::PubRel(id) => self.perform(Request::PubRel(id), now, wakes),
            v4::Packet::PubComp(id) => self.on_pubcomp(id),
            v4::Packet::PingReq => self.pong(),
            v4::Packet::Disconnect => Err(End::Disconnected { with_will: false, expiry: None }),
            // [MQTT-3.1.0-2]
            v4::Packet::Connect(_) => Err(unexpected("a second CONNECT")),
            packet => {
                packet.check(Sender::Client)?;
                match packet {
                    v4::Packet::Subscribe(v4::Subscribe { packet_id, filters }) => {
                        let wishes = filters.into_iter().map(subscription_v4).collect();
                        self.perform(Request::Subscribe(packet_id, wishes), now, wakes)
                    }
                    v4::Packet::Unsubscribe(v4::Unsubscribe { packet_id, filters }) => {
                        self.perform(Request::Unsubscribe(packet_id, filters), now, wakes)
                    }
                    _ => Err(unexpected("a packet that only servers send")),
                }
            }
        }
    }

    fn on_v5(&mut self, packet: v5::Packet, now: Timestamp, wakes: &mut Wakes) -> Result<(), End> {
        match packet {
            v5::Packet::Publish(publish) => {
                check(&publish)?;
                self.publish(publish_v5(publish), now, wakes)
            }
            v5::Packet::PubAck(ack) => self.on_puback(ack.packet_id),
            v5::Packet::PubRec(ack) => {
                self.perform(Request::PubRec(ack.packet_id, ack.reason.is_error()), now, wakes)
            }
            v5::Packet::PubRel(ack) => self.perform(Request::PubRel(ack.packet_id), now, wakes),
            v5::Packet::PubComp(ack) => self.on_pubcomp(ack.packet_id),
            v5::Packet::PingReq => self.pong(),
            // [MQTT-3.1.0-2]
            v5::Packet::Connect(_) => Err(unexpected("a second CONNECT")),
            packet => {
                packet.check(Sender::Client)?;
                match packet {
                    v5::Packet::Subscribe(v5::Subscribe { packet_id, properties, filters }) => {
                        let id = properties.subscription_identifier;
                        let wishes = filters.into_iter().map(|wish| subscription_v5(wish, id)).collect();
                        self.perform(Request::Subscribe(packet_id, wishes), now, wakes)
                    }
                    v5::Packet::Unsubscribe(v5::Unsubscribe { packet_id, filters, .. }) => {
                        self.perform(Request::Unsubscribe(packet_id, filters), now, wakes)
                    }
                    v5::Packet::Disconnect(end) => Err(End::Disconnected {
                        with_will: end.reason != ReasonCode::NORMAL_DISCONNECTION,
                        expiry: end.properties.session_expiry_interval,
                    }),
                    v5::Packet::Auth(auth) => self.on_auth(auth),
                    _ => Err(unexpected("a packet that only servers send")),
                }
            }
        }
    }

    /// A client proves again who it is (section 4.12.1); everything else goes on meanwhile.
    fn on_auth(&mut self, auth: v5::Auth) -> Result<(), End> {
        let (Some(proven), Speech::V5(speech)) = (&mut self.proven, self.speech) else {
            // [MQTT-4.12.0-6]: there is none to go on with.
            return Err(unexpected("AUTH, although CONNECT named no authentication method"));
        };
        // [MQTT-4.12.1-1]
        if auth.properties.authentication_method.as_deref() != Some(proven.method.name()) {
            return Err(unexpected("AUTH with another authentication method than CONNECT"));
        }
        if auth.reason == ReasonCode::ReAuthenticate {
            proven.exchange = Some(proven.method.begin(self.broker.acl()));
        }
        let Some(exchange) = &mut proven.exchange else {
            return Err(unexpected("AUTH to go on with an authentication that did not begin"));
        };
        let (reason, data) = match exchange.step(&enhanced::data(auth)) {
            Some(ExchangeStep::Continue(data)) => (ReasonCode::ContinueAuthentication, data),
            Some(ExchangeStep::Done { user, data }) if user == proven.user => {
                proven.exchange = None;
                (ReasonCode::Success, data)
            }
            // [MQTT-4.12.1-2]
            _ => return Err(End::Broker(Reason::NotAuthorized)),
        };
        let name = proven.method.name();
        Ok(self.io.put_with(|out| enhanced::put(name, reason, data, speech, out))?)
    }

    pub(super) fn publish(&mut self, publish: Publish, now: Timestamp, wakes: &mut Wakes) -> Result<(), End> {
        match self.session.publish(&publish, now, wakes) {
            Ok(answer) => {
                self.received.inc();
                match (publish.qos, publish.packet_id) {
                    (QoS::AtLeastOnce, Some(id)) => self.reply(answer.mark, Reply::PubAck(id, answer.reason)),
                    (QoS::ExactlyOnce, Some(id)) => self.reply(answer.mark, Reply::PubRec(id, answer.reason)),
                    _ => Ok(()),
                }
            }
            Err(Reason::ServerBusy) => {
                self.stall(Some(Request::Publish(publish)));
                Ok(())
            }
            Err(reason) => Err(End::Broker(reason)),
        }
    }

    /// Does what a packet asks for, or keeps it until there is room.
    pub(super) fn perform(&mut self, request: Request, now: Timestamp, wakes: &mut Wakes) -> Result<(), End> {
        let done = match &request {
            Request::Publish(_) => {
                let Request::Publish(publish) = request else { return Ok(()) };
                return self.publish(publish, now, wakes);
            }
            Request::PubRec(id, failed) => self
                .session
                .pubrec(*id, *failed, now)
                .map(|answer| answer.map(|answer| (answer.mark, Reply::PubRel(*id, answer.reason)))),
            Request::PubRel(id) => {
                let answer = self.session.pubrel(*id, now);
                answer.map(|answer| Some((answer.mark, Reply::PubComp(*id, answer.reason))))
            }
            Request::Subscribe(id, wishes) => {
                let granted = self.session.subscribe(wishes, now);
                granted.map(|granted| Some((granted.mark, Reply::SubAck(*id, granted.answers))))
            }
            Request::Unsubscribe(id, filters) => {
                let granted = self.session.unsubscribe(filters, now);
                granted.map(|granted| Some((granted.mark, Reply::UnsubAck(*id, granted.answers))))
            }
        };
        match done {
            Ok(Some((mark, reply))) => self.reply(mark, reply),
            Ok(None) => Ok(()),
            Err(Reason::ServerBusy) => {
                self.stall(Some(request));
                Ok(())
            }
            Err(reason) => Err(End::Broker(reason)),
        }
    }

    fn on_puback(&mut self, id: PacketId) -> Result<(), End> {
        settled(self.session.puback(id))
    }

    fn on_pubcomp(&mut self, id: PacketId) -> Result<(), End> {
        settled(self.session.pubcomp(id))
    }
}

/// An answer to what is not under way may be late; it says nothing.
fn settled(result: Result<(), Reason>) -> Result<(), End> {
    match result {
        Ok(()) | Err(Reason::PacketIdentifierNotFound) => Ok(()),
        Err(reason) => Err(End::Broker(reason)),
    }
}

/// What the broker does not look at; the name it does.
fn check(publish: &v5::Publish) -> Result<(), v5::Violation> {
    let properties = &publish.properties;
    if !properties.subscription_identifiers.is_empty() {
        // [MQTT-3.3.4-6]
        let id = v5::PropertyId::SubscriptionIdentifier;
        return Err(v5::Violation::PropertySender { id, sender: Sender::Client });
    }
    // [MQTT-3.3.2-14]
    let response_topic = properties.response_topic.as_deref();
    response_topic.map_or(Ok(()), topic::check_name).map_err(v5::Violation::TopicName)
}
