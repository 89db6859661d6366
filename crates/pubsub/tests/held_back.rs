//! A queue that must lose nothing holds its publishers back when it is full.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use ironbrook_log::Memory;
use ironbrook_pubsub::{Broker, ClientInfo, Config, Outgoing, QoS, Reason, SessionHandle, Wakes, WhenFull};
use std::num::NonZeroU16;
use std::time::Duration;
use support::{NOW, info, log_on, message, open_with, to};

const QUEUE: usize = 10;
const MESSAGES: usize = 200;

async fn owed_to(broker: &Broker) -> SessionHandle {
    let connected =
        broker.connect(ClientInfo { holds_back: true, ..info("owed", false, 1000) }, NOW).unwrap();
    let mut session = connected.session;
    session.subscribe(&[to("t/#", QoS::AtLeastOnce)], NOW).unwrap();
    broker.synced().await.unwrap();
    session
}

fn publish(session: &mut SessionHandle, number: usize) -> Result<(), Reason> {
    let mut publish = message("t/a", &number.to_string(), QoS::AtLeastOnce, false);
    publish.packet_id = Some(NonZeroU16::MIN);
    let answer = session.publish(&publish, NOW, &mut Wakes::new())?;
    assert_eq!(answer.reason, None, "whoever gets an answer is told that all is well");
    session.answered(1);
    Ok(())
}

/// As a door does it: the same again when there is room.
async fn publish_all(broker: Broker) -> usize {
    let mut session = broker.connect(info("publisher", true, 0), NOW).unwrap().session;
    let mut held_back = 0;
    for number in 0..MESSAGES {
        while let Err(reason) = publish(&mut session, number) {
            assert_eq!(reason, Reason::ServerBusy);
            held_back += 1;
            broker.room().await.unwrap();
        }
    }
    held_back
}

#[tokio::test]
async fn a_fast_publisher_waits_for_a_slow_part_of_the_process_and_nothing_is_left_out() {
    for when_full in [WhenFull::DropNewest, WhenFull::Refuse] {
        let config = Config { queued_messages_max: QUEUE, when_full, ..Config::default() };
        let broker = open_with(config, Some(log_on(&Memory::new())), NOW).await;
        let mut owed = owed_to(&broker).await;
        let mut got = Vec::new();
        let taking = async {
            let mut out = Vec::new();
            while got.len() < MESSAGES {
                broker.synced().await.unwrap();
                owed.take(NOW, 3, &mut out).unwrap();
                for outgoing in out.drain(..) {
                    let Outgoing::Publish(publish) = outgoing else { panic!("QoS 1 has no PUBREL") };
                    got.push(
                        std::str::from_utf8(&publish.message.payload).unwrap().parse::<usize>().unwrap(),
                    );
                    owed.puback(publish.packet_id.unwrap()).unwrap();
                }
                tokio::task::yield_now().await;
            }
        };
        let both = async { tokio::join!(publish_all(broker.clone()), taking).0 };
        let held_back = tokio::time::timeout(Duration::from_secs(60), both).await.expect("it goes on");
        assert!(held_back > 0, "the queue was never full: the test tests nothing");
        assert_eq!(got, (0..MESSAGES).collect::<Vec<_>>());
        assert_eq!(broker.snapshot().messages_dropped, 0);
    }
}

/// A store of messages that others fill does not push out what is owed.
#[tokio::test]
async fn what_others_leave_unread_costs_nothing_of_what_is_owed() {
    let config = Config { stored_bytes_max: 4000, queued_messages_max: 1000, ..Config::default() };
    let broker = open_with(config, Some(log_on(&Memory::new())), NOW).await;
    let mut idle = broker.connect(info("idle", false, 1000), NOW).unwrap().session;
    idle.subscribe(&[to("#", QoS::AtLeastOnce)], NOW).unwrap();
    let mut owed = owed_to(&broker).await;
    let mut publisher = broker.connect(info("publisher", true, 0), NOW).unwrap().session;
    let mut sent = 0;
    while publish(&mut publisher, sent).is_ok() {
        sent += 1;
        assert!(sent < 1000, "nothing holds it back");
    }
    broker.synced().await.unwrap();
    let mut out = Vec::new();
    owed.take(NOW, 1000, &mut out).unwrap();
    assert_eq!(out.len(), sent, "all that was acknowledged");
    for outgoing in out.drain(..) {
        if let Outgoing::Publish(publish) = outgoing {
            owed.puback(publish.packet_id.unwrap()).unwrap();
        }
    }
    // Who reads goes on, whatever the others leave lying.
    publish(&mut publisher, sent).unwrap();
}

/// Time that the process is down is no absence of a part of it.
#[tokio::test]
async fn sessions_of_the_broker_s_own_side_outlive_any_time_that_it_is_down() {
    let memory = Memory::new();
    let own =
        || ClientInfo { user: Some(ironbrook_pubsub::acl::INTERNAL_USER.into()), ..info("own", false, 1000) };
    let broker = open_with(Config::default(), Some(log_on(&memory)), NOW).await;
    for client in [own(), info("other", false, 1000)] {
        drop(broker.connect(client, NOW).unwrap());
    }
    broker.synced().await.unwrap();
    drop(broker);
    let broker = open_with(Config::default(), Some(log_on(&memory)), support::later(100_000)).await;
    assert_eq!(broker.snapshot().sessions, 1);
    assert!(broker.connect(own(), support::later(100_000)).unwrap().session_present);
}
