//! The power of an edge device is cut at a random disk operation under load. What a module got its acknowledgement for comes to the
//! input it is routed to and to the hub above, in order; what comes to the input twice was not settled on disk yet.

use super::world::message;
use super::{World, until};
use ironbrook_client::{DeviceClient, Messages};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use std::collections::{HashSet, VecDeque};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Power cuts in a quick run, and with `IRONBROOK_SLOW` in the environment.
const CUTS: u64 = 20;
const CUTS_SLOW: u64 = 1000;
/// After so many cuts all begins anew, so that checks stay quick.
const CUTS_PER_WORLD: u64 = 20;
/// Longest time anything here may take before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(120);
/// Messages under way from the sensor.
const WINDOW: usize = 16;

/// The numbers a sensor sent, and which of them were acknowledged.
#[derive(Default)]
struct Sent {
    next: u64,
    acknowledged: Vec<u64>,
}

/// The numbers that came to the input, in order of first coming, and how many came once more.
#[derive(Default)]
struct Input {
    first: Vec<u64>,
    seen: HashSet<u64>,
    again: u64,
    /// The last one that came over this connection: each has its messages in order, none twice.
    last: Option<u64>,
}

impl Input {
    fn took(&mut self, number: u64) {
        assert!(self.last < Some(number), "{number} behind {:?} on one connection", self.last);
        self.last = Some(number);
        if self.seen.insert(number) {
            self.first.push(number);
        } else {
            self.again += 1;
        }
    }
}

async fn send(sensor: DeviceClient, mut sent: Sent, stop: CancellationToken) -> Sent {
    let mut under_way = VecDeque::new();
    while !stop.is_cancelled() {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            receipt = sensor.enqueue(message(sent.next, "out")) => {
                let Ok(receipt) = receipt else { break };
                under_way.push_back((sent.next, receipt));
                sent.next += 1;
            }
        }
        if under_way.len() >= WINDOW {
            let Some((number, receipt)) = under_way.pop_front() else { break };
            tokio::select! {
                () = stop.cancelled() => break,
                result = receipt => sent.acknowledged.extend(result.is_ok().then_some(number)),
            }
        }
    }
    // What was acknowledged before the cut but not looked at yet counts as well.
    for (number, receipt) in under_way {
        tokio::select! {
            biased;
            result = receipt => sent.acknowledged.extend(result.is_ok().then_some(number)),
            () = std::future::ready(()) => {}
        }
    }
    sent
}

/// Takes and completes what comes, until it is told to stop.
async fn take(inputs: &mut Messages, mut input: Input, stop: &CancellationToken) -> Input {
    loop {
        let received = tokio::select! {
            () = stop.cancelled() => return input,
            received = inputs.next() => received,
        };
        let Some(received) = received else { return input };
        input.took(std::str::from_utf8(&received.message.body).unwrap().parse().unwrap());
        if received.complete().await.is_err() {
            return input;
        }
    }
}

async fn world() -> World {
    let world = World::new().await;
    for module in ["sensor", "filter"] {
        world.make_module(module).await;
    }
    world
        .set_routes(json!({
            "in": "FROM /messages/modules/sensor/outputs/out INTO BrokeredEndpoint(\"/modules/filter/inputs/in\")",
            "up": "FROM /messages/modules/sensor/outputs/out INTO $upstream",
        }))
        .await;
    world
}

/// Sends and takes until the power goes off, and starts again with what is on the disk.
async fn load_until_cut(world: &mut World, sent: &mut Sent, input: &mut Input, random: &mut StdRng) {
    let stop = CancellationToken::new();
    let sensor = world.module("sensor").await;
    let sending = tokio::spawn(send(sensor, std::mem::take(sent), stop.clone()));
    let taking = if random.random_bool(0.7) {
        let filter = world.module("filter").await;
        let mut inputs = filter.messages().await.unwrap();
        let (stop, mut input) = (stop.clone(), std::mem::take(input));
        input.last = None;
        Some(tokio::spawn(async move {
            let input = take(&mut inputs, input, &stop).await;
            drop(filter);
            input
        }))
    } else {
        None
    };
    world.power_off_after(random.random_range(1..120));
    until("the log notices", async || world.handle().log_health().is_err().then_some(())).await;
    stop.cancel();
    *sent = sending.await.unwrap();
    if let Some(taking) = taking {
        *input = taking.await.unwrap();
    }
    world.stop_edge_after_cut(random.random()).await;
    world.start_edge().await;
}

/// All that was acknowledged comes, in order.
async fn check(world: &World, sent: &Sent, input: &mut Input, cut: u64) {
    let filter = world.module("filter").await;
    let mut inputs = filter.messages().await.unwrap();
    input.last = None;
    while let Some(missing) = sent.acknowledged.iter().find(|number| !input.seen.contains(number)) {
        let received = tokio::time::timeout(PATIENCE, inputs.next()).await;
        let received =
            received.unwrap_or_else(|_| panic!("cut {cut}: the input did not get {missing}")).unwrap();
        input.took(std::str::from_utf8(&received.message.body).unwrap().parse().unwrap());
        received.complete().await.unwrap();
    }
    filter.close().await.unwrap();
    assert!(input.first.is_sorted(), "cut {cut}: the input is out of order");
    until("all acknowledged is at the hub", async || {
        let arrived = world.arrived("sensor").await;
        let mut seen = HashSet::new();
        let first: Vec<u64> = arrived
            .iter()
            .map(|body| body.parse().unwrap())
            .filter(|number: &u64| seen.insert(*number))
            .collect();
        assert!(first.is_sorted(), "cut {cut}: out of order at the hub");
        sent.acknowledged.iter().all(|number| seen.contains(number)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_module_was_told_survives_every_power_cut_of_the_edge_device() {
    let cuts = if std::env::var_os("IRONBROOK_SLOW").is_some() { CUTS_SLOW } else { CUTS };
    let (mut here, mut sent, mut input) = (world().await, Sent::default(), Input::default());
    let (mut acknowledged, mut again) = (0, 0);
    for cut in 0..cuts {
        if cut % CUTS_PER_WORLD == 0 && cut > 0 {
            here.stop_edge(false).await;
            here.stop_hub().await;
            (here, sent, input) = (world().await, Sent::default(), Input::default());
        }
        let before = sent.acknowledged.len();
        let mut random = StdRng::seed_from_u64(cut);
        let load = load_until_cut(&mut here, &mut sent, &mut input, &mut random);
        tokio::time::timeout(PATIENCE, load).await.expect("the cut ends the load");
        acknowledged += sent.acknowledged.len() - before;
        check(&here, &sent, &mut input, cut).await;
        again += std::mem::take(&mut input.again);
    }
    println!(
        "{cuts} power cuts: {acknowledged} messages acknowledged, none lost, {again} came to the input again"
    );
    assert!(acknowledged as u64 > 5 * cuts, "only {acknowledged}: the test tests nothing");
}
