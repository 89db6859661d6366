//! The limits of a hub, in two profiles.

use std::time::Duration;

/// A size of a hub, as Azure sells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tier {
    /// Also F1 and B1.
    #[default]
    S1,
    /// Twelve times the messages.
    S2,
    /// A thousand times.
    S3,
}

/// How large a hub is, for its throttles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Units {
    /// The size of each.
    pub tier: Tier,
    /// How many.
    pub units: u32,
}

/// An identity that connects more often than so many times within a time is shut out for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flapping {
    /// Connections that are still borne.
    pub connections: u32,
    /// Within this time.
    pub within: Duration,
    /// For how long it is shut out.
    pub ban: Duration,
}

/// What a hub takes at most.
///
/// Source: Azure docs "IoT Hub quotas and throttling".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A telemetry message as [`Message::metered_len`](ironbrook_model::Message::metered_len) counts it, in bytes.
    pub telemetry_bytes: usize,
    /// A cloud-to-device message, counted the same way, in bytes.
    pub cloud_to_device_bytes: usize,
    /// The payload of a direct method, in either direction, in bytes.
    pub method_payload_bytes: usize,
    /// Direct methods an identity has not answered yet.
    pub methods_in_flight: usize,
    /// Routes of a hub.
    pub routes: usize,
    /// Endpoints of a hub besides `events`.
    pub endpoints: usize,
    /// How long a cloud-to-device message is locked for a device.
    pub lock_for: Duration,
    /// The size of the hub by which it is throttled; `None` for no throttles.
    pub throttling: Option<Units>,
    /// Lasting connections of one identity; `None` for no limit.
    pub identity_connections_per_second: Option<u32>,
    /// Telemetry messages of one connection; `None` for no limit.
    pub identity_messages_per_second: Option<u32>,
    /// Connections from one address, whatever is spoken on them; `None` for no limit.
    pub address_connections_per_second: Option<u32>,
    /// Whom to shut out for connecting again and again; `None` for nobody.
    pub flapping: Option<Flapping>,
    /// How long a module may settle none of the messages to its inputs before they come again.
    pub input_ack_timeout: Duration,
}

impl Limits {
    /// The documented limits, for faithful tests.
    pub const fn azure() -> Self {
        Self {
            telemetry_bytes: 256 * 1024,
            cloud_to_device_bytes: 64 * 1024,
            method_payload_bytes: 128 * 1024,
            methods_in_flight: 10,
            routes: 100,
            endpoints: 10,
            lock_for: Duration::from_secs(60),
            throttling: None,
            identity_connections_per_second: None,
            identity_messages_per_second: None,
            address_connections_per_second: None,
            flapping: None,
            input_ack_timeout: Duration::from_secs(30),
        }
    }

    /// Raised limits, for plants that own their hardware.
    pub const fn native() -> Self {
        Self {
            telemetry_bytes: 1024 * 1024,
            cloud_to_device_bytes: 256 * 1024,
            method_payload_bytes: 1024 * 1024,
            methods_in_flight: 100,
            routes: 1000,
            endpoints: 100,
            ..Self::azure()
        }
    }
}
