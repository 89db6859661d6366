//! Configuration: one TOML file, then `IRONBROOK__SECTION__KEY`, then flags. Unknown keys are errors with line and column.

mod bridges;
mod file_upload;
mod log;
mod routing;
mod streaming;
mod throttles;
mod topics;

pub use file_upload::FileUpload;
pub use log::Log;
pub use routing::Routing;
pub use streaming::Streaming;
pub use throttles::Throttles;
pub use topics::Topics;

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The file that is read when no other is named.
pub const DEFAULT_FILE: &str = "ironbrook.toml";
const ENVIRONMENT_PREFIX: &str = "IRONBROOK__";

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text is not a configuration; the message has line and column.
    #[error("{origin}: {message}")]
    Text {
        /// File or variable.
        origin: String,
        /// Where and what.
        message: String,
    },
}

/// The whole configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The hub.
    pub hub: Hub,
    /// Where the doors listen.
    pub listen: Listen,
    /// The simulated sensor of `dev`.
    pub thermistor: Thermistor,
    /// The message log.
    pub log: Log,
    /// What the hub, an identity and an address may ask in a while.
    pub throttles: Throttles,
    /// Where telemetry is stored.
    pub storage: Storage,
    /// Files that devices upload.
    pub file_upload: FileUpload,
    /// Where messages go besides.
    pub routing: Routing,
    /// Streaming jobs.
    pub streaming: Streaming,
    /// The edge device.
    pub edge: Edge,
    /// Ordinary MQTT topics.
    pub topics: Topics,
}

/// The hub.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hub {
    /// Short name: in storage names, in events, as the entity of the events endpoint.
    pub name: String,
    /// Host names and addresses clients may use; the first stands in connection strings. In certificates and SAS scopes.
    pub hosts: Vec<String>,
    /// Limits: `azure`, the documented ones, or `native`, raised.
    pub profile: Profile,
    /// Partitions of the events endpoint, 1 to 32; fixed at first start.
    pub partitions: u16,
}

/// A set of limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The documented limits of Azure IoT Hub.
    Azure,
    /// Raised limits.
    Native,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            name: "ironbrook".into(),
            hosts: vec!["localhost".into()],
            profile: Profile::Native,
            partitions: 4,
        }
    }
}

/// Where the doors listen. Each TLS listener serves MQTT, AMQP, HTTPS and WebSocket alike; plain ones belong on loopback.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// MQTT over TLS.
    pub mqtt: SocketAddr,
    /// MQTT without TLS, for loopback and trusted networks; not opened where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mqtt_plain: Option<SocketAddr>,
    /// Ordinary MQTT topics without TLS, for loopback and trusted networks; not opened where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mqtt_topics: Option<SocketAddr>,
    /// Ordinary MQTT topics over TLS; not opened where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mqtt_topics_tls: Option<SocketAddr>,
    /// HTTPS and WebSocket.
    pub https: SocketAddr,
    /// HTTPS where the port above may not be bound.
    pub https_fallback: SocketAddr,
    /// AMQP over TLS.
    pub amqp: SocketAddr,
    /// Plain AMQP for Event Hubs SDKs with `UseDevelopmentEmulator=true`.
    pub amqp_plain: SocketAddr,
    /// The web page without TLS (browsers do not know the private authority).
    pub portal: SocketAddr,
    /// The storage account, with and without TLS.
    pub blob: SocketAddr,
}

impl Default for Listen {
    fn default() -> Self {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            mqtt: at(8883),
            mqtt_plain: None,
            mqtt_topics: None,
            mqtt_topics_tls: None,
            https: at(443),
            https_fallback: at(8443),
            amqp: at(5671),
            amqp_plain: at(5672),
            portal: at(8080),
            blob: at(10_000),
        }
    }
}

/// The simulated sensor of `dev`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Thermistor {
    /// Whether it runs.
    pub enabled: bool,
    /// Its device.
    pub device: String,
    /// Milliseconds between messages.
    pub interval_ms: u64,
}

impl Default for Thermistor {
    fn default() -> Self {
        Self { enabled: true, device: "thermistor-1".into(), interval_ms: 1000 }
    }
}

