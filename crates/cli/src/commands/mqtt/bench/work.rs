//! The clients of a run.

use super::histogram::Histogram;
use super::{Args, Scenario};
use anyhow::Context as _;
use bytes::{BufMut as _, Bytes, BytesMut};
use indicatif::ProgressBar;
use ironbrook_client::topics::{Client, Message, Messages, QoS, Receipt};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Barrier, watch};
use tokio::task::JoinSet;

/// Silence after which a subscriber no longer hopes for what is missing, once everything is published.
const SILENCE: Duration = Duration::from_secs(10);
/// Messages between two moves of the bar.
const BAR_STEP: u64 = 256;

/// What a run gave.
pub(super) struct Outcome {
    pub took: Duration,
    pub times: Histogram,
    /// What should have come, and is told by `times` if it came.
    pub expected: u64,
}

/// What each client knows.
struct Plan {
    began: Instant,
    prefix: String,
    size: usize,
    qos: QoS,
    in_flight: usize,
    bar: ProgressBar,
}

/// Runs a scenario.
pub(super) async fn run(args: &Args, bar: &ProgressBar) -> anyhow::Result<Outcome> {
    let (publishers, subscribers) = args.scenario.sides(args.clients);
    let plan = Arc::new(Plan {
        began: Instant::now(),
        // Runs at the same time do not disturb each other.
        prefix: format!("{}/{:08x}", args.prefix, rand::random::<u32>()),
        size: args.size as usize,
        qos: args.qos,
        in_flight: usize::from(args.in_flight),
        bar: bar.clone(),
    });
    let (published, all_published) = watch::channel(false);
    let mut receiving = JoinSet::new();
    for _ in 0..subscribers {
        let (client, messages) = connect(args).await?;
        client.subscribe(format!("{}/#", plan.prefix), args.qos).await?;
        let (plan, all_published, expected) = (plan.clone(), all_published.clone(), args.messages);
        receiving.spawn(async move { receive(&plan, client, messages, expected, all_published).await });
    }
    let start = Arc::new(Barrier::new(publishers as usize + 1));
    let mut publishing = JoinSet::new();
    for number in 0..publishers {
        let (client, messages) = connect(args).await?;
        drop(messages);
        let share = args.messages / u64::from(publishers)
            + u64::from(u64::from(number) < args.messages % u64::from(publishers));
        let (plan, start, acknowledged) = (plan.clone(), start.clone(), args.scenario == Scenario::Ingest);
        publishing.spawn(async move {
            start.wait().await;
            publish(&plan, &client, number, share, acknowledged).await
        });
    }
    start.wait().await;
    let began = Instant::now();
    let mut times = gather(&mut publishing).await?;
    let mut took = began.elapsed();
    published.send_replace(true);
    let mut expected = args.messages;
    if subscribers > 0 {
        let received = gather(&mut receiving).await?;
        expected *= u64::from(subscribers);
        // Waiting in vain for what was lost is not work.
        let waited = if received.count() < expected { SILENCE } else { Duration::ZERO };
        took = took.max(began.elapsed().saturating_sub(waited));
        times = received;
    }
    Ok(Outcome { took, times, expected })
}

async fn connect(args: &Args) -> anyhow::Result<(Client, Messages)> {
    let builder = args.server.builder()?.in_flight(usize::from(args.in_flight));
    // Subscribers take messages as fast as they come.
    builder.receive_maximum(u16::MAX).connect().await.context("a client of the bench has no connection")
}

async fn gather(tasks: &mut JoinSet<anyhow::Result<Histogram>>) -> anyhow::Result<Histogram> {
    let mut all = Histogram::default();
    while let Some(done) = tasks.join_next().await {
        all.add(&done??);
    }
    Ok(all)
}

/// Publishes; gives the times until the acknowledgements, where they count.
async fn publish(
    plan: &Plan,
    client: &Client,
    number: u32,
    share: u64,
    acknowledged: bool,
) -> anyhow::Result<Histogram> {
    let topic = bytestring::ByteString::from(format!("{}/{number}", plan.prefix));
    let filler = Bytes::from(vec![b'x'; plan.size]);
    let mut times = Histogram::default();
    let mut under_way: VecDeque<(Instant, Receipt)> = VecDeque::with_capacity(plan.in_flight);
    for sent in 0..share {
        if under_way.len() == plan.in_flight
            && let Some((at, receipt)) = under_way.pop_front()
        {
            receipt.await?;
            times.record(at.elapsed());
        }
        let at = Instant::now();
        let message = Message::new(topic.clone(), stamped(plan, at, &filler)).qos(plan.qos);
        under_way.push_back((at, client.enqueue(message).await?));
        if acknowledged && sent % BAR_STEP == BAR_STEP - 1 {
            plan.bar.inc(BAR_STEP);
        }
    }
    for (at, receipt) in under_way {
        receipt.await?;
        times.record(at.elapsed());
    }
    client.close().await?;
    Ok(times)
}

/// A payload that tells when it was made, in nanoseconds since the run began.
fn stamped(plan: &Plan, at: Instant, filler: &[u8]) -> Bytes {
    let mut payload = BytesMut::with_capacity(plan.size);
    payload.put_u64(u64::try_from(at.duration_since(plan.began).as_nanos()).unwrap_or(u64::MAX));
    payload.extend_from_slice(&filler[8..]);
    payload.freeze()
}

/// Receives; gives the times since the messages were made.
async fn receive(
    plan: &Plan,
    client: Client,
    mut messages: Messages,
    expected: u64,
    mut all_published: watch::Receiver<bool>,
) -> anyhow::Result<Histogram> {
    let mut times = Histogram::default();
    let mut is_over = false;
    while times.count() < expected {
        let received = tokio::select! {
            biased;
            received = messages.next() => received,
            _ = all_published.wait_for(|over| *over), if !is_over => {
                is_over = true;
                continue;
            }
            () = tokio::time::sleep(SILENCE), if is_over => break,
        };
        let received = received.context("a subscriber lost its connection for good")?;
        if let Some(stamp) = received.message.payload.first_chunk::<8>() {
            let made = Duration::from_nanos(u64::from_be_bytes(*stamp));
            times.record(plan.began.elapsed().saturating_sub(made));
        }
        if times.count() % BAR_STEP == 0 {
            plan.bar.inc(BAR_STEP);
        }
    }
    // Not waited for: the figures are taken, and other subscribers may still be at work.
    drop(client);
    Ok(times)
}
