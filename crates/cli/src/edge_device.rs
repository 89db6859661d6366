//! An edge device with its doors: what `edge run` is alone, and `dev` has beside its hub.

use crate::config;
use crate::dev::descriptors;
use crate::dev::health;
use crate::dev::listen::https_port;
use anyhow::Context as _;
use ironbrook_client::Trust;
use ironbrook_edge::assembly::{self, Edge};
use ironbrook_edge::hub::upstream::LinksConfig;
use ironbrook_edge::runtime::process::ImageCommand;
use ironbrook_gateway::{Gateway, Listener, Services, Tls};
use ironbrook_hub::seams::SystemClock;
use ironbrook_log::Storage;
use prometheus_client::registry::Registry as Metrics;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What `$edgeAgent` reports as its image before a deployment says it.
const AGENT_IMAGE: &str = concat!("ironbrook/azureiotedge-agent:", env!("CARGO_PKG_VERSION"));

/// The hub it belongs to.
pub struct Upstream {
    /// The device's connection string.
    pub connection_string: String,
    /// The hub's authority.
    pub trust: Trust,
    /// A PEM file that modules shall trust too.
    pub trust_file: Option<PathBuf>,
    /// Where its MQTT door is, if not where its name leads.
    pub mqtt: Option<SocketAddr>,
    /// Where its HTTPS door is, if not where its name leads.
    pub https: Option<SocketAddr>,
}

/// An edge device, open, its ports bound.
pub struct EdgeDevice {
    edge: Edge,
    gateway: Gateway,
    /// Addresses by purpose.
    pub listeners: BTreeMap<&'static str, Vec<String>>,
    /// What people should know.
    pub notes: Vec<String>,
}

impl EdgeDevice {
    /// Opens what is in the data folder, which is the root of `storage`, and binds the ports. Needs no hub.
    pub async fn open(
        config: &config::Edge,
        log: &config::Log,
        upstream: Upstream,
        storage: Arc<dyn Storage>,
        data_dir: &Path,
    ) -> anyhow::Result<Self> {
        let mut metrics = Metrics::default();
        let settings = settings(config, log, upstream, data_dir)?;
        let edge = Edge::open(settings, storage, Arc::new(SystemClock), &mut metrics).await?;
        let doors = ironbrook_gateway::Metrics::new(&mut metrics);
        let handle = edge.handle();
        let probe: health::Probe =
            Arc::new(move || handle.log_health().map_err(|error| format!("message log: {error}")));
        let services = Arc::new(Services {
            hub: Some(edge.hub().clone()),
            topics: None,
            http: edge.http().merge(health::router(Arc::new(metrics), probe)),
            amqp: None,
            provisioning: None,
            websocket: true,
            metrics: doors,
        });
        let (https, note) = https_port(config.listen.https, config.listen.https_fallback);
        let ports = [("mqtt", config.listen.mqtt), ("https", https), ("amqp", config.listen.amqp)];
        let tls = edge.tls();
        let listener =
            |(_, addr)| Listener { addr, tls: Tls::On(tls.clone()), services: Arc::clone(&services) };
        let gateway = Gateway::bind(ports.map(listener).into()).context("the edge hub's ports")?;
        Ok(Self {
            edge,
            gateway: gateway.with_max_connections(descriptors::connections_max()),
            listeners: ports.map(|(purpose, addr)| (purpose, vec![addr.to_string()])).into(),
            notes: note.into_iter().collect(),
        })
    }

    /// Works until cancelled; then modules end before the doors close.
    pub async fn run(self, cancel: CancellationToken) -> anyhow::Result<()> {
        let Self { edge, gateway, .. } = self;
        let close_doors = CancellationToken::new();
        let doors = tokio::spawn(gateway.run(close_doors.clone()));
        let result = edge.run(cancel).await;
        close_doors.cancel();
        doors.await?;
        Ok(result?)
    }
}

fn settings(
    config: &config::Edge,
    log: &config::Log,
    upstream: Upstream,
    data_dir: &Path,
) -> anyhow::Result<assembly::Config> {
    let builtin = [
        ("azureiotedge-simulated-temperature-sensor", "temperature-sensor"),
        ("azure-stream-analytics/azureiotedge", "stream-analytics"),
    ];
    let images = config.images.iter().map(|image| ImageCommand {
        repository: image.repository.clone(),
        command: image.command.clone(),
        working_directory: image.working_directory.clone(),
        arguments: image.arguments,
    });
    Ok(assembly::Config {
        connection_string: upstream.connection_string,
        trust: upstream.trust,
        mqtt_address: upstream.mqtt,
        https_address: upstream.https,
        gateway_host: config.gateway_host.clone(),
        names: config.hosts.clone(),
        extra_trust: upstream.trust_file,
        data_dir: data_dir.to_owned(),
        runtime_dir: None,
        program: std::env::current_exe().context("the path of this program")?,
        builtin: builtin
            .map(|(repository, module)| (repository.to_owned(), vec!["module".to_owned(), module.to_owned()]))
            .into(),
        images: images.collect(),
        agent_image: AGENT_IMAGE.to_owned(),
        links: LinksConfig::default(),
        sync: log.sync_policy(),
        keys: log.keys()?,
    })
}