/// Where telemetry is stored. `Debug` hides the key.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// Seconds a batch gathers before it becomes a blob. Azure: 60 to 720.
    pub batch_seconds: u64,
    /// Name pattern with all of `{iothub} {partition} {YYYY} {MM} {DD} {HH} {mm}`.
    pub file_name_format: String,
    /// An other Azure Blob account to write to, as connection string; the built-in account where empty. The containers
    /// `telemetry-json` and `telemetry-avro` must be there already, as on Azure.
    pub connection_string: String,
    /// Name of the built-in account.
    pub account: String,
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage")
            .field("batch_seconds", &self.batch_seconds)
            .field("file_name_format", &self.file_name_format)
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            batch_seconds: 5,
            file_name_format: "{iothub}/{partition}/{YYYY}/{MM}/{DD}/{HH}/{mm}".into(),
            connection_string: String::new(),
            account: "ironbrook".into(),
        }
    }
}

/// The edge device: `dev` starts one beside the hub, `edge run` one alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Edge {
    /// Whether `dev` starts one.
    pub enabled: bool,
    /// Its device id in `dev`.
    pub device: String,
    /// The name modules and devices below it connect to; its server certificate carries it.
    pub gateway_host: String,
    /// Other names and addresses its server certificate carries.
    pub hosts: Vec<String>,
    /// Where its hub listens.
    pub listen: EdgeListen,
    /// What runs modules of other images than the built-in ones. A deployment can start nothing that is not named here.
    pub images: Vec<EdgeImage>,
}

/// Where the edge hub listens; each port serves MQTT, AMQP, HTTPS and WebSocket alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EdgeListen {
    /// MQTT over TLS.
    pub mqtt: SocketAddr,
    /// HTTPS and WebSocket.
    pub https: SocketAddr,
    /// HTTPS where the port above may not be bound.
    pub https_fallback: SocketAddr,
    /// AMQP over TLS.
    pub amqp: SocketAddr,
}

/// A command that stands for an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeImage {
    /// The end of the image's repository, without tag: `filter` stands for `registry.example/team/filter:1.2`.
    pub repository: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Where it starts; the module's own state folder where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<PathBuf>,
    /// Whether a deployment may append arguments (`Entrypoint`, `Cmd` of createOptions). Say yes only if no argument can make the
    /// program run what it is told.
    #[serde(default)]
    pub arguments: bool,
}

impl Default for Edge {
    fn default() -> Self {
        Self {
            enabled: true,
            device: "edge-1".into(),
            gateway_host: "127.0.0.2".into(),
            hosts: Vec::new(),
            listen: EdgeListen::default(),
            images: Vec::new(),
        }
    }
}

impl Default for EdgeListen {
    fn default() -> Self {
        // A second loopback address: many stock clients know no other ports, and the hub has them on the first.
        let at = |port| SocketAddr::from(([127, 0, 0, 2], port));
        Self { mqtt: at(8883), https: at(443), https_fallback: at(8443), amqp: at(5671) }
    }
}

