//! The section `[routing]`: where messages go. What each setting does stands in docs/routing.md.

use anyhow::Context as _;
use ironbrook_client::topics::{QoS, Version};
use ironbrook_client::{Transport, Trust};
use ironbrook_cloud::assembly::{
    self, AzureRouting, Encoding, EndpointConfig, EndpointKind, S3, StorageEndpointConfig, StorageTarget,
};
use ironbrook_cloud::endpoints::enrich::Enrichment;
use ironbrook_cloud::endpoints::webhook::Format;
use ironbrook_cloud::endpoints::{Gather, event_hub, mqtt, webhook};
use ironbrook_hub::Route;
use ironbrook_model::SharedAccessKey;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where messages go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Routing {
    /// Whether telemetry that matches no route goes to `events`.
    pub fallback: bool,
    /// Whether `dev` has its own routes, of all telemetry to `events` and to two containers.
    pub dev_routes: bool,
    /// The `properties.routing` of an Azure hub as JSON, taken on top.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure_file: Option<PathBuf>,
    /// Endpoints besides `events`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Endpoint>,
    /// Routes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Properties added to messages on their way to some endpoints.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub enrichments: Vec<Enrichment>,
}

impl Default for Routing {
    fn default() -> Self {
        Self {
            fallback: true,
            dev_routes: true,
            azure_file: None,
            endpoints: Vec::new(),
            routes: Vec::new(),
            enrichments: Vec::new(),
        }
    }
}

/// An endpoint, by its type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Endpoint {
    /// A container of a storage account, a bucket or a folder.
    Storage(Storage),
    /// A web hook.
    Webhook(Webhook),
    /// An event hub, or a device of another hub.
    EventHub(EventHub),
    /// An MQTT broker.
    Mqtt(Mqtt),
}

/// `type = "storage"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    name: String,
    /// Container or bucket; with `folder` a folder in it.
    container: String,
    #[serde(default)]
    encoding: Encoding,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file_name_format: Option<String>,
    #[serde(default = "batch_seconds")]
    batch_seconds: f64,
    #[serde(default = "chunk_bytes")]
    max_chunk_bytes: u64,
    /// File with the connection string of another Azure Blob account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    connection_string_file: Option<PathBuf>,
    /// A folder of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    folder: Option<PathBuf>,
    /// A bucket of S3 or of what speaks like it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    s3: Option<Bucket>,
}

/// How a bucket is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    access_key_id: String,
    /// File whose first line is the secret.
    secret_access_key_file: PathBuf,
    #[serde(default)]
    allow_http: bool,
}

/// `type = "webhook"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    name: String,
    url: Hidden,
    #[serde(default)]
    format: Format,
    #[serde(default = "timeout_seconds")]
    timeout_seconds: f64,
    /// Headers of every request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, Hidden>,
    /// File whose first line is the value of the header `Authorization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    authorization_file: Option<PathBuf>,
    /// File whose first line is the key that requests are signed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signing_key_file: Option<PathBuf>,
    /// PEM file with the authorities to trust; the system's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    batch: Option<Batch>,
}

/// `type = "event-hub"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventHub {
    name: String,
    /// File with the connection string of the event hub, or of a device of another hub.
    connection_string_file: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    batch: Option<Batch>,
}

/// `type = "mqtt"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mqtt {
    name: String,
    /// `mqtt[s]://[user@]host[:port]`
    url: String,
    /// `plant/{device}/{source}`
    topic: String,
    #[serde(default)]
    version: Spoken,
    #[serde(default = "one")]
    qos: u8,
    #[serde(default)]
    retain: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    /// File whose first line is the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    batch: Option<Batch>,
}

/// A version of MQTT.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Spoken {
    /// MQTT 5.0
    #[default]
    #[serde(rename = "5.0")]
    V5,
    /// MQTT 3.1.1
    #[serde(rename = "3.1.1")]
    V4,
}

/// How an endpoint gathers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Batch {
    messages: usize,
    bytes: usize,
    seconds: f64,
}

/// A text that may be secret. `Debug` hides it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Hidden(String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<hidden>")
    }
}

impl Default for Batch {
    fn default() -> Self {
        let Gather { messages, bytes, delay } = Gather::default();
        Self { messages, bytes, seconds: delay.as_secs_f64() }
    }
}

fn batch_seconds() -> f64 {
    300.0
}

fn chunk_bytes() -> u64 {
    314_572_800
}

fn timeout_seconds() -> f64 {
    30.0
}

fn one() -> u8 {
    1
}

/// The longest that is waited for anything.
const SECONDS_MAX: f64 = 3600.0;

fn seconds(value: f64, what: &str) -> anyhow::Result<Duration> {
    anyhow::ensure!((0.0..=SECONDS_MAX).contains(&value), "{what}: 0 to {SECONDS_MAX} seconds");
    Ok(Duration::from_secs_f64(value))
}

fn gather(batch: Option<Batch>) -> anyhow::Result<Gather> {
    let Batch { messages, bytes, seconds: wait } = batch.unwrap_or_default();
    Ok(Gather { messages, bytes, delay: seconds(wait, "batch.seconds")? })
}

