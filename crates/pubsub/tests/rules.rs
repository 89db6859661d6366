//! Users and rules that change while clients are here.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use ironbrook_log::Memory;
use ironbrook_pubsub::acl::{Access, Acl, PasswordHash, Rule};
use ironbrook_pubsub::{Broker, ClientInfo, Publish, QoS, Reason, Rechecked, Version, Wakes, Will};
use std::num::NonZeroU32;
use support::{Answers, Client, NOW, info, later, log_on, message, open, to};

fn password(text: &str) -> PasswordHash {
    PasswordHash::with(text.as_bytes(), NonZeroU32::MIN).unwrap()
}

fn allow(access: Access, filter: &str) -> Rule {
    Rule::new(None, true, access, filter).unwrap()
}

/// Everybody may do everything on `filter` and nothing else.
fn only(acl: Acl, filter: &str) -> Acl {
    acl.rule(allow(Access::Publish, filter)).rule(allow(Access::Subscribe, filter))
}

fn known(id: &str, user: &str) -> ClientInfo {
    ClientInfo { user: Some(user.to_owned().into()), ..info(id, false, 1000) }
}

/// How many sessions get a message on a topic.
fn receivers(broker: &Broker, topic: &str) -> usize {
    broker.publish(message(topic, "x", QoS::AtLeastOnce, false), NOW, &mut Wakes::new()).unwrap().0
}

#[tokio::test]
async fn who_may_not_connect_any_more_is_cut_and_nobody_else() {
    let broker = open(None).await;
    let (kept, changed) = (password("kept"), password("old"));
    let users = |acl: Acl| only(acl.user("kept", kept.clone()), "#");
    broker.set_acl(
        users(Acl::new()).allow_anonymous().user("changed", changed).user("gone", password("gone")),
        NOW,
    );
    let connect = |info: ClientInfo| broker.connect(info, NOW).unwrap().session;
    let [stays, changed, gone] = ["kept", "changed", "gone"].map(|user| connect(known(user, user)));
    let anonymous = connect(info("nobody", true, 0));
    // Let in by something else than a password here.
    let token = connect(known("device", "device"));
    let rechecked = broker.set_acl(users(Acl::new()).user("changed", password("new")), later(1));
    assert_eq!(rechecked, Rechecked { closed: 3, ..Rechecked::default() });
    assert_eq!([&stays, &token].map(|session| session.ended()), [None; 2]);
    let cut = Some(Reason::NotAuthorized);
    assert_eq!([&changed, &gone, &anonymous].map(|session| session.ended()), [cut; 3]);
    // The same again changes nothing.
    assert_eq!(broker.set_acl(users(Acl::new()).user("changed", password("new")), later(2)).subscriptions, 0);
}

#[tokio::test]
async fn subscriptions_that_are_no_longer_allowed_go_at_once_whoever_is_connected() {
    let memory = Memory::new();
    let broker = open(Some(log_on(&memory))).await;
    let (mut here, mut away) = (Client::new(), Client::new());
    for (client, id) in [(&mut here, "here"), (&mut away, "away")] {
        client.connect(&broker, info(id, false, 1000), NOW).await;
        client.subscribe(&broker, to("a/#", QoS::AtLeastOnce), NOW).await;
        client.subscribe(&broker, to("b/#", QoS::AtLeastOnce), NOW).await;
    }
    away.session = None;
    assert_eq!((receivers(&broker, "a/x"), receivers(&broker, "b/x")), (2, 2));
    let rules = || only(Acl::new().allow_anonymous(), "a/#");
    assert_eq!(broker.set_acl(rules(), NOW), Rechecked { subscriptions: 2, ..Rechecked::default() });
    assert_eq!((receivers(&broker, "a/x"), receivers(&broker, "b/x")), (2, 0));
    let refused = here.session().subscribe(&[to("b/c", QoS::AtMostOnce)], NOW).unwrap();
    assert_eq!(refused.answers, [Err(Reason::NotAuthorized)]);
    let mut publish = message("b/x", "x", QoS::AtLeastOnce, false);
    publish.packet_id = Some(std::num::NonZeroU16::MIN);
    let answer = here.session().publish(&publish, NOW, &mut Wakes::new()).unwrap();
    assert_eq!(answer.reason, Some(Reason::NotAuthorized));
    // What came before the rules changed is still there, and what is gone stays gone.
    here.read(&broker, Answers::All, NOW).await;
    assert_eq!(here.reliable.iter().map(|got| &*got.topic).collect::<Vec<_>>(), ["a/x", "b/x", "a/x"]);
    broker.synced().await.unwrap();
    here.session = None;
    drop(broker);
    let broker = open(Some(log_on(&memory.power_cut(1)))).await;
    assert_eq!((receivers(&broker, "a/x"), receivers(&broker, "b/x")), (2, 0));
}

/// Rules may also change while the broker is down.
#[tokio::test]
async fn subscriptions_of_an_earlier_run_are_looked_at_by_the_rules_of_this_one() {
    let memory = Memory::new();
    let broker = open(Some(log_on(&memory))).await;
    let mut client = Client::new();
    client.connect(&broker, info("c", false, 1000), NOW).await;
    // The rules of the support's broker allow it here, and those of a stricter one do not.
    client.subscribe(&broker, to("b/#", QoS::AtLeastOnce), NOW).await;
    client.session = None;
    broker.synced().await.unwrap();
    drop(broker);
    let journal =
        Some((log_on(&memory) as std::sync::Arc<dyn ironbrook_log::Log>, ironbrook_log::PartitionId(0)));
    let strict = only(Acl::new().allow_anonymous(), "a/#");
    let broker = Broker::open(ironbrook_pubsub::Config::default(), strict, journal, NOW).await.unwrap();
    assert_eq!(receivers(&broker, "b/x"), 0);
}

#[tokio::test]
async fn a_will_that_is_no_longer_allowed_is_not_published() {
    let broker = open(None).await;
    let mut watcher = Client::new();
    watcher.connect(&broker, info("watcher", true, 0), NOW).await;
    watcher.subscribe(&broker, to("#", QoS::AtLeastOnce), NOW).await;
    let will = |topic: &str| {
        let Publish { topic, payload, qos, retain, properties, .. } =
            message(topic, "dead", QoS::AtLeastOnce, false);
        Some(Will { topic, payload, qos, retain, properties, delay: 0 })
    };
    let connect = |id: &str, topic: &str| {
        let info = ClientInfo { will: will(topic), ..ClientInfo::new(id.to_owned(), Version::V5) };
        broker.connect(info, NOW).unwrap().session
    };
    let (denied, allowed) = (connect("denied", "b/will"), connect("allowed", "a/will"));
    let rules = Acl::new().allow_anonymous().rule(allow(Access::Publish, "a/#"));
    let rechecked = broker.set_acl(rules.rule(allow(Access::Subscribe, "#")), NOW);
    assert_eq!(rechecked, Rechecked { wills: 1, ..Rechecked::default() });
    drop((denied, allowed));
    watcher.read(&broker, Answers::All, NOW).await;
    assert_eq!(watcher.reliable.iter().map(|got| &*got.topic).collect::<Vec<_>>(), ["a/will"]);
}
