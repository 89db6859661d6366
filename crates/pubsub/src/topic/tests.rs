//! The tree against the plain reading of the standard.

use super::*;
use crate::{QoS, SubscriptionOptions};
use bytestring::ByteString;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::num::NonZeroU32;

fn filter(text: &str) -> Filter {
    Filter::parse(ByteString::from(text)).unwrap()
}

fn entry(who: u32, qos: QoS) -> Entry {
    Entry::new(who, &SubscriptionOptions { qos, ..SubscriptionOptions::default() })
}

#[test]
fn names_and_filters_are_checked() {
    // [MQTT-4.7.3-1], [MQTT-4.7.3-2], [MQTT-3.3.2-2]
    for (name, wrong) in
        [("", Invalid::Empty), ("a\0", Invalid::Null), ("a/+", Invalid::Wildcard), ("a#", Invalid::Wildcard)]
    {
        assert_eq!(check_name(name), Err(wrong), "{name:?}");
    }
    for name in ["/", "a", "a//b", "$SYS/x", " "] {
        assert_eq!(check_name(name), Ok(()), "{name:?}");
        filter(name);
    }
    assert_eq!(check_name(&"a".repeat(65_535)), Ok(()));
    assert_eq!(check_name(&"a".repeat(65_536)), Err(Invalid::TooLong));
    assert_eq!(check_name(&"/".repeat(65_535)), Ok(()));
    // [MQTT-4.7.1-1] to [MQTT-4.7.1-3], [MQTT-4.8.2-1], [MQTT-4.8.2-2]
    for good in ["#", "+", "a/#", "+/a/+", "/+", "$share/g/#", "$share/g//", "$shared"] {
        filter(good);
    }
    for wrong in [
        "a#",
        "#/a",
        "a+",
        "+a/b",
        "a/b#",
        "$share",
        "$share/",
        "$share/g",
        "$share/g/",
        "$share//a",
        "$share/+/a",
    ] {
        assert!(Filter::parse(wrong.into()).is_err(), "{wrong}");
    }
    let shared = filter("$share/g/a/+");
    assert_eq!((shared.group(), shared.pattern()), (Some("g"), "a/+"));
}

#[test]
fn examples_of_the_standard() {
    for (pattern, name, expected) in [
        ("sport/tennis/player1/#", "sport/tennis/player1", true),
        ("sport/#", "sport", true),
        ("sport/tennis/+", "sport/tennis/player1/ranking", false),
        ("sport/+", "sport", false),
        ("sport/+", "sport/", true),
        ("+/+", "/finance", true),
        ("/+", "/finance", true),
        ("+", "/finance", false),
        // [MQTT-4.7.2-1]
        ("#", "$SYS/x", false),
        ("+/monitor/Clients", "$SYS/monitor/Clients", false),
        ("$SYS/#", "$SYS/x", true),
        ("ACCOUNTS", "Accounts", false),
    ] {
        assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        let mut filters = Filters::default();
        filters.add(&filter(pattern), entry(1, QoS::AtMostOnce));
        assert_eq!(filters.matches(name, None).direct.len() == 1, expected, "{pattern} {name}");
    }
}

#[test]
fn overlapping_filters_join_to_the_best() {
    // [MQTT-3.3.5-1] of 3.1.1; [MQTT-3.3.4-2] to [MQTT-3.3.4-4] of 5.0
    let mut filters = Filters::default();
    let with = |qos, id, rap| SubscriptionOptions {
        qos,
        id: NonZeroU32::new(id),
        retain_as_published: rap,
        ..SubscriptionOptions::default()
    };
    filters.add(&filter("a/#"), Entry::new(7, &with(QoS::AtMostOnce, 5, true)));
    filters.add(&filter("a/+"), Entry::new(7, &with(QoS::ExactlyOnce, 3, false)));
    filters.add(&filter("a/b"), Entry::new(7, &with(QoS::AtLeastOnce, 0, false)));
    let mut found = filters.matches("a/b", None).direct;
    assert_eq!(found.len(), 1);
    found[0].ids.sort_unstable();
    assert_eq!(
        (found[0].qos, found[0].retain_as_published, found[0].ids.as_slice()),
        (QoS::ExactlyOnce, true, &[3, 5][..])
    );
    let own = SubscriptionOptions { no_local: true, ..with(QoS::ExactlyOnce, 9, false) };
    filters.add(&filter("a/+"), Entry::new(7, &own));
    assert_eq!(filters.matches("a/b", Some(7)).direct[0].qos, QoS::AtLeastOnce);
}

