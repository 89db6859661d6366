//! Finding the hub: a connection string given by hand, or the data folder of a running `ironbrook dev`.

use super::contexts::{Contexts, Named};
use anyhow::{Context as _, bail};
use clap::Args;
use ironbrook_client::ServiceClient;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The data folder of `ironbrook dev` where it is told no other.
const DATA_DIR: &str = "ironbrook-data";
/// The file `ironbrook dev` writes when it is ready.
const CONNECTION_FILE: &str = "connection.json";

/// How a command finds the hub.
#[derive(Debug, Clone, Args)]
pub struct Where {
    /// Connection string of the device, the service, the events endpoint or the storage account; else the data folder tells.
    #[arg(long, env = "IRONBROOK_CONNECTION_STRING", hide_env_values = true, value_name = "TEXT")]
    pub connection_string: Option<String>,
    /// A hub by the name it has with `ironbrook context`.
    #[arg(long, env = "IRONBROOK_CONTEXT", value_name = "NAME", conflicts_with = "data_dir")]
    pub context: Option<String>,
    /// Data folder of an `ironbrook dev` on this machine; else the context in use, else `ironbrook-data`.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// PEM file with the authorities to trust; else that of the data folder, else the system's.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// What `ironbrook dev` says of itself; unknown members are for others.
#[derive(Debug, Deserialize)]
pub struct Connection {
    hub_connection_string: String,
    device_connection_strings: BTreeMap<String, String>,
    events_connection_string: String,
    blob_connection_string: String,
    ca_file: PathBuf,
    #[serde(default)]
    listeners: BTreeMap<String, Vec<String>>,
}

/// A connection string with what goes with it.
#[derive(Debug)]
pub struct Target {
    /// The connection string.
    pub connection_string: String,
    /// The authorities to trust; the system's if none.
    pub ca: Option<PathBuf>,
    /// The address to dial, where it was told.
    pub address: Option<SocketAddr>,
}

impl Connection {
    /// Reads the file in a data folder.
    pub fn load(data_dir: &Path) -> anyhow::Result<Self> {
        let path = data_dir.join(CONNECTION_FILE);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "{} cannot be read; start `ironbrook dev`, or name its folder with --data-dir or a hub with --connection-string",
                path.display()
            )
        })?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is not what ironbrook dev writes", path.display()))
    }

    /// What a context remembers of it.
    pub(super) fn named(self) -> Named {
        Named {
            hub: self.hub_connection_string,
            events: Some(self.events_connection_string),
            blobs: Some(self.blob_connection_string),
            ca: Some(self.ca_file),
        }
    }

    fn address(&self, listener: &str) -> Option<SocketAddr> {
        self.listeners.get(listener)?.iter().find_map(|address| address.parse().ok())
    }

    fn device(&self, device: Option<&str>) -> anyhow::Result<&str> {
        let known = || self.device_connection_strings.keys().cloned().collect::<Vec<_>>().join(", ");
        match device {
            Some(id) => match self.device_connection_strings.get(id) {
                Some(text) => Ok(text),
                None => bail!("the hub has no device {id:?}; it has: {}", known()),
            },
            None => match self.device_connection_strings.values().next() {
                Some(text) if self.device_connection_strings.len() == 1 => Ok(text),
                _ => bail!("say which device with --device; the hub has: {}", known()),
            },
        }
    }
}

impl Where {
    /// A device of the hub; `None` takes the only one.
    pub fn device(&self, device: Option<&str>) -> anyhow::Result<Target> {
        let of_context = |_: &Named| {
            bail!("a context has no keys of devices; give the device's own with --connection-string")
        };
        self.find("mqtt", |connection| connection.device(device).map(str::to_owned), of_context)
    }

    /// A client of the service side.
    pub fn service_client(&self) -> anyhow::Result<ServiceClient> {
        let target = self.service()?;
        let mut builder = ServiceClient::builder(&target.connection_string)?;
        if let Some(ca) = &target.ca {
            builder = builder.ca_file(ca)?;
        }
        if let Some(address) = target.address {
            builder = builder.address(address);
        }
        // Messages go by AMQP, to another door.
        let amqp = self.find("amqp", |_| Ok(String::new()), |_| Ok(String::new()))?;
        if let Some(address) = amqp.address {
            builder = builder.amqp_address(address);
        }
        Ok(builder.build()?)
    }

