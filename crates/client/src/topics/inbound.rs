//! Messages that came with QoS 1 or 2 and whose delivery is not over.

use super::flow::{Scope, Token};
use super::{Error, Result};
use ironbrook_wire::mqtt::v5::{Ack, Packet, ReasonCode};
use ironbrook_wire::mqtt::{PacketId, QoS};
use std::collections::{HashMap, VecDeque};

/// What a message that comes is to this side.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is handed on, and acknowledged by the token.
    New(Option<Token>),
    /// It was handed on before, and is acknowledged again.
    Acknowledged,
    /// It was handed on before, and is not yet acknowledged.
    Pending,
}

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Inbound {
    /// Of QoS 1, in the order they came, and whether the program is done with them. PUBACKs go out in this order
    /// [MQTT-4.6.0-2].
    at_least_once: VecDeque<(PacketId, bool)>,
    /// Of QoS 2 before their PUBREL, and whether the program is done with them.
    exactly_once: HashMap<PacketId, bool>,
    /// How many the program is not done with.
    pending: usize,
    connection: u64,
    session: u64,
    receive_maximum: usize,
}

impl Inbound {
    pub(super) fn new(receive_maximum: u16) -> Self {
        Self {
            at_least_once: VecDeque::new(),
            exactly_once: HashMap::new(),
            pending: 0,
            connection: 0,
            session: 0,
            receive_maximum: usize::from(receive_maximum),
        }
    }

    /// Whether the program may get more before it is done with some.
    pub(super) fn has_room(&self) -> bool {
        self.pending < self.receive_maximum
    }

    pub(super) fn connected(&mut self, session_present: bool) {
        self.connection += 1;
        self.at_least_once.clear();
        if !session_present {
            self.session += 1;
            self.exactly_once.clear();
        }
        self.pending = self.exactly_once.values().filter(|done| !**done).count();
    }

    /// A message came.
    pub(super) fn arrive(&mut self, qos: QoS, id: Option<PacketId>) -> Result<Arrival> {
        let Some(id) = id else { return Ok(Arrival::New(None)) };
        if qos == QoS::ExactlyOnce
            && let Some(done) = self.exactly_once.get(&id)
        {
            return Ok(if *done { Arrival::Acknowledged } else { Arrival::Pending });
        }
        if self.at_least_once.len() + self.exactly_once.len() >= 2 * self.receive_maximum {
            // Half of that would do in MQTT 5.0, where servers know the maximum.
            return Err(Error::Protocol("it sent more messages than may be unacknowledged".to_owned()));
        }
        self.pending += 1;
        let scope = if qos == QoS::ExactlyOnce {
            self.exactly_once.insert(id, false);
            Scope::Session(self.session)
        } else {
            self.at_least_once.push_back((id, false));
            Scope::Connection(self.connection)
        };
        Ok(Arrival::New(Some(Token { id, scope })))
    }

    /// The program is done with a message; gives the answers that may leave.
    pub(super) fn done(&mut self, token: Token, mut answer: impl FnMut(Packet)) {
        match token.scope {
            Scope::Connection(connection) if connection == self.connection => {
                let waiting = self.at_least_once.iter_mut().find(|(id, done)| *id == token.id && !*done);
                if let Some((_, done)) = waiting {
                    *done = true;
                    self.pending -= 1;
                }
                while let Some((id, true)) = self.at_least_once.front().copied() {
                    self.at_least_once.pop_front();
                    answer(Packet::PubAck(Ack::success(id)));
                }
            }
            Scope::Session(session) if session == self.session => {
                if let Some(done) = self.exactly_once.get_mut(&token.id).filter(|done| !**done) {
                    *done = true;
                    self.pending -= 1;
                    answer(Packet::PubRec(Ack::success(token.id)));
                }
            }
            // The server does not wait for it any more.
            _ => {}
        }
    }

    /// PUBREL came; gives the PUBCOMP.
    pub(super) fn released(&mut self, id: PacketId) -> Packet {
        Packet::PubComp(match self.exactly_once.remove(&id) {
            Some(done) => {
                self.pending -= usize::from(!done);
                Ack::success(id)
            }
            None => Ack::new(id, ReasonCode::PacketIdentifierNotFound),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u16) -> PacketId {
        PacketId::new(number).unwrap()
    }

    fn token(inbound: &mut Inbound, qos: QoS, number: u16) -> Token {
        match inbound.arrive(qos, Some(id(number))).unwrap() {
            Arrival::New(Some(token)) => token,
            other => panic!("{other:?}"),
        }
    }

    fn done(inbound: &mut Inbound, token: Token) -> Vec<Packet> {
        let mut answers = Vec::new();
        inbound.done(token, |packet| answers.push(packet));
        answers
    }

    #[test]
    fn acknowledgements_leave_in_the_order_the_messages_came() {
        let mut inbound = Inbound::new(2);
        inbound.connected(false);
        let first = token(&mut inbound, QoS::AtLeastOnce, 5);
        let second = token(&mut inbound, QoS::AtLeastOnce, 6);
        assert!(!inbound.has_room());
        assert_eq!(done(&mut inbound, second), []);
        assert_eq!(done(&mut inbound, second), [], "a second time means nothing");
        assert!(inbound.has_room());
        let both = [5, 6].map(|number| Packet::PubAck(Ack::success(id(number))));
        assert_eq!(done(&mut inbound, first), both);
    }

    #[test]
    fn what_was_handed_on_with_qos_2_is_not_handed_on_again_by_another_connection_of_the_session() {
        let mut inbound = Inbound::new(4);
        inbound.connected(false);
        let held = token(&mut inbound, QoS::ExactlyOnce, 1);
        let old = token(&mut inbound, QoS::AtLeastOnce, 2);
        inbound.connected(true);
        assert_eq!(inbound.arrive(QoS::ExactlyOnce, Some(id(1))).unwrap(), Arrival::Pending);
        assert_eq!(done(&mut inbound, held), [Packet::PubRec(Ack::success(id(1)))]);
        assert_eq!(inbound.arrive(QoS::ExactlyOnce, Some(id(1))).unwrap(), Arrival::Acknowledged);
        assert_eq!(done(&mut inbound, old), [], "it comes again by itself");
        assert_eq!(inbound.released(id(1)), Packet::PubComp(Ack::success(id(1))));
        let unknown = Ack::new(id(1), ReasonCode::PacketIdentifierNotFound);
        assert_eq!(inbound.released(id(1)), Packet::PubComp(unknown));

        let held = token(&mut inbound, QoS::ExactlyOnce, 1);
        inbound.connected(false);
        assert_eq!(done(&mut inbound, held), [], "the server has forgotten it");
        token(&mut inbound, QoS::ExactlyOnce, 1);
    }

    #[test]
    fn a_server_that_sends_without_end_is_left() {
        let mut inbound = Inbound::new(1);
        inbound.connected(false);
        for number in 1..=2 {
            token(&mut inbound, QoS::ExactlyOnce, number);
        }
        assert!(inbound.arrive(QoS::AtLeastOnce, Some(id(3))).is_err());
    }
}
