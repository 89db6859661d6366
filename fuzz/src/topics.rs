//! Topic filters: the two readers of the grammar agree, and the tree of subscriptions finds what the plain rule finds.

use bytestring::ByteString;
use ironbrook_pubsub::SubscriptionOptions;
use ironbrook_pubsub::topic::{self, Entry, Filter, Filters};
use ironbrook_wire::mqtt::topic as wire;

/// Up to so many levels the readers have the same bounds.
const LEVELS: usize = 100;

/// Lines: each a subscription but the last one, which is a name.
pub fn lines(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (lines, name) = text.rsplit_once('\n').unwrap_or((text, "a"));
    let is_short = |text: &str| text.matches('/').count() < LEVELS;
    let is_name = topic::check_name(name).is_ok();
    if is_short(name) {
        assert_eq!(is_name, wire::check_name(name).is_ok(), "{name:?}");
    }
    let mut filters = Vec::new();
    for line in lines.split('\n') {
        let ours = Filter::parse(ByteString::from(line));
        // Nobody could say which group `$share` alone is of; as a filter of an ordinary topic it would hide a mistake.
        if is_short(line) && line != "$share" {
            assert_eq!(ours.is_ok(), wire::Filter::parse(line).is_ok(), "{line:?}");
        }
        let Ok(filter) = ours else { continue };
        if let Ok(other) = wire::Filter::parse(line) {
            assert_eq!((filter.group(), filter.pattern()), (other.share, other.filter));
        }
        filters.push(filter);
    }
    if is_name {
        find(&filters, name);
    }
}

/// The tree finds each subscriber whose filter is for the name, before and after half of them left.
fn find(filters: &[Filter], name: &str) {
    let options = SubscriptionOptions::default();
    let mut tree = Filters::default();
    for (who, filter) in (0..).zip(filters) {
        assert!(tree.add(filter, Entry::new(who, &options)));
    }
    let mut left = vec![true; filters.len()];
    for round in 0..2 {
        let expected: Vec<_> =
            (0..).zip(filters).filter(|(who, filter)| left[*who as usize] && filter.matches(name)).collect();
        let found = tree.matches(name, None);
        let direct: Vec<u32> = found.direct.iter().map(|found| found.who).collect();
        let alone: Vec<u32> =
            expected.iter().filter(|(_, filter)| filter.group().is_none()).map(|(who, _)| *who).collect();
        assert_eq!(direct, alone, "{name:?}");
        let mut members: Vec<u32> =
            found.groups.iter().flat_map(|group| group.members().iter().map(|member| member.who)).collect();
        members.sort_unstable();
        let shared: Vec<u32> =
            expected.iter().filter(|(_, filter)| filter.group().is_some()).map(|(who, _)| *who).collect();
        assert_eq!(members, shared, "{name:?}");
        if round == 0 {
            for (who, filter) in (0..).zip(filters).step_by(2) {
                assert!(tree.remove(filter, who));
                left[who as usize] = false;
            }
        }
    }
    for (who, filter) in (0..).zip(filters).skip(1).step_by(2) {
        assert!(tree.remove(filter, who));
    }
    assert!(tree.is_empty());
}
