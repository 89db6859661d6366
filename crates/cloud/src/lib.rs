//! The IoT Hub assembly: registry, twins, cloud-to-device queues, service API, events endpoint and storage account
//! around the core.
//!
//! Start with [`assembly::Cloud`], which opens everything in order and hands out what a process has to serve; ordinary MQTT
//! topics beside the hub are [`topics::OrdinaryTopics`]. What is
//! *not* here: sockets (the gateway), the way of a message (the hub), and anything of an edge device's runtime.

pub mod assembly;
pub mod endpoints;
pub mod events;
pub mod provisioning;
pub mod registry;
pub mod service_api;
pub mod storage;
pub mod streaming;
#[cfg(test)]
mod testing;
pub mod topics;
pub mod uploads;
