//! Queues by priority, times to live, and endpoints that come and go.

use super::*;
use crate::router::{Route, queue_name};
use crate::seams::{Batching, Clock as _, Routed, Sent};
use crate::testing::{Bench, START, eventually, within};
use crate::{Operation, Session};
use async_trait::async_trait;
use ironbrook_log::{Offset, PartitionId};
use ironbrook_model::Message;
use std::collections::HashMap;
use std::sync::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;

/// An endpoint that takes a batch for each permit, and says how it is offered one.
struct Gate {
    name: &'static str,
    permits: Semaphore,
    offered: Mutex<Vec<String>>,
    called: Notify,
    answer: Mutex<Option<Sent>>,
}

impl Gate {
    fn new(name: &'static str, permits: usize) -> Arc<Self> {
        Arc::new(Self {
            name,
            permits: Semaphore::new(permits),
            offered: Mutex::default(),
            called: Notify::new(),
            answer: Mutex::default(),
        })
    }

    fn open(name: &'static str) -> Arc<Self> {
        Self::new(name, Semaphore::MAX_PERMITS)
    }

    /// Waits until this was offered, all since the start.
    async fn wait_for(&self, texts: &[&str]) {
        let offered = async {
            loop {
                let called = self.called.notified();
                if self.offered.lock().unwrap().len() >= texts.len() {
                    return;
                }
                called.await;
            }
        };
        within(&format!("{texts:?}"), offered).await;
        assert_eq!(*self.offered.lock().unwrap(), texts);
    }
}

#[async_trait]
impl Endpoint for Gate {
    fn name(&self) -> &str {
        self.name
    }

    fn batching(&self) -> Batching {
        Batching { max_messages: 2, max_bytes: 1 << 20, max_delay: Duration::ZERO }
    }

    async fn send(&self, _: PartitionId, batch: &[Routed]) -> Sent {
        let texts = batch.iter().map(|m| std::str::from_utf8(&m.message.body).unwrap());
        self.offered.lock().unwrap().push(texts.collect::<Vec<_>>().join(" "));
        self.called.notify_waiters();
        self.permits.acquire().await.unwrap().forget();
        self.answer.lock().unwrap().take().unwrap_or(Sent::Done)
    }
}

const HIGH: EndpointQueue = EndpointQueue { id: QueueId(7), priority: 0, time_to_live: None };
const LOW: EndpointQueue = EndpointQueue { id: QueueId(8), priority: 9, time_to_live: None };
const OTHER: EndpointQueue = EndpointQueue { id: QueueId(9), priority: DEFAULT_PRIORITY, time_to_live: None };

/// What says `high` or `low` goes to a queue of endpoint `gate`, what says `other` to endpoint `other`.
fn bench() -> Bench {
    let bench = Bench::new();
    let route = |name: &str, endpoint: &str, priority| Route {
        name: name.to_owned(),
        condition: format!("to = '{name}'"),
        endpoints: vec![endpoint.to_owned()],
        priority,
        ..Route::default()
    };
    let routes =
        [route("high", "gate", 0), route("low", "gate", 9), route("other", "other", DEFAULT_PRIORITY)];
    let queues = HashMap::from([
        (queue_name("gate", 0).into_owned(), HIGH.id),
        (queue_name("gate", 9).into_owned(), LOW.id),
        ("other".to_owned(), OTHER.id),
    ]);
    bench.hub.router().replace(&routes, true, &queues).unwrap();
    bench
}

async fn send(bench: &Bench, session: &Session, to: &str, text: &str) {
    let mut message = Message::new(text.to_owned());
    message.properties.set("to", to.to_owned());
    bench.hub.perform(session, Operation::SendTelemetry(message)).await.unwrap();
}

struct Running {
    handle: Handle,
    cancel: CancellationToken,
    task: JoinHandle<Result<(), LogError>>,
}

fn start(bench: &Bench) -> Running {
    let executors = Executors::new(bench.hub.seams(), &[], Config::default(), &bench.metrics);
    let (handle, cancel) = (executors.handle(), CancellationToken::new());
    let task = tokio::spawn(executors.run(cancel.clone()));
    Running { handle, cancel, task }
}

