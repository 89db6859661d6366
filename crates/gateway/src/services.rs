//! What a listener leads to.

use crate::{AmqpService, Metrics, Provisioning, Topics};
use ironbrook_hub::Hub;
use std::sync::Arc;

/// What clients of a listener can reach. Several listeners usually share one.
pub struct Services {
    /// The core; without it devices are turned away.
    pub hub: Option<Hub>,
    /// Ordinary MQTT topics. Beside a hub the user name of a client decides which of both it is for.
    pub topics: Option<Arc<Topics>>,
    /// HTTP routes of the assembly: service API, portal, health. The device-side API is merged in where there is a hub, so
    /// the paths `/devices/{device}/messages/…` must be free and path parameters named `{device}` and `{module}`.
    pub http: axum::Router,
    /// AMQP links of the service side.
    pub amqp: Option<Arc<dyn AmqpService>>,
    /// The provisioning service; its HTTP routes are among the assembly's.
    pub provisioning: Option<Arc<dyn Provisioning>>,
    /// Whether MQTT and AMQP are also served through WebSocket.
    pub websocket: bool,
    /// Counters of the doors.
    pub metrics: Metrics,
}
