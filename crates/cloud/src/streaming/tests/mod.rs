//! Jobs on a whole hub in memory: events are published, and what came of them is looked for at the receivers.

mod cuts;
mod inputs;
mod jobs;
mod receivers;

use super::*;
use crate::assembly::{Cloud, Config, LogConfig, Profile, Throttles};
use crate::registry::SeedFile;
use crate::storage::account::{Entry as BlobEntry, ListBlobs};
use crate::testing::{moment, within};
use ironbrook_hub::seams::{Clock as _, SystemClock};
use ironbrook_log::Memory;
use ironbrook_model::{DeviceId, Identity, Message, MessageSource, SystemProperty};
use serde_json::{Value, json};

/// A hub on storage, with its jobs at work.
struct Node {
    cloud: Arc<Cloud>,
    streaming: Streaming,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn open(storage: &Memory) -> Result<Cloud, crate::assembly::Error> {
    let config = Config {
        hub_name: "hub".to_owned(),
        hosts: vec!["localhost".to_owned()],
        profile: Profile::Native,
        partitions: 2,
        routes: Vec::new(),
        throttles: Throttles::default(),
        fallback_route: true,
        routing: Default::default(),
        storage_endpoints: Vec::new(),
        consumer_groups: vec!["jobs".to_owned()],
        log: LogConfig { segment_bytes: 1 << 20, ..LogConfig::default() },
        account_name: "account".to_owned(),
        file_upload: None,
        streaming: Settings { refresh: Duration::from_millis(200), ..Settings::default() },
    };
    let seed =
        SeedFile::parse(r#"{"devices":[{"deviceId":"d0"},{"deviceId":"d1"},{"deviceId":"d2"}]}"#).unwrap();
    let mut metrics = prometheus_client::registry::Registry::default();
    Cloud::open(Arc::new(storage.clone()), Arc::new(SystemClock), config, Some(&seed), &mut metrics).await
}

impl Node {
    async fn start(storage: &Memory) -> Self {
        let cloud = Arc::new(open(storage).await.unwrap());
        let (streaming, stop) = (cloud.streaming().clone(), CancellationToken::new());
        let task = tokio::spawn(streaming.clone().run(stop.clone()));
        // Changes wait for their turn behind the start.
        while !streaming.lock().is_open {
            moment().await;
        }
        Self { cloud, streaming, stop, task }
    }

    /// Ends the jobs as the end of the hub does.
    async fn stop(self) {
        self.stop.cancel();
        within("the jobs to end", self.task).await.unwrap();
    }

    /// Ends the hub and starts it again. Parts of the old one may be open for a moment yet, so the new one has its disk, as a power
    /// cut leaves it, for itself.
    async fn again(self, storage: &Memory) -> Self {
        self.stop().await;
        Self::start(&storage.power_cut(0)).await
    }

    async fn make(&self, name: &str, query: &str, outputs: Value) -> Result<Job, Refusal> {
        let json = json!({ "query": query, "inputs": { "i": { "type": "events" } }, "outputs": outputs });
        self.streaming.put(name, serde_json::from_value(json).unwrap()).await
    }

    /// Makes a job and lets it work.
    async fn job(&self, name: &str, query: &str, outputs: Value) {
        self.make(name, query, outputs).await.unwrap();
        let job = self.streaming.start(name, StartMode::default()).await.unwrap();
        assert_eq!(job.report.state, State::Running, "{:?}", job.report.error);
    }

    /// Whether the event is safe.
    async fn send(&self, device: &str, body: &Value) -> bool {
        let about = Identity::device(DeviceId::new(device.to_owned()).unwrap());
        let mut message = Message::new(body.to_string());
        message.system.set(SystemProperty::ContentType, "application/json");
        message.properties.set("site", "north");
        let hub = self.cloud.hub();
        match hub.publish(MessageSource::DeviceMessages, &about, &message) {
            Ok(Some(ticket)) => hub.durable(ticket).await.is_ok(),
            _ => false,
        }
    }

    /// All blobs of a container by name.
    async fn blobs(&self, container: &str) -> BTreeMap<String, String> {
        let account = self.cloud.account();
        let Ok(page) = account.list_blobs(container, ListBlobs::default()).await else {
            return BTreeMap::new();
        };
        let mut blobs = BTreeMap::new();
        for entry in page.entries {
            let BlobEntry::Blob(name, _) = entry else { continue };
            let bytes = account.get(container, &name).await.unwrap();
            blobs.insert(name, String::from_utf8(bytes.to_vec()).unwrap());
        }
        blobs
    }

    /// All lines of a container, blobs by name.
    async fn lines(&self, container: &str) -> Vec<Value> {
        let blobs = self.blobs(container).await;
        blobs.values().flat_map(|text| text.lines()).map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The lines of a container, as soon as there are so many.
    async fn wait_lines(&self, container: &str, count: usize) -> Vec<Value> {
        let look = async {
            loop {
                let lines = self.lines(container).await;
                if lines.len() >= count {
                    return lines;
                }
                moment().await;
            }
        };
        within(&format!("{count} lines in {container}"), look).await
    }

    /// A job's report, as soon as it is as wished.
    async fn report(&self, name: &str, what: &str, wish: impl Fn(&Report) -> bool) -> Report {
        let look = async {
            loop {
                let report = self.streaming.get(name).unwrap().report;
                if wish(&report) {
                    return report;
                }
                moment().await;
            }
        };
        within(what, look).await
    }
}

/// Two devices whose events come by different partitions.
fn apart(node: &Node) -> (&'static str, &'static str) {
    let of =
        |id: &str| node.cloud.hub().partition_of(&Identity::device(DeviceId::new(id.to_owned()).unwrap()));
    let other = ["d1", "d2"].into_iter().find(|id| of(id) != of("d0"));
    ("d0", other.expect("three devices are not all in one of two partitions"))
}

fn blob(container: &str) -> Value {
    json!({ "o": { "type": "blob", "container": container, "maxSeconds": 0 } })
}
