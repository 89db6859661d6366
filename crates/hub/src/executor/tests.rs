use super::*;
use crate::seams::{Batching, Clock as _, Routed, Sent};
use crate::testing::{Bench, COLD, START, eventually, within};
use crate::{Operation, Session};
use async_trait::async_trait;
use ironbrook_log::{Checkpoints, Offset, PartitionId};
use ironbrook_model::{Message, Timestamp};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// An endpoint that answers as told, `Done` once nothing is told any more.
struct FakeEndpoint {
    batching: Batching,
    answers: Mutex<Vec<Sent>>,
    batches: Mutex<Vec<Vec<String>>>,
    called: Notify,
}

impl FakeEndpoint {
    fn new(max_messages: usize, max_delay: Duration, answers: &[Sent]) -> Arc<Self> {
        Arc::new(Self {
            batching: Batching { max_messages, max_bytes: 1 << 20, max_delay },
            answers: Mutex::new(answers.iter().rev().cloned().collect()),
            batches: Mutex::default(),
            called: Notify::new(),
        })
    }

    fn batches(&self) -> Vec<Vec<String>> {
        self.batches.lock().unwrap().clone()
    }

    /// Waits until so many batches were offered.
    async fn offered(&self, count: usize) -> Vec<Vec<String>> {
        let offered = async {
            loop {
                let called = self.called.notified();
                let batches = self.batches();
                if batches.len() >= count {
                    return batches;
                }
                called.await;
            }
        };
        within(&format!("batch {count}"), offered).await
    }
}

#[async_trait]
impl Endpoint for FakeEndpoint {
    fn name(&self) -> &str {
        "cold"
    }

    fn batching(&self) -> Batching {
        self.batching
    }

    async fn send(&self, _: PartitionId, batch: &[Routed]) -> Sent {
        let texts = batch.iter().map(|m| String::from_utf8(m.message.body.to_vec()).unwrap());
        self.batches.lock().unwrap().push(texts.collect());
        self.called.notify_waiters();
        self.called.notify_one();
        let answer = self.answers.lock().unwrap().pop();
        match answer {
            Some(Sent::RetryAfter(_, why)) if why == "panic" => panic!("an endpoint with a bug"),
            answer => answer.unwrap_or(Sent::Done),
        }
    }
}

struct Running {
    handle: Handle,
    cancel: CancellationToken,
    task: JoinHandle<Result<(), LogError>>,
}

fn start(bench: &Bench, endpoint: &Arc<FakeEndpoint>) -> Running {
    let endpoints = [(COLD, Arc::clone(endpoint) as Arc<dyn Endpoint>)];
    let executors = Executors::new(bench.hub.seams(), &endpoints, Config::default(), &bench.metrics);
    let (handle, cancel) = (executors.handle(), CancellationToken::new());
    let task = tokio::spawn(executors.run(cancel.clone()));
    Running { handle, cancel, task }
}

async fn stop(running: Running) {
    running.cancel.cancel();
    within("the end of the executors", running.task).await.unwrap().unwrap();
}

async fn send(bench: &Bench, session: &Session, text: &str, cold: bool) {
    let mut message = Message::new(text.to_owned());
    if cold {
        message.properties.set("cold", "yes");
    }
    bench.hub.perform(session, Operation::SendTelemetry(message)).await.unwrap();
}

const RETRY: Duration = Duration::from_secs(1);

fn retry(why: &str) -> Sent {
    Sent::RetryAfter(RETRY, why.to_owned())
}

#[tokio::test]
async fn sends_what_is_routed_in_order_and_goes_on_after_a_restart() {
    let bench = Bench::new();
    let session = bench.connect("d1").await;
    let endpoint = FakeEndpoint::new(2, Duration::ZERO, &[]);
    for text in ["a", "b", "c"] {
        send(&bench, &session, text, true).await;
        send(&bench, &session, "of others", false).await;
    }
    let running = start(&bench, &endpoint);
    assert_eq!(endpoint.offered(2).await, [vec!["a", "b"], vec!["c"]]);
    send(&bench, &session, "d", true).await;
    endpoint.offered(3).await;
    stop(running).await;
    let running = start(&bench, &endpoint);
    send(&bench, &session, "e", true).await;
    assert_eq!(endpoint.offered(4).await[2..], [vec!["d"], vec!["e"]], "nothing twice");
    stop(running).await;
    let labels = vec![("endpoint", "cold".to_owned())];
    assert_eq!(bench.metrics.endpoint_sent.get_or_create(&labels).get(), 5);
}

