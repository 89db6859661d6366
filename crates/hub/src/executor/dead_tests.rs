//! An endpoint that is dead for a week, as the clock of the test has it.

use super::*;
use crate::router::Route;
use crate::seams::{Batching, Clock as _, Endpoint, Routed, Sent};
use crate::testing::{Bench, START, eventually, within};
use crate::{Operation, Session};
use async_trait::async_trait;
use ironbrook_log::{Memory, PartitionId, Retention, SegmentLog};
use ironbrook_model::Message;
use std::collections::HashMap;
use std::sync::Mutex;
use tokio::task::JoinHandle;

const DEAD: QueueId = QueueId(1);
const ALIVE: QueueId = QueueId(2);
const SEGMENT_BYTES: u64 = 16 << 10;
const HOUR: Duration = Duration::from_secs(3600);
/// Messages of an hour, and how long each is.
const PER_HOUR: u64 = 30;
const BODY: usize = 200;
/// What a message takes in the log, with its header.
const MESSAGE_BYTES: u64 = 420;

/// An endpoint that takes everything, nothing, or never answers.
struct Fake {
    name: &'static str,
    mood: Mood,
    taken: Mutex<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Takes,
    Fails,
    Hangs,
}

#[async_trait]
impl Endpoint for Fake {
    fn name(&self) -> &str {
        self.name
    }

    fn batching(&self) -> Batching {
        Batching { max_messages: 50, max_bytes: 1 << 20, max_delay: Duration::ZERO }
    }

    async fn send(&self, _: PartitionId, batch: &[Routed]) -> Sent {
        match self.mood {
            Mood::Fails => Sent::RetryAfter(Duration::from_secs(60), "down".to_owned()),
            Mood::Hangs => std::future::pending().await,
            Mood::Takes => {
                let texts = batch.iter().map(|m| number(&m.message));
                self.taken.lock().unwrap().extend(texts);
                Sent::Done
            }
        }
    }
}

fn number(message: &Message) -> String {
    std::str::from_utf8(&message.body).unwrap().trim_end().to_owned()
}

struct World {
    bench: Bench,
    log: Arc<SegmentLog>,
    storage: Memory,
    session: Session,
    alive: Arc<Fake>,
    handle: Handle,
    cancel: CancellationToken,
    task: JoinHandle<Result<(), LogError>>,
    sent: u64,
}

impl World {
    async fn new(mood: Mood, max_bytes: Option<u64>) -> Self {
        let storage = Memory::forgetful();
        let retention = Retention { max_age: Some(Duration::ZERO), max_bytes };
        let config = ironbrook_log::Config {
            partitions: 1,
            segment_bytes: SEGMENT_BYTES,
            retention,
            ..ironbrook_log::Config::default()
        };
        let log = SegmentLog::open(Arc::new(storage.clone()), std::path::Path::new("log"), config).unwrap();
        let log = Arc::new(log);
        let bench = Bench::with_log(log.clone());
        let to_both = Route {
            name: "all".to_owned(),
            endpoints: vec!["dead".to_owned(), "alive".to_owned()],
            ..Route::default()
        };
        let queues = HashMap::from([("dead".to_owned(), DEAD), ("alive".to_owned(), ALIVE)]);
        bench.hub.router().replace(&[to_both], true, &queues).unwrap();
        let fake = |name, mood| Arc::new(Fake { name, mood, taken: Mutex::default() });
        let (dead, alive) = (fake("dead", mood), fake("alive", Mood::Takes));
        let endpoints = [(DEAD, dead as Arc<dyn Endpoint>), (ALIVE, alive.clone())];
        let executors = Executors::new(bench.hub.seams(), &endpoints, Config::default(), &bench.metrics);
        let (handle, cancel) = (executors.handle(), CancellationToken::new());
        let task = tokio::spawn(executors.run(cancel.clone()));
        let session = bench.connect("d1").await;
        Self { bench, log, storage, session, alive, handle, cancel, task, sent: 0 }
    }

