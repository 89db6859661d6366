//! The module as a whole on a hub in memory, with a clock that is turned.

mod hub;
mod jobs;
mod kills;
mod packages;
mod queries;

use super::console::Console;
use super::{Settings, work};
use async_trait::async_trait;
use hub::{FakeHub, FakeLink};
use ironbrook_client::{Message, Trust};
use ironbrook_hub::seams::Clock;
use ironbrook_model::Timestamp;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// 2026-01-31T09:00:00Z, when every test begins: a beginning of windows.
const START: Timestamp = Timestamp::from_secs(1_769_850_000);

/// Longer than anything takes, by a clock that is turned and by that of a loaded machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// The time of a paused runtime, which goes on by itself when everybody waits.
struct PausedClock(Instant);

#[async_trait]
impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        START.plus(self.0.elapsed())
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        tokio::time::sleep(deadline.since(self.now())).await;
    }
}

/// Lines that were written.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Bench {
    hub: Arc<FakeHub>,
    clock: Arc<PausedClock>,
    log: Log,
    folder: Option<PathBuf>,
}

impl Bench {
    /// Without a folder: state lives as long as the module.
    fn in_memory() -> Self {
        let clock = Arc::new(PausedClock(Instant::now()));
        Self { hub: FakeHub::new(PATIENCE), clock, log: Log::default(), folder: None }
    }

    fn on_disk(folder: &tempfile::TempDir) -> Self {
        Self { folder: Some(folder.path().to_owned()), ..Self::in_memory() }
    }

    /// Starts a process of the module. It ends when it is killed, or another one is started.
    fn start(&self) -> Arc<FakeLink> {
        let link = self.hub.start();
        let settings = Settings { state_dir: self.folder.clone(), downloads: Trust::System };
        let console = Console::new(Box::new(self.log.clone()));
        let work = work(link.clone(), settings, console, self.clock.clone());
        let (hub, process) = (self.hub.clone(), link.process);
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = hub.killed(process) => {}
                ended = work => panic!("the module ended: {ended:?}"),
            }
        });
        link
    }

    fn query(&self, text: &str) {
        self.hub.desire(json!({ "query": text }));
    }

    /// Sends an event of now.
    fn event(&self, input: &str, mut event: Value) {
        event["at"] = json!(self.clock.now().to_string());
        self.hub.put(input, Message::new(event.to_string()));
    }

    async fn sleep(&self, seconds: f64) {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }

    /// Waits for a status of the query; gives what is reported of it.
    async fn status(&self, status: &str) -> Value {
        let what = format!("status {status}");
        self.hub.until(&what, |hub| hub.reported()["query"]["status"] == status).await;
        self.hub.reported()["query"].clone()
    }

    /// All rows that left by an output, each message counted once.
    fn rows(&self, output: &str) -> Vec<Value> {
        let mut seen: Vec<Message> = Vec::new();
        for (_, message) in self.hub.outputs().into_iter().filter(|(name, _)| name == output) {
            match seen.iter().find(|other| id(other) == id(&message)) {
                Some(other) => assert_eq!(other.body, message.body, "the same id and another message"),
                None => seen.push(message),
            }
        }
        let rows = |message: &Message| serde_json::from_slice::<Vec<Value>>(&message.body).unwrap();
        seen.iter().flat_map(rows).collect()
    }

    /// Waits for so many rows.
    async fn wait_for_rows(&self, output: &str, count: usize) -> Vec<Value> {
        let what = format!("{count} rows at {output}");
        self.hub.until(&what, |_| self.rows(output).len() >= count).await;
        self.rows(output)
    }

    fn lines(&self) -> String {
        String::from_utf8(self.log.0.lock().unwrap().clone()).unwrap()
    }
}

fn id(message: &Message) -> &str {
    message.system.get(ironbrook_client::SystemProperty::MessageId).unwrap()
}
