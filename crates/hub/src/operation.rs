//! Two enums: what a device may ask, and what the hub may do to a device. Who reads these knows the product.

use bytes::Bytes;
use bytestring::ByteString;
use ironbrook_model::{Message, Refusal, Timestamp};
use serde_json::value::RawValue;
use std::time::Duration;

/// What a device or module may ask of the hub.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "made and taken apart at once, never stored")]
pub enum Operation {
    /// Send a message to the hub. Doors on the hot path use [`Hub::telemetry`](crate::Hub::telemetry), which does the same
    /// without waiting for the disk.
    SendTelemetry(Message),
    /// Read the own twin.
    GetTwin,
    /// Merge a JSON object into the reported properties.
    PatchReported(Bytes),
    /// Be sent something from now on.
    Subscribe(Subscription),
    /// No longer.
    Unsubscribe(Subscription),
    /// Answer a direct method.
    AnswerMethod {
        /// The id of the [`Delivery::Method`].
        request: ByteString,
        /// What it returned.
        answer: MethodAnswer,
    },
    /// Settle a cloud-to-device message.
    Settle {
        /// Which message.
        lock: LockToken,
        /// How.
        settlement: Settlement,
    },
}

/// What was done.
#[derive(Debug)]
pub enum Outcome {
    /// Done; for telemetry: durable.
    Done,
    /// The twin as a device sees it: `{"desired":{…,"$version":n},"reported":{…,"$version":m}}`.
    Twin(Bytes),
    /// The reported properties' new version.
    Reported {
        /// `reported.$version`.
        version: u64,
    },
}

/// What a session can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subscription {
    /// Cloud-to-device messages. With `persistent` the subscription outlives the connection (MQTT clean session 0).
    CloudToDevice {
        /// Whether it outlives the connection.
        persistent: bool,
    },
    /// Direct methods.
    Methods,
    /// Changes of the desired properties.
    DesiredProperties,
    /// Messages routed to a module's inputs.
    Inputs,
    /// Answers to twin requests. The hub answers in any case; it only keeps for a door that sends answers to subscribers alone
    /// who is one.
    TwinAnswers,
}

/// What the hub may do to a device.
#[derive(Debug)]
pub enum Delivery {
    /// A cloud-to-device message, locked until settled.
    CloudToDevice(LockedMessage),
    /// A message routed to a module's input, locked until settled.
    Input {
        /// The input's name.
        input: ByteString,
        /// The message.
        message: LockedMessage,
    },
    /// A direct method; answer with [`Operation::AnswerMethod`].
    Method {
        /// Id for the answer: letters and digits only.
        request: ByteString,
        /// Name and payload.
        call: MethodCall,
    },
    /// The desired properties changed: the patch as applied, nulls kept, with `$version`.
    DesiredProperties {
        /// `desired.$version` after the change.
        version: u64,
        /// The patch, JSON object.
        patch: Bytes,
    },
    /// The session is over; nothing follows. The code says why (superseded, expired, disabled, deleted, shutdown).
    Closed(Refusal),
}

/// A message under a lock.
#[derive(Debug, Clone)]
pub struct LockedMessage {
    /// Proof of the lock.
    pub lock: LockToken,
    /// Number in the device's queue.
    pub sequence_number: u64,
    /// When it was queued.
    pub enqueued: Timestamp,
    /// How often it was delivered before.
    pub delivery_count: u8,
    /// The message; `To`, `Expiry`, `Ack` are system properties.
    pub message: Message,
}

/// A lock on a message: a random GUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LockToken(pub uuid::Uuid);

/// The end of a locked message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// Processed.
    Complete,
    /// Not wanted: dead-lettered.
    Reject,
    /// Give it again, counted.
    Abandon,
    /// The connection ended before an answer: give it again, not counted.
    Release,
}

/// A direct method call.
#[derive(Debug, Clone)]
pub struct MethodCall {
    /// Name, unescaped.
    pub name: ByteString,
    /// Any JSON value; `null` where the caller gave none.
    pub payload: Box<RawValue>,
    /// How long to wait for the answer, 5 to 300 s.
    pub response_timeout: Duration,
    /// How long to wait for the device to be connected and subscribed, 0 to 300 s.
    pub connect_timeout: Duration,
}

/// The answer to a direct method.
#[derive(Debug, Clone)]
pub struct MethodAnswer {
    /// Chosen by the device.
    pub status: i32,
    /// JSON value; `null` where the device sent nothing.
    pub payload: Box<RawValue>,
}
