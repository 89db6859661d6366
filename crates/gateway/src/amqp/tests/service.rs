//! Links of the service side, on a small service of the test's own.

use super::client::Client;
use crate::fakes::{KEY, World, eventually};
use crate::{AmqpService, Attach, Metrics, ServiceSink, ServiceSource, Services};
use async_trait::async_trait;
use bytes::Bytes;
use ironbrook_hub::{Hub, Settlement};
use ironbrook_model::{ErrorCode, Permissions, Refusal, SasToken, SharedAccessKey, Timestamp};
use ironbrook_wire::amqp::{DeliveryState, Event, LinkOptions, Message, SenderSettleMode, SessionId, Value};
use std::sync::{Arc, Mutex};

/// Tags and how they were settled.
type Settled = Arc<Mutex<Vec<(Vec<u8>, Settlement)>>>;

/// `events` counts up for ever, `feedback` wants to be settled, `sink` takes all but "bad".
#[derive(Default)]
struct Service {
    settled: Settled,
    /// The most that was asked for at once, and how many were given.
    asked: Arc<Mutex<(usize, u64)>>,
    attached: Mutex<Vec<Attach>>,
    taken: Arc<Mutex<Vec<Bytes>>>,
}

struct Counting {
    service_asked: Arc<Mutex<(usize, u64)>>,
    settled: Settled,
    presettled: bool,
}

#[async_trait]
impl ServiceSource for Counting {
    async fn next(&mut self, max: usize) -> Result<Vec<(Bytes, Message)>, Refusal> {
        let mut asked = self.service_asked.lock().unwrap();
        asked.0 = asked.0.max(max);
        let mut batch = Vec::new();
        for _ in 0..max {
            let n = asked.1;
            asked.1 += 1;
            batch.push((Bytes::copy_from_slice(&n.to_be_bytes()), Message::data(n.to_string())));
        }
        Ok(batch)
    }

    async fn settle(&mut self, tag: &[u8], settlement: Settlement) -> Result<(), Refusal> {
        self.settled.lock().unwrap().push((tag.to_vec(), settlement));
        Ok(())
    }

    fn presettled(&self) -> bool {
        self.presettled
    }
}

struct Taking(Arc<Mutex<Vec<Bytes>>>);

#[async_trait]
impl ServiceSink for Taking {
    async fn send(&mut self, message: Message) -> Result<(), Refusal> {
        let body = message.body_bytes();
        if &body[..] == b"bad" {
            return Err(Refusal::new(ErrorCode::DeviceNotFound, "no such device"));
        }
        self.0.lock().unwrap().push(body);
        Ok(())
    }
}

#[async_trait]
impl AmqpService for Service {
    async fn authorize(&self, token: &SasToken) -> Result<Permissions, Refusal> {
        match token.policy() {
            Some("service") => Ok(Permissions::SERVICE_CONNECT),
            Some("device") => Ok(Permissions::DEVICE_CONNECT),
            _ => Err(Refusal::new(ErrorCode::IotHubUnauthorized, "wrong policy")),
        }
    }

    async fn elsewhere(&self, attach: &Attach) -> Result<Option<String>, Refusal> {
        Ok(attach.address.strip_prefix("messages/events/").map(|rest| format!("hub/{rest}")))
    }

    async fn attach_source(&self, attach: Attach) -> Result<Box<dyn ServiceSource>, Refusal> {
        let presettled = match attach.address.as_str() {
            "events" => true,
            "feedback" => false,
            _ => return Err(Refusal::new(ErrorCode::AmqpAddressNotFound, "no such source")),
        };
        self.attached.lock().unwrap().push(attach);
        let (service_asked, settled) = (Arc::clone(&self.asked), Arc::clone(&self.settled));
        Ok(Box::new(Counting { service_asked, settled, presettled }))
    }

    async fn attach_sink(&self, _attach: Attach) -> Result<Box<dyn ServiceSink>, Refusal> {
        Ok(Box::new(Taking(Arc::clone(&self.taken))))
    }

    async fn request(&self, tokens: &[SasToken], request: Message) -> Result<Message, Refusal> {
        if tokens.is_empty() {
            return Err(Refusal::new(ErrorCode::IotHubUnauthorizedAccess, "put a token first"));
        }
        let mut answer = Message::value(Value::from("pong"));
        answer.set_property("status-code", 200_i32);
        answer.set_property("asked", request.application_property("operation").cloned().unwrap_or_default());
        Ok(answer)
    }
}

fn services() -> (Arc<Service>, Arc<Services>) {
    services_with(None)
}

fn services_with(hub: Option<Hub>) -> (Arc<Service>, Arc<Services>) {
    let service = Arc::new(Service::default());
    let services = Services {
        hub,
        topics: None,
        http: axum::Router::new(),
        amqp: Some(service.clone()),
        provisioning: None,
        websocket: false,
        metrics: Metrics::default(),
    };
    (service, Arc::new(services))
}

