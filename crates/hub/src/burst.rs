//! Telemetry of one session that arrived together and differs in its bodies alone.
//!
//! Devices send under one topic again and again, and a topic tells all of a message but its body. What follows from that, the
//! header in the log and what routes say without a look at the body, is worked out once and kept in an [`Envelope`]. What is the
//! same for all that arrived together, the time and the counters above all, is looked at once in a [`Burst`].

use crate::hub::Core;
use crate::router::{Facts, Outlook, Routes};
use crate::session::Session;
use crate::{record, telemetry};
use bytes::Bytes;
use ironbrook_log::Ticket;
use ironbrook_model::{Message, MessageSource, Refusal, Timestamp};
use serde_json::Value;
use std::sync::Arc;

/// A telemetry message of one session without its body.
#[derive(Debug)]
pub struct Envelope {
    message: Message,
    /// As it lies in the log.
    header: Box<[u8]>,
    /// What quotas count.
    metered_len: usize,
    outlook: Outlook,
}

impl Envelope {
    /// The envelope of a message; its body is left aside.
    pub fn new(session: &Session, message: Message) -> Self {
        let message = Message { body: Bytes::new(), ..message };
        let mut header = Vec::new();
        record::encode(&mut header, MessageSource::DeviceMessages, session.stamps(), &message);
        let metered_len = message.metered_len();
        Self { message, header: header.into(), metered_len, outlook: Outlook::default() }
    }

    /// The whole message with a body.
    pub fn message(&self, body: Bytes) -> Message {
        Message { body, ..self.message.clone() }
    }
}

/// See the module. Dropping it counts what it took.
pub struct Burst<'a> {
    core: &'a Core,
    session: &'a Session,
    routes: Routes,
    now: Timestamp,
    /// The sender's twin, once a message was taken; nothing in it where no route looks at twins.
    twin: Option<Option<Arc<Value>>>,
    received: u64,
    accepted: u64,
    /// Something came of it, be it that no route wanted it.
    is_activity: bool,
}

impl<'a> Burst<'a> {
    pub(crate) fn begin(core: &'a Core, session: &'a Session) -> Self {
        let (routes, now) = (core.router.routes(), core.now());
        Self { core, session, routes, now, twin: None, received: 0, accepted: 0, is_activity: false }
    }

    /// As [`Hub::telemetry`](crate::Hub::telemetry), for a body in an envelope of the burst's session.
    pub fn take(&mut self, envelope: &mut Envelope, body: &[u8]) -> Result<Option<Ticket>, Refusal> {
        // Asked each time: a session that lost its claim must not write behind the one that has it.
        if let Some(why) = self.session.closed() {
            return Err(why);
        }
        self.received += 1;
        let result = self.append(envelope, body);
        self.is_activity |= result.is_ok();
        match result {
            Ok(Some(_)) => self.accepted += 1,
            _ => telemetry::note(self.core, self.session, &envelope.message, &result, self.now),
        }
        result
    }

    fn append(&mut self, envelope: &mut Envelope, body: &[u8]) -> Result<Option<Ticket>, Refusal> {
        // Before the check, which counts what the message takes of the throttles.
        let twin = match &self.twin {
            Some(twin) => twin,
            None => {
                let twin = self.core.router.twin(MessageSource::DeviceMessages, self.session.identity())?;
                self.twin.insert(twin)
            }
        };
        telemetry::check(self.core, self.session, envelope.metered_len + body.len(), self.now)?;
        let facts = Facts { body, ..telemetry::facts(self.session, &envelope.message, self.now) };
        let facts = facts.with_twin(twin.as_deref());
        let choice = self.routes.choose_by(&mut envelope.outlook, &facts);
        telemetry::put(self.core, self.session.partition(), &facts, &choice, &envelope.header)
    }
}

