//! An MQTT broker: each message is published on a topic made of a template.

use super::backoff::Backoff;
use super::{Error, Gather};
use async_trait::async_trait;
use ironbrook_client::Transport;
use ironbrook_client::topics::{
    Builder, Client, Message, Properties, QoS, UserProperties, Version, check_name,
};
use ironbrook_hub::seams::{Batching, Endpoint, Routed, Sent};
use ironbrook_log::PartitionId;
use ironbrook_model::SystemProperty as P;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Longest wait for the acknowledgements of a batch.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(30);

/// A template of topics.
///
/// `{device}`, `{module}` (empty for devices), `{source}` (`Telemetry`, `twinChangeEvents`, …), `{hub}` and `{property:NAME}`, an
/// application property, stand for what the message has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Device,
    Module,
    Source,
    Hub,
    Property(String),
}

impl std::str::FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) =
                after.split_once('}').ok_or_else(|| format!("{text}: a brace is not closed"))?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(match name {
                "device" => Piece::Device,
                "module" => Piece::Module,
                "source" => Piece::Source,
                "hub" => Piece::Hub,
                _ => match name.strip_prefix("property:").filter(|name| !name.is_empty()) {
                    Some(property) => Piece::Property(property.to_owned()),
                    None => {
                        return Err(format!(
                            "{text}: there is no {{{name}}}; there are {{device}}, {{module}}, {{source}}, {{hub}} and {{property:NAME}}"
                        ));
                    }
                },
            });
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        let is_wild =
            |piece: &Piece| matches!(piece, Piece::Text(text) if text.contains(['+', '#', '}', '\0']));
        if pieces.is_empty() || pieces.iter().any(is_wild) {
            return Err(format!(
                "{text:?} is no topic: it is empty, or holds + or # or a brace without its other half"
            ));
        }
        Ok(Self(pieces))
    }
}

impl Template {
    /// The topic of a message, or why there is none.
    fn topic(&self, hub: &str, routed: &Routed) -> Result<String, String> {
        let system = |property| routed.message.system.get(property).map_or("", |value| &**value);
        let mut topic = String::new();
        for piece in &self.0 {
            topic.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Device => system(P::ConnectionDeviceId),
                Piece::Module => system(P::ConnectionModuleId),
                Piece::Source => routed.source.wire_name(),
                Piece::Hub => hub,
                Piece::Property(name) => {
                    let mut properties = routed.message.properties.iter();
                    let found = properties.find(|(n, _)| n.eq_ignore_ascii_case(name));
                    found
                        .map(|(_, value)| &**value)
                        .ok_or_else(|| format!("it has no property {name} for its topic"))?
                }
            });
        }
        check_name(&topic).map_err(|error| format!("its topic would be {topic:?}: {error}"))?;
        Ok(topic)
    }
}

/// Where messages go. `Debug` hides the password.
#[derive(Clone)]
pub struct Config {
    /// `mqtt[s]://[user@]host[:port]`.
    pub url: String,
    /// The version of MQTT.
    pub version: Version,
    /// The client id; `None` lets the broker choose one.
    pub client_id: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// Whom to believe and where to dial.
    pub transport: Transport,
    /// Topics.
    pub topic: Template,
    /// At least once, or exactly once as far as one connection goes. With 0 nobody acknowledges, so messages may be lost.
    pub qos: QoS,
    /// Whether the broker keeps the last message of each topic.
    pub retain: bool,
    /// How it gathers.
    pub gather: Gather,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("url", &self.url).field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// An endpoint that publishes.
pub struct Mqtt {
    name: String,
    hub: String,
    config: Config,
    /// Made when it is needed, thrown away after a failure with all that is under way in it.
    client: Mutex<Option<Client>>,
    backoff: Backoff,
}

impl Mqtt {
    /// Checks the settings; nothing is connected yet.
    pub fn open(name: &str, hub: &str, config: Config) -> Result<Self, Error> {
        let (name, hub) = (name.to_owned(), hub.to_owned());
        let endpoint = Self { name, hub, config, client: Mutex::default(), backoff: Backoff::default() };
        endpoint.builder()?;
        Ok(endpoint)
    }

    fn builder(&self) -> Result<Builder, Error> {
        let config = &self.config;
        let mut builder =
            Builder::new(&config.url)?.version(config.version).transport(config.transport.clone());
        if let Some(id) = &config.client_id {
            builder = builder.client_id(id.as_str());
        }
        if let Some(password) = &config.password {
            builder = builder.password(password.as_str());
        }
        Ok(builder)
    }

