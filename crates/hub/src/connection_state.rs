//! Connection-state events.
//!
//! Source: Azure docs "Device connection state events"; the body's only member orders the events of one device.

use crate::hub::Core;
use crate::telemetry;
use ironbrook_model::{ErrorCode, Identity, Message, MessageSource, Refusal, SystemProperty};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Orders events of one millisecond.
static SEQUENCE: AtomicU64 = AtomicU64::new(0);

const SOURCE: MessageSource = MessageSource::DeviceConnectionStateEvents;

/// Publishes that an identity connected or disconnected, where a route wants to know.
pub(crate) fn publish(core: &Arc<Core>, identity: &Identity, connected: bool) {
    if !core.router.wants(SOURCE) {
        return;
    }
    let message = event(core, identity, connected);
    if core.router.twin(SOURCE, identity).is_ok() {
        append(core, identity, &message);
        return;
    }
    // A route looks at the twin, which has to be read first; the event's number orders it all the same.
    let (for_task, identity) = (Arc::clone(core), identity.clone());
    let late = async move {
        match for_task.router.load_twin(SOURCE, &identity).await {
            Ok(()) => append(&for_task, &identity, &message),
            Err(refusal) => lost(&identity, &refusal),
        }
    };
    core.tasks.spawn_on(late, &core.runtime);
}

fn append(core: &Core, identity: &Identity, message: &Message) {
    // Nobody waits for these events; where the log is full they are the first to go.
    if let Err(refusal) = telemetry::publish(core, SOURCE, identity, message) {
        lost(identity, &refusal);
    }
}

fn lost(identity: &Identity, refusal: &Refusal) {
    tracing::warn!(code = %refusal.code, %identity, "a connection event was lost");
}

fn event(core: &Core, identity: &Identity, connected: bool) -> Message {
    let now = core.now();
    let number = SEQUENCE.fetch_add(1, Ordering::Relaxed);
    // rule HUB-07: about 62 hexadecimal digits; compared as text a later event is greater.
    let mut message =
        Message::new(format!(r#"{{"sequenceNumber":"{:046X}{number:016X}"}}"#, now.as_millis().max(0)));
    let system = &mut message.system;
    system.set(SystemProperty::ContentType, "application/json");
    system.set(SystemProperty::ContentEncoding, "utf-8");
    system.set(SystemProperty::MessageId, uuid::Uuid::new_v4().to_string());
    system.set(SystemProperty::CorrelationId, uuid::Uuid::new_v4().to_string());
    system.set(SystemProperty::UserId, core.auth.hub_name().to_owned());
    system.set(SystemProperty::MessageSchema, "deviceConnectionStateNotification");
    let properties = &mut message.properties;
    properties.set("hubName", core.auth.hub_name().to_owned());
    properties.set("deviceId", identity.device.to_shared());
    if let Some(module) = &identity.module {
        properties.set("moduleId", module.to_shared());
    }
    properties.set("operationTimestamp", now.to_string());
    properties.set(
        "opType",
        match (identity.module.is_some(), connected) {
            (false, true) => "deviceConnected",
            (false, false) => "deviceDisconnected",
            (true, true) => "moduleConnected",
            (true, false) => "moduleDisconnected",
        },
    );
    properties.set("iothub-message-schema", "deviceConnectionStateNotification");
    message
}

/// Why a session ends when its door lets go of it.
pub(crate) fn ended() -> Refusal {
    Refusal::new(ErrorCode::DeviceNotOnline, "the connection ended")
}

/// Why sessions end with the program.
pub(crate) fn shutting_down() -> Refusal {
    Refusal::new(ErrorCode::ServiceUnavailable, "the hub is shutting down; connect again later")
}