async fn stop(running: Running) {
    running.cancel.cancel();
    within("the end of the executors", running.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_best_queue_comes_first_after_each_batch_and_each_has_its_checkpoint() {
    let bench = bench();
    let session = bench.connect("d1").await;
    let gate = Gate::new("gate", 0);
    let running = start(&bench);
    running.handle.add(gate.clone(), &[LOW, HIGH]).await.unwrap();
    send(&bench, &session, "low", "l1").await;
    gate.wait_for(&["l1"]).await;
    for (to, text) in [("low", "l2"), ("low", "l3"), ("low", "l4"), ("high", "h1"), ("high", "h2")] {
        send(&bench, &session, to, text).await;
    }
    gate.permits.add_permits(2);
    gate.wait_for(&["l1", "h1 h2", "l2 l3"]).await;
    send(&bench, &session, "high", "h3").await;
    gate.permits.add_permits(2);
    gate.wait_for(&["l1", "h1 h2", "l2 l3", "h3", "l4"]).await;
    let lowest = running.handle.lowest(session.partition());
    assert_eq!(lowest, Some(Offset(3)), "what of the low queue is not taken holds the log");
    gate.permits.add_permits(1);
    let all = || running.handle.lowest(session.partition()) == Some(Offset(7));
    eventually("all of both queues", all).await;
    stop(running).await;
    let running = start(&bench);
    running.handle.add(gate.clone(), &[LOW, HIGH]).await.unwrap();
    gate.permits.add_permits(1);
    send(&bench, &session, "high", "h4").await;
    gate.wait_for(&["l1", "h1 h2", "l2 l3", "h3", "l4", "h4"]).await;
    stop(running).await;
}

#[tokio::test]
async fn a_new_endpoint_begins_at_the_end_of_the_log_and_a_known_one_at_its_checkpoint() {
    let bench = bench();
    let session = bench.connect("d1").await;
    let partition = session.partition();
    let running = start(&bench);
    send(&bench, &session, "other", "before").await;
    let other = Gate::open("other");
    running.handle.add(other.clone(), &[OTHER]).await.unwrap();
    assert_eq!(running.handle.lowest(partition), Some(Offset(1)), "known as soon as it is there");
    send(&bench, &session, "other", "a").await;
    other.wait_for(&["a"]).await;
    eventually("the checkpoint", || running.handle.lowest(partition) == Some(Offset(2))).await;
    assert_eq!(running.handle.backlog(), [("other".to_owned(), DEFAULT_PRIORITY, 0)]);
    within("retirement", running.handle.retire("other")).await;
    assert_eq!(running.handle.lowest(partition), None, "it holds the log no longer");
    assert!(running.handle.health().is_empty());
    send(&bench, &session, "other", "b").await;
    running.handle.add(other.clone(), &[OTHER]).await.unwrap();
    assert_eq!(running.handle.lowest(partition), Some(Offset(2)));
    other.wait_for(&["a", "b"]).await;
    stop(running).await;
}

#[tokio::test]
async fn an_endpoint_is_retired_in_the_middle_of_a_batch_which_comes_again() {
    let bench = bench();
    let session = bench.connect("d1").await;
    let running = start(&bench);
    let gate = Gate::new("gate", 0);
    let other = Gate::open("other");
    running.handle.add(gate.clone(), &[HIGH]).await.unwrap();
    running.handle.add(other.clone(), &[OTHER]).await.unwrap();
    send(&bench, &session, "high", "h1").await;
    gate.wait_for(&["h1"]).await;
    assert_eq!(running.handle.backlog()[0], ("gate".to_owned(), HIGH.priority, 1), "what is not taken waits");
    within("retirement", running.handle.retire("gate")).await;
    within("retirement of nobody", running.handle.retire("gate")).await;
    send(&bench, &session, "other", "o1").await;
    other.wait_for(&["o1"]).await;
    running.handle.add(gate.clone(), &[HIGH]).await.unwrap();
    gate.wait_for(&["h1", "h1"]).await;
    stop_with_drain(&bench, running).await;
}

/// Stops executors whose endpoint takes nothing.
async fn stop_with_drain(bench: &Bench, running: Running) {
    running.cancel.cancel();
    within("the end of the executors", bench.clock.drive(running.task)).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_endpoint_gets_other_queues_while_it_runs() {
    let bench = bench();
    let session = bench.connect("d1").await;
    let running = start(&bench);
    let gate = Gate::open("gate");
    running.handle.add(gate.clone(), &[LOW]).await.unwrap();
    send(&bench, &session, "low", "l1").await;
    gate.wait_for(&["l1"]).await;
    send(&bench, &session, "high", "unwanted").await;
    running.handle.add(gate.clone(), &[LOW, HIGH]).await.unwrap();
    running.handle.add(gate.clone(), &[HIGH, LOW]).await.unwrap();
    send(&bench, &session, "high", "h1").await;
    send(&bench, &session, "low", "l2").await;
    eventually("both", || gate.offered.lock().unwrap().len() == 3).await;
    gate.wait_for(&["l1", "h1", "l2"]).await;
    assert_eq!(running.handle.health().len(), 1);
    stop(running).await;
}

#[tokio::test]
async fn what_is_too_old_is_dead_lettered_before_it_is_delivered() {
    let bench = bench();
    let session = bench.connect("d1").await;
    let running = start(&bench);
    let minute = Duration::from_secs(60);
    let gate = Gate::new("gate", 0);
    running.handle.add(gate.clone(), &[EndpointQueue { time_to_live: Some(minute), ..LOW }]).await.unwrap();
    send(&bench, &session, "low", "first").await;
    gate.wait_for(&["first"]).await;
    send(&bench, &session, "low", "old").await;
    bench.clock.advance(minute / 2);
    send(&bench, &session, "low", "new").await;
    // An endpoint that waits and waits: its batch is given up when the last of it is too old.
    bench.clock.sleeper(START.plus(minute).plus(Duration::from_millis(1))).await;
    bench.clock.advance(minute / 2 + Duration::from_millis(1));
    gate.wait_for(&["first", "new"]).await;
    gate.permits.add_permits(1);
    eventually("the end of the batch", || running.handle.health()[0].sent == 1).await;
    assert_eq!(running.handle.health()[0].dead_letters, 2);
    assert_eq!(bench.clock.now(), START.plus(minute).plus(Duration::from_millis(1)));
    stop(running).await;
}

#[tokio::test]
async fn without_endpoints_executors_wait_for_the_end() {
    let running = start(&bench());
    assert_eq!(running.handle.lowest(PartitionId(0)), None);
    assert!(!running.task.is_finished());
    stop(running).await;
}

#[tokio::test]
async fn one_endpoint_added_before_the_start_runs_too() {
    let bench = bench();
    let session = bench.connect("d1").await;
    let executors = Executors::new(bench.hub.seams(), &[], Config::default(), &bench.metrics);
    let (handle, cancel, other) = (executors.handle(), CancellationToken::new(), Gate::open("other"));
    handle.add(other.clone(), &[OTHER]).await.unwrap();
    send(&bench, &session, "other", "a").await;
    let task = tokio::spawn(executors.run(cancel.clone()));
    other.wait_for(&["a"]).await;
    stop(Running { handle, cancel, task }).await;
}