    /// The service side of the hub.
    pub fn service(&self) -> anyhow::Result<Target> {
        self.find(
            "https",
            |connection| Ok(connection.hub_connection_string.clone()),
            |named| Ok(named.hub.clone()),
        )
    }

    /// The events endpoint.
    pub fn events(&self) -> anyhow::Result<Target> {
        let of_context = |named: &Named| {
            named.events.clone().context(
                "the context has no connection string of the events endpoint; set it anew with --events",
            )
        };
        self.find("amqp", |connection| Ok(connection.events_connection_string.clone()), of_context)
    }

    /// The storage account. Its connection string holds the whole address already.
    pub fn blobs(&self) -> anyhow::Result<Target> {
        let of_context = |named: &Named| {
            named.blobs.clone().context(
                "the context has no connection string of the storage account; set it anew with --blobs",
            )
        };
        let target = self.find("", |connection| Ok(connection.blob_connection_string.clone()), of_context)?;
        Ok(Target { address: None, ..target })
    }

    /// The context that is named, or that is in use where no data folder is named.
    fn named(&self) -> anyhow::Result<Option<Named>> {
        match (&self.context, &self.data_dir) {
            (Some(name), _) => Contexts::load()?.get(name).cloned().map(Some),
            (None, Some(_)) => Ok(None),
            (None, None) => Ok(Contexts::load()?.current().cloned()),
        }
    }

    fn find(
        &self,
        listener: &str,
        pick: impl FnOnce(&Connection) -> anyhow::Result<String>,
        of_context: impl FnOnce(&Named) -> anyhow::Result<String>,
    ) -> anyhow::Result<Target> {
        if let Some(text) = &self.connection_string {
            return Ok(Target { connection_string: text.clone(), ca: self.ca.clone(), address: None });
        }
        if let Some(named) = self.named()? {
            let ca = self.ca.clone().or_else(|| named.ca.clone());
            return Ok(Target { connection_string: of_context(&named)?, ca, address: None });
        }
        let connection = Connection::load(self.data_dir.as_deref().unwrap_or(Path::new(DATA_DIR)))?;
        Ok(Target {
            connection_string: pick(&connection)?,
            address: connection.address(listener),
            ca: Some(self.ca.clone().unwrap_or(connection.ca_file)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(text: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(CONNECTION_FILE), text).unwrap();
        folder
    }

    fn at(folder: &tempfile::TempDir) -> Where {
        Where { connection_string: None, context: None, data_dir: Some(folder.path().to_owned()), ca: None }
    }

    const FILE: &str = r#"{
        "hub_connection_string": "HostName=localhost", "device_connection_strings": {"a": "A", "b": "B"},
        "events_connection_string": "E", "blob_connection_string": "S", "ca_file": "/ca.pem", "pid": 1,
        "listeners": {"mqtt": ["127.0.0.1:18883", "[::1]:18883"], "amqp": ["127.0.0.1:15671"]}
    }"#;

    #[test]
    fn the_data_folder_tells_where_the_hub_is() {
        let folder = folder(FILE);
        let target = at(&folder).device(Some("b")).unwrap();
        assert_eq!((&*target.connection_string, target.ca), ("B", Some(PathBuf::from("/ca.pem"))));
        assert_eq!(target.address, Some("127.0.0.1:18883".parse().unwrap()));
        assert_eq!(at(&folder).events().unwrap().address.unwrap().port(), 15671);
        let unsaid = at(&folder).device(None).unwrap_err().to_string();
        assert!(unsaid.contains("a, b"), "{unsaid}");
    }

    #[test]
    fn a_connection_string_comes_first_and_a_missing_file_says_the_cure() {
        let given = Where {
            connection_string: Some("X".to_owned()),
            context: None,
            data_dir: Some("nowhere".into()),
            ca: Some("my.pem".into()),
        };
        let target = given.events().unwrap();
        assert_eq!(
            (&*target.connection_string, target.ca, target.address),
            ("X", Some("my.pem".into()), None)
        );
        let missing = Where { connection_string: None, ..given }.events().unwrap_err().to_string();
        assert!(missing.contains("ironbrook dev") && missing.contains("connection.json"), "{missing}");
    }
}
