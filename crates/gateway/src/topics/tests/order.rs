//! What two clients sent one after the other, when the door was too busy to look in between.

use super::{Client3, World};
use bytes::{Bytes, BytesMut};
use ironbrook_wire::mqtt::{QoS, v4};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

const TOPIC: &str = "a";
const CONNACK_LEN: usize = 4;
/// Longer than a client may be silent before its next PUBLISH counts as a first one.
const QUIET: Duration = Duration::from_millis(60);

fn bytes_of(packet: &v4::Packet) -> BytesMut {
    let mut bytes = BytesMut::new();
    v4::encode(packet, &mut bytes).unwrap();
    bytes
}

fn connected(addr: std::net::SocketAddr, id: &str) -> TcpStream {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(&bytes_of(&v4::Packet::Connect(Box::new(Client3::hello(id))))).unwrap();
    stream.read_exact(&mut [0; CONNACK_LEN]).unwrap();
    stream
}

#[test]
fn who_subscribed_before_a_publish_gets_it_though_both_are_read_together() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let addr = runtime.block_on(async {
        let world = World::new().await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move { world.serve_tcp(listener).await });
        addr
    });
    let (mut publisher, mut subscriber) = (connected(addr, "publisher"), connected(addr, "subscriber"));
    let filters = vec![v4::SubscribeFilter { filter: TOPIC.into(), qos: QoS::AtMostOnce }];
    let subscribe =
        bytes_of(&v4::Packet::Subscribe(v4::Subscribe { packet_id: super::client::id(1), filters }));
    let publish = v4::Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: TOPIC.into(),
        packet_id: None,
        payload: Bytes::from_static(b"x"),
    };
    let publish = bytes_of(&v4::Packet::Publish(publish));
    std::thread::sleep(QUIET);

    // The only worker is held up until both have sent.
    let (held, (go, wait)) = (mpsc::channel(), mpsc::channel::<()>());
    runtime.spawn(async move {
        held.0.send(()).unwrap();
        wait.recv().unwrap();
    });
    held.1.recv().unwrap();
    subscriber.write_all(&subscribe).unwrap();
    publisher.write_all(&publish).unwrap();
    go.send(()).unwrap();

    let mut got = vec![0; 5 + publish.len()];
    subscriber.read_exact(&mut got).unwrap();
    // SUBACK and the message, in whatever order.
    assert!(got.windows(publish.len()).any(|part| part == &publish[..]), "{got:?}");
}
