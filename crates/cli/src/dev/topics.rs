//! Ordinary MQTT topics, as the configuration wants them.

use crate::config::{self, Config};
use ironbrook_cloud::topics::{Config as Settings, OrdinaryTopics};
use ironbrook_gateway::TopicsSettings;
use ironbrook_hub::Hub;
use ironbrook_hub::seams::SystemClock;
use ironbrook_log::Storage;
use prometheus_client::registry::Registry as Metrics;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Whether any listener leads there.
fn is_on(config: &Config) -> bool {
    let listen = &config.listen;
    listen.mqtt_topics.is_some() || listen.mqtt_topics_tls.is_some() || config.topics.on_hub_ports
}

/// The broker, where a listener wants it.
pub async fn open(
    config: &Config,
    hub: &Hub,
    storage: Arc<dyn Storage>,
    metrics: &mut Metrics,
) -> anyhow::Result<Option<OrdinaryTopics>> {
    if !is_on(config) {
        return Ok(None);
    }
    let topics = &config.topics;
    let wrong = |message| config::Error::Text { origin: "configuration".into(), message };
    let settings = Settings {
        broker: topics.bounds(),
        acl: topics.acl().map_err(wrong)?,
        door: TopicsSettings {
            keep_alive_max: NonZeroU16::new(topics.keep_alive_max_seconds),
            hub_identities: topics.hub_identities,
            explain_refusals: topics.explain_refusals,
            response_information: Some(topics.response_information.clone()).filter(|text| !text.is_empty()),
        },
        sys_interval: Some(topics.sys_interval_seconds).filter(|s| *s > 0).map(Duration::from_secs),
        sync: config.log.sync_policy(),
        keys: config.log.keys()?,
    };
    let identities = topics.hub_identities.then(|| hub.clone());
    let bridges = topics.bridges().map_err(wrong)?;
    let opened = OrdinaryTopics::open(storage, Arc::new(SystemClock), settings, identities, metrics).await?;
    Ok(Some(opened.with_bridges(bridges, hub.clone(), metrics).await?))
}

/// Works until cancelled.
pub async fn run(topics: Option<OrdinaryTopics>, cancel: CancellationToken) -> anyhow::Result<()> {
    match topics {
        Some(topics) => Ok(topics.run(cancel).await?),
        None => {
            cancel.cancelled().await;
            Ok(())
        }
    }
}

/// What people should know.
pub fn notes(config: &Config) -> Vec<String> {
    let mut notes = Vec::new();
    if !is_on(config) {
        return notes;
    }
    if config.topics.is_closed() {
        notes.push(
            "nobody may use ordinary MQTT topics yet: add users to the configuration (topics.users, hashes by \
             'ironbrook mqtt passwd'), or let everybody in with --mqtt-anonymous"
                .to_owned(),
        );
    }
    let open = [config.listen.mqtt_topics, config.listen.mqtt_topics_tls];
    if config.topics.anonymous && open.into_iter().flatten().any(|addr| !addr.ip().is_loopback()) {
        notes.push(
            "WARNING: ordinary MQTT topics are open to everybody who reaches this machine; configure topics.users, or \
             listen on loopback only"
                .to_owned(),
        );
    }
    notes
}