impl Config {
    /// Loads file and environment. Without `file`, `ironbrook.toml` is read if it is there.
    pub fn load(file: Option<&Path>) -> Result<Self, Error> {
        let (path, required) = file.map_or((Path::new(DEFAULT_FILE), false), |f| (f, true));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(source) if source.kind() == std::io::ErrorKind::NotFound && !required => String::new(),
            Err(source) => return Err(Error::Read { path: path.into(), source }),
        };
        Self::parse(&text, &path.display().to_string(), std::env::vars())
    }

    fn parse(
        text: &str,
        origin: &str,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Error> {
        let fail = |origin: &str, error: toml::de::Error| Error::Text {
            origin: origin.into(),
            message: with_place(text, &error),
        };
        // Checked alone first, so that line and column are the file's own.
        toml::from_str::<Self>(text).map_err(|e| fail(origin, e))?;
        let mut table: toml::Table = toml::from_str(text).map_err(|e| fail(origin, e))?;
        for (name, value) in environment {
            let Some(path) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            set(&mut table, &path.to_lowercase(), &value)
                .and_then(|()| Self::deserialize(table.clone()).map(drop).map_err(|e| e.message().to_owned()))
                .map_err(|message| Error::Text { origin: name.clone(), message })?;
        }
        let config = Self::deserialize(table).map_err(|e| fail(origin, e))?;
        config
            .check()
            .and_then(|()| config.topics.check())
            .and_then(|()| config.streaming.check())
            .map_err(|message| Error::Text { origin: origin.into(), message })?;
        Ok(config)
    }

    /// Values that would be taken and then lose messages or serve nobody.
    fn check(&self) -> Result<(), String> {
        let Self { hub, log, edge, .. } = self;
        let named = !hub.name.is_empty() && hub.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let host = |host: &String| {
            !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:".contains(&b))
        };
        for (holds, message) in [
            (
                named,
                "hub.name: letters, digits and hyphens only; it is part of addresses and of names of blobs",
            ),
            (!hub.hosts.is_empty(), "hub.hosts: at least one; the first stands in connection strings"),
            (hub.hosts.iter().all(host), "hub.hosts: host names and addresses only, without ports"),
            ((1..=32).contains(&hub.partitions), "hub.partitions: 1 to 32"),
            (host(&edge.gateway_host), "edge.gateway_host: one host name or address, without a port"),
            (edge.hosts.iter().all(host), "edge.hosts: host names and addresses only, without ports"),
            (
                edge.images.iter().all(|image| !image.repository.is_empty() && !image.command.is_empty()),
                "edge.images: each needs a repository and a command",
            ),
            (log.retention_days > 0, "log.retention_days: at least 1"),
            (log.retention_bytes > 0, "log.retention_bytes: at least 1; 0 would keep no message"),
            (log.segment_bytes > 0, "log.segment_bytes: at least 1"),
            (log.group_max_ms <= log::GROUP_MAX_MS, "log.group_max_ms: 0 to 1000"),
            (log.group_max_bytes > 0, "log.group_max_bytes: at least 1"),
            (self.file_upload.has_time(), "file_upload.sas_minutes: 1 to 1440"),
        ] {
            if !holds {
                return Err(message.to_owned());
            }
        }
        Ok(())
    }

    /// The configuration as TOML.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(self)
    }
}

/// Where and what. Without the line itself, which the parser's own text quotes: it may hold a key.
fn with_place(text: &str, error: &toml::de::Error) -> String {
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
        return error.message().to_owned();
    };
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |start| start.chars().count()) + 1;
    format!("line {line}, column {column}: {}", error.message())
}

