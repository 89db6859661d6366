//! Clients of an IoT hub, ours or any that is compatible with Azure IoT Hub, and of ordinary MQTT topics.
//!
//! - [`DeviceClient`]: a device or module over MQTT 3.1.1 and TLS: telemetry, messages from the hub, twin, direct methods. It signs
//!   and renews its tokens and reconnects by itself. Start here when you write a device.
//! - [`topics::Client`]: ordinary topics of any server of MQTT 3.1.1 or 5.0, ours or another.
//! - [`EventsClient`]: reads telemetry from the Event-Hubs-compatible endpoint.
//! - [`EventsSender`]: sends events to an event hub, or as a device to another hub; [`Poster`]: posts to a URL.
//! - [`ServiceClient`]: identities, twins, methods, queries and deployments over HTTPS.
//! - [`DeviceInbox`]: messages that wait for a device, over HTTPS.
//! - [`DeviceRegistryClient`]: what a device may ask of the registry with its own credential.
//! - [`Workload`]: what a module asks of the daemon that keeps its key; [`Builder::from_environment`] does it by itself.
//!
//! ```no_run
//! # async fn example() -> ironbrook_client::Result<()> {
//! use ironbrook_client::{DeviceClient, Message, SystemProperty};
//!
//! let client = DeviceClient::builder("HostName=localhost;DeviceId=d1;SharedAccessKey=c2VjcmV0")?
//!     .ca_file("ironbrook-data/ca.pem")?
//!     .connect()
//!     .await?;
//! let mut message = Message::new(r#"{"temperature": 21.5}"#);
//! message.system.set(SystemProperty::ContentType, "application/json");
//! message.system.set(SystemProperty::ContentEncoding, "utf-8");
//! client.send(message).await?; // returns when the hub has stored it
//! client.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! What is *not* here: the hub, and offline storage. Messages live in memory until they are acknowledged; a program that must
//! not lose any over its own restart keeps them itself until [`Receipt`] resolves.

mod amqp;
mod blob;
mod c2d;
mod credentials;
mod device;
mod error;
mod events;
mod https;
mod inbox;
mod outbox;
mod post;
mod registry;
mod routing;
mod service;
#[cfg(test)]
mod testing;
pub mod topics;
mod transport;
mod workload;

pub use blob::{download, upload};
pub use credentials::Signer;
pub use device::{
    Builder, ConnectionState, DesiredUpdate, DesiredUpdates, DeviceClient, Driver, Messages, MethodCall,
    MethodCalls, Receipt, ReceivedMessage, RetryPolicy, Twin,
};
pub use error::{Error, Result};
pub use events::{
    Event, EventStream, EventsBuilder, EventsClient, EventsSender, Outcome, OutgoingEvent, PartitionInfo,
    Position, SenderBuilder,
};
pub use inbox::{DeviceInbox, DeviceInboxBuilder, Settle, WaitingMessage};
pub use ironbrook_model::{
    ConnectionString, DeviceId, Identity, Message, ModuleId, SharedAccessKey, SystemProperty,
};
pub use post::{Posted, Poster};
pub use registry::{DeviceRegistryBuilder, DeviceRegistryClient, ModuleRecord, ScopeDevice, ScopePage};
pub use service::{ServiceBuilder, ServiceClient};
pub use transport::{Authorities, Transport, Trust};
pub use workload::{ServerCertificate, Workload};
