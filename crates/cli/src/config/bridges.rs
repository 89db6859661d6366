//! The parts of `[topics]` that are bridges. What each setting does stands in docs/bridges.md.

use super::Topics;
use ironbrook_client::topics::{Client, Version};
use ironbrook_cloud::topics::{Bridges, DeviceBridge, Mapping, RemoteBridge, Template};
use ironbrook_model::DeviceId;
use ironbrook_pubsub::QoS;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::PathBuf;

/// `[[topics.bridge_devices]]`: topics that are devices of the hub.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BridgeDevices {
    /// Its name; `devices` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Topics whose messages are telemetry, e.g. `plant/{device}/telemetry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    telemetry: Option<String>,
    /// Topics whose messages are patches of reported properties.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reported: Option<String>,
    /// Topics that cloud-to-device messages go out on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    commands: Option<String>,
    /// Topics that desired properties are retained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    desired: Option<String>,
    /// Devices that are served from the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    devices: Vec<String>,
    /// Content type of telemetry that says none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
}

/// `[[topics.bridges]]`: another MQTT broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bridge {
    /// Its name.
    name: String,
    /// `mqtt[s]://[user@]host[:port]`
    url: String,
    /// The version of MQTT to speak.
    #[serde(default)]
    version: Spoken,
    /// Client id over there; `ironbrook-{name}` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    /// File whose first line is the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password_file: Option<PathBuf>,
    /// PEM file with the authorities to trust; the system's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca_file: Option<PathBuf>,
    /// Whether messages keep their retain flag.
    #[serde(default = "yes")]
    retain: bool,
    /// What is passed on.
    topics: Vec<Passed>,
}

/// Topics that a bridge passes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passed {
    /// The filter, behind the prefixes.
    filter: String,
    /// Where to.
    direction: Direction,
    /// The highest QoS.
    #[serde(default = "one")]
    qos: u8,
    /// What stands before it here.
    #[serde(default)]
    local_prefix: String,
    /// What stands before it there.
    #[serde(default)]
    remote_prefix: String,
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

/// Which way messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Direction {
    /// From there to here.
    In,
    /// From here to there.
    Out,
    /// Both.
    Both,
}

fn yes() -> bool {
    true
}

fn one() -> u8 {
    1
}

impl BridgeDevices {
    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("devices")
    }

    fn bridge(&self) -> Result<DeviceBridge, String> {
        let wrong = |error: String| format!("topics.bridge_devices: {}: {error}", self.name());
        let template = |text: &Option<String>| {
            text.as_ref().map(|text| text.parse::<Template>()).transpose().map_err(|e| wrong(e.to_string()))
        };
        let device = |id: &String| DeviceId::new(id.as_str()).map_err(|e| wrong(format!("{id:?}: {e}")));
        let bridge = DeviceBridge {
            name: self.name().to_owned(),
            telemetry: template(&self.telemetry)?,
            reported: template(&self.reported)?,
            commands: template(&self.commands)?,
            desired: template(&self.desired)?,
            devices: self.devices.iter().map(device).collect::<Result<_, _>>()?,
            content_type: self.content_type.clone(),
        };
        bridge.check().map_err(wrong)?;
        Ok(bridge)
    }
}

impl Bridge {
    /// The bridge; reads its files where they are wanted.
    fn bridge(&self, with_files: bool) -> Result<RemoteBridge, String> {
        let wrong = |error: String| format!("topics.bridges: {}: {error}", self.name);
        let id = self.client_id.clone().unwrap_or_else(|| format!("ironbrook-{}", self.name));
        let mut client = Client::builder(&self.url).map_err(|e| wrong(e.to_string()))?.client_id(id);
        if let Some(path) = self.password_file.as_ref().filter(|_| with_files) {
            let text = std::fs::read_to_string(path)
                .map_err(|e| wrong(format!("the password file {} cannot be read: {e}", path.display())))?;
            client = client.password(text.lines().next().unwrap_or_default());
        }
        if let Some(path) = self.ca_file.as_ref().filter(|_| with_files) {
            client = client.ca_file(path).map_err(|e| wrong(e.to_string()))?;
        }
        let way = |wanted| {
            self.topics.iter().filter(move |passed| [wanted, Direction::Both].contains(&passed.direction))
        };
        let mapping = |passed: &Passed| passed.mapping().map_err(wrong);
        Ok(RemoteBridge {
            name: self.name.clone(),
            client,
            version: match self.version {
                Spoken::V5 => Version::V5,
                Spoken::V4 => Version::V4,
            },
            inbound: way(Direction::In).map(mapping).collect::<Result<_, _>>()?,
            outbound: way(Direction::Out).map(mapping).collect::<Result<_, _>>()?,
            retain: self.retain,
        })
    }
}

