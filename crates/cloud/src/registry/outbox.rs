//! Events of the registry: written with the change they tell of, published afterwards, in order, at least once.

use super::error::Error;
use super::store::Changes;
use super::{Inner, Registry, tables};
use bytes::Bytes;
use ironbrook_hub::Hub;
use ironbrook_log::Ticket;
use ironbrook_model::twin::{Object, Twin, digital_twin, json_patch};
use ironbrook_model::{ErrorCode, Identity, Message, MessageSource, Refusal, SystemProperty, Timestamp};
use redb::{ReadableTable, ReadableTableMetadata};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Events published before their removal is committed.
const GROUP_MAX: usize = 256;
/// How long to wait where the log has no room.
const RETRY: Duration = Duration::from_millis(100);
/// The longest wait for room of one event, so that a stop need not wait longer.
const ROOM: Duration = Duration::from_secs(1);

/// What happened to an identity.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lifecycle {
    Created,
    Deleted,
}

/// How a twin was changed.
#[derive(Debug, Clone, Copy)]
pub(super) enum TwinOperation {
    Update,
    Replace,
}

impl TwinOperation {
    fn name(self) -> &'static str {
        match self {
            Self::Update => "updateTwin",
            Self::Replace => "replaceTwin",
        }
    }
}

/// An event as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Event {
    source: MessageSource,
    about: Identity,
    at: Timestamp,
    operation: String,
    schema: String,
    body: String,
}

/// Puts a twin change event into the outbox, if some route wants such.
pub(super) fn twin(
    inner: &Arc<Inner>,
    changes: &Changes<'_>,
    about: &Identity,
    operation: TwinOperation,
    body: Value,
) -> Result<(), Error> {
    let source = MessageSource::TwinChangeEvents;
    put(inner, changes, about, source, operation.name(), "twinChangeNotification", body)
}

/// Puts a lifecycle event into the outbox, if some route wants such.
pub(super) fn lifecycle(
    inner: &Arc<Inner>,
    changes: &Changes<'_>,
    about: &Identity,
    twin: &Twin,
    what: Lifecycle,
) -> Result<(), Error> {
    let (operation, schema) = match (what, &about.module) {
        (Lifecycle::Created, None) => ("createDeviceIdentity", "deviceLifecycleNotification"),
        (Lifecycle::Deleted, None) => ("deleteDeviceIdentity", "deviceLifecycleNotification"),
        (Lifecycle::Created, Some(_)) => ("createModuleIdentity", "moduleLifecycleNotification"),
        (Lifecycle::Deleted, Some(_)) => ("deleteModuleIdentity", "moduleLifecycleNotification"),
    };
    let mut body = Map::from_iter([("deviceId".to_owned(), Value::from(about.device.as_str()))]);
    if let Some(module) = &about.module {
        body.insert("moduleId".to_owned(), module.as_str().into());
    }
    body.insert("etag".to_owned(), twin.etag().into());
    body.insert("version".to_owned(), twin.version.into());
    let sections =
        json!({ "desired": twin.desired.service_view(), "reported": twin.reported.service_view() });
    body.insert("properties".to_owned(), sections);
    put(inner, changes, about, MessageSource::DeviceLifecycleEvents, operation, schema, Value::Object(body))
}

/// A digital twin before a change, to tell of what the change does to it.
pub(super) struct Digital(Option<Object>);

impl Digital {
    /// Looks at a twin, if some route wants such events.
    pub fn before(inner: &Inner, about: &Identity, twin: &Twin) -> Self {
        let wanted = inner.wants(MessageSource::DigitalTwinChangeEvents);
        Self(wanted.then(|| digital_twin(about.device.as_str(), twin)))
    }

    /// Puts an event into the outbox, if the twin has a model and is another one now. rule EVENT-02
    pub fn tell(
        self,
        inner: &Arc<Inner>,
        changes: &Changes<'_>,
        about: &Identity,
        twin: &Twin,
        operation: TwinOperation,
    ) -> Result<(), Error> {
        let Some(before) = self.0.filter(|_| twin.model_id.is_some()) else { return Ok(()) };
        let patch = json_patch(&before, &digital_twin(about.device.as_str(), twin));
        if patch.is_empty() {
            return Ok(());
        }
        let source = MessageSource::DigitalTwinChangeEvents;
        let schema = "digitalTwinChangeNotification";
        put(inner, changes, about, source, operation.name(), schema, Value::Array(patch))
    }
}

/// Puts into the outbox that a job has ended at a device, if some route wants such. `what` is its record as `devices.jobs` has it.
/// rule EVENT-03
pub(super) fn device_job(
    inner: &Arc<Inner>,
    changes: &Changes<'_>,
    about: &Identity,
    operation: &str,
    what: Value,
) -> Result<(), Error> {
    let source = MessageSource::DeviceJobLifecycleEvents;
    put(inner, changes, about, source, operation, "deviceJobLifecycleNotification", what)
}