    async fn client(&self) -> Result<Client, Error> {
        let mut kept = self.client.lock().await;
        if let Some(client) = &*kept {
            return Ok(client.clone());
        }
        let (client, _) = self.builder()?.connect().await?;
        *kept = Some(client.clone());
        Ok(client)
    }

    fn message(&self, routed: &Routed) -> Result<Message, String> {
        let topic = self.config.topic.topic(&self.hub, routed)?;
        let message = Message::new(topic, routed.message.body.clone());
        let message = message.qos(self.config.qos).retain(self.config.retain);
        if self.config.version == Version::V4 {
            return Ok(message);
        }
        let system = |property| routed.message.system.get(property).cloned();
        let enqueued = routed.enqueued.to_string();
        let own = [("iothub-enqueuedtime", &*enqueued), ("iothub-message-source", routed.source.wire_name())];
        let stamps = super::webhook::SYSTEM.into_iter();
        let stamps = stamps.filter_map(|(p, name)| Some((name, &**routed.message.system.get(p)?)));
        let properties = routed.message.properties.iter().map(|(name, value)| (&**name, &**value));
        let user = UserProperties::from_pairs(properties.chain(stamps).chain(own))
            .map_err(|error| format!("its properties cannot stand in MQTT: {error}"))?;
        let content_type = system(P::ContentType);
        Ok(message.properties(Properties { content_type, user, ..Properties::default() }))
    }

    /// Publishes in order, many under way at once; gives those that were refused for good.
    async fn publish(&self, batch: &[Routed]) -> Result<Vec<(usize, String)>, Error> {
        let client = self.client().await?;
        let (mut refused, mut receipts) = (Vec::new(), Vec::with_capacity(batch.len()));
        for (index, routed) in batch.iter().enumerate() {
            match self.message(routed) {
                Ok(message) => receipts.push((index, client.enqueue(message).await?)),
                Err(why) => refused.push((index, why)),
            }
        }
        for (index, receipt) in receipts {
            use ironbrook_client::topics::Error as E;
            match receipt.await {
                Ok(_) => {}
                Err(error @ E::Refused { .. }) if !is_busy(&error) => {
                    refused.push((index, error.to_string()))
                }
                Err(error) => return Err(error.into()),
            }
        }
        refused.sort_by_key(|(index, _)| *index);
        Ok(refused)
    }
}

/// Whether a broker may take later what it refuses now.
fn is_busy(error: &ironbrook_client::topics::Error) -> bool {
    use ironbrook_client::topics::{Error as E, ReasonCode};
    matches!(
        error,
        E::Refused {
            reason: ReasonCode::QuotaExceeded
                | ReasonCode::ImplementationSpecificError
                | ReasonCode::UnspecifiedError,
            ..
        }
    )
}

#[async_trait]
impl Endpoint for Mqtt {
    fn name(&self) -> &str {
        &self.name
    }

    fn batching(&self) -> Batching {
        self.config.gather.batching()
    }

    async fn send(&self, partition: PartitionId, batch: &[Routed]) -> Sent {
        let why = match timeout(PUBLISH_TIMEOUT, self.publish(batch)).await {
            Ok(Ok(refused)) => {
                self.backoff.worked(partition);
                return if refused.is_empty() { Sent::Done } else { Sent::Reject(refused) };
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the broker did not acknowledge in time".to_owned(),
        };
        // What it has under way comes again with the batch.
        self.client.lock().await.take();
        Sent::RetryAfter(self.backoff.failed(partition), why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_log::Offset;
    use ironbrook_model::{Message as HubMessage, MessageSource, Timestamp};

    fn routed(device: &'static str) -> Routed {
        let mut message = HubMessage::new("x");
        message.system.set(P::ConnectionDeviceId, device);
        message.properties.set("Line", "7");
        let (offset, enqueued) = (Offset(0), Timestamp::from_millis(0));
        Routed { offset, event_sequence: None, enqueued, source: MessageSource::DeviceMessages, message }
    }

    #[test]
    fn topics_are_made_of_what_a_message_has() {
        let topic = |text: &str, device| text.parse::<Template>().unwrap().topic("hub", &routed(device));
        assert_eq!(topic("{hub}/{device}/{source}{module}", "d1").unwrap(), "hub/d1/Telemetry");
        assert_eq!(topic("lines/{property:line}", "d1").unwrap(), "lines/7");
        assert!(topic("lines/{property:other}", "d1").unwrap_err().contains("other"));
        assert!(topic("{device}", "a#b").is_err(), "a device id that is no part of a topic");
        for bad in ["", "a/+/b", "{nothing}", "{device", "device}", "{property:}"] {
            assert!(bad.parse::<Template>().is_err(), "{bad}");
        }
    }
}