/// Sets `section__key`, or `section__section__key`; a value that reads as TOML is one, anything else is text.
fn set(table: &mut toml::Table, path: &str, value: &str) -> Result<(), String> {
    let (section, key) = path.split_once("__").ok_or("the name has the form IRONBROOK__SECTION__KEY")?;
    let toml::Value::Table(inner) =
        table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()))
    else {
        return Err(format!("{section} is not a section"));
    };
    if key.contains("__") {
        return set(inner, key, value);
    }
    let value = toml::from_str::<toml::Table>(&format!("v = {value}"))
        .ok()
        .and_then(|mut t| t.remove("v"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    inner.insert(key.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_environment() -> std::iter::Empty<(String, String)> {
        std::iter::empty()
    }

    #[test]
    fn an_unknown_key_is_an_error_with_line_and_column() {
        let error = Config::parse("[hub]\nname = 'h'\nnaem = 'x'\n", "f.toml", no_environment()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("f.toml") && text.contains("line 3, column 1") && text.contains("naem"),
            "{text}"
        );
    }

    #[test]
    fn an_error_does_not_quote_the_line_which_may_hold_a_key() {
        for text in [
            "[storage]\nconnection_string = \"AccountKey=c2VjcmV0\n",
            "[storage]\nconnection_string = [\"AccountKey=c2VjcmV0\"]\n",
            "[storage]\nbatch_seconds = 'c2VjcmV0'\n",
        ] {
            let error = Config::parse(text, "f.toml", no_environment()).unwrap_err().to_string();
            assert!(error.contains("line 2, column "), "{error}");
            assert!(!error.contains("AccountKey"), "{error}");
        }
    }

    #[test]
    fn values_that_would_serve_nobody_are_errors() {
        for (text, key) in [
            ("[hub]\nname = ''", "hub.name"),
            ("[hub]\nname = 'a/b'", "hub.name"),
            ("[hub]\nhosts = []", "hub.hosts"),
            ("[hub]\nhosts = ['bad host']", "hub.hosts"),
            ("[hub]\npartitions = 0", "hub.partitions"),
            ("[hub]\npartitions = 33", "hub.partitions"),
            ("[log]\nretention_days = 0", "log.retention_days"),
            ("[log]\nsegment_bytes = 0", "log.segment_bytes"),
            ("[log]\ngroup_max_ms = 1001", "log.group_max_ms"),
            ("[log]\ngroup_max_bytes = 0", "log.group_max_bytes"),
            ("[file_upload]\nsas_minutes = 0", "file_upload.sas_minutes"),
            ("[file_upload]\nsas_minutes = 1441", "file_upload.sas_minutes"),
            ("[streaming]\nmax_jobs = 0", "streaming.max_jobs"),
            ("[streaming]\nmax_state_mib = 65537", "streaming.max_state_mib"),
            ("[streaming]\nmax_reference_mib = 65", "streaming.max_reference_mib"),
            ("[streaming]\nrefresh_seconds = 0", "streaming.refresh_seconds"),
            ("[streaming]\ncheckpoint_ms = 99", "streaming.checkpoint_ms"),
            ("[streaming]\nclose_delay_ms = 60001", "streaming.close_delay_ms"),
        ] {
            let error = Config::parse(text, "f", no_environment()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("f: {key}: ")), "{error}");
        }
    }

    #[test]
    fn secrets_are_not_in_debug() {
        let mut config = Config::default();
        config.storage.connection_string = "AccountKey=c2VjcmV0".into();
        config.file_upload.connection_string = "AccountKey=c2VjcmV0".into();
        assert!(!format!("{config:?}").contains("c2Vj"));
    }

    #[test]
    fn environment_beats_the_file() {
        let environment = [
            ("IRONBROOK__LISTEN__MQTT".to_owned(), "127.0.0.1:18883".to_owned()),
            ("IRONBROOK__HUB__PARTITIONS".to_owned(), "2".to_owned()),
        ];
        let config = Config::parse("[hub]\npartitions = 8\n", "f", environment.into_iter()).unwrap();
        assert_eq!(config.hub.partitions, 2);
        assert_eq!(config.listen.mqtt.port(), 18883);
    }

    #[test]
    fn environment_reaches_sections_in_sections() {
        let environment = [("IRONBROOK__EDGE__LISTEN__MQTT".to_owned(), "127.0.0.2:28883".to_owned())];
        let config = Config::parse("", "f", environment.into_iter()).unwrap();
        assert_eq!(config.edge.listen.mqtt.port(), 28883);
    }

    #[test]
    fn an_image_needs_a_command() {
        let text = "[[edge.images]]\nrepository = 'filter'\ncommand = ['python3', 'filter.py']\n";
        let config = Config::parse(text, "f", no_environment()).unwrap();
        assert_eq!(config.edge.images[0].command, ["python3", "filter.py"]);
        let text = text.replace("['python3', 'filter.py']", "[]");
        let error = Config::parse(&text, "f", no_environment()).unwrap_err().to_string();
        assert!(error.contains("edge.images"), "{error}");
    }

    #[test]
    fn an_unknown_variable_is_an_error_that_names_it() {
        let environment = [("IRONBROOK__HUB__NAEM".to_owned(), "x".to_owned())];
        let error = Config::parse("", "f", environment.into_iter()).unwrap_err();
        assert!(error.to_string().starts_with("IRONBROOK__HUB__NAEM: "), "{error}");
    }

    #[test]
    fn what_is_printed_is_what_is_read() {
        let text = Config::default().to_toml().unwrap();
        assert_eq!(Config::parse(&text, "f", no_environment()).unwrap(), Config::default());
    }
}