/// Checkpoints on a disk that can be full.
struct OnFullDisk {
    inner: Arc<dyn Checkpoints>,
    is_full: AtomicBool,
    refused: AtomicU64,
}

#[async_trait]
impl Checkpoints for OnFullDisk {
    async fn load(&self, consumer: &str, partition: PartitionId) -> Result<Option<Offset>, LogError> {
        self.inner.load(consumer, partition).await
    }

    async fn store(&self, consumer: &str, partition: PartitionId, next: Offset) -> Result<(), LogError> {
        if self.is_full.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(LogError::Full);
        }
        self.inner.store(consumer, partition, next).await
    }

    async fn lowest(&self, consumers: &[&str], partition: PartitionId) -> Result<Option<Offset>, LogError> {
        self.inner.lowest(consumers, partition).await
    }
}

#[tokio::test]
async fn a_full_disk_makes_nobody_get_twice_what_he_took_and_the_checkpoint_follows() {
    let bench = Bench::new();
    let session = bench.connect("d1").await;
    let endpoint = FakeEndpoint::new(2, Duration::ZERO, &[]);
    let mut seams = bench.hub.seams().clone();
    let disk = Arc::new(OnFullDisk {
        inner: seams.checkpoints.clone(),
        is_full: AtomicBool::new(true),
        refused: AtomicU64::new(0),
    });
    seams.checkpoints = disk.clone();
    let endpoints = [(COLD, Arc::clone(&endpoint) as Arc<dyn Endpoint>)];
    let executors = Executors::new(&seams, &endpoints, Config::default(), &bench.metrics);
    let (handle, cancel) = (executors.handle(), CancellationToken::new());
    let task = tokio::spawn(executors.run(cancel.clone()));
    for text in ["a", "b", "c"] {
        send(&bench, &session, text, true).await;
    }
    let partition = session.partition();
    let position = || handle.position("cold", DEFAULT_PRIORITY, partition);
    eventually("all are sent", || position() == Some(Offset(3))).await;
    assert!(disk.refused.load(Ordering::SeqCst) >= 1);
    disk.is_full.store(false, Ordering::SeqCst);
    // Nothing comes any more that would have it stored.
    let kept = async {
        while disk.load("endpoint:cold", partition).await.unwrap() != Some(Offset(3)) {
            bench.clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    };
    within("the checkpoint", kept).await;
    assert_eq!(endpoint.batches().concat(), ["a", "b", "c"], "nothing twice");
    stop(Running { handle, cancel, task }).await;
}

/// The time so long after the start.
fn after(duration: Duration) -> Timestamp {
    START.plus(duration)
}

const DELAY: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_batch_waits_for_its_delay_counted_from_its_first_message() {
    let bench = Bench::new();
    let session = bench.connect("d1").await;
    let endpoint = FakeEndpoint::new(100, DELAY, &[]);
    let running = start(&bench, &endpoint);
    send(&bench, &session, "a", true).await;
    bench.clock.advance(Duration::from_secs(4));
    send(&bench, &session, "b", true).await;
    assert_eq!(bench.clock.drive(endpoint.offered(1)).await, [["a", "b"]]);
    assert_eq!(bench.clock.now(), after(DELAY));
    bench.clock.advance(Duration::from_secs(1));
    send(&bench, &session, "c", true).await;
    assert_eq!(bench.clock.drive(endpoint.offered(2)).await[1], ["c"]);
    assert_eq!(bench.clock.now(), after(Duration::from_secs(6) + DELAY));
    stop(running).await;
}

#[tokio::test]
async fn a_batch_ends_at_its_delay_however_late_it_is_read() {
    let bench = Bench::new();
    let session = bench.connect("d1").await;
    let endpoint = FakeEndpoint::new(100, DELAY, &[]);
    for text in ["a", "b", "c"] {
        send(&bench, &session, text, true).await;
        bench.clock.advance(Duration::from_secs(3));
    }
    let running = start(&bench, &endpoint);
    assert_eq!(endpoint.offered(1).await, [["a", "b"]], "and c came a second too late");
    bench.clock.sleeper(after(Duration::from_secs(6) + DELAY)).await;
    assert_eq!(endpoint.batches().len(), 1);
    stop(running).await;
}

#[tokio::test]
async fn what_was_enqueued_just_before_the_delay_ended_is_in_the_batch() {
    let bench = Bench::new();
    let session = bench.connect("d1").await;
    let endpoint = FakeEndpoint::new(100, DELAY, &[]);
    send(&bench, &session, "a", true).await;
    let running = start(&bench, &endpoint);
    bench.clock.sleeper(after(DELAY)).await;
    // The delay ends while the executor rests before it reads on.
    let rest = Duration::from_millis(50);
    bench.clock.advance(DELAY - rest / 2);
    send(&bench, &session, "b", true).await;
    bench.clock.sleeper(after(DELAY + rest / 2)).await;
    assert_eq!(bench.clock.drive(endpoint.offered(1)).await, [["a", "b"]]);
    assert_eq!(bench.clock.now(), after(DELAY));
    stop(running).await;
}

#[tokio::test]
async fn a_failing_endpoint_gets_the_same_batch_again_and_holds_the_log() {
    let bench = Bench::new();
    let session = bench.connect("d1").await;
    let partition = session.partition();
    let endpoint = FakeEndpoint::new(1, Duration::ZERO, &[Sent::Done, retry("down"), retry("down")]);
    for text in ["a", "b", "c"] {
        send(&bench, &session, text, true).await;
    }
    let running = start(&bench, &endpoint);
    bench.clock.sleeper(after(RETRY)).await;
    assert_eq!(running.handle.lowest(partition), Some(Offset(1)));
    assert_eq!(running.handle.health()[0].failing.as_deref(), Some("down"));
    let offered = bench.clock.drive(endpoint.offered(5)).await;
    assert_eq!(offered, [["a"], ["b"], ["b"], ["b"], ["c"]]);
    assert_eq!(bench.clock.now(), after(2 * RETRY));
    send(&bench, &session, "d", true).await;
    endpoint.offered(6).await;
    stop(running).await;
    let reader = bench.hub.seams().checkpoints.load("endpoint:cold", partition).await.unwrap();
    assert_eq!(reader, Some(Offset(4)));
}

#[tokio::test]
async fn rejected_and_expired_messages_are_dead_lettered_and_counted() {
    let bench = Bench::new();
    let session = bench.connect("d1").await;
    let reject = Sent::Reject(vec![(0, "too large".to_owned())]);
    let endpoint = FakeEndpoint::new(2, Duration::ZERO, &[reject, retry("down"), retry("down")]);
    for text in ["a", "b", "c"] {
        send(&bench, &session, text, true).await;
    }
    let running = start(&bench, &endpoint);
    bench.clock.sleeper(after(RETRY)).await;
    bench.clock.advance(Config::default().time_to_live + Duration::from_secs(1));
    endpoint.offered(3).await;
    send(&bench, &session, "d", true).await;
    assert_eq!(endpoint.offered(4).await, [vec!["a", "b"], vec!["c"], vec!["c"], vec!["d"]]);
    stop(running).await;
    let labels = vec![("endpoint", "cold".to_owned())];
    assert_eq!(bench.metrics.endpoint_dropped.get_or_create(&labels).get(), 2);
    assert_eq!(bench.metrics.endpoint_sent.get_or_create(&labels).get(), 2);
}

#[tokio::test]
async fn a_drain_sends_what_is_gathered() {
    let bench = Bench::new();
    let session = bench.connect("d1").await;
    let endpoint = FakeEndpoint::new(100, Duration::from_secs(300), &[]);
    send(&bench, &session, "a", true).await;
    let running = start(&bench, &endpoint);
    bench.clock.sleeper(after(Duration::from_secs(300))).await;
    let handle = running.handle.clone();
    stop(running).await;
    assert_eq!(endpoint.batches(), [["a"]]);
    assert_eq!(handle.health()[0].sent, 1);
    assert_eq!(handle.health()[0].last_sent, Some(START));
}

#[tokio::test]
async fn an_endpoint_that_panics_is_tried_again() {
    let bench = Bench::new();
    let session = bench.connect("d1").await;
    let endpoint = FakeEndpoint::new(1, Duration::ZERO, &[retry("panic")]);
    let running = start(&bench, &endpoint);
    send(&bench, &session, "a", true).await;
    assert_eq!(bench.clock.drive(endpoint.offered(2)).await, [["a"], ["a"]]);
    assert_eq!(bench.clock.now(), after(RESTART_PAUSE));
    stop(running).await;
}

#[tokio::test]
async fn records_of_others_do_not_hold_the_log() {
    let bench = Bench::new();
    let session = bench.connect("d1").await;
    let partition = session.partition();
    let running = start(&bench, &FakeEndpoint::new(1, Duration::ZERO, &[]));
    for _ in 0..3 {
        send(&bench, &session, "of others", false).await;
    }
    eventually("the log free up to its end", || running.handle.lowest(partition) == Some(Offset(3))).await;
    stop(running).await;
}

#[tokio::test]
async fn a_checkpoint_beyond_the_log_loses_nothing_new() {
    let bench = Bench::new();
    let session = bench.connect("d1").await;
    let checkpoints = &bench.hub.seams().checkpoints;
    checkpoints.store("endpoint:cold", session.partition(), Offset(100)).await.unwrap();
    send(&bench, &session, "old", true).await;
    let endpoint = FakeEndpoint::new(1, Duration::ZERO, &[]);
    let running = start(&bench, &endpoint);
    let at_the_end = || running.handle.lowest(session.partition()) == Some(Offset(1));
    eventually("an executor at the end of the log", at_the_end).await;
    send(&bench, &session, "new", true).await;
    assert_eq!(endpoint.offered(1).await, [["new"]]);
    stop(running).await;
}

#[tokio::test]
async fn what_became_of_each_batch_is_remembered_and_health_follows_rule_route_15() {
    let bench = Bench::new();
    let session = bench.connect("d1").await;
    let reject = Sent::Reject(vec![(0, "too large".to_owned())]);
    let endpoint = FakeEndpoint::new(2, Duration::ZERO, &[retry("down"), Sent::Done, reject]);
    let running = start(&bench, &endpoint);
    let handle = running.handle.clone();
    let status = || handle.health()[0].status();
    assert_eq!(status(), EndpointStatus::Unknown);

    send(&bench, &session, "a", true).await;
    endpoint.offered(1).await;
    eventually("the failure", || status() == EndpointStatus::Unhealthy).await;
    bench.clock.drive(endpoint.offered(2)).await;
    eventually("the recovery", || status() == EndpointStatus::Healthy).await;
    let health = &handle.health()[0];
    assert_eq!(health.last_failure, Some((START, "down".to_owned())));
    assert_eq!(health.failing, None);

    send(&bench, &session, "b", true).await;
    eventually("the refusal of all", || status() == EndpointStatus::Dead).await;
    send(&bench, &session, "c", true).await;
    eventually("the next batch", || status() == EndpointStatus::Healthy).await;
    let history = handle.history();
    let (all, _) = history.since(0);
    let told: Vec<_> =
        all.iter().map(|o| (o.first, o.attempts, o.reason.as_deref(), o.dead_letters.len())).collect();
    assert_eq!(told, [(0, 2, Some("down"), 0), (1, 1, None, 1), (2, 1, None, 0)]);
    assert_eq!((all[0].started, all[0].ended), (START, after(RETRY)));
    assert_eq!(all[1].dead_letters, [(1, "too large".to_owned())]);

    let partition = session.partition();
    assert_eq!(history.of("cold", partition, Offset(1)).len(), 1);
    let position = || handle.position("cold", DEFAULT_PRIORITY, partition);
    eventually("the checkpoint", || position() == Some(Offset(3))).await;
    assert_eq!(handle.position("other", DEFAULT_PRIORITY, partition), None);
    stop(running).await;
}

#[tokio::test]
async fn what_grew_too_old_is_remembered_with_the_failure() {
    let bench = Bench::new();
    let session = bench.connect("d1").await;
    let endpoint = FakeEndpoint::new(2, Duration::ZERO, &[retry("down"), retry("still down")]);
    let running = start(&bench, &endpoint);
    send(&bench, &session, "a", true).await;
    bench.clock.sleeper(after(RETRY)).await;
    bench.clock.advance(Config::default().time_to_live + Duration::from_secs(1));
    let history = running.handle.history();
    eventually("its end", || !history.since(0).0.is_empty()).await;
    let outcome = &history.since(0).0[0];
    assert_eq!((outcome.end, outcome.attempts, outcome.started), (BatchEnd::DeadLettered, 2, START));
    let reason = outcome.reason.as_deref();
    assert_eq!(reason, Some("it is older than the time to live; last failure: still down"));
    assert_eq!(running.handle.health()[0].status(), EndpointStatus::Dead);
    stop(running).await;
}
