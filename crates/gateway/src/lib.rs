//! The doors: listeners, TLS, WebSocket, MQTT, AMQP, HTTPS. They turn wire talk into hub operations and back.
//!
//! Start with [`Gateway`]. Each listener tells MQTT, AMQP and HTTP apart by the first bytes a client sends, since each of these
//! clients speaks first. What is *not* here: rules of the hub, and anything of the service side; the assembly hands those in
//! as an HTTP router and as [`AmqpService`].

mod amqp;
pub mod authority;
mod metrics;
mod peer;
mod service;
mod services;

pub use metrics::{ConnectionGuard, Metrics, Protocol};
pub use peer::Peer;
pub use service::{AmqpService, Attach, ServiceSink, ServiceSource};
pub use services::Services;
