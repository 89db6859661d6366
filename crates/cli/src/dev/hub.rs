//! From the configuration to a hub, and from the hub to what is announced.

use super::data_dir::DataDir;
use super::listen::Ports;
use super::ready::{FirstToken, Ready};
use crate::config::{self, Config};
use anyhow::Context as _;
use ironbrook_cloud::assembly::{
    self, Cloud, Encoding, LogConfig, Profile, StorageEndpointConfig, StorageTarget,
};
use ironbrook_cloud::registry::StoredAuthentication;
use ironbrook_hub::Route;
use ironbrook_hub::seams::{Clock as _, SystemClock};
use ironbrook_model::{MessageSource, SharedAccessKey, SharedAccessPolicy};
use std::collections::BTreeMap;
use std::time::Duration;

/// Devices whose connection strings are announced; a seed may make many more.
const ANNOUNCED_MAX: usize = 1000;
/// How long the token in the lines to copy is good.
const FIRST_TOKEN_LIFETIME: Duration = Duration::from_secs(3600);
/// Azure's bounds and default of the batch frequency, in seconds.
const AZURE_BATCH_SECONDS: std::ops::RangeInclusive<u64> = 60..=720;
const AZURE_BATCH_SECONDS_DEFAULT: u64 = 300;
/// Azure's default chunk size.
const CHUNK_BYTES: u64 = 314_572_800;

/// The hub's settings. Telemetry goes to `events` and to two containers.
pub fn settings(config: &Config, hosts: Vec<String>, ports: &Ports) -> anyhow::Result<assembly::Config> {
    let batch_seconds = match config.hub.profile {
        config::Profile::Azure if !AZURE_BATCH_SECONDS.contains(&config.storage.batch_seconds) => {
            // dev's own default of 5 s is not Azure's; anything else out of range is a mistake the assembly names.
            if config.storage.batch_seconds == config::Storage::default().batch_seconds {
                AZURE_BATCH_SECONDS_DEFAULT
            } else {
                config.storage.batch_seconds
            }
        }
        _ => config.storage.batch_seconds,
    };
    let target = match config.storage.connection_string.as_str() {
        "" => StorageTarget::BuiltIn,
        text => StorageTarget::ConnectionString(text.to_owned()),
    };
    let endpoint = |name: &str, encoding| StorageEndpointConfig {
        name: name.to_owned(),
        container: name.to_owned(),
        encoding,
        file_name_format: config.storage.file_name_format.clone(),
        batch_frequency: Duration::from_secs(batch_seconds),
        max_chunk_bytes: CHUNK_BYTES,
        target: target.clone(),
    };
    let route = |name: &str, endpoint: &str| Route {
        name: name.to_owned(),
        source: MessageSource::DeviceMessages,
        condition: "true".to_owned(),
        endpoints: vec![endpoint.to_owned()],
        ..Route::default()
    };
    let mut routes = vec![
        route("telemetry-to-events", "events"),
        route("telemetry-to-json", "telemetry-json"),
        route("telemetry-to-avro", "telemetry-avro"),
    ];
    let mut storage_endpoints =
        vec![endpoint("telemetry-json", Encoding::Json), endpoint("telemetry-avro", Encoding::Avro)];
    if !config.routing.dev_routes {
        routes.clear();
        storage_endpoints.clear();
    }
    let mut settings = assembly::Config {
        hub_name: config.hub.name.clone(),
        hosts,
        profile: match config.hub.profile {
            config::Profile::Azure => Profile::Azure,
            config::Profile::Native => Profile::Native,
        },
        partitions: config.hub.partitions,
        routes,
        throttles: config.throttles.settings(config.hub.profile == config::Profile::Azure),
        fallback_route: true,
        storage_endpoints,
        routing: assembly::Routing::default(),
        consumer_groups: Vec::new(),
        log: LogConfig {
            segment_bytes: config.log.segment_bytes,
            retention: Duration::from_secs(u64::from(config.log.retention_days) * 24 * 3600),
            retention_bytes: config.log.retention_bytes,
            sync: config.log.sync_policy(),
            keys: config.log.keys()?,
        },
        account_name: config.storage.account.clone(),
        file_upload: config.file_upload.settings(ports.https.port()),
        streaming: config.streaming.settings(),
    };
    config.routing.apply(&mut settings).map_err(|error| config::Error::Text {
        origin: "routing".to_owned(),
        message: format!("{error:#}"),
    })?;
    Ok(settings)
}

