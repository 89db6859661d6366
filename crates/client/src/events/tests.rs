//! The reader against a small AMQP server on loopback, made of the same engine in the other role.

use super::*;
use ironbrook_model::SasToken;
use ironbrook_wire::amqp::{self, Connection, Outgoing, Role, SaslCode, Value};
use std::sync::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// What the server does, and what it saw.
#[derive(Default)]
struct Script {
    /// Events of the two partitions: sequence numbers from 0.
    events: [i64; 2],
    /// Hangs up after so many events on a connection.
    hang_up_after: Option<usize>,
    refuse_token: bool,
    selectors: Mutex<Vec<String>>,
    audiences: Mutex<Vec<String>>,
}

async fn serve(script: Arc<Script>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(
                Server {
                    engine: server_engine(),
                    script: script.clone(),
                    sent: 0,
                    replies: None,
                    readers: Vec::new(),
                }
                .run(stream),
            );
        }
    });
    port
}

fn server_engine() -> Connection {
    Connection::server(amqp::Config::default(), &["MSSBCBS", "ANONYMOUS"])
}

struct Server {
    engine: Connection,
    script: Arc<Script>,
    sent: usize,
    /// The latest receiver of answers.
    replies: Option<amqp::LinkId>,
    /// Readers without credit: link, address, selector.
    readers: Vec<(amqp::LinkId, String, String)>,
}