impl Passed {
    fn mapping(&self) -> Result<Mapping, String> {
        let qos = QoS::from_level(self.qos).ok_or_else(|| format!("qos is 0, 1 or 2, not {}", self.qos))?;
        let mapping = Mapping {
            filter: self.filter.clone(),
            qos,
            local_prefix: self.local_prefix.clone(),
            remote_prefix: self.remote_prefix.clone(),
        };
        mapping.check()?;
        Ok(mapping)
    }
}

impl Topics {
    /// The bridges, with the passwords and authorities of their files.
    ///
    /// # Errors
    /// What is wrong, with the key.
    pub fn bridges(&self) -> Result<Bridges, String> {
        self.bridges_with(true)
    }

    /// What can be told without the files.
    pub(super) fn check_bridges(&self) -> Result<(), String> {
        let names = self.bridge_devices.iter().map(BridgeDevices::name);
        let mut seen = HashSet::from(["sparkplug"]);
        for name in names.chain(self.bridges.iter().map(|bridge| bridge.name.as_str())) {
            if name.is_empty() || name.contains(['/', '+', '#', '\0']) {
                return Err(format!(
                    "topics: {name:?} is no name for a bridge; it becomes a level of a topic"
                ));
            }
            if !seen.insert(name) {
                return Err(format!("topics: two bridges have the name {name:?}, give each its own"));
            }
        }
        self.bridges_with(false).map(drop)
    }

    fn bridges_with(&self, files: bool) -> Result<Bridges, String> {
        Ok(Bridges {
            devices: self.bridge_devices.iter().map(BridgeDevices::bridge).collect::<Result<_, _>>()?,
            remotes: self.bridges.iter().map(|bridge| bridge.bridge(files)).collect::<Result<_, _>>()?,
            sparkplug: self.sparkplug,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(text: &str) -> Result<Topics, String> {
        let topics: Topics = toml::from_str(text).map_err(|error| error.to_string())?;
        topics.check_bridges().map(|()| topics)
    }

    #[test]
    fn bridges_are_read_as_the_documentation_writes_them() {
        let read = topics(
            r#"
            sparkplug = true
            [[bridge_devices]]
            telemetry = "plant/{device}/telemetry"
            commands = "plant/{device}/commands"
            devices = ["pump-7"]
            [[bridges]]
            name = "site"
            url = "mqtts://line@broker.example"
            topics = [
                { filter = "+/alarm", direction = "out", remote_prefix = "sites/7/" },
                { filter = "orders/#", direction = "in", qos = 2 },
                { filter = "chat", direction = "both" },
            ]
            "#,
        )
        .unwrap()
        .bridges()
        .unwrap();
        assert!(read.sparkplug);
        assert_eq!((&*read.devices[0].name, read.devices[0].devices.len()), ("devices", 1));
        let site = &read.remotes[0];
        assert_eq!((site.outbound.len(), site.inbound.len(), site.retain), (2, 2, true));
        assert_eq!((site.inbound[0].qos, &*site.outbound[0].remote_prefix), (QoS::ExactlyOnce, "sites/7/"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let bridge = |rest: &str| format!("[[bridges]]\nname = \"b\"\nurl = \"mqtt://h\"\n{rest}");
        let passed = |passed: &str| bridge(&format!("topics = [{{ {passed} }}]"));
        let cases = [
            ("[[bridge_devices]]\ntelemetry = \"plant\"".to_owned(), "{device}"),
            ("[[bridge_devices]]".to_owned(), "no template"),
            (
                "[[bridge_devices]]\ntelemetry = \"a/{device}\"\ndesired = \"a/{device}\"".to_owned(),
                "circles",
            ),
            (passed("filter = \"a/#/b\", direction = \"in\""), "a/#/b"),
            (passed("filter = \"#\", direction = \"in\", qos = 3"), "qos"),
            (
                bridge("topics = []\n[[bridges]]\nname = \"b\"\nurl = \"mqtt://h\"\ntopics = []"),
                "two bridges",
            ),
            ("[[bridges]]\nname = \"b\"\nurl = \"mqtt://u:canary@h\"\ntopics = []".to_owned(), "password"),
            ("[[bridges]]\nname = \"a/b\"\nurl = \"mqtt://h\"\ntopics = []".to_owned(), "a/b"),
        ];
        for (text, word) in cases {
            let error = topics(&text).unwrap_err();
            assert!(error.contains(word) && !error.contains("canary"), "{error}");
        }
    }
}
