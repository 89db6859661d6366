//! Sending events: to an event hub, or as a device to another hub.

use crate::amqp::{Pair, Port, TOKEN_LIFETIME, command, detached};
use crate::credentials::Credentials;
use crate::error::{Error, Result};
use crate::transport::{Remote, Transport, transport_options};
use bytes::Bytes;
use bytestring::ByteString;
use ironbrook_model::{ConnectionString, Message, SystemProperty as P, Timestamp, percent_encode};
use ironbrook_wire::amqp::{self, DeliveryState, Event, LinkId, LinkOptions, Outgoing, SessionId, Value};
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// The ports of AMQP with and without TLS.
const AMQP_PORT: u16 = 5671;
const AMQP_PLAIN_PORT: u16 = 5672;
/// Longest wait for the outcome of a batch.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// After so long without a batch the connection is made anew: nobody answered the server's questions meanwhile.
const IDLE_MAX: Duration = Duration::from_secs(20);
/// Messages of a batch that are under way at once.
const WINDOW: usize = 256;

/// System properties that travel as annotations.
const ANNOTATIONS: [(P, &str); 8] = [
    (P::ConnectionDeviceId, "iothub-connection-device-id"),
    (P::ConnectionModuleId, "iothub-connection-module-id"),
    (P::ConnectionAuthMethod, "iothub-connection-auth-method"),
    (P::ConnectionGenerationId, "iothub-connection-auth-generation-id"),
    (P::CreationTime, "iothub-creation-time-utc"),
    (P::MessageSchema, "iothub-message-schema"),
    (P::DataSchema, "dt-dataschema"),
    (P::Subject, "dt-subject"),
];

/// An event to be sent.
#[derive(Debug, Clone)]
pub struct OutgoingEvent {
    /// System and application properties and body. To an event hub the properties a hub stamps go along as annotations.
    pub message: Message,
    /// Events of one key keep their order: the device id.
    pub partition_key: Option<String>,
    /// When the hub took it in.
    pub enqueued: Timestamp,
    /// Where it came from: `Telemetry`, `twinChangeEvents`, …
    pub source: &'static str,
}

/// What becomes of an event that was given over: taken, or refused for good with the reason.
pub type Outcome = std::result::Result<(), String>;

/// Where events go.
#[derive(Debug, Clone)]
enum Target {
    EventHub { entity: String },
    Device { path: String },
}

/// Sets up an [`EventsSender`].
#[derive(Debug, Clone)]
pub struct SenderBuilder {
    authority: String,
    is_plain: bool,
    target: Target,
    transport: Transport,
    credentials: Credentials,
}

transport_options!(SenderBuilder);

impl SenderBuilder {
    /// The sender; it connects with its first batch.
    pub fn build(self) -> Result<EventsSender> {
        let remote = match self.is_plain {
            true => self.transport.plain(&self.authority, AMQP_PLAIN_PORT)?,
            false => self.transport.remote(&self.authority, AMQP_PORT)?,
        };
        let (address, audience) = match &self.target {
            Target::EventHub { entity } => (entity.clone(), format!("sb://{}/{entity}", self.authority)),
            Target::Device { path } => {
                (format!("/{path}/messages/events"), format!("{}/{path}", remote.host))
            }
        };
        let is_device = matches!(self.target, Target::Device { .. });
        let settings = Settings { remote, address, audience, is_device, credentials: self.credentials };
        Ok(EventsSender { settings, open: Mutex::default() })
    }
}

/// Sends events, batch by batch, over one connection that is made when it is needed.
///
/// The connection string is that of an event hub (`Endpoint`, `SharedAccessKeyName`, `SharedAccessKey`, `EntityPath`), or that of
/// a device of another hub (`HostName`, `DeviceId`, `SharedAccessKey`), which then gets them as that device's telemetry.
#[derive(Debug)]
pub struct EventsSender {
    settings: Settings,
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Settings {
    remote: Remote,
    address: String,
    audience: String,
    is_device: bool,
    credentials: Credentials,
}

struct Open {
    port: Port,
    cbs: Pair,
    link: LinkId,
    renew_at: Instant,
    used: Instant,
    sent: u64,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").field("sent", &self.sent).finish_non_exhaustive()
    }
}

impl EventsSender {
    /// From a connection string of an event hub or of a device.
    pub fn builder(connection_string: &str) -> Result<SenderBuilder> {
        let parts = ConnectionString::parse(connection_string)?;
        let credentials = Credentials::from_connection_string(&parts)?;
        let (authority, target) = match parts.get("HostName") {
            Some(host) => (host.to_owned(), Target::Device { path: device_path(&parts)? }),
            None => {
                let endpoint = parts.require("Endpoint")?;
                let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
                let authority = rest.split('/').next().unwrap_or_default().to_owned();
                (authority, Target::EventHub { entity: parts.require("EntityPath")?.to_owned() })
            }
        };
        if authority.is_empty() {
            let text =
                "the connection string names no host; it looks like Endpoint=sb://localhost/ or HostName=…";
            return Err(Error::Configuration(text.to_owned()));
        }
        let is_plain =
            parts.get("UseDevelopmentEmulator").is_some_and(|flag| flag.eq_ignore_ascii_case("true"));
        Ok(SenderBuilder { authority, is_plain, target, transport: Transport::default(), credentials })
    }

