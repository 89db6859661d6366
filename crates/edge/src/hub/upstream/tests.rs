use super::*;
use ironbrook_hub::seams::Clock as _;
use ironbrook_model::{DeviceId, Identity, ModuleId, Timestamp};
use ironbrook_testkit::TestClock;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

fn id(module: &str) -> Identity {
    Identity::module(DeviceId::new("e").unwrap(), ModuleId::new(module.to_owned()).unwrap())
}

/// Connections of a device that has no credential yet: all wait.
fn links(clock: &TestClock) -> Links {
    let config = LinksConfig { max: 2, idle: Duration::from_secs(100) };
    Links::new(id("$edgeHub"), config, Arc::new(clock.clone()))
}

const PRESENT: Wants = Wants { methods: false, desired: true, commands: false };

#[tokio::test]
async fn connections_are_bounded_and_idle_ones_make_room() {
    let clock = TestClock::new(Timestamp::from_secs(1_790_000_000));
    let links = links(&clock);
    let none = Duration::ZERO;
    for module in ["a", "b", "c"] {
        links.session(&id(module), Some(PRESENT));
    }
    let Err(full) = links.lease(&id("d"), none).await else { panic!("no room") };
    assert_eq!(full, Away::Full(2));
    // Of those that are there no other is made, so this is another reason.
    assert!(matches!(links.lease(&id("a"), none).await, Err(Away::Hub(_))));
    links.session(&id("b"), None);
    assert!(matches!(links.lease(&id("d"), none).await, Err(Away::Hub(_))));
    // Nobody uses it now: it goes for the next.
    clock.advance(Duration::from_secs(1));
    assert!(matches!(links.lease(&id("e"), none).await, Err(Away::Hub(_))));
    assert_eq!(links.open_ones(), [id("a"), id("c"), id("e")]);
}

#[tokio::test]
async fn an_unused_connection_is_closed_and_the_stop_closes_all() {
    let clock = TestClock::new(Timestamp::from_secs(1_790_000_000));
    let links = links(&clock);
    links.session(&id("here"), Some(PRESENT));
    assert!(links.lease(&id("sent"), Duration::ZERO).await.is_err());
    let cancel = CancellationToken::new();
    let running = tokio::spawn(links.clone().run(cancel.clone()));
    let closed = async {
        while links.open_ones().len() > 1 {
            clock.advance(Duration::from_secs(10));
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), closed).await.expect("the idle one is closed");
    assert_eq!(links.open_ones(), [id("here")]);
    assert!(clock.now().since(Timestamp::from_secs(1_790_000_000)) >= Duration::from_secs(100));
    cancel.cancel();
    tokio::time::timeout(Duration::from_secs(60), running).await.expect("all end").unwrap();
    assert!(links.open_ones().is_empty());
}
