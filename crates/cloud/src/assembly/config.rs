//! What a hub is made of.

pub use super::routing::{EndpointConfig, EndpointKind, Routing};
pub use crate::storage::endpoint::{Encoding, S3};

use crate::storage::endpoint;
use crate::uploads;
use ironbrook_hub::{Flapping, Limits, Route, Units};
use ironbrook_log::{Keys, SyncPolicy};
use std::time::Duration;

/// Which limits hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// The documented limits of Azure IoT Hub.
    Azure,
    /// Raised limits.
    Native,
}

impl Profile {
    /// The core's limits.
    pub fn limits(self) -> Limits {
        match self {
            Self::Azure => Limits::azure(),
            Self::Native => Limits::native(),
        }
    }
}

/// What a hub, an identity and an address may ask in a while; nothing is limited by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Throttles {
    /// The size of the hub, by which it is throttled.
    pub units: Option<Units>,
    /// Lasting connections of one identity.
    pub identity_connections_per_second: Option<u32>,
    /// Telemetry messages of one connection.
    pub identity_messages_per_second: Option<u32>,
    /// Connections from one address.
    pub address_connections_per_second: Option<u32>,
    /// Whom to shut out for connecting again and again.
    pub flapping: Option<Flapping>,
}

impl Throttles {
    /// Limits with these in them.
    pub(super) fn on(self, limits: Limits) -> Limits {
        Limits {
            throttling: self.units,
            identity_connections_per_second: self.identity_connections_per_second,
            identity_messages_per_second: self.identity_messages_per_second,
            address_connections_per_second: self.address_connections_per_second,
            flapping: self.flapping,
            ..limits
        }
    }
}

/// Settings of a hub.
#[derive(Debug, Clone)]
pub struct Config {
    /// Short name: in storage names, in events, as the entity of the events endpoint.
    pub hub_name: String,
    /// All host names and addresses that tokens may name.
    pub hosts: Vec<String>,
    /// Which limits hold.
    pub profile: Profile,
    /// Partitions of the log; may grow between starts, never shrink.
    pub partitions: u16,
    /// Routes; those of a seed file come on top.
    pub routes: Vec<Route>,
    /// What may be asked in a while.
    pub throttles: Throttles,
    /// Whether telemetry that matches no route goes to `events`.
    pub fallback_route: bool,
    /// Storage endpoints.
    pub storage_endpoints: Vec<StorageEndpointConfig>,
    /// Endpoints elsewhere, and enrichments.
    pub routing: Routing,
    /// Consumer groups besides `$Default`.
    pub consumer_groups: Vec<String>,
    /// The message log.
    pub log: LogConfig,
    /// Name of the built-in storage account: 3 to 24 lower-case letters and digits.
    pub account_name: String,
    /// Where files of devices go; nowhere without.
    pub file_upload: Option<uploads::Config>,
    /// Streaming jobs.
    pub streaming: crate::streaming::Settings,
}

/// Settings of the message log.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// How long messages are kept for readers.
    pub retention: Duration,
    /// Bytes kept at most per partition.
    pub retention_bytes: u64,
    /// When messages are synced, and so acknowledged.
    pub sync: SyncPolicy,
    /// Keys for encryption at rest; nothing is encrypted without.
    pub keys: Keys,
}

impl Default for LogConfig {
    /// One day in segments of 16 MiB, at most 4 GiB per partition, synced in groups, in plain.
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            retention: Duration::from_secs(24 * 3600),
            retention_bytes: 4 << 30,
            sync: SyncPolicy::default(),
            keys: Keys::default(),
        }
    }
}

impl LogConfig {
    pub(super) fn to_segments(&self, partitions: u16) -> ironbrook_log::Config {
        ironbrook_log::Config {
            partitions,
            segment_bytes: self.segment_bytes,
            retention: ironbrook_log::Retention {
                max_age: Some(self.retention),
                max_bytes: Some(self.retention_bytes),
            },
            sync: self.sync,
            keys: self.keys.clone(),
            ..ironbrook_log::Config::default()
        }
    }
}

/// Where a storage endpoint writes. `Debug` hides the connection string, which holds a key.
#[derive(Clone)]
pub enum StorageTarget {
    /// The account in this process.
    BuiltIn,
    /// Any other Azure Blob account.
    ConnectionString(String),
    /// S3, or what speaks like it; the container is the bucket.
    S3(S3),
    /// A folder of this machine; the container is a folder in it.
    Folder(std::path::PathBuf),
}

impl std::fmt::Debug for StorageTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::BuiltIn => "BuiltIn",
            Self::ConnectionString(_) => "ConnectionString(<hidden>)",
            Self::S3(_) => "S3(<hidden>)",
            Self::Folder(_) => "Folder",
        })
    }
}

/// Settings of a storage endpoint.
#[derive(Debug, Clone)]
pub struct StorageEndpointConfig {
    /// Its name in routes.
    pub name: String,
    /// The container.
    pub container: String,
    /// How messages are written.
    pub encoding: Encoding,
    /// Names of blobs with all seven tokens.
    pub file_name_format: String,
    /// How long the first message of a blob waits for others.
    pub batch_frequency: Duration,
    /// Bytes of a blob at most.
    pub max_chunk_bytes: u64,
    /// Where it writes.
    pub target: StorageTarget,
}

impl StorageEndpointConfig {
    pub(super) fn to_endpoint(&self, hub: &str) -> endpoint::Config {
        endpoint::Config {
            encoding: self.encoding,
            file_name_format: self.file_name_format.clone(),
            batch_frequency: self.batch_frequency,
            max_chunk_bytes: self.max_chunk_bytes,
            ..endpoint::Config::new(self.name.clone(), hub, self.container.clone())
        }
    }
}
