//! What the client subscribes to, and who waits for it.

use super::{Reply, topic};
use crate::error::Error;
use bytes::BytesMut;
use ironbrook_wire::mqtt::v4::{self, Packet, PacketId, QoS, SubAckCode, Subscribe, SubscribeFilter};

/// The four subscriptions there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feed {
    Messages,
    TwinAnswers,
    Desired,
    Methods,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Off,
    Wanted,
    Asked(PacketId),
    On,
}

#[derive(Debug)]
struct Subscription {
    feed: Feed,
    filter: String,
    qos: QoS,
    state: State,
    waiting: Vec<Reply<()>>,
}

/// All subscriptions of a client. They are asked for again on each connection, whatever the server remembers.
#[derive(Debug)]
pub(crate) struct Subscriptions([Subscription; 4]);

impl Subscriptions {
    pub(crate) fn new(topics: &topic::Topics) -> Self {
        let new =
            |feed, filter, qos| Subscription { feed, filter, qos, state: State::Off, waiting: Vec::new() };
        Self([
            new(Feed::Messages, topics.messages_filter(), QoS::AtLeastOnce),
            new(Feed::TwinAnswers, topic::TWIN_ANSWERS.to_owned(), QoS::AtMostOnce),
            new(Feed::Desired, topic::DESIRED.to_owned(), QoS::AtMostOnce),
            new(Feed::Methods, topic::METHODS.to_owned(), QoS::AtMostOnce),
        ])
    }

    /// Wants a feed; `waiting` is told when it is on.
    pub(crate) fn want(&mut self, feed: Feed, waiting: Option<Reply<()>>) {
        let Some(subscription) = self.0.iter_mut().find(|s| s.feed == feed) else { return };
        match (subscription.state, waiting) {
            (State::On, Some(waiting)) => drop(waiting.send(Ok(()))),
            (_, waiting) => subscription.waiting.extend(waiting),
        }
        if subscription.state == State::Off {
            subscription.state = State::Wanted;
        }
    }

    pub(crate) fn is_on(&self, feed: Feed) -> bool {
        self.0.iter().any(|s| s.feed == feed && s.state == State::On)
    }

    pub(crate) fn uses(&self, id: PacketId) -> bool {
        self.0.iter().any(|s| s.state == State::Asked(id))
    }

    /// A connection ended: everything that was on is wanted again.
    pub(crate) fn disconnected(&mut self) {
        for subscription in &mut self.0 {
            if subscription.state != State::Off {
                subscription.state = State::Wanted;
            }
        }
    }

    /// Writes a SUBSCRIBE for every feed that is wanted and not asked for.
    pub(crate) fn ask(&mut self, mut next_id: impl FnMut() -> PacketId, out: &mut BytesMut) {
        for subscription in self.0.iter_mut().filter(|s| s.state == State::Wanted) {
            let packet_id = next_id();
            let filter =
                SubscribeFilter { filter: subscription.filter.as_str().into(), qos: subscription.qos };
            // Filters are an id of 128 characters at most and some fixed text: they always fit.
            let _ = v4::encode(&Packet::Subscribe(Subscribe { packet_id, filters: vec![filter] }), out);
            subscription.state = State::Asked(packet_id);
        }
    }

    /// The server answered one; gives the feed that is on now.
    pub(crate) fn answered(&mut self, id: PacketId, code: Option<SubAckCode>) -> Option<Feed> {
        let subscription = self.0.iter_mut().find(|s| s.state == State::Asked(id))?;
        let granted = matches!(code, Some(SubAckCode::Granted(_)));
        subscription.state = if granted { State::On } else { State::Off };
        for waiting in subscription.waiting.drain(..) {
            let refused = || Error::Refused {
                status: 403,
                message: format!("subscription to {:?}", subscription.feed),
            };
            let _ = waiting.send(if granted { Ok(()) } else { Err(refused()) });
        }
        granted.then_some(subscription.feed)
    }

    pub(crate) fn fail(&mut self, error: &Error) {
        for waiting in self.0.iter_mut().flat_map(|s| s.waiting.drain(..)) {
            let _ = waiting.send(Err(error.clone()));
        }
    }
}