fn put(
    inner: &Arc<Inner>,
    changes: &Changes<'_>,
    about: &Identity,
    source: MessageSource,
    operation: &str,
    schema: &str,
    body: Value,
) -> Result<(), Error> {
    if !inner.wants(source) {
        return Ok(());
    }
    let event = Event {
        source,
        about: about.clone(),
        at: inner.clock.now(),
        operation: operation.to_owned(),
        schema: schema.to_owned(),
        body: body.to_string(),
    };
    let number = changes.next_number("outbox")?;
    let mut table = changes.tx.open_table(tables::OUTBOX)?;
    table.insert(number, tables::encode("event", &event)?.as_slice())?;
    let inner = inner.clone();
    changes.after(move || inner.outbox_filled.notify_one());
    Ok(())
}

impl Event {
    /// The message routes see. rule EVENT-01
    fn message(&self, hub_name: &str) -> Message {
        let mut message = Message::new(Bytes::from(self.body.clone()));
        let id = || uuid::Uuid::new_v4().to_string();
        message.system.set(SystemProperty::MessageId, id());
        message.system.set(SystemProperty::CorrelationId, id());
        message.system.set(SystemProperty::UserId, hub_name.to_owned());
        let content_type = match self.source {
            MessageSource::DigitalTwinChangeEvents => "application/json-patch+json",
            _ => "application/json",
        };
        message.system.set(SystemProperty::ContentType, content_type);
        message.system.set(SystemProperty::ContentEncoding, "utf-8");
        let mut put = |name: &'static str, value: &str| message.properties.set(name, value.to_owned());
        put("hubName", hub_name);
        put("deviceId", self.about.device.as_str());
        if let Some(module) = &self.about.module {
            put("moduleId", module.as_str());
        }
        put("operationTimestamp", &self.at.to_string());
        put("opType", &self.operation);
        put("iothub-message-schema", &self.schema);
        message
    }
}

impl Registry {
    /// Publishes what is in the outbox and what comes into it, until cancelled. A crash between publishing and removal repeats
    /// the last events: at least once, in order.
    pub async fn pump_outbox(&self, hub: Hub, cancel: CancellationToken) {
        loop {
            match self.pump_once(&hub).await {
                Ok(true) if !cancel.is_cancelled() => continue,
                Ok(true) => return,
                Ok(false) => {
                    tokio::select! {
                        () = self.inner.outbox_filled.notified() => {}
                        () = cancel.cancelled() => return,
                    }
                }
                Err(refusal) => {
                    tracing::warn!(%refusal, "events wait in the outbox; trying again");
                    tokio::select! {
                        () = self.inner.clock.sleep(RETRY) => {}
                        () = cancel.cancelled() => return,
                    }
                }
            }
        }
    }

    /// Whether events wait.
    pub async fn outbox_is_empty(&self) -> Result<bool, Refusal> {
        self.inner.store.read(|tx| Ok(tx.open_table(tables::OUTBOX)?.is_empty()?)).await
    }

    /// Publishes one group; false if there was nothing.
    async fn pump_once(&self, hub: &Hub) -> Result<bool, Refusal> {
        let events = self.inner.store.read(|tx| {
            let table = tx.open_table(tables::OUTBOX)?;
            table
                .iter()?
                .take(GROUP_MAX)
                .map(|row| {
                    let (number, bytes) = row?;
                    Ok((number.value(), tables::decode::<Event>("event", bytes.value())?))
                })
                .collect::<Result<Vec<_>, Error>>()
        });
        let events = events.await?;
        if events.is_empty() {
            return Ok(false);
        }
        let (mut newest, mut last, mut failed) = (BTreeMap::<_, Ticket>::new(), 0, Ok(true));
        for (number, event) in &events {
            match hub.publish(event.source, &event.about, &event.message(&self.inner.config.hub_name)) {
                Ok(ticket) => newest.extend(ticket.map(|t| (t.partition, t))),
                // What was taken is removed all the same, so that a full log is not filled with repetitions.
                Err(refusal) if refusal.code == ErrorCode::ServerBusy => {
                    tokio::select! {
                        room = hub.event_room(event.source, &event.about) => room?,
                        () = self.inner.clock.sleep(ROOM) => failed = Err(refusal),
                    }
                    break;
                }
                Err(refusal) => {
                    failed = Err(refusal);
                    break;
                }
            }
            last = *number;
        }
        for ticket in newest.into_values() {
            hub.durable(ticket).await?;
        }
        let remove = move |changes: &Changes<'_>| {
            changes.tx.open_table(tables::OUTBOX)?.retain_in(..=last, |_, _| false)?;
            Ok(())
        };
        self.inner.store.write(remove).await?;
        failed
    }
}