async fn client(services: &Arc<Services>) -> (Client, SessionId) {
    let key = SharedAccessKey::from_bytes(&[1; 32]);
    let token = key.sign("sb://localhost/hub", Timestamp::from_secs(32_503_680_000), Some("service"));
    Client::with_token(services, &token).await
}

#[tokio::test]
async fn a_source_gives_what_credit_allows_and_no_more() {
    let (service, services) = services();
    let (mut client, session) = client(&services).await;
    let mut options = LinkOptions::receiver("r", "amqps://localhost/events");
    options.credit = 3;
    let filter = Value::described(Value::symbol("selector"), Value::from("x > '1'"));
    options.source.filter.push(("selector".into(), filter.clone()));
    options.properties.push(("com.microsoft:epoch".into(), Value::Long(4)));
    options.desired_capabilities.push("metrics".into());
    let link = client.attach(session, options).await;
    for n in 0..3 {
        assert_eq!(client.take(link).await.2.body_bytes(), n.to_string());
    }
    assert_eq!(*service.asked.lock().unwrap(), (3, 3));
    client.conn.set_credit(link, 400);
    for n in 3..400 {
        assert_eq!(client.take(link).await.2.body_bytes(), n.to_string());
    }
    let attach = service.attached.lock().unwrap()[0].clone();
    assert_eq!(attach.filters, [("selector".to_owned(), filter)]);
    assert_eq!(attach.properties, [("com.microsoft:epoch".to_owned(), Value::Long(4))]);
    assert_eq!(attach.desired_capabilities, ["metrics"]);
    assert_eq!(attach.tokens[0].policy(), Some("service"));
}

#[tokio::test]
async fn deliveries_of_a_source_are_settled_by_the_client_where_it_wants_so() {
    let (service, services) = services();
    let (mut client, session) = client(&services).await;
    let link = client.receiver(session, "/feedback", 2).await;
    let (id, tag, _) = client.take(link).await;
    client.conn.settle(link, id, id, DeliveryState::Accepted);
    let (id, second, _) = client.take(link).await;
    client.conn.settle(link, id, id, DeliveryState::Released);
    client.flush().await;
    let wanted = [(tag.to_vec(), Settlement::Complete), (second.to_vec(), Settlement::Abandon)];
    eventually("two deliveries settled", || service.settled.lock().unwrap().len() >= 2).await;
    assert_eq!(*service.settled.lock().unwrap(), wanted);
}

#[tokio::test]
async fn a_client_that_wants_all_settled_has_taken_all() {
    let (service, services) = services();
    let (mut client, session) = client(&services).await;
    let mut options = LinkOptions::receiver("r", "feedback");
    options.snd_settle_mode = SenderSettleMode::Settled;
    options.credit = 1;
    let link = client.attach(session, options).await;
    let settled = client
        .until(|e| match e {
            Event::Delivery(d) if d.link == link => Some(d.settled),
            _ => None,
        })
        .await;
    assert!(settled);
    eventually("a delivery settled", || !service.settled.lock().unwrap().is_empty()).await;
    assert_eq!(service.settled.lock().unwrap()[0].1, Settlement::Complete);
}

#[tokio::test]
async fn amqp_18_events_flow_to_a_client_that_asks_for_unsettled_ones_and_settles_none() {
    let (_service, services) = services();
    let (mut client, session) = client(&services).await;
    let mut options = LinkOptions::receiver("r", "events");
    options.snd_settle_mode = SenderSettleMode::Unsettled;
    options.credit = 10_000;
    let link = client.attach(session, options).await;
    // More than a session may have unsettled, and (AMQP-19) more than its window holds at a time.
    for n in 0..5000 {
        assert_eq!(client.take(link).await.2.body_bytes(), n.to_string());
    }
}

