//! The service side of the AMQP door: the events endpoint (Event Hubs semantics over the log), sending messages to devices, feedback,
//! notices of uploaded files.
//!
//! Start with [`ServiceLinks`]. What is *not* here: the protocol (the gateway speaks it) and the log itself.

#[cfg(test)]
mod access_tests;
mod address;
mod annotations;
mod feedback;
mod files;
mod management;
mod outgoing;
mod owners;
mod receiver;
mod selector;

use crate::endpoints::enrich::Enricher;
use crate::registry::Registry;
use address::Address;
use async_trait::async_trait;
use ironbrook_gateway::{AmqpService, Attach, ServiceSink, ServiceSource};
use ironbrook_hub::Hub;
use ironbrook_model::{ErrorCode, Permissions, Refusal, SasToken, Timestamp};
use ironbrook_wire::amqp::Message;
use owners::Owners;
use std::sync::Arc;

/// Where requests about the events endpoint go.
const MANAGEMENT: &str = "$management";

/// Settings of the service links.
#[derive(Debug)]
pub struct Config {
    /// Consumer groups besides `$Default`.
    pub consumer_groups: Vec<String>,
    /// When the hub was made, for `$management`.
    pub created_at: Timestamp,
    /// What is added to events when they are read.
    pub enricher: Option<Enricher>,
}

/// Links that are not a device's own. Cheap to clone.
#[derive(Clone)]
pub struct ServiceLinks {
    shared: Arc<Shared>,
}

struct Shared {
    hub: Hub,
    registry: Registry,
    config: Config,
    owners: Owners,
}

impl ServiceLinks {
    /// The service links of a hub.
    pub fn new(hub: Hub, registry: Registry, config: Config) -> Self {
        Self { shared: Arc::new(Shared { hub, registry, config, owners: Owners::default() }) }
    }

    /// What an address means, for who may use it. Any one token with its right is enough: a connection may hold tokens for
    /// several entities.
    async fn open(&self, address: &str, tokens: &[SasToken]) -> Result<Address, Refusal> {
        let address = Address::parse(address, self.shared.hub.auth().hub_name());
        // Without a token it is not even told which addresses there are.
        let right = address.as_ref().map_or(Permissions::SERVICE_CONNECT, Address::right);
        self.shared.hub.auth().require_any(tokens, right).await?;
        address
    }

    fn has_group(&self, group: &str) -> bool {
        let named = |name: &str| name.eq_ignore_ascii_case(group);
        named("$Default") || self.shared.config.consumer_groups.iter().any(|name| named(name))
    }
}

#[async_trait]
impl AmqpService for ServiceLinks {
    async fn authorize(&self, token: &SasToken) -> Result<Permissions, Refusal> {
        Ok(self.shared.hub.auth().service(token).await?.permissions)
    }

    async fn elsewhere(&self, attach: &Attach) -> Result<Option<String>, Refusal> {
        match self.open(&attach.address, &attach.tokens).await? {
            Address::Moved(rest) => Ok(Some(format!("{}/{rest}", self.shared.hub.auth().hub_name()))),
            _ => Ok(None),
        }
    }

    async fn attach_source(&self, attach: Attach) -> Result<Box<dyn ServiceSource>, Refusal> {
        match self.open(&attach.address, &attach.tokens).await? {
            Address::Events { group, partition } => {
                if !self.has_group(&group) {
                    return Err(not_found(format!(
                        "there is no consumer group {group}; add it to the configuration"
                    )));
                }
                let receiver =
                    receiver::Receiver::open(self.shared.clone(), &group, partition, &attach).await?;
                Ok(Box::new(receiver))
            }
            Address::Feedback => Ok(Box::new(feedback::Receiver::new(self.shared.hub.clone()))),
            Address::FileNotifications => Ok(Box::new(files::Receiver::new(self.shared.clone()))),
            Address::ToDevices | Address::Management | Address::Moved(_) => {
                Err(not_found(format!("nothing can be received from {}", attach.address)))
            }
        }
    }

    async fn attach_sink(&self, attach: Attach) -> Result<Box<dyn ServiceSink>, Refusal> {
        match self.open(&attach.address, &attach.tokens).await? {
            Address::ToDevices => Ok(Box::new(outgoing::Sender::new(self.shared.hub.clone()))),
            _ => Err(Refusal::new(
                ErrorCode::OperationNotAllowedInCurrentState,
                format!("nothing can be sent to {}; events come from devices only", attach.address),
            )),
        }
    }

    async fn request(&self, tokens: &[SasToken], request: Message) -> Result<Message, Refusal> {
        self.open(MANAGEMENT, tokens).await?;
        management::answer(&self.shared, &request)
    }
}

fn not_found(why: String) -> Refusal {
    Refusal::new(ErrorCode::AmqpAddressNotFound, why)
}
