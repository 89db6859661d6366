//! Reaching a server: the options that all of `ironbrook mqtt` has.

use crate::commands::device::duration;
use anyhow::Context as _;
use clap::ValueEnum;
use ironbrook_client::topics::{Builder, Client, ConnectionState, QoS, Version};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The variable that holds the password where no file does. Never an argument: all users of a machine can see those.
const PASSWORD: &str = "IRONBROOK_MQTT_PASSWORD";

/// How a server is reached.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Server {
    /// Address of the server: mqtt://[user@]host[:port], or mqtts:// with TLS.
    #[arg(long, env = "IRONBROOK_MQTT_URL", default_value = "mqtt://localhost", value_name = "URL")]
    url: String,
    /// File whose first line is the password; else the variable IRONBROOK_MQTT_PASSWORD.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// PEM file with the authorities to trust; else the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Version of MQTT.
    #[arg(long, value_enum, default_value_t = Spoken::V5, value_name = "VERSION")]
    mqtt_version: Spoken,
    /// Longest silence before a ping; 0 for no pings.
    #[arg(long, default_value = "60s", value_parser = time, value_name = "TIME")]
    keep_alive: Duration,
}

/// A version of MQTT, as it is written on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Spoken {
    /// MQTT 5.0
    #[value(name = "5.0", alias = "5")]
    V5,
    /// MQTT 3.1.1
    #[value(name = "3.1.1", alias = "4")]
    V4,
}

impl Server {
    /// A client of this server; not yet connected.
    pub(super) fn builder(&self) -> anyhow::Result<Builder> {
        let version = match self.mqtt_version {
            Spoken::V5 => Version::V5,
            Spoken::V4 => Version::V4,
        };
        let mut builder = Client::builder(&self.url)?.version(version).keep_alive(self.keep_alive);
        if let Some(password) = password(self.password_file.as_deref())? {
            builder = builder.password(password);
        }
        if let Some(ca) = &self.ca {
            builder = builder.ca_file(ca)?;
        }
        Ok(builder)
    }

    /// Whether MQTT 5.0 is spoken.
    pub(super) fn is_v5(&self) -> bool {
        self.mqtt_version == Spoken::V5
    }
}

fn password(file: Option<&Path>) -> anyhow::Result<Option<String>> {
    let Some(path) = file else { return Ok(std::env::var(PASSWORD).ok()) };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the password file {} cannot be read", path.display()))?;
    Ok(Some(text.lines().next().unwrap_or_default().to_owned()))
}

/// Reads a time, or zero.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    if text == "0" { Ok(Duration::ZERO) } else { duration(text) }
}

/// Reads a quality of service.
pub(super) fn qos(text: &str) -> Result<QoS, String> {
    let number = text.parse().ok().and_then(QoS::from_number);
    number.ok_or_else(|| "QoS is 0, 1 or 2".to_owned())
}

/// Tells of lost connections for as long as it is polled; gives why the client ended by itself.
pub(super) async fn watch(client: &Client) -> anyhow::Error {
    let mut state = client.state();
    let mut lost = false;
    loop {
        match &*state.borrow_and_update() {
            ConnectionState::Waiting { error, retry_in } => {
                tracing::warn!(target: "ironbrook", %error, retry_ms = retry_in.as_millis() as u64, "not connected");
                lost = true;
            }
            ConnectionState::Connected { .. } if std::mem::take(&mut lost) => {
                tracing::info!(target: "ironbrook", "connected again");
            }
            ConnectionState::Closed(Some(error)) => return error.clone().into(),
            _ => {}
        }
        if state.changed().await.is_err() {
            // Closed as wished: who wished it knows how it went.
            return std::future::pending().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_the_first_line_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "canary word\r\nsecond\n").unwrap();
        assert_eq!(password(Some(&path)).unwrap().as_deref(), Some("canary word"));
        let missing = password(Some(&folder.path().join("none"))).unwrap_err().to_string();
        assert!(missing.contains("none"), "{missing}");
    }

    #[test]
    fn qualities_are_numbers_up_to_two() {
        assert_eq!(qos("1"), Ok(QoS::AtLeastOnce));
        assert!(qos("3").is_err() && qos("").is_err());
        assert_eq!(time("0"), Ok(Duration::ZERO));
    }
}