    /// Sends a batch in order and waits until each event is taken or refused for good; gives that in the order of the events.
    ///
    /// # Errors
    /// Where the connection fails or the server cannot take them now: some may have been taken, so the batch is sent again.
    pub async fn send(&self, events: &[OutgoingEvent]) -> Result<Vec<Outcome>> {
        let mut kept = self.open.lock().await;
        let mut open = match kept.take() {
            Some(open) if Instant::now() < open.renew_at && open.used.elapsed() < IDLE_MAX => open,
            old => {
                if let Some(old) = old {
                    old.port.close().await;
                }
                self.settings.open().await?
            }
        };
        let sent = timeout(SEND_TIMEOUT, open.send(&self.settings, events)).await;
        let outcomes = sent.map_err(|_| Error::Timeout("a batch of events"))??;
        open.used = Instant::now();
        *kept = Some(open);
        Ok(outcomes)
    }

    /// Says goodbye, where a connection is open.
    pub async fn close(&self) {
        if let Some(open) = self.open.lock().await.take() {
            open.port.close().await;
        }
    }
}

fn device_path(parts: &ConnectionString) -> Result<String> {
    let device = percent_encode(parts.require("DeviceId")?).into_owned();
    Ok(match parts.get("ModuleId") {
        None => format!("devices/{device}"),
        Some(module) => format!("devices/{device}/modules/{}", percent_encode(module)),
    })
}

impl Settings {
    async fn open(&self) -> Result<Open> {
        let mut port = Port::open(&self.remote, &self.remote.host).await?;
        let session: SessionId = port.begin()?;
        let cbs = port.pair(session, "$cbs").await?;
        let renew = port.put_token(&cbs, &self.credentials, &self.audience).await?;
        let link = port.attach(session, LinkOptions::sender("events", self.address.clone())).await?;
        let used = Instant::now();
        let renew_at = used + renew.unwrap_or(TOKEN_LIFETIME);
        Ok(Open { port, cbs, link, renew_at, used, sent: 0 })
    }

    fn to_amqp(&self, event: &OutgoingEvent) -> amqp::Message {
        let mut wire = amqp::Message::data(event.message.body.clone());
        let get = |property| event.message.system.get(property).cloned();
        let properties = &mut wire.properties;
        properties.message_id = get(P::MessageId).map(Value::String);
        properties.correlation_id = get(P::CorrelationId).map(Value::String);
        properties.user_id = get(P::UserId).map(ByteString::into_bytes);
        properties.content_type = get(P::ContentType);
        properties.content_encoding = get(P::ContentEncoding);
        for (name, value) in event.message.properties.iter() {
            wire.set_property(name.clone(), Value::String(value.clone()));
        }
        if self.is_device {
            // A hub stamps what is its own, and would not believe us: the origin is for its readers.
            let origin =
                [(P::ConnectionDeviceId, "originDeviceId"), (P::ConnectionModuleId, "originModuleId")];
            for (property, name) in origin {
                if let Some(value) = get(property) {
                    wire.set_property(name, Value::String(value));
                }
            }
            wire.set_property("iothub-creation-time-utc", event.enqueued.to_string());
            return wire;
        }
        if let Some(key) = &event.partition_key {
            wire.annotate("x-opt-partition-key", key.clone());
        }
        wire.annotate("iothub-enqueuedtime", event.enqueued);
        wire.annotate("iothub-message-source", event.source);
        for (property, name) in ANNOTATIONS {
            if let Some(value) = get(property) {
                wire.annotate(name, value);
            }
        }
        wire
    }
}

impl Open {
    async fn send(&mut self, settings: &Settings, events: &[OutgoingEvent]) -> Result<Vec<Outcome>> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; events.len()];
        let mut under_way: HashMap<Bytes, usize> = HashMap::new();
        let mut next = 0;
        loop {
            while next < events.len() && under_way.len() < WINDOW {
                let tag = self.tag();
                let payload = settings.to_amqp(&events[next]).to_bytes();
                let outgoing = Outgoing { tag: tag.clone(), format: 0, settled: false, payload };
                match self.port.engine().send(self.link, outgoing) {
                    Ok(()) => _ = under_way.insert(tag, next),
                    Err(amqp::CommandError::TooLarge) => {
                        outcomes[next] = Some(Err("it is longer than the peer takes".to_owned()));
                    }
                    Err(error) => return Err(command(error)),
                }
                next += 1;
            }
            if under_way.is_empty() {
                return Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or(Ok(()))).collect());
            }
            let (tag, state) = self.disposition().await?;
            if let Some(index) = under_way.remove(&tag) {
                outcomes[index] = Some(judge(state.as_ref())?);
            }
        }
    }

    fn tag(&mut self) -> Bytes {
        self.sent += 1;
        Bytes::copy_from_slice(&self.sent.to_be_bytes())
    }

    /// The next answer to a message.
    async fn disposition(&mut self) -> Result<(Bytes, Option<DeliveryState>)> {
        loop {
            match self.port.event().await? {
                Event::Disposition { link, id, tag, state, settled } if link == self.link => {
                    if !settled {
                        self.port.engine().settle_sent(
                            link,
                            id,
                            state.clone().unwrap_or(DeliveryState::Accepted),
                        );
                    }
                    return Ok((tag, state));
                }
                Event::Detached(link, error) if link == self.link => return Err(detached(error.as_ref())),
                Event::SessionEnded(_, error) => return Err(detached(error.as_ref())),
                Event::Delivery(delivery) => {
                    self.port.token_answer(&self.cbs, &delivery).unwrap_or(Ok(()))?;
                }
                _ => {}
            }
        }
    }
}

