//! The doors: listeners, TLS, WebSocket, MQTT, AMQP, HTTPS. They turn wire talk into hub operations and back.
//!
//! Start with [`Gateway`]. Each listener tells MQTT, AMQP and HTTP apart by the first bytes a client sends, since each of these
//! clients speaks first. What is *not* here: rules of the hub, and anything of the service side; the assembly hands those in
//! as an HTTP router and as [`AmqpService`].

mod error;
mod gateway;
mod peer;
mod services;

pub mod authority;
mod stream;
pub mod tls;

mod connection;

mod amqp;
pub mod http;
mod metrics;
mod mqtt;
mod packet_io;
mod provisioning;
mod service;
mod topics;
mod websocket;

#[cfg(test)]
mod fakes;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use gateway::{Gateway, Listener, Tls};
pub use metrics::{ConnectionGuard, Metrics, Protocol};
pub use peer::Peer;
pub use provisioning::{Provisioning, Registrant, RegistrationAnswer};
pub use service::{AmqpService, Attach, ServiceSink, ServiceSource};
pub use services::Services;
pub use topics::{EnhancedAuthentication, Exchange, ExchangeStep, ScramSha256, Topics, TopicsSettings};

/// Application properties a message may come with; a bound of ours.
const PROPERTIES_MAX: usize = 256;
