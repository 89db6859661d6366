//! The limits of a hub, in two profiles.

use std::time::Duration;

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
