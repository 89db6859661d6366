//! Where events come from and rows go.

use super::error::JobError;
use super::node::{Node, find};
use serde_json::{Map, Value};

/// A datasource: its type as the definition has it, what that means here, and all it says.
#[derive(Debug, Clone, PartialEq)]
pub struct Datasource {
    /// The type, as `Microsoft.Storage/Blob`.
    pub ty: String,
    /// What it is.
    pub kind: DatasourceKind,
    /// All members, keys and passwords among them.
    pub properties: Properties,
}

/// What a datasource is. A name that the definition does not give is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatasourceKind {
    /// A hub's own messages.
    IotHub {
        /// The hub's name.
        hub: String,
        /// Which of its endpoints: `messages/events` or `messages/operationsMonitoringEvents`.
        endpoint: String,
        /// Who reads; `$Default` where it is not given.
        consumer_group: String,
    },
    /// An event hub.
    EventHub {
        /// The namespace it is in.
        namespace: String,
        /// Its name.
        hub: String,
        /// Who reads, of an input.
        consumer_group: String,
    },
    /// A container of blobs.
    Blob(BlobContainer),
    /// A Service Bus queue.
    Queue {
        /// The namespace it is in.
        namespace: String,
        /// Its name.
        queue: String,
    },
    /// A Service Bus topic.
    Topic {
        /// The namespace it is in.
        namespace: String,
        /// Its name.
        topic: String,
    },
    /// A function app.
    Function {
        /// The app.
        app: String,
        /// The function in it.
        function: String,
    },
    /// What comes through and goes to the routes of the device the job runs on.
    Gateway {
        /// The name of the endpoint where it differs from that of the input or output.
        topic: Option<String>,
    },
    /// A file on the machine the job runs on.
    File {
        /// Its path; in a project from its folder.
        path: String,
    },
    /// Anything else; its type says what.
    Other,
}

/// A container of blobs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlobContainer {
    /// The storage account, of several the first.
    pub account: String,
    /// The container.
    pub container: String,
    /// Paths in it, with `{date}`, `{time}` and `{field}` in them.
    pub path_pattern: String,
    /// What `{date}` means, as `yyyy/MM/dd`.
    pub date_format: String,
    /// What `{time}` means, as `HH`.
    pub time_format: String,
}

/// The members of a datasource. `Debug` shows their names alone, since there are keys among them.
#[derive(Clone, PartialEq, Default)]
pub struct Properties(Map<String, Value>);

impl Properties {
    /// A member by name in any case.
    pub fn get(&self, name: &str) -> Option<&Value> {
        find(&self.0, name).map(|(_, value)| value).filter(|value| !value.is_null())
    }

    /// A text by name in any case.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    /// The names of all members.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl std::fmt::Debug for Properties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Datasource {
    /// From `{type, properties}`; older definitions have the properties beside the type.
    pub(super) fn parse(node: &Node<'_>) -> Result<Self, JobError> {
        let ty = node.required_text("type", "the datasource's type, as Microsoft.Devices/IotHubs")?;
        let properties = match node.member("properties") {
            Some(_) => node.inside("properties")?,
            None => node.clone(),
        };
        Self::of(ty, &properties)
    }

    /// From a type and the members that belong to it.
    pub(super) fn of(ty: &str, properties: &Node<'_>) -> Result<Self, JobError> {
        let kind = kind(ty, properties)?;
        let members = properties.members().cloned().unwrap_or_default();
        Ok(Self { ty: ty.to_owned(), kind, properties: Properties(members) })
    }

    pub(super) fn file(path: &str) -> Self {
        let kind = DatasourceKind::File { path: path.to_owned() };
        Self { ty: "File".to_owned(), kind, properties: Properties::default() }
    }
}

/// The types of the service, and what projects call them.
fn kind(ty: &str, node: &Node<'_>) -> Result<DatasourceKind, JobError> {
    let is = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(ty));
    let text = |name: &str| node.text(name).map(|text| text.unwrap_or_default().to_owned());
    let or = |name: &str, default: &str| {
        let text = node.text(name)?.filter(|text| !text.is_empty());
        Ok::<_, JobError>(text.unwrap_or(default).to_owned())
    };
    Ok(if is(&["Microsoft.Devices/IotHubs", "IoT Hub"]) {
        DatasourceKind::IotHub {
            hub: text("iotHubNamespace")?,
            endpoint: or("endpoint", "messages/events")?,
            consumer_group: or("consumerGroupName", "$Default")?,
        }
    } else if is(&["Microsoft.ServiceBus/EventHub", "Microsoft.EventHub/EventHub", "Event Hub"]) {
        DatasourceKind::EventHub {
            namespace: text("serviceBusNamespace")?,
            hub: text("eventHubName")?,
            consumer_group: or("consumerGroupName", "$Default")?,
        }
    } else if is(&[
        "Microsoft.Storage/Blob",
        "Blob Storage",
        "Data Lake Storage Gen2",
        "Blob storage/ADLS Gen2",
    ]) {
        DatasourceKind::Blob(container(node)?)
    } else if is(&["Microsoft.ServiceBus/Queue", "Service Bus Queue"]) {
        DatasourceKind::Queue { namespace: text("serviceBusNamespace")?, queue: text("queueName")? }
    } else if is(&["Microsoft.ServiceBus/Topic", "Service Bus Topic"]) {
        DatasourceKind::Topic { namespace: text("serviceBusNamespace")?, topic: text("topicName")? }
    } else if is(&["Microsoft.AzureFunction", "Azure Function"]) {
        DatasourceKind::Function { app: text("functionAppName")?, function: text("functionName")? }
    } else if is(&["GatewayMessageBus", "Edge Hub"]) {
        let topic = node.text("topic")?.filter(|topic| !topic.is_empty());
        DatasourceKind::Gateway { topic: topic.map(str::to_owned) }
    } else if is(&["File"]) {
        DatasourceKind::File { path: text("path")? }
    } else {
        DatasourceKind::Other
    })
}

fn container(node: &Node<'_>) -> Result<BlobContainer, JobError> {
    let text = |name: &str| node.text(name).map(|text| text.unwrap_or_default().to_owned());
    let account = match node.items("storageAccounts")?.first() {
        Some(account) => account.text("accountName")?.unwrap_or_default().to_owned(),
        None => text("storageAccount")?,
    };
    Ok(BlobContainer {
        account,
        container: text("container")?,
        path_pattern: text("pathPattern")?,
        date_format: text("dateFormat")?,
        time_format: text("timeFormat")?,
    })
}
