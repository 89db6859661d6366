//! Reading telemetry from the Event-Hubs-compatible endpoint.

mod event;
mod position;
mod reader;
mod sender;
#[cfg(test)]
mod tests;

pub use event::Event;
pub use position::Position;
pub use reader::EventStream;
pub use sender::{EventsSender, Outcome, OutgoingEvent, SenderBuilder};

use crate::amqp::{Pair, Port};
use crate::credentials::Credentials;
use crate::device::RetryPolicy;
use crate::error::{Error, Result};
use crate::transport::{Remote, Transport, transport_options};
use ironbrook_model::{ConnectionString, Timestamp};
use ironbrook_wire::amqp::{Message, SessionId, Value};
use std::sync::Arc;

/// The port of AMQP over TLS.
const AMQP_PORT: u16 = 5671;
/// The port of plain AMQP, for emulators on loopback.
const AMQP_PLAIN_PORT: u16 = 5672;
/// The consumer group every hub has.
const DEFAULT_GROUP: &str = "$Default";
/// Most partitions that are believed.
const PARTITIONS_MAX: usize = 500;

/// Sets up an [`EventsClient`].
#[derive(Debug, Clone)]
pub struct EventsBuilder {
    /// As written in `Endpoint`, without scheme; it stands in audiences.
    authority: String,
    entity: String,
    is_plain: bool,
    consumer_group: String,
    transport: Transport,
    credentials: Credentials,
    retry: RetryPolicy,
}

transport_options!(EventsBuilder);

impl EventsBuilder {
    /// Reads as this consumer group (default `$Default`).
    pub fn consumer_group(mut self, name: impl Into<String>) -> Self {
        self.consumer_group = name.into();
        self
    }

    /// How long to wait between attempts to connect again while reading.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// The client. Nothing is connected yet.
    pub fn build(self) -> Result<EventsClient> {
        let default = if self.is_plain { AMQP_PLAIN_PORT } else { AMQP_PORT };
        let remote = match self.is_plain {
            true => self.transport.plain(&self.authority, default)?,
            false => self.transport.remote(&self.authority, default)?,
        };
        let host = remote.host.clone();
        let audience = format!("sb://{}/{}", self.authority, self.entity);
        Ok(EventsClient(Arc::new(Shared {
            remote,
            host,
            audience,
            entity: self.entity,
            consumer_group: self.consumer_group,
            credentials: self.credentials,
            retry: self.retry,
        })))
    }
}

/// A reader of the events endpoint. Clones share the settings, not connections.
///
/// ```no_run
/// # async fn example() -> ironbrook_client::Result<()> {
/// use ironbrook_client::{EventsClient, Position};
///
/// let text = "Endpoint=sb://localhost/;SharedAccessKeyName=service;SharedAccessKey=c2VjcmV0;EntityPath=hub";
/// let client = EventsClient::builder(text)?.ca_file("ironbrook-data/ca.pem")?.build()?;
/// let mut events = client.read(Position::Latest).await?;
/// while let Some(event) = events.next().await {
///     let event = event?;
///     println!("{:?} {:?}", event.device(), event.message.body);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct EventsClient(Arc<Shared>);

/// Settings of a client.
#[derive(Debug)]
struct Shared {
    remote: Remote,
    host: String,
    audience: String,
    entity: String,
    consumer_group: String,
    credentials: Credentials,
    retry: RetryPolicy,
}

/// What the hub knows of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Its id, a number as text.
    pub id: String,
    /// Sequence number of the oldest event that is kept.
    pub first_sequence: i64,
    /// Sequence number of the newest event; −1 if there never was one.
    pub last_sequence: i64,
    /// When the newest event came.
    pub last_enqueued: Option<Timestamp>,
    /// Whether no event is kept.
    pub is_empty: bool,
}