#[test]
fn groups_take_turns_and_skip_who_is_gone() {
    let mut filters = Filters::default();
    for who in [1, 2, 3] {
        assert!(filters.add(&filter("$share/g/a/+"), entry(who, QoS::AtLeastOnce)));
    }
    filters.add(&filter("$share/h/a/+"), entry(1, QoS::AtLeastOnce));
    let found = filters.matches("a/b", None);
    assert_eq!((found.direct.len(), found.groups.len()), (0, 2));
    let group = found.groups.iter().find(|group| group.members().len() == 3).unwrap();
    let turns: Vec<_> = (0..6).filter_map(|_| group.next(|_, _| true)).collect();
    assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
    let turns: Vec<_> = (0..3).filter_map(|_| group.next(|_, member| member.who == 2)).collect();
    assert_eq!(turns, [1, 1, 1]);
    assert!(group.next(|_, _| false).is_none());
    // What was found before keeps its members; the tree has new ones.
    assert!(filters.remove(&filter("$share/g/a/+"), 2));
    assert_eq!(group.members().len(), 3);
    for who in [1, 3] {
        assert!(filters.remove(&filter("$share/g/a/+"), who));
    }
    assert_eq!(filters.matches("a/b", None).groups.len(), 1);
}

#[test]
fn memory_of_filters_that_go_is_given_back() {
    let mut filters = Filters::default();
    let names: Vec<String> = (0..5_000).map(|at| format!("a/{}/b{at}/c/{at}", at % 50)).collect();
    let texts = |at: usize| {
        let name = &names[at];
        [name.clone(), format!("{name}/#"), name.replacen('a', "+", 1), format!("$share/g{at}/{name}")]
    };
    for at in 0..names.len() {
        for text in texts(at) {
            assert!(filters.add(&filter(&text), entry(7, QoS::AtMostOnce)));
        }
    }
    let (full, nodes) = (filters.bytes(), filters.nodes());
    let stay = |at: usize| at % 100 == 3;
    for at in (0..names.len()).filter(|at| !stay(*at)) {
        for text in texts(at) {
            assert!(filters.remove(&filter(&text), 7));
        }
    }
    assert!(filters.bytes() < full / 10 && filters.nodes() < nodes / 10, "{} of {full}", filters.bytes());
    // What stays is found, and so is what comes after.
    for text in texts(1) {
        assert!(filters.add(&filter(&text), entry(8, QoS::AtLeastOnce)));
    }
    for (at, name) in names.iter().enumerate() {
        let found = filters.matches(name, None);
        let here = stay(at) || at == 1;
        assert_eq!(
            (found.direct.len(), found.groups.len()),
            (usize::from(here), usize::from(here)),
            "{name}"
        );
        if let Some(group) = found.groups.first() {
            assert_eq!(&*group.name, format!("g{at}"));
        }
    }
    for at in (0..names.len()).filter(|at| stay(*at) || *at == 1) {
        for text in texts(at) {
            assert!(filters.remove(&filter(&text), if at == 1 { 8 } else { 7 }));
        }
    }
    assert!(filters.is_clean() && filters.is_empty());
}

