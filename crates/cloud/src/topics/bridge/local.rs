//! A client of the broker inside this process.

use super::{Error, Ground};
use ironbrook_pubsub::acl::INTERNAL_USER;
use ironbrook_pubsub::{
    Answer, ClientInfo, Outgoing, OutgoingPublish, Publish, QoS, Reason, SessionHandle, Subscription,
    Version, Wakes,
};
use std::collections::VecDeque;
use std::num::NonZeroU16;

/// Packets taken at a time.
const TAKE: usize = 64;
/// The identifier of messages this side publishes: each is over before the next begins.
const PUBLISH_ID: NonZeroU16 = NonZeroU16::MIN;

/// The session a bridge has here.
pub(super) struct Needs {
    /// The bridge's name.
    pub(super) name: String,
    /// Messages that may be under way from the broker.
    pub(super) window: u16,
    /// Whether publishers wait where its queue is full; else it is as `when_full` says.
    pub(super) holds_back: bool,
    /// What it takes.
    pub(super) subscriptions: Vec<Subscription>,
}

/// See the head of the file.
pub(super) struct Local {
    ground: Ground,
    handle: SessionHandle,
    taken: VecDeque<OutgoingPublish>,
    scratch: Vec<Outgoing>,
}

impl Local {
    /// Opens, or goes on with, a bridge's persistent session. Filters of an earlier configuration stay with it until it expires:
    /// who takes its messages passes over what it does not know.
    pub(super) async fn open(ground: &Ground, needs: &Needs) -> Result<Self, Error> {
        let Needs { name, window, holds_back, subscriptions } = needs;
        let Ground { broker, clock, .. } = ground;
        let client = ClientInfo {
            user: Some(INTERNAL_USER.into()),
            clean_start: false,
            session_expiry: u32::MAX,
            receive_maximum: *window,
            holds_back: *holds_back,
            ..ClientInfo::new(format!("$bridge/{name}"), Version::V5)
        };
        let connected = loop {
            match broker.connect(client.clone(), clock.now()) {
                Err(Reason::ServerBusy) => broker.room().await?,
                other => break other?,
            }
        };
        let mut handle = connected.session;
        let mut mark = connected.mark;
        if !subscriptions.is_empty() {
            let granted = loop {
                match handle.subscribe(subscriptions, clock.now()) {
                    Err(Reason::ServerBusy) => broker.room().await?,
                    other => break other?,
                }
            };
            mark = granted.mark.or(mark);
            for (subscription, answer) in subscriptions.iter().zip(granted.answers) {
                if let Err(reason) = answer {
                    tracing::warn!(bridge = name, filter = %subscription.filter, %reason, "not subscribed");
                }
            }
        }
        if let Some(mark) = mark {
            broker.durable(mark).await?;
        }
        Ok(Self { ground: ground.clone(), handle, taken: VecDeque::new(), scratch: Vec::new() })
    }

    /// The next message. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<OutgoingPublish, Error> {
        loop {
            if let Some(publish) = self.try_next()? {
                return Ok(publish);
            }
            self.handle.rung().await;
        }
    }

    /// A message that is here already.
    pub(super) fn try_next(&mut self) -> Result<Option<OutgoingPublish>, Error> {
        if let Some(publish) = self.taken.pop_front() {
            return Ok(Some(publish));
        }
        let taken = self.handle.take(self.ground.clock.now(), TAKE, &mut self.scratch);
        for outgoing in self.scratch.drain(..) {
            match outgoing {
                Outgoing::Publish(publish) => self.taken.push_back(publish),
                // Of an earlier configuration with QoS 2.
                Outgoing::PubRel(id) => drop(self.handle.pubcomp(id)),
            }
        }
        match taken {
            // What it could not write down is written down later.
            Ok(_) | Err(Reason::ServerBusy) => Ok(self.taken.pop_front()),
            Err(reason) => Err(reason.into()),
        }
    }

    /// The other side has a message.
    pub(super) fn done(&mut self, id: Option<NonZeroU16>) {
        if let Some(id) = id {
            // Unknown is what an earlier connection of the session had: it comes again.
            let _ = self.handle.puback(id);
        }
    }

    /// Publishes for the bridge, in its session, so that it does not get it back; gives what to wait for until it is on disk.
    ///
    /// # Errors
    /// The session is over. A refusal of the message alone is in the answer.
    pub(super) async fn publish(&mut self, mut publish: Publish) -> Result<Answer, Error> {
        publish.packet_id = (publish.qos > QoS::AtMostOnce).then_some(PUBLISH_ID);
        let mut wakes = Wakes::new();
        loop {
            let Ground { broker, clock, .. } = &self.ground;
            match self.handle.publish(&publish, clock.now(), &mut wakes) {
                Ok(answer) => {
                    wakes.flush();
                    self.release(publish.qos).await?;
                    return Ok(answer);
                }
                Err(Reason::ServerBusy) => {
                    wakes.flush();
                    broker.room().await?;
                }
                // Of this message, whatever the next may be.
                Err(reason @ (Reason::TopicNameInvalid | Reason::PacketTooLarge)) => {
                    return Ok(Answer { reason: Some(reason), mark: None });
                }
                Err(reason) => return Err(reason.into()),
            }
        }
    }

    async fn release(&mut self, qos: QoS) -> Result<(), Error> {
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.handle.answered(1),
            QoS::ExactlyOnce => loop {
                let Ground { broker, clock, .. } = &self.ground;
                match self.handle.pubrel(PUBLISH_ID, clock.now()) {
                    Err(Reason::ServerBusy) => broker.room().await?,
                    other => {
                        other?;
                        break;
                    }
                }
            },
        }
        Ok(())
    }
}
