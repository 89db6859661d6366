//! `ironbrook dev`: a whole hub on this machine.

mod certificates;
pub(crate) mod data_dir;
pub(crate) mod descriptors;
mod edge;
pub(crate) mod health;
pub(crate) mod hub;
pub(crate) mod listen;
mod ready;
mod rules;
mod sensor;
mod topics;

use crate::commands::{Global, OutputFormat};
use crate::config::{self, Config, Profile};
use crate::signals::Signals;
use anyhow::{Context as _, bail};
use certificates::Certificates;
use clap::Subcommand;
use data_dir::DataDir;
use ironbrook_cloud::assembly::Cloud;
use ironbrook_cloud::registry::SeedFile;
use ironbrook_cloud::topics::OrdinaryTopics;
use ironbrook_gateway::{Gateway, Services, Topics};
use ironbrook_hub::seams::SystemClock;
use ironbrook_log::Files;
use ironbrook_portal::Portal;
use prometheus_client::registry::Registry as Metrics;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The container `sql publish` stores packages in.
const EDGE_JOBS: &str = "edge-jobs";

/// Run a whole hub on this machine.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// Where everything is kept.
    #[arg(long, global = true, value_name = "FOLDER", default_value = "ironbrook-data")]
    data_dir: PathBuf,
    /// Keep nothing: use a temporary folder, removed at the end.
    #[arg(long, conflicts_with = "data_dir")]
    ephemeral: bool,
    /// Devices, keys, twins and routes to prepare, JSON (docs/seed-file.md).
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
    /// The configuration; `ironbrook.toml` if there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Which limits hold.
    #[arg(long, value_enum)]
    profile: Option<Profile>,
    /// Take MQTT without TLS as well; for loopback and networks you trust.
    #[arg(long, value_name = "ADDR")]
    mqtt_plain: Option<SocketAddr>,
    /// Serve ordinary MQTT topics here, without TLS; for loopback and networks you trust (docs/topics.md).
    #[arg(long, value_name = "ADDR")]
    mqtt_topics: Option<SocketAddr>,
    /// Let clients without user name use ordinary MQTT topics.
    #[arg(long)]
    mqtt_anonymous: bool,
    /// Start no simulated thermistor.
    #[arg(long)]
    no_thermistor: bool,
    /// Start no edge device.
    #[arg(long)]
    no_edge: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Remove the data folder, after asking.
    Reset {
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// Runs the command until Ctrl-C or SIGTERM.
pub async fn run(args: Box<Args>, global: &Global) -> anyhow::Result<()> {
    if let Some(Action::Reset { yes }) = args.action {
        return data_dir::reset(&args.data_dir, yes);
    }
    let mut config = Config::load(args.config.as_deref())?;
    let loaded = config.clone();
    if let Some(profile) = args.profile {
        config.hub.profile = profile;
    }
    config.thermistor.enabled &= !args.no_thermistor;
    config.edge.enabled &= !args.no_edge;
    config.listen.mqtt_plain = args.mqtt_plain.or(config.listen.mqtt_plain);
    config.listen.mqtt_topics = args.mqtt_topics.or(config.listen.mqtt_topics);
    config.topics.anonymous |= args.mqtt_anonymous;
    config.listen = listen::with_free_ports(&config.listen);
    let seed = args.seed.as_deref().map(read_seed).transpose()?;
    // Before anything is opened, so that no signal is missed.
    let stop = Signals::listen()?;
    let data = if args.ephemeral { DataDir::ephemeral()? } else { DataDir::open(&args.data_dir)? };
    let file = args.config.clone().unwrap_or_else(|| config::DEFAULT_FILE.into());
    let source = rules::Source { file, loaded, anonymous: args.mqtt_anonymous };
    serve(&config, source, seed, &data, global, stop).await
}

fn read_seed(path: &std::path::Path) -> anyhow::Result<SeedFile> {
    let unread = |source| config::Error::Read { path: path.into(), source };
    let text = std::fs::read_to_string(path).map_err(unread)?;
    SeedFile::parse(&text).with_context(|| path.display().to_string())
}

async fn serve(
    config: &Config,
    rules: rules::Source,
    seed: Option<SeedFile>,
    data: &DataDir,
    global: &Global,
    mut stop: Signals,
) -> anyhow::Result<()> {
    let mut metrics = Metrics::default();
    let storage = Arc::new(Files::open(data.path()).with_context(|| data.path().display().to_string())?);
    let hosts = certificates::subject_names(&config.hub.hosts);
    let certificates = Certificates::open(&data.path().join(data_dir::AUTHORITY), hosts.clone())?;
    let mut ports = listen::Ports::choose(&config.listen);
    let settings = hub::settings(config, hosts, &ports)?;
    let clock = Arc::new(SystemClock);
    let cloud = Cloud::open(storage.clone(), clock, settings, seed.as_ref(), &mut metrics).await?;
    // It can be long, and is of no more use.
    drop(seed);
    sensor::ensure_device(cloud.registry(), &config.thermistor).await?;
    edge::ensure_device(cloud.registry(), config).await?;
    cloud.account().ensure_container(EDGE_JOBS).await?;

    let topics = topics::open(config, cloud.hub(), storage.clone(), &mut metrics).await?;
    let doors = ironbrook_gateway::Metrics::new(&mut metrics);
    let health = health::router(Arc::new(metrics), probe(&cloud, topics.as_ref()));
    let topics_door = topics.as_ref().map(OrdinaryTopics::door);
    let main = Arc::new(Services {
        hub: Some(cloud.hub().clone()),
        topics: topics_door.clone().filter(|_| config.topics.on_hub_ports),
        http: cloud.http().merge(health.clone()),
        amqp: Some(cloud.amqp()),
        provisioning: Some(cloud.provisioning()),
        websocket: true,
        metrics: doors.clone(),
    });
    let without_hub = |http, topics: Option<Arc<Topics>>| {
        let (websocket, metrics) = (topics.is_some(), doors.clone());
        Arc::new(Services { hub: None, topics, http, amqp: None, provisioning: None, websocket, metrics })
    };
    let fingerprint = certificates.fingerprint();
    let tls = certificates.server();
    let cancel_portal = CancellationToken::new();
    let ready = hub::ready(config, &cloud, data, &ports, fingerprint).await?;
    let portal = Portal::new(hub::portal(config, &ready, &ports), cancel_portal.clone())?;
    let router = portal.router().merge(health);
    let topics_only = without_hub(axum::Router::new(), topics_door);
    let (blob, portal_only) = (without_hub(cloud.account().router(), None), without_hub(router, None));
    let listeners = ports.listeners(&tls, &main, &topics_only, &blob, &portal_only);
    let gateway = Gateway::bind(listeners)?.with_max_connections(descriptors::connections_max());
    let edge = edge::open(config, &ready, ports.https, storage, data).await?;
    let mut ready = ports.complete(ready);
    ready.notes.extend(topics::notes(config));
    if let Some(edge) = &edge {
        ready.add_edge(edge);
    }

    let (doors_stop, hub_stop) = (CancellationToken::new(), CancellationToken::new());
    let tasks = TaskTracker::new();
    tasks.spawn(certificates.run(cancel_portal.clone()));
    let served = tokio::spawn(gateway.run(doors_stop.clone()));
    let mut hub_run = tokio::spawn(cloud.run(hub_stop.clone()));
    if let Some(topics) = &topics {
        let broker = topics.door().broker().clone();
        tasks.spawn(rules::watch(rules, broker, cancel_portal.clone()));
    }
    let mut topics_run = tokio::spawn(topics::run(topics, hub_stop.clone()));
    tasks.spawn(portal.run());
    sensor::start(config, &ready, &cancel_portal, &tasks)?;
    data.write_connection(&ready)?;
    let edge_stop = CancellationToken::new();
    let edge_run = edge.map(|edge| tokio::spawn(edge.run(edge_stop.clone())));
    announce(&ready, global)?;

    let outcome = tokio::select! {
        signal = stop.next() => {
            tracing::info!(signal, "stopping: draining connections, then endpoints");
            None
        }
        ended = &mut hub_run => Some(ended.map(|ended| ended.map_err(anyhow::Error::from))),
        ended = &mut topics_run => Some(ended),
    };
    cancel_portal.cancel();
    // The edge device first: what its modules said last still finds its way.
    edge_stop.cancel();
    if let Some(edge) = edge_run {
        tokio::select! {
            ended = edge => ended??,
            signal = stop.next() => bail!("{signal} a second time: stopped at once; what was acknowledged is on disk"),
        }
    }
    doors_stop.cancel();
    tokio::select! {
        result = served => result?,
        signal = stop.next() => bail!("{signal} a second time: stopped at once; what was acknowledged is on disk"),
    }
    hub_stop.cancel();
    tasks.close();
    tasks.wait().await;
    match outcome {
        // Neither ever ends by itself but for a poisoned log.
        Some(ended) => ended??,
        None => {
            hub_run.await??;
            topics_run.await??;
        }
    }
    tracing::info!("stopped");
    Ok(())
}

/// Whether telemetry can be taken now.
fn probe(cloud: &Cloud, topics: Option<&OrdinaryTopics>) -> health::Probe {
    let (log, account) = (cloud.log().clone(), cloud.account().clone());
    let journal = topics.map(|topics| topics.log().clone());
    Arc::new(move || {
        log.health().map_err(|error| format!("message log: {error}"))?;
        if let Some(journal) = &journal {
            journal.health().map_err(|error| format!("journal of ordinary topics: {error}"))?;
        }
        if account.is_poisoned() {
            Err("storage account: poisoned by a failed sync; restart".to_owned())
        } else {
            Ok(())
        }
    })
}

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "what the command is asked for")]
fn announce(ready: &ready::Ready, global: &Global) -> anyhow::Result<()> {
    match global.output {
        OutputFormat::Json => println!("{}", serde_json::to_string(ready)?),
        OutputFormat::Table => print!("{}", ready.screen()),
    }
    std::io::stdout().flush()?;
    Ok(())
}
