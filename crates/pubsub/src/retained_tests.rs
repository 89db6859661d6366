//! The leaping search against a plain one.

use super::*;
use crate::Publish;
use crate::topic::{Filter, matches};
use proptest::prelude::*;
use std::time::Duration;

const NOW: Timestamp = Timestamp::from_millis(1_000);

fn message(name: &str, payload: &str) -> Arc<Message> {
    let publish = Publish {
        topic: name.into(),
        payload: payload.to_owned().into(),
        retain: true,
        ..Publish::default()
    };
    Arc::new(Message::new(publish, NOW))
}

fn found(retained: &Retained, pattern: &str, now: Timestamp) -> Vec<String> {
    let mut names = Vec::new();
    retained.find(pattern, now, |message| {
        names.push(message.topic.to_string());
        true
    });
    names
}

#[test]
fn keeps_the_last_and_counts_bytes() {
    let mut retained = Retained::new(2, 1 << 20);
    retained.set(message("a", "1"));
    retained.set(message("a", "22"));
    assert_eq!((retained.len(), &*retained.get("a").unwrap().payload), (1, &b"22"[..]));
    retained.set(message("b", ""));
    assert_eq!(retained.fits(&message("c", "")), Err(Reason::QuotaExceeded));
    assert_eq!(retained.fits(&message("b", "x")), Ok(()));
    assert!(retained.clear("a") && !retained.clear("a") && retained.clear("b"));
    assert_eq!(retained.bytes(), 0);
}

#[test]
fn expired_ones_are_not_found_and_can_be_cleared() {
    let mut retained = Retained::new(10, 1 << 20);
    let mut one = Message::new(Publish { topic: "a/b".into(), ..Publish::default() }, NOW);
    one.expires = Some(NOW.plus(Duration::from_secs(1)));
    retained.set(Arc::new(one));
    retained.set(message("a/c", "x"));
    assert_eq!(found(&retained, "a/+", NOW), ["a/b", "a/c"]);
    let later = NOW.plus(Duration::from_secs(1));
    assert_eq!(found(&retained, "a/+", later), ["a/c"]);
    assert_eq!(found(&retained, "a/b", later).len(), 0);
    assert_eq!(retained.expired(None, later, 10).0, ["a/b"]);
}

fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "a-", "a0", "", "$x", "é", "b!"])
}

#[test]
fn a_search_is_done_in_pieces() {
    let mut retained = Retained::new(1000, 1 << 20);
    for at in 0..300 {
        retained.set(message(&format!("{at:03}/x"), "x"));
        retained.set(message(&format!("{at:03}/y"), "x"));
    }
    for (pattern, expected) in [("+/y", 300), ("+/z", 0), ("#", 600)] {
        let (mut names, mut after, mut pieces) = (Vec::new(), None::<ByteString>, 0);
        loop {
            let mut here = 0;
            after = retained.find_some(pattern, after.as_deref(), NOW, 7, |message| {
                names.push(message.topic.clone());
                here += 1;
                true
            });
            assert!(here <= 7, "{pattern}");
            pieces += 1;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(names.len(), expected, "{pattern}");
        assert!(names.is_sorted() && pieces >= 600 / 2 / 7, "{pattern} {pieces}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn leaps_over_nothing(
        names in prop::collection::btree_set(prop::collection::vec(level(), 1..5), 0..40),
        patterns in prop::collection::vec(
            prop::collection::vec(prop_oneof![2 => level(), 2 => Just("+"), 1 => Just("#")], 1..5), 1..10),
    ) {
        let names: Vec<String> =
            names.into_iter().map(|levels| levels.join("/")).filter(|name| !name.is_empty()).collect();
        let mut retained = Retained::new(1000, 1 << 20);
        for name in &names {
            retained.set(message(name, "x"));
        }
        for pattern in patterns {
            let pattern = pattern.join("/");
            if Filter::parse(pattern.as_str().into()).is_err() {
                continue;
            }
            let mut plain: Vec<String> = names.iter().filter(|name| matches(&pattern, name)).cloned().collect();
            plain.sort();
            prop_assert_eq!(found(&retained, &pattern, NOW), plain, "{}", pattern);
        }
    }
}
