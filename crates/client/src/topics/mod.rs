//! A client of ordinary MQTT topics, of any server that speaks MQTT 3.1.1 or 5.0.
//!
//! ```no_run
//! # async fn example() -> ironbrook_client::topics::Result<()> {
//! use ironbrook_client::topics::{Client, Message, QoS};
//!
//! let (client, mut messages) =
//!     Client::builder("mqtts://sensor@broker.example:8883")?.password("secret").ca_file("ca.pem")?.connect().await?;
//! client.subscribe("plant/+/temperature", QoS::AtLeastOnce).await?;
//! client.publish(Message::new("plant/7/temperature", "21.5").qos(QoS::AtLeastOnce)).await?; // the server has it
//! if let Some(received) = messages.next().await {
//!     println!("{}: {} bytes", received.message.topic, received.message.payload.len());
//! }
//! client.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! The client reconnects by itself, with growing and jittered waits. What was published with QoS 1 or 2 and is not acknowledged
//! is sent again then, in its order; subscriptions are made again where the server has forgotten the session. All of that lives
//! in memory: a program that must not lose a message over its own restart keeps it until its [`Receipt`] resolves.
//!
//! In the order the data goes: `handle` is what a program holds, `driver` keeps a connection, `session` is the protocol without
//! any input or output, `codec` writes both versions as one.
//!
//! What is *not* here: devices, twins and hubs (that is [`DeviceClient`](crate::DeviceClient)), MQTT over WebSocket, and enhanced
//! authentication.

mod alias;
mod builder;
mod codec;
mod driver;
mod error;
mod flow;
mod handle;
mod ids;
mod inbound;
mod link;
mod message;
mod outbound;
#[cfg(test)]
mod script;
mod session;
mod subscriptions;
#[cfg(test)]
mod tests;
mod url;

pub use crate::device::RetryPolicy;
pub use builder::{Builder, Version, Will};
pub use driver::Driver;
pub use error::{Error, Result};
pub use handle::{Client, ConnectionState, Receipt};
pub use ironbrook_wire::mqtt::QoS;
pub use ironbrook_wire::mqtt::topic::{Filter, TopicFault, check_name};
pub use ironbrook_wire::mqtt::v5::{ReasonCode, RetainHandling, SubscriptionId, UserProperties};
pub use message::{Message, Messages, Properties, Received, Subscription};

use tokio::sync::oneshot;

/// How an answer comes back.
type Reply<T> = oneshot::Sender<Result<T>>;

/// What a handle asks of the driver, apart from messages.
#[derive(Debug)]
enum Control {
    Request(subscriptions::Request),
    Close(Reply<()>),
}