/// Taken, refused for good, or an error where it may be taken later.
fn judge(state: Option<&DeliveryState>) -> Result<Outcome> {
    match state {
        Some(DeliveryState::Accepted) | None => Ok(Ok(())),
        Some(DeliveryState::Rejected(error)) => {
            let error = detached(error.as_ref());
            if error.is_transient() || matches!(error, Error::Unauthorized(_)) {
                return Err(error);
            }
            Ok(Err(error.to_string()))
        }
        Some(other) => Err(Error::Protocol(format!("a message was neither taken nor refused: {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_wire::amqp::AmqpError;

    fn settings(text: &str) -> Settings {
        EventsSender::builder(text).unwrap().build().unwrap().settings
    }

    fn event() -> OutgoingEvent {
        let mut message = Message::new("{}");
        message.system.set(P::MessageId, "m1");
        message.system.set(P::ConnectionDeviceId, "d1");
        message.properties.set("k", "v");
        let enqueued = Timestamp::from_millis(1_769_850_000_000);
        OutgoingEvent { message, partition_key: Some("d1".to_owned()), enqueued, source: "Telemetry" }
    }

    #[test]
    fn addresses_and_audiences_of_both_kinds() {
        let hub =
            settings("Endpoint=sb://ns.example/;SharedAccessKeyName=p;SharedAccessKey=a2V5;EntityPath=e");
        assert_eq!((hub.address.as_str(), hub.audience.as_str()), ("e", "sb://ns.example/e"));
        let device = settings("HostName=h.example:5699;DeviceId=a+b;SharedAccessKey=a2V5");
        assert_eq!(device.address, "/devices/a%2Bb/messages/events");
        assert_eq!((device.audience.as_str(), device.remote.port), ("h.example/devices/a%2Bb", 5699));
        for bad in
            ["HostName=h;SharedAccessKey=a2V5", "Endpoint=sb:///;SharedAccessKey=a2V5;EntityPath=e", "x"]
        {
            let error = EventsSender::builder(bad).map(drop).unwrap_err().to_string();
            assert!(!error.contains("a2V5"), "{error}");
        }
    }

    #[test]
    fn an_event_hub_gets_key_and_stamps_and_a_hub_gets_the_origin() {
        let hub = settings("Endpoint=sb://ns/;SharedAccessKeyName=p;SharedAccessKey=a2V5;EntityPath=e");
        let wire = amqp::Message::decode(&hub.to_amqp(&event()).to_bytes()).unwrap();
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        assert_eq!(text(wire.annotation("x-opt-partition-key")).as_deref(), Some("d1"));
        assert_eq!(text(wire.annotation("iothub-connection-device-id")).as_deref(), Some("d1"));
        assert_eq!(text(wire.annotation("iothub-message-source")).as_deref(), Some("Telemetry"));
        assert_eq!(text(wire.application_property("k")).as_deref(), Some("v"));
        let device = settings("HostName=h;DeviceId=up;SharedAccessKey=a2V5");
        let wire = amqp::Message::decode(&device.to_amqp(&event()).to_bytes()).unwrap();
        assert_eq!(text(wire.application_property("originDeviceId")).as_deref(), Some("d1"));
        assert!(wire.annotation("x-opt-partition-key").is_none());
    }

    #[test]
    fn what_may_be_taken_later_is_an_error_and_the_rest_an_outcome() {
        let rejected = |condition: &'static str| {
            judge(Some(&DeliveryState::Rejected(Some(AmqpError::new(condition, "no")))))
        };
        assert!(matches!(rejected("amqp:link:message-size-exceeded"), Ok(Err(_))));
        assert!(rejected("amqp:resource-limit-exceeded").is_err());
        assert!(rejected("amqp:unauthorized-access").is_err());
        assert!(judge(Some(&DeliveryState::Released)).is_err());
        assert_eq!(judge(Some(&DeliveryState::Accepted)).unwrap(), Ok(()));
    }
}