#[tokio::test]
async fn a_sink_takes_and_refuses() {
    let (service, services) = services();
    let (mut client, session) = client(&services).await;
    let link = client.sender(session, "amqps://localhost/messages/devicebound").await;
    let good = client.send(link, &Message::data("good"));
    assert_eq!(client.outcome(good).await, DeliveryState::Accepted);
    let bad = client.send(link, &Message::data("bad"));
    let DeliveryState::Rejected(Some(error)) = client.outcome(bad).await else { panic!("not rejected") };
    assert_eq!(&*error.condition, "amqp:not-found");
    assert!(error.description.unwrap().contains(r#""errorCode":404001"#));
    assert_eq!(*service.taken.lock().unwrap(), ["good"]);
    // Credit is renewed: far more than one window goes through.
    for _ in 0..100 {
        let sent = client.send(link, &Message::data("more"));
        assert_eq!(client.outcome(sent).await, DeliveryState::Accepted);
    }
}

#[tokio::test]
async fn an_unknown_source_is_refused_with_the_reason() {
    let (_, services) = services();
    let (mut client, session) = client(&services).await;
    assert_eq!(client.refusal(session, LinkOptions::receiver("r", "nothing")).await, "amqp:not-found");
}

#[tokio::test]
async fn amqp_22_a_client_is_sent_to_another_address_with_all_it_needs_to_go_there() {
    let (_, services) = services();
    let (mut client, session) = client(&services).await;
    for (n, options) in [
        LinkOptions::receiver("a", "amqps://localhost/messages/events/$management"),
        LinkOptions::sender("b", "/messages/events/$management"),
    ]
    .into_iter()
    .enumerate()
    {
        let link = client.conn.attach(session, options).unwrap();
        let error = client
            .until(|e| match e {
                Event::Detached(l, Some(error)) if *l == link => Some(error.clone()),
                _ => None,
            })
            .await;
        assert_eq!(&*error.condition, "amqp:link:redirect", "link {n}");
        let info =
            |name: &str| error.info.iter().find(|(key, _)| &**key == name).map(|(_, value)| value.clone());
        let host = Value::from("hub.test");
        assert_eq!((info("hostname"), info("network-host")), (Some(host.clone()), Some(host)));
        assert_eq!(info("port"), Some(Value::Int(5671)));
        assert_eq!(info("address"), Some(Value::from("amqps://hub.test:5671/hub/$management")));
    }
    // The address it is sent to is served.
    client.receiver(session, "hub/$management", 1).await;
}

#[tokio::test]
async fn service_links_need_a_token() {
    let (_, services) = services();
    let (mut client, session) = Client::open(&services).await;
    let refusal = client.refusal(session, LinkOptions::receiver("r", "events")).await;
    assert_eq!(refusal, "amqp:unauthorized-access");
}

#[tokio::test(start_paused = true)]
async fn service_links_end_with_the_last_token_of_their_right_unless_it_is_renewed() {
    // With a hub, and so on its clock.
    let world = World::new(&[]);
    let services = services_with(Some(world.hub.clone())).1;
    let key = SharedAccessKey::from_base64(KEY).unwrap();
    let (soon, far) = (world.soon(), Timestamp::from_secs(32_503_680_000));
    let sign = |expires, policy| key.sign("localhost", expires, Some(policy));
    let (mut renewed, session) = Client::with_token(&services, &sign(soon, "service")).await;
    let kept = renewed.sender(session, "messages/devicebound").await;
    renewed.put_token(session, &sign(far, "service"), Value::from("2")).await;

    let (mut expired, session) = Client::with_token(&services, &sign(soon, "service")).await;
    let (source, sink) =
        (expired.receiver(session, "events", 0).await, expired.sender(session, "messages/devicebound").await);
    // A token of another right keeps nothing open.
    expired.put_token(session, &sign(far, "device"), Value::from("2")).await;
    let mut open = vec![source, sink];
    while !open.is_empty() {
        let (link, condition) = expired
            .until(|e| match e {
                Event::Detached(link, Some(error)) => Some((*link, error.condition.to_string())),
                _ => None,
            })
            .await;
        assert_eq!(condition, "amqp:unauthorized-access");
        open.retain(|l| *l != link);
    }

    let sent = renewed.send(kept, &Message::data("still here"));
    assert_eq!(renewed.outcome(sent).await, DeliveryState::Accepted);
}

#[tokio::test]
async fn management_answers_on_the_link_that_is_named() {
    let (_, services) = services();
    let (mut client, session) = client(&services).await;
    let mut options = LinkOptions::receiver("other", "hub/$management");
    options.credit = 5;
    let other = client.attach(session, options).await;
    let mut options = LinkOptions::receiver("mine", "hub/$management");
    options.credit = 5;
    let mine = client.attach(session, options).await;
    let requests = client.sender(session, "hub/$management").await;
    let mut ping = Message::value(Value::Null);
    ping.properties.message_id = Some(Value::from(3_u64));
    ping.properties.reply_to = Some("mine".into());
    ping.set_property("operation", "READ");
    client.send(requests, &ping);
    let (link, answer) = client
        .until(|e| match e {
            Event::Delivery(d) if d.link == mine || d.link == other => {
                Some((d.link, Message::decode(&d.payload).unwrap()))
            }
            _ => None,
        })
        .await;
    assert_eq!(link, mine);
    assert_eq!(answer.properties.correlation_id, Some(Value::from(3_u64)));
    assert_eq!(answer.application_property("asked"), Some(&Value::from("READ")));
}

#[tokio::test]
async fn management_without_a_token_is_refused_in_the_answer() {
    let (_, services) = services();
    let (mut client, session) = Client::open(&services).await;
    let answers = client.receiver(session, "$management", 5).await;
    let requests = client.sender(session, "$management").await;
    client.send(requests, &Message::value(Value::Null));
    let (_, _, answer) = client.take(answers).await;
    assert_eq!(answer.application_property("status-code"), Some(&Value::Int(401)));
}

#[tokio::test]
async fn a_hub_without_a_service_side_has_no_such_addresses() {
    let world = World::new(&["d1"]);
    let (mut client, session) = Client::open(&world.services()).await;
    let refusal = client.refusal(session, LinkOptions::sender("m", "$management")).await;
    assert_eq!(refusal, "amqp:not-found");
}
