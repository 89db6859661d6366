//! The end of a connection, and authentication beyond CONNECT.

use super::packet::{disconnect, frame};
use super::*;
use ironbrook_log::{Memory, SegmentLog};

#[tokio::test(start_paused = true)]
async fn pingreq_is_answered() {
    let door = Door::open().await;
    for v in BOTH {
        let mut client = door.client(v, "client").await;
        for _ in 0..3 {
            // [MQTT-3.12.4-1]
            client.wire.send([0xc0, 0]).await;
            client.wire.expect([0xd0, 0]).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_taken_behind_disconnect() {
    let door = Door::open().await;
    for v in BOTH {
        let mut watcher = door.client(v, "watcher").await;
        watcher.subscribe("#", 0).await;
        let mut client = door.client(v, "client").await;
        // Section 3.14.4: the server closes if the client does not; what comes behind is not looked at.
        let behind = packet::publish(v, 0, "a", 0, &[], "too late");
        client.wire.send([disconnect(v, 0, &[]), behind].concat()).await;
        assert_eq!(client.wire.rest().await, []);
        assert_eq!(watcher.payloads().await, [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_packet_of_a_client_ends_the_connection() {
    let door = Door::open().await;
    for v in BOTH {
        // 3.1.1: [MQTT-2.2.2-2], [MQTT-4.8.0-1], [MQTT-4.8.0-2]; 5.0: [MQTT-2.1.3-1], [MQTT-4.13.1-1], [MQTT-4.13.2-1],
        // [MQTT-3.14.4-1], [MQTT-3.14.4-2], [MQTT-3.14.2-1], [MQTT-3.14.2-2]
        for (what, bytes) in [
            ("type 0", vec![0x00, 0]),
            ("CONNACK", vec![0x20, 2, 0, 0]),
            ("SUBACK", vec![0x90, 3, 0, 1, 0]),
            ("UNSUBACK", vec![0xb0, 2, 0, 1]),
            ("PINGRESP", vec![0xd0, 0]),
            ("a flag of PINGREQ", vec![0xc1, 0]),
            ("a length of five bytes", vec![0x30, 0xff, 0xff, 0xff, 0xff, 0x01]),
            ("PUBACK without identifier", vec![0x40, 0]),
        ] {
            let client = door.client(v, "client").await;
            let code = client.violates(bytes).await;
            assert!(matches!(code, 0x80..=0x82), "{what}: {code:#x}");
        }
    }
    // 3.1.1 has no type 15, in 5.0 it is AUTH: [MQTT-3.15.1-1].
    door.client(V::V4, "client").await.violates([0xf0, 0]).await;
    assert_eq!(door.client(V::V5, "client").await.violates([0xf1, 0]).await, 0x81);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_says_so() {
    for v in BOTH {
        let door = Door::open().await;
        let mut client = door.client(v, "client").await;
        door.cancel.cancel();
        let last = client.wire.rest().await;
        match v {
            V::V4 => assert_eq!(last, []),
            V::V5 => {
                assert_eq!((last.len(), last[0].first, last[0].code()), (1, 0xe0, 0x8b));
                // [MQTT-3.14.2-2]
                assert!(last[0].properties().iter().all(|(id, _)| *id != 0x11));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn authentication_methods_that_are_not_served() {
    let door = Door::open().await;
    let method = |name: &str| [&[0x15][..], &text(name)].concat();
    // [MQTT-4.12.0-1], [MQTT-4.12.0-4]
    let refusal = door.refused(Connect::new(V::V5, "client").with(&method("SCRAM-SHA-1")).bytes()).await;
    assert_eq!((refusal.len(), refusal[0].first, refusal[0].code()), (1, 0x20, 0x8c));
    // Section 3.1.2.11.10
    let data = [&[0x16][..], &text("x")].concat();
    let refusal = door.refused(Connect::new(V::V5, "client").with(&data).bytes()).await;
    assert_eq!((refusal.len(), refusal[0].code()), (1, 0x82));
    // [MQTT-4.12.0-6]: without a method there is neither AUTH nor a method in CONNACK.
    let mut wire = door.wire();
    wire.send(Connect::new(V::V5, "client").bytes()).await;
    assert!(wire.packet().await.properties().iter().all(|(id, _)| *id != 0x15 && *id != 0x16));
    // [MQTT-4.12.0-2], [MQTT-4.12.1-2]; [MQTT-4.12.0-7] is for clients: who does not keep to it is closed.
    let again = [&[0x19][..], &packet::block(V::V5, &method("SCRAM-SHA-1"))].concat();
    assert_eq!(Client::new(wire, V::V5).violates(frame(0xf0, &again)).await, 0x82);
}

#[tokio::test]
async fn a_disk_that_fails_ends_the_connection() {
    for v in BOTH {
        let memory = Memory::new();
        let config = ironbrook_log::Config { partitions: 1, ..ironbrook_log::Config::default() };
        let log = Arc::new(
            SegmentLog::open(Arc::new(memory.clone()), std::path::Path::new("log"), config).unwrap(),
        );
        let door = Door::on(Some(log), Config::default(), Acl::open(), TopicsSettings::default()).await;
        let mut client = door.client(v, "client").await;
        assert_eq!(client.publish(1, true, "a", "x").await & 0x80, 0);
        memory.fail_sync(1);
        // 3.1.1: [MQTT-4.8.0-2]; 5.0: [MQTT-4.13.2-1]: without an answer, as the message is not on disk.
        let code = client.violates(packet::publish(v, 3, "a", 7, &[], "y")).await;
        assert!(matches!(code, 0x80 | 0x83 | 0x89), "{code:#x}");
    }
}