    /// An hour under steady load, then what the assembly does: over its size the log is taken from the endpoints, and what nobody
    /// holds any more goes.
    async fn hour(&mut self) {
        for _ in 0..PER_HOUR {
            let body = format!("{:<BODY$}", self.sent);
            self.bench
                .hub
                .perform(&self.session, Operation::SendTelemetry(Message::new(body)))
                .await
                .unwrap();
            self.sent += 1;
            self.bench.clock.advance(HOUR / u32::try_from(PER_HOUR).unwrap());
        }
        let sent = usize::try_from(self.sent).unwrap();
        eventually("all of it at the endpoint that is alive", || {
            self.alive.taken.lock().unwrap().len() == sent
        })
        .await;
        self.handle.give_up(PartitionId(0), self.log.oversize(PartitionId(0)).unwrap());
    }

    async fn retain(&self) {
        let needed = self.handle.lowest(PartitionId(0)).unwrap();
        self.log.retain(PartitionId(0), self.bench.clock.now(), needed).await.unwrap();
    }

    fn dead_letters(&self) -> u64 {
        let health = self.handle.health().into_iter().find(|health| health.name == "dead").unwrap();
        health.dead_letters
    }

    /// Waits until so many are dead-lettered, turning the clock by seconds: each retry drops what is too old.
    async fn dead_lettered(&self, count: u64) {
        let looking = async {
            while self.dead_letters() < count {
                self.bench.clock.advance(Duration::from_secs(1));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        within(&format!("{count} dead letters, there are {}", self.dead_letters()), looking).await;
    }

    async fn end(self) {
        let sent: Vec<_> = (0..self.sent).map(|number| number.to_string()).collect();
        assert_eq!(*self.alive.taken.lock().unwrap(), sent, "the other endpoint got each once and in order");
        let health = self.handle.health();
        assert!(health.iter().any(|health| health.name == "alive" && health.dead_letters == 0));
        self.cancel.cancel();
        // Who hangs is given the time of a drain.
        within("the end", self.bench.clock.drive(self.task)).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_week_of_a_dead_endpoint_takes_the_disk_of_its_time_to_live() {
    let mut world = World::new(Mood::Fails, None).await;
    let day = 24 * PER_HOUR;
    let mut largest = 0;
    for hour in 1..=7 * 24_u64 {
        world.hour().await;
        // The newest 24 hours are still tried; the hour that is under way may be on either side.
        world.dead_lettered((hour * PER_HOUR).saturating_sub(day + PER_HOUR)).await;
        world.retain().await;
        largest = largest.max(world.storage.used());
    }
    let held = (day + 2 * PER_HOUR) * MESSAGE_BYTES + 2 * SEGMENT_BYTES;
    assert!(largest < held, "{largest} bytes at most, {held} are those of a day");
    assert!(largest > day * BODY as u64, "{largest}: a day is held");
    let labels = vec![("endpoint", "dead".to_owned())];
    let counted = world.bench.metrics.endpoint_dropped.get_or_create(&labels).get();
    assert!(counted >= 6 * day - PER_HOUR && counted == world.dead_letters(), "{counted}");
    assert!(world.bench.clock.now().since(START) >= 7 * 24 * HOUR);
    world.end().await;
}

#[tokio::test]
async fn a_dead_endpoint_takes_no_more_disk_than_the_log_may_have() {
    for mood in [Mood::Fails, Mood::Hangs] {
        let max_bytes = 6 * SEGMENT_BYTES;
        let mut world = World::new(mood, Some(max_bytes)).await;
        let mut largest = 0;
        for _ in 0..24 {
            world.hour().await;
            let before = world.log.oversize(PartitionId(0)).unwrap();
            let let_go = || world.handle.lowest(PartitionId(0)) >= Some(before);
            eventually("what there is no room for is given up", let_go).await;
            world.retain().await;
            largest = largest.max(world.storage.used());
        }
        assert!(largest <= max_bytes + SEGMENT_BYTES, "{largest}");
        let first = world.log.oversize(PartitionId(0)).unwrap();
        assert!(first.0 > 0 && world.dead_letters() >= first.0, "each of {first:?} is counted");
        assert!(world.dead_letters() < world.sent, "what there is room for is still tried");
        world.end().await;
    }
}