impl EventsClient {
    /// From an Event-Hubs-compatible connection string: `Endpoint`, `SharedAccessKeyName`, `SharedAccessKey`, `EntityPath`,
    /// and `UseDevelopmentEmulator=true` for plain TCP on loopback.
    pub fn builder(connection_string: &str) -> Result<EventsBuilder> {
        let parts = ConnectionString::parse(connection_string)?;
        let endpoint = parts.require("Endpoint")?;
        let authority = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
        let authority = authority.split('/').next().unwrap_or_default().to_owned();
        if authority.is_empty() {
            return Err(Error::Configuration(
                "Endpoint names no host; it looks like sb://localhost/".to_owned(),
            ));
        }
        Ok(EventsBuilder {
            authority,
            entity: parts.require("EntityPath")?.to_owned(),
            is_plain: parts
                .get("UseDevelopmentEmulator")
                .is_some_and(|flag| flag.eq_ignore_ascii_case("true")),
            consumer_group: DEFAULT_GROUP.to_owned(),
            transport: Transport::default(),
            credentials: Credentials::from_connection_string(&parts)?,
            retry: RetryPolicy::default(),
        })
    }

    /// What the hub knows of each partition, in its order.
    pub async fn partitions(&self) -> Result<Vec<PartitionInfo>> {
        let mut door = Door::open(&self.0).await?;
        let partitions = door.partitions(&self.0).await?;
        door.port.close().await;
        Ok(partitions)
    }

    /// Reads all partitions from a position, merged into one stream.
    ///
    /// The first connection is made before this returns, and its failure is returned. Later the stream connects again by
    /// itself and goes on after the last event it gave, each partition by itself: nothing is given twice or left out.
    pub async fn read(&self, from: Position) -> Result<EventStream> {
        reader::start(self.0.clone(), from).await
    }
}

/// A connection on which rights were proved.
struct Door {
    port: Port,
    session: SessionId,
    cbs: Pair,
    renew_after: Option<std::time::Duration>,
}

impl Door {
    async fn open(shared: &Shared) -> Result<Self> {
        let mut port = Port::open(&shared.remote, &shared.host).await?;
        let session = port.begin()?;
        let cbs = port.pair(session, "$cbs").await?;
        let renew_after = port.put_token(&cbs, &shared.credentials, &shared.audience).await?;
        Ok(Self { port, session, cbs, renew_after })
    }

    /// Asks `$management` for the partitions and each one's state.
    async fn partitions(&mut self, shared: &Shared) -> Result<Vec<PartitionInfo>> {
        let management = self.port.pair(self.session, "$management").await?;
        let hub =
            self.port.request(&management, read_request(shared, "com.microsoft:eventhub", None)).await?;
        let ids = value_of(&hub, "partition_ids")
            .and_then(Value::as_list)
            .ok_or_else(|| Error::Protocol("$management gave no partition_ids".to_owned()))?;
        if ids.len() > PARTITIONS_MAX {
            return Err(Error::Protocol(format!("{} partitions are more than {PARTITIONS_MAX}", ids.len())));
        }
        let mut partitions = Vec::new();
        for id in ids.iter().filter_map(Value::as_str) {
            let request = read_request(shared, "com.microsoft:partition", Some(id));
            let answer = self.port.request(&management, request).await?;
            let number = |name| value_of(&answer, name).and_then(Value::as_i64);
            partitions.push(PartitionInfo {
                id: id.to_owned(),
                first_sequence: number("begin_sequence_number").unwrap_or(0),
                last_sequence: number("last_enqueued_sequence_number").unwrap_or(-1),
                last_enqueued: value_of(&answer, "last_enqueued_time_utc").and_then(Value::as_timestamp),
                is_empty: value_of(&answer, "is_partition_empty").and_then(Value::as_bool).unwrap_or(false),
            });
        }
        Ok(partitions)
    }
}

fn read_request(shared: &Shared, kind: &'static str, partition: Option<&str>) -> Message {
    let mut request = Message::value(Value::Null);
    request.set_property("operation", "READ");
    request.set_property("name", Value::string(shared.entity.as_str()));
    request.set_property("type", kind);
    if let Some(partition) = partition {
        request.set_property("partition", Value::string(partition));
    }
    request
}

fn value_of<'a>(answer: &'a Message, name: &str) -> Option<&'a Value> {
    match &answer.body {
        ironbrook_wire::amqp::Body::Value(value) => value.get(name),
        _ => None,
    }
}