impl Drop for Burst<'_> {
    fn drop(&mut self) {
        self.core.metrics.telemetry_received.inc_by(self.received);
        self.core.metrics.telemetry_accepted.inc_by(self.accepted);
        if self.is_activity {
            self.session.active(self.now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, COLD, device};
    use ironbrook_log::QueueId;
    use ironbrook_model::{ErrorCode, SystemProperty};
    use serde_json::json;

    fn message(body: &'static str) -> Message {
        let mut message = Message::new(body);
        message.system.set(SystemProperty::ContentType, "application/json");
        message.system.set(SystemProperty::ConnectionDeviceId, "d2");
        message.properties.set("Cold", "yes");
        message
    }

    #[tokio::test]
    async fn is_stored_as_single_messages_are() {
        let bench = Bench::new();
        let session = bench.connect("d1").await;
        bench.hub.telemetry(&session, &message("1")).unwrap();
        let mut envelope = Envelope::new(&session, message("left aside"));
        let mut burst = bench.hub.burst(&session);
        let tickets = ["1", "2"].map(|body| burst.take(&mut envelope, body.as_bytes()).unwrap().unwrap());
        drop(burst);
        bench.hub.durable(tickets[1]).await.unwrap();
        let stored = bench.stored(COLD).await;
        assert_eq!(stored[0].message, stored[1].message);
        assert_eq!(stored[2].message.body, "2");
        assert_eq!(stored[2].message, Message { body: "2".into(), ..stored[0].message.clone() });
        let metrics = &bench.metrics;
        assert_eq!((metrics.telemetry_received.get(), metrics.telemetry_accepted.get()), (3, 3));
        assert_eq!(envelope.message("3".into()), message("3"));
    }

    #[tokio::test]
    async fn goes_by_routes_that_were_replaced_before_it() {
        let bench = Bench::new();
        let session = bench.connect("d1").await;
        let mut envelope = Envelope::new(&session, message(""));
        let mut take = || bench.hub.burst(&session).take(&mut envelope, b"x").unwrap();
        assert!(take().is_some());
        bench.hub.router().replace(&[], false, &Default::default()).unwrap();
        assert_eq!(take(), None);
        assert_eq!(bench.metrics.telemetry_orphaned.get(), 1);
        bench.hub.router().replace(&[], true, &Default::default()).unwrap();
        bench.hub.durable(take().unwrap()).await.unwrap();
        assert_eq!(bench.stored(QueueId::EVENTS).await.len(), 1);
    }

    #[tokio::test]
    async fn counts_the_envelope_with_each_body_rule_hub_05() {
        let bench = Bench::new();
        let session = bench.connect("d1").await;
        let mut message = Message::default();
        message.properties.set("a", "bc");
        let mut envelope = Envelope::new(&session, message);
        let mut burst = bench.hub.burst(&session);
        burst.take(&mut envelope, &vec![0; 256 * 1024 - 3]).unwrap();
        let refused = burst.take(&mut envelope, &vec![0; 256 * 1024 - 2]).unwrap_err();
        assert_eq!(refused.code, ErrorCode::MessageTooLarge);
        drop(burst);
        assert_eq!((bench.metrics.telemetry_received.get(), bench.metrics.telemetry_refused.get()), (2, 1));
    }

    #[tokio::test]
    async fn goes_by_the_twin_as_it_was_at_its_first_message_rule_route_09() {
        let bench = Bench::with_twin_route("$twin.tags.site = 'north'");
        let put = |site: &str| bench.twins.put(&device("d1"), json!({"tags": {"site": site}}));
        put("north");
        let session = bench.connect("d1").await;
        let mut envelope = Envelope::new(&session, message(""));
        let mut burst = bench.hub.burst(&session);
        // It was read with the connect.
        assert!(burst.take(&mut envelope, b"1").unwrap().is_some());
        put("south");
        assert!(burst.take(&mut envelope, b"2").unwrap().is_some());
        drop(burst);
        let mut next = bench.hub.burst(&session);
        assert_eq!(next.take(&mut envelope, b"3").unwrap_err().code, ErrorCode::ServerBusy);
        bench.hub.room(&session).await.unwrap();
        assert_eq!(next.take(&mut envelope, b"3").unwrap(), None);
    }

    #[tokio::test]
    async fn takes_nothing_once_another_session_has_the_identity() {
        let bench = Bench::new();
        let session = bench.connect("d1").await;
        let mut envelope = Envelope::new(&session, message(""));
        let mut burst = bench.hub.burst(&session);
        assert!(burst.take(&mut envelope, b"x").is_ok());
        let _newer = bench.connect("d1").await;
        assert!(burst.take(&mut envelope, b"x").is_err());
    }
}