/// What is announced, but for the listeners.
pub async fn ready(
    config: &Config,
    cloud: &Cloud,
    data: &DataDir,
    ports: &Ports,
    ca_sha256: String,
) -> anyhow::Result<Ready> {
    let host = config.hub.hosts.first().map_or("localhost", String::as_str);
    let key = |name: &str| {
        let policy = cloud.registry().policies().into_iter().find(|policy| policy.name == name);
        let policy = policy
            .with_context(|| format!("the policy {name} is gone; it is needed for the connection strings"))?;
        anyhow::Ok(policy.primary_key.to_base64())
    };
    let (provisioning_owner, _) = SharedAccessPolicy::PROVISIONING_OWNER;
    let (key, provisioning_key) = (key("iothubowner")?, key(provisioning_owner)?);
    let authority = ports.http_authority(host);

    let mut device_connection_strings = BTreeMap::new();
    let mut first_token = None;
    for (identity, stored) in cloud.registry().list_devices(ANNOUNCED_MAX).await? {
        let StoredAuthentication::Sas { primary, .. } = stored.authentication else { continue };
        let id = identity.device.as_str();
        let hub = with_port(host, config.listen.mqtt.port(), 8883);
        let text = format!("HostName={hub};DeviceId={id};SharedAccessKey={}", primary.to_base64());
        device_connection_strings.insert(id.to_owned(), text);
        if id == config.thermistor.device || first_token.is_none() {
            first_token = Some(token(id, &primary, host, &authority));
        }
    }

    let entity = &config.hub.name;
    let events = |host: &str| {
        format!(
            "Endpoint=sb://{host}/;SharedAccessKeyName=iothubowner;SharedAccessKey={key};EntityPath={entity}"
        )
    };
    let plain = with_port(host, ports.amqp_plain().port(), 5672);
    let portal = ports.portal();
    let setup_token = uuid::Uuid::new_v4().simple();
    Ok(Ready {
        hub_connection_string: format!(
            "HostName={authority};SharedAccessKeyName=iothubowner;SharedAccessKey={key}"
        ),
        provisioning_connection_string: format!(
            "HostName={authority};SharedAccessKeyName={provisioning_owner};SharedAccessKey={provisioning_key}"
        ),
        provisioning_id_scope: cloud.id_scope().to_owned(),
        device_connection_strings,
        events_connection_string: events(&with_port(host, config.listen.amqp.port(), 5671)),
        events_connection_string_plain: format!("{};UseDevelopmentEmulator=true", events(&plain)),
        blob_connection_string: cloud.account().connection_string(&format!("http://{}", ports.blob())),
        ca_file: data.path().join(super::data_dir::AUTHORITY).join("ca.pem"),
        ca_sha256,
        portal_url: format!("http://{}:{}/?token={setup_token}", portal_host(portal), portal.port()),
        listeners: BTreeMap::new(),
        pid: std::process::id(),
        data_dir: data.path().to_owned(),
        first_token,
        notes: Vec::new(),
    })
}

/// The host, with the port where it is not the one every client assumes. Some stock clients can be given no other port at all.
fn with_port(host: &str, port: u16, usual: u16) -> String {
    if port == usual { host.to_owned() } else { format!("{host}:{port}") }
}

fn portal_host(addr: std::net::SocketAddr) -> String {
    if addr.ip().is_loopback() { "localhost".to_owned() } else { addr.ip().to_string() }
}

fn token(device: &str, key: &SharedAccessKey, host: &str, authority: &str) -> FirstToken {
    let expires = SystemClock.now().plus(FIRST_TOKEN_LIFETIME);
    FirstToken {
        device: device.to_owned(),
        authority: authority.to_owned(),
        token: key.sign(&format!("{host}/devices/{device}"), expires, None),
        program: std::env::current_exe().map_or_else(|_| "ironbrook".to_owned(), |p| p.display().to_string()),
    }
}

/// The portal's settings: it is a client like any other.
pub fn portal(config: &Config, ready: &Ready, ports: &Ports) -> ironbrook_portal::Config {
    let setup_token = ready.portal_url.rsplit_once('=').map_or("", |(_, token)| token).to_owned();
    ironbrook_portal::Config {
        service: ready.hub_connection_string.clone(),
        service_address: Some(ports.https),
        events: ready.events_connection_string.clone(),
        events_address: Some(ports.amqp()),
        ca_file: ready.ca_file.clone(),
        setup_token,
        hub_name: config.hub.name.clone(),
        host: config.hub.hosts.first().cloned().unwrap_or_default(),
    }
}