/// The first line of a file.
fn secret(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let line = text.lines().next().unwrap_or_default().trim();
    anyhow::ensure!(!line.is_empty(), "{}: the first line is empty", path.display());
    Ok(line.to_owned())
}

fn transport(ca_file: Option<&Path>) -> anyhow::Result<Transport> {
    Ok(ca_file.map_or_else(|| Ok(Transport::default()), |file| Trust::file(file).map(Transport::new))?)
}

impl Routing {
    /// Puts all of it into the settings of a hub.
    pub fn apply(&self, config: &mut assembly::Config) -> anyhow::Result<()> {
        config.fallback_route = self.fallback;
        config.routes.extend(self.routes.iter().cloned());
        config.routing.enrichments.extend(self.enrichments.iter().cloned());
        for endpoint in &self.endpoints {
            let name = endpoint.name();
            endpoint.apply(config).with_context(|| format!("routing.endpoints: {name}"))?;
        }
        if let Some(file) = &self.azure_file {
            let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
            let routing = AzureRouting::parse(&text).and_then(|routing| routing.apply(config));
            routing.map_err(anyhow::Error::msg).with_context(|| file.display().to_string())?;
        }
        Ok(())
    }
}

impl Endpoint {
    fn name(&self) -> &str {
        match self {
            Self::Storage(Storage { name, .. })
            | Self::Webhook(Webhook { name, .. })
            | Self::EventHub(EventHub { name, .. })
            | Self::Mqtt(Mqtt { name, .. }) => name,
        }
    }

    fn apply(&self, config: &mut assembly::Config) -> anyhow::Result<()> {
        let kind = match self {
            Self::Storage(storage) => {
                config.storage_endpoints.push(storage.settings()?);
                return Ok(());
            }
            Self::Webhook(webhook) => EndpointKind::Webhook(webhook.settings()?),
            Self::EventHub(hub) => EndpointKind::EventHub(event_hub::Config {
                connection_string: secret(&hub.connection_string_file)?,
                transport: transport(hub.ca_file.as_deref())?,
                gather: gather(hub.batch)?,
            }),
            Self::Mqtt(mqtt) => EndpointKind::Mqtt(mqtt.settings()?),
        };
        config.routing.endpoints.push(EndpointConfig { name: self.name().to_owned(), kind });
        Ok(())
    }
}

impl Storage {
    fn settings(&self) -> anyhow::Result<StorageEndpointConfig> {
        let target = match (&self.connection_string_file, &self.folder, &self.s3) {
            (None, None, None) => StorageTarget::BuiltIn,
            (Some(file), None, None) => StorageTarget::ConnectionString(secret(file)?),
            (None, Some(folder), None) => StorageTarget::Folder(folder.clone()),
            (None, None, Some(bucket)) => StorageTarget::S3(S3 {
                endpoint: bucket.endpoint.clone(),
                region: bucket.region.clone(),
                keys: Some((bucket.access_key_id.clone(), secret(&bucket.secret_access_key_file)?)),
                allow_http: bucket.allow_http,
            }),
            _ => anyhow::bail!("only one of connection_string_file, folder and s3"),
        };
        let format = self.file_name_format.clone();
        Ok(StorageEndpointConfig {
            name: self.name.clone(),
            container: self.container.clone(),
            encoding: self.encoding,
            file_name_format: format.unwrap_or_else(|| super::Storage::default().file_name_format),
            batch_frequency: seconds(self.batch_seconds, "batch_seconds")?,
            max_chunk_bytes: self.max_chunk_bytes,
            target,
        })
    }
}

impl Webhook {
    fn settings(&self) -> anyhow::Result<webhook::Config> {
        let mut headers: Vec<_> =
            self.headers.iter().map(|(name, Hidden(value))| (name.clone(), value.clone())).collect();
        if let Some(file) = &self.authorization_file {
            headers.push(("Authorization".to_owned(), secret(file)?));
        }
        let key = self.signing_key_file.as_deref().map(secret).transpose()?;
        Ok(webhook::Config {
            url: self.url.0.clone(),
            format: self.format,
            gather: gather(self.batch)?,
            timeout: seconds(self.timeout_seconds, "timeout_seconds")?,
            headers,
            signing_key: key.map(|key| SharedAccessKey::from_bytes(key.as_bytes())),
            transport: transport(self.ca_file.as_deref())?,
        })
    }
}

impl Mqtt {
    fn settings(&self) -> anyhow::Result<mqtt::Config> {
        Ok(mqtt::Config {
            url: self.url.clone(),
            version: match self.version {
                Spoken::V5 => Version::V5,
                Spoken::V4 => Version::V4,
            },
            client_id: self.client_id.clone(),
            password: self.password_file.as_deref().map(secret).transpose()?,
            transport: transport(self.ca_file.as_deref())?,
            topic: self.topic.parse().map_err(anyhow::Error::msg)?,
            qos: match self.qos {
                0 => QoS::AtMostOnce,
                1 => QoS::AtLeastOnce,
                2 => QoS::ExactlyOnce,
                other => anyhow::bail!("qos: 0, 1 or 2, not {other}"),
            },
            retain: self.retain,
            gather: gather(self.batch)?,
        })
    }
}

#[cfg(test)]
mod tests;
