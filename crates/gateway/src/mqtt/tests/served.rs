//! PUBACKs that leave without the connection's task, and those that need it.

use super::*;
use crate::fakes::{eventually, idle};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

const TOPIC: &str = "devices/d1/messages/events/";

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A door whose task runs when the test says so.
struct Door {
    task: Pin<Box<dyn Future<Output = ()>>>,
    wakes: Arc<Wakes>,
    client: Client,
}

impl Door {
    /// A client that was let in, over a stream that holds so many bytes.
    async fn open(world: &World, name: &str, holds: usize) -> Self {
        let (stream, server) = tokio::io::duplex(holds);
        let cancel = CancellationToken::new();
        let peer = Peer { addr: "127.0.0.1:1".parse().unwrap(), certificates: Vec::new(), tls: true };
        let deadline = Instant::now() + Duration::from_secs(60);
        let (services, stop) = (world.services(), cancel.clone());
        let task = Box::pin(async move { serve(server, services, peer, deadline, stop).await });
        let client = Client { stream, input: BytesMut::new(), cancel };
        let mut door = Self { task, wakes: Arc::default(), client };
        let mut hello_bytes = BytesMut::new();
        encode(&Packet::Connect(Box::new(hello(name))), &mut hello_bytes).unwrap();
        door.write(&hello_bytes).await;
        within("CONNACK", async {
            while door.heard().await.is_none() {
                assert!(!door.run());
                tokio::task::yield_now().await;
            }
        })
        .await;
        door
    }

    /// Runs the task once.
    fn run(&mut self) -> bool {
        let waker = Waker::from(self.wakes.clone());
        self.task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
    }

    fn wakes(&self) -> usize {
        self.wakes.0.load(Ordering::SeqCst)
    }

    /// The client writes all of it, the task running where it has to.
    async fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let write = tokio::time::timeout(Duration::ZERO, self.client.stream.write(bytes));
            match write.await {
                Ok(len) => bytes = &bytes[len.unwrap()..],
                Err(_) => assert!(!self.run()),
            }
        }
        assert!(!self.run());
    }

    /// What is there for the client, if anything is.
    async fn heard(&mut self) -> Option<Packet> {
        let next = self.client.next();
        tokio::time::timeout(Duration::ZERO, next).await.ok().flatten()
    }
}

fn messages(numbers: std::ops::RangeInclusive<u16>) -> BytesMut {
    let mut bytes = BytesMut::new();
    numbers.for_each(|n| encode(&message(TOPIC, "x", Some(n)), &mut bytes).unwrap());
    bytes
}

#[tokio::test(start_paused = true)]
async fn mqtt_17_a_puback_leaves_when_the_disk_has_the_message_without_the_task() {
    let world = World::new(&["d1"]);
    world.log.hold();
    let mut door = Door::open(&world, "d1", 4096).await;
    for n in 1..=3 {
        door.write(&messages(n..=n)).await;
        let before = door.wakes();
        assert_eq!(door.heard().await, None);
        world.log.sync(u64::from(n));
        assert_eq!(door.heard().await, Some(Packet::PubAck(id(n))));
        assert_eq!(door.wakes(), before, "nothing is left to do for the task");
    }
    // What came while the first was waited for waits for its own turn, still without the task.
    door.write(&messages(4..=4)).await;
    door.write(&messages(5..=6)).await;
    let before = door.wakes();
    world.log.sync(4);
    assert_eq!((door.heard().await, door.heard().await), (Some(Packet::PubAck(id(4))), None));
    world.log.sync(6);
    assert_eq!(door.heard().await, Some(Packet::PubAck(id(5))));
    assert_eq!(door.heard().await, Some(Packet::PubAck(id(6))));
    assert_eq!((door.heard().await, door.wakes()), (None, before));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_little_gets_the_rest_from_the_task() {
    let world = World::new(&["d1"]);
    world.log.hold();
    let mut door = Door::open(&world, "d1", 64).await;
    door.write(&messages(1..=40)).await;
    let before = door.wakes();
    world.log.sync(40);
    assert!(door.wakes() > before, "it has to write on");
    for n in 1..=40 {
        let expected = Some(Packet::PubAck(id(n)));
        within("a PUBACK", async {
            loop {
                match door.heard().await {
                    None => _ = door.run(),
                    heard => return assert_eq!(heard, expected),
                }
            }
        })
        .await;
    }
    assert_eq!(door.heard().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_window_was_full_is_read_again() {
    let world = World::new(&["d1"]);
    world.log.hold();
    let mut door = Door::open(&world, "d1", 1 << 20).await;
    let max = unacknowledged::UNACKNOWLEDGED_MAX;
    door.write(&messages(1..=max as u16 + 1)).await;
    assert_eq!(world.log.len(), max);
    let before = door.wakes();
    world.log.sync(max as u64);
    assert!(door.wakes() > before);
    assert!(!door.run());
    assert_eq!(world.log.len(), max + 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ended_is_gone_before_the_disk_has_what_it_sent() {
    let world = World::new(&["d1"]);
    world.log.hold();
    let mut door = Door::open(&world, "d1", 4096).await;
    door.write(&messages(1..=1)).await;
    let d1 = ironbrook_model::Identity::device(ironbrook_model::DeviceId::new("d1").unwrap());
    // The task is dropped, as where the process ends.
    drop(std::mem::replace(&mut door.task, Box::pin(std::future::pending())));
    assert_eq!(within("the end", door.client.next()).await, None);
    eventually("the session is over", || !world.hub.is_connected(&d1)).await;
    world.log.sync(1);
    idle().await;
}