#[test]
fn generations_tell_of_changes_that_matter() {
    let index = Index::default();
    index.add(&filter("a/b"), entry(1, QoS::AtMostOnce));
    let (found, seen) = index.matches("a/b", None);
    assert_eq!(found.direct.len(), 1);
    assert!(index.is_current(seen));
    assert!(!index.remove(&filter("a/c"), 1));
    assert!(index.is_current(seen));
    index.add(&filter("+/b"), entry(2, QoS::AtMostOnce));
    assert!(!index.is_current(seen));
    let (found, seen) = index.matches("a/b", None);
    assert_eq!(found.direct.len(), 2);
    index.remove(&filter("a/b"), 1);
    assert!(!index.is_current(seen));
    assert_eq!(index.len(), 1);
}

fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "c", "", "$x", "-"])
}

fn name() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("empty", |name| !name.is_empty())
}

fn pattern() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => level(), 2 => Just("+")];
    (
        prop::collection::vec(level, 0..4),
        any::<bool>(),
        prop::sample::select(vec!["", "", "$share/g/", "$share/h/"]),
    )
        .prop_map(|(mut levels, all, share)| {
            if all || levels.is_empty() {
                levels.push("#");
            }
            format!("{share}{}", levels.join("/"))
        })
        .prop_filter("valid", |text| Filter::parse(text.as_str().into()).is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_tree_finds_what_the_plain_reading_finds(
        steps in prop::collection::vec((pattern(), 0u32..6, 0u8..3, prop::bool::weighted(0.7)), 1..60),
        names in prop::collection::vec(name(), 1..12),
    ) {
        let mut tree = Filters::default();
        let mut plain = BTreeMap::new();
        for (text, who, qos, adds) in steps {
            let qos = QoS::from_level(qos).unwrap();
            if adds {
                let new = plain.insert((text.clone(), who), qos).is_none();
                prop_assert_eq!(tree.add(&filter(&text), entry(who, qos)), new);
            } else {
                let known = plain.remove(&(text.clone(), who)).is_some();
                prop_assert_eq!(tree.remove(&filter(&text), who), known);
            }
        }
        prop_assert_eq!(tree.len(), plain.len());
        for name in names {
            let mut direct: BTreeMap<u32, QoS> = BTreeMap::new();
            let mut groups: BTreeMap<(String, String), usize> = BTreeMap::new();
            for ((text, who), qos) in &plain {
                let filter = filter(text);
                if !filter.matches(&name) {
                    continue;
                }
                match filter.group() {
                    None => {
                        let best = direct.entry(*who).or_insert(*qos);
                        *best = (*best).max(*qos);
                    }
                    Some(group) => *groups.entry((group.to_owned(), text.clone())).or_default() += 1,
                }
            }
            let found = tree.matches(&name, None);
            let got: BTreeMap<_, _> = found.direct.iter().map(|found| (found.who, found.qos)).collect();
            prop_assert_eq!(found.direct.len(), got.len());
            prop_assert_eq!(got, direct);
            let mut sizes: Vec<_> = found.groups.iter().map(|group| group.members().len()).collect();
            sizes.sort_unstable();
            let mut expected: Vec<_> = groups.into_values().collect();
            expected.sort_unstable();
            prop_assert_eq!(sizes, expected);
        }
        // What is removed leaves nothing behind.
        for (text, who) in plain.into_keys() {
            tree.remove(&filter(&text), who);
        }
        prop_assert!(tree.is_clean());
    }

    #[test]
    fn covering_and_overlapping_agree_with_names(one in pattern(), other in pattern(), name in name()) {
        let (one, other) = (filter(&one), filter(&other));
        let (in_one, in_other) = (one.matches(&name), other.matches(&name));
        if in_one && in_other {
            prop_assert!(overlaps(one.pattern(), other.pattern()));
        }
        if covers(one.pattern(), other.pattern()) && in_other {
            prop_assert!(in_one);
        }
    }

    #[test]
    fn any_text_is_checked_without_panic(text in ".*") {
        let _ = check_name(&text);
        let _ = Filter::parse(text.into());
    }
}