impl Server {
    async fn run(mut self, mut stream: TcpStream) {
        loop {
            while let Ok(Some(event)) = self.engine.poll() {
                self.handle(event);
            }
            let output = self.engine.output().split();
            if stream.write_all(&output).await.is_err() {
                return;
            }
            if self.is_done() {
                // Read to the end: closing with unread bytes would reset the connection and lose what was written.
                let _ = stream.shutdown().await;
                while stream.read_buf(&mut bytes::BytesMut::new()).await.is_ok_and(|n| n > 0) {}
                return;
            }
            match stream.read_buf(self.engine.input()).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    fn is_done(&self) -> bool {
        self.script.hang_up_after.is_some_and(|after| self.sent >= after)
    }

    fn handle(&mut self, event: amqp::Event) {
        match event {
            amqp::Event::Sasl(_) => self.engine.sasl_outcome(SaslCode::Ok),
            amqp::Event::AttachRequested(link, attach) => {
                self.engine.accept(link, 50);
                // The role in an attach is the peer's.
                if attach.role == Role::Receiver {
                    let source = attach.source.unwrap();
                    match source.filter.first() {
                        Some((_, filter)) => {
                            let selector = filter.undescribed().as_str().unwrap().to_owned();
                            let address = source.address.unwrap().to_string();
                            let partition = address.rsplit('/').next().unwrap();
                            self.script.selectors.lock().unwrap().push(format!("{partition}: {selector}"));
                            self.readers.push((link, address, selector));
                        }
                        None => self.replies = Some(link),
                    }
                }
            }
            amqp::Event::Credit(link) => {
                // Sent with the first credit, so that nothing is left in the engine when the server hangs up.
                if let Some(at) = self.readers.iter().position(|(reader, ..)| *reader == link) {
                    let (_, address, selector) = self.readers.remove(at);
                    self.send_events(link, &address, &selector);
                }
            }
            amqp::Event::Delivery(delivery) => {
                self.answer(&amqp::Message::decode(&delivery.payload).unwrap())
            }
            _ => {}
        }
    }

    fn send_events(&mut self, link: amqp::LinkId, address: &str, selector: &str) {
        let partition = address.rsplit('/').next().unwrap().parse::<usize>().unwrap();
        assert_eq!(address, format!("hub1/ConsumerGroups/$Default/Partitions/{partition}"));
        let after = selector
            .strip_prefix("amqp.annotation.x-opt-sequence-number > '")
            .map_or(-1, |n| n.trim_end_matches('\'').parse().unwrap());
        for number in after + 1..self.script.events[partition] {
            if self.is_done() {
                return;
            }
            let mut message = amqp::Message::data(format!("{partition}/{number}"));
            message.annotate("x-opt-sequence-number", number);
            message.annotate("x-opt-offset", number.to_string());
            message.annotate("x-opt-enqueued-time", Value::Timestamp(Timestamp::from_millis(number)));
            let tag = bytes::Bytes::copy_from_slice(&number.to_be_bytes());
            self.engine
                .send(link, Outgoing { tag, format: 0, settled: true, payload: message.to_bytes() })
                .unwrap();
            self.sent += 1;
        }
    }

    fn answer(&mut self, request: &amqp::Message) {
        let text = |name| request.application_property(name).and_then(Value::as_str);
        let mut answer = amqp::Message::value(Value::Null);
        let mut status = 200;
        match (text("operation"), text("type")) {
            (Some("put-token"), _) => {
                self.script.audiences.lock().unwrap().push(text("name").unwrap().to_owned());
                let amqp::Body::Value(token) = &request.body else { panic!("no token") };
                let token = SasToken::parse(token.as_str().unwrap()).unwrap();
                token.check_scope(&["127.0.0.1"], "hub1").unwrap();
                if self.script.refuse_token {
                    status = 401;
                }
            }
            (Some("READ"), Some("com.microsoft:eventhub")) => {
                let ids = Value::Array(vec!["0".into(), "1".into()]);
                answer = amqp::Message::value(Value::Map(vec![("partition_ids".into(), ids)]));
            }
            (Some("READ"), Some("com.microsoft:partition")) => {
                let events = self.script.events[text("partition").unwrap().parse::<usize>().unwrap()];
                let last = ("last_enqueued_sequence_number".into(), Value::Long(events - 1));
                answer = amqp::Message::value(Value::Map(vec![last]));
            }
            other => panic!("unknown request {other:?}"),
        }
        answer.properties.correlation_id = request.properties.message_id.clone();
        answer.set_property("status-code", status);
        let tag = bytes::Bytes::from_static(b"answer");
        let outgoing = Outgoing { tag, format: 0, settled: true, payload: answer.to_bytes() };
        self.engine.send(self.replies.unwrap(), outgoing).unwrap();
    }
}

async fn client(script: &Arc<Script>) -> EventsClient {
    let port = serve(script.clone()).await;
    let text = format!(
        "Endpoint=sb://127.0.0.1:{port};SharedAccessKeyName=service;SharedAccessKey={KEY};EntityPath=hub1;UseDevelopmentEmulator=true"
    );
    let quick = RetryPolicy { first: std::time::Duration::from_millis(1), ..RetryPolicy::default() };
    EventsClient::builder(&text).unwrap().retry(quick).build().unwrap()
}

/// Reads so many events; bodies sorted by partition, order within a partition kept.
async fn take(events: &mut EventStream, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    for _ in 0..count {
        let next = tokio::time::timeout(std::time::Duration::from_secs(60), events.next());
        let event = next.await.expect("an event in time").unwrap().unwrap();
        bodies.push((event.partition.clone(), String::from_utf8(event.message.body.to_vec()).unwrap()));
    }
    bodies.sort_by(|a, b| a.0.cmp(&b.0));
    bodies.into_iter().map(|(_, body)| body).collect()
}

#[tokio::test]
async fn all_partitions_are_merged_and_the_rights_proved_first() {
    let script = Arc::new(Script { events: [3, 2], ..Script::default() });
    let client = client(&script).await;
    let mut events = client.read(Position::Earliest).await.unwrap();
    assert_eq!(take(&mut events, 5).await, ["0/0", "0/1", "0/2", "1/0", "1/1"]);
    let audience = script.audiences.lock().unwrap()[0].clone();
    assert!(audience.starts_with("sb://127.0.0.1:") && audience.ends_with("/hub1"), "{audience}");
    let partitions = client.partitions().await.unwrap();
    assert_eq!(
        partitions.iter().map(|p| (&*p.id, p.last_sequence)).collect::<Vec<_>>(),
        [("0", 2), ("1", 1)]
    );
}

#[tokio::test]
async fn a_lost_connection_goes_on_after_the_last_event_of_each_partition() {
    let script = Arc::new(Script { events: [0, 6], hang_up_after: Some(4), ..Script::default() });
    let mut events = client(&script).await.read(Position::Earliest).await.unwrap();
    let wanted: Vec<String> = (0..6).map(|n| format!("1/{n}")).collect();
    assert_eq!(take(&mut events, 6).await, wanted);
    let selectors = script.selectors.lock().unwrap().clone();
    assert!(
        selectors.contains(&"1: amqp.annotation.x-opt-sequence-number > '3'".to_owned()),
        "{selectors:?}"
    );
}

#[tokio::test]
async fn rule_client_07_latest_is_fixed_to_a_number_when_reading_begins() {
    let script = Arc::new(Script { events: [3, 0], ..Script::default() });
    let _events = client(&script).await.read(Position::Latest).await.unwrap();
    assert_eq!(
        *script.selectors.lock().unwrap(),
        ["0: amqp.annotation.x-opt-sequence-number > '2'", "1: amqp.annotation.x-opt-sequence-number > '-1'"]
    );
}

#[tokio::test]
async fn a_refused_token_is_told() {
    let script = Arc::new(Script { refuse_token: true, ..Script::default() });
    let refused = client(&script).await.read(Position::Earliest).await;
    assert!(matches!(refused, Err(Error::Unauthorized(_))), "{refused:?}");
}

#[test]
fn a_connection_string_names_what_it_lacks() {
    for (text, lacking) in [
        ("Endpoint=sb://h/;SharedAccessKeyName=a;SharedAccessKey=AAAA", "EntityPath"),
        ("Endpoint=sb:///;EntityPath=x;SharedAccessKeyName=a;SharedAccessKey=AAAA", "Endpoint"),
        ("EntityPath=x;SharedAccessKeyName=a;SharedAccessKey=AAAA", "Endpoint"),
    ] {
        let error = EventsClient::builder(text).unwrap_err().to_string();
        assert!(error.contains(lacking), "{error}");
    }
}
