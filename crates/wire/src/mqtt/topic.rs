//! The grammar of topic names and topic filters (section 4.7 of both standards) and of shared subscriptions (section 4.8 of
//! MQTT 5.0). What topics mean is not here.

/// Most bytes of a topic name or filter [MQTT-4.7.3-3].
pub const TOPIC_LEN_MAX: usize = 65_535;

/// What filters of shared subscriptions begin with.
const SHARE_PREFIX: &str = "$share/";

/// Why a text is not a topic name or not a topic filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TopicFault {
    /// It has no character.
    #[error("it is empty [MQTT-4.7.3-1]")]
    Empty,
    /// It has more than [`TOPIC_LEN_MAX`] bytes.
    #[error("it has {0} bytes, at most 65535 are possible [MQTT-4.7.3-3]")]
    TooLong(usize),
    /// It holds U+0000.
    #[error("it holds the null character [MQTT-4.7.3-2]")]
    NullCharacter,
    /// A topic name with a wildcard.
    #[error("a topic name holds no wildcard, neither + nor # [MQTT-3.3.2-2]")]
    Wildcard,
    /// A `#` that is not the last level.
    #[error("# may stand only as the whole last level [MQTT 4.7.1.2]")]
    MultiLevelWildcard,
    /// A `+` beside other characters of its level.
    #[error("+ may stand only as a whole level [MQTT 4.7.1.3]")]
    SingleLevelWildcard,
    /// A shared subscription whose group is empty or holds a wildcard.
    #[error("the name of a shared subscription is empty or holds a wildcard [MQTT-4.8.2-1, -2]")]
    ShareName,
    /// A shared subscription without a filter behind its group.
    #[error("a shared subscription has no topic filter behind its name [MQTT-4.8.2-2]")]
    ShareFilter,
}

/// Checks a topic name: the topic of a message, of a will, or of its answer.
pub fn check_name(name: &str) -> Result<(), TopicFault> {
    check_text(name)?;
    if name.bytes().any(|byte| byte == b'+' || byte == b'#') { Err(TopicFault::Wildcard) } else { Ok(()) }
}

/// A topic filter, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Filter<'a> {
    /// The name of the group among which messages are shared out, if the subscription is shared.
    pub share: Option<&'a str>,
    /// The filter proper, without `$share/{group}/`.
    pub filter: &'a str,
}

impl<'a> Filter<'a> {
    /// Takes a filter apart, as SUBSCRIBE and UNSUBSCRIBE have it.
    ///
    /// MQTT 3.1.1 knows no shared subscriptions; a server that offers them there as well reads the filters alike.
    pub fn parse(text: &'a str) -> Result<Self, TopicFault> {
        check_text(text)?;
        let Some(rest) = text.strip_prefix(SHARE_PREFIX) else {
            check_levels(text)?;
            return Ok(Self { share: None, filter: text });
        };
        let (share, filter) = rest.split_once('/').unwrap_or((rest, ""));
        if share.is_empty() || share.contains(['+', '#']) {
            return Err(TopicFault::ShareName);
        }
        if filter.is_empty() {
            return Err(TopicFault::ShareFilter);
        }
        check_levels(filter)?;
        Ok(Self { share: Some(share), filter })
    }
}

fn check_text(text: &str) -> Result<(), TopicFault> {
    if text.is_empty() {
        return Err(TopicFault::Empty);
    }
    if text.len() > TOPIC_LEN_MAX {
        return Err(TopicFault::TooLong(text.len()));
    }
    if text.as_bytes().contains(&0) { Err(TopicFault::NullCharacter) } else { Ok(()) }
}

/// Wildcards fill whole levels, and `#` the last one.
fn check_levels(filter: &str) -> Result<(), TopicFault> {
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let last = levels.peek().is_none();
        if level.contains('#') && !(level == "#" && last) {
            return Err(TopicFault::MultiLevelWildcard);
        }
        if level.contains('+') && level != "+" {
            return Err(TopicFault::SingleLevelWildcard);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_no_wildcards() {
        for name in ["a", "/", "a//b", "$SYS/x", "\u{feff}", "a b", "$share/g/f"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        let cases = [
            ("", TopicFault::Empty),            // [MQTT-4.7.3-1]
            ("a\0", TopicFault::NullCharacter), // [MQTT-4.7.3-2]
            ("a/+", TopicFault::Wildcard),      // [MQTT-4.7.0-1]; in 3.1.1 [MQTT-4.7.1-1]
            ("a/b+c", TopicFault::Wildcard),
            ("#", TopicFault::Wildcard),
        ];
        for (name, fault) in cases {
            assert_eq!(check_name(name), Err(fault), "{name:?}");
        }
    }

    #[test]
    fn wildcards_fill_whole_levels_of_filters() {
        for filter in ["a", "/", "+", "#", "+/#", "/+", "a/+/b/#", "+/+", "$SYS/#", "$share", "$shared/g/#"] {
            assert_eq!(Filter::parse(filter), Ok(Filter { share: None, filter }), "{filter}");
        }
        let cases = [
            ("", TopicFault::Empty),
            ("a\0/#", TopicFault::NullCharacter),
            // [MQTT-4.7.1-1]; in 3.1.1 [MQTT-4.7.1-2]
            ("a#", TopicFault::MultiLevelWildcard),
            ("#/a", TopicFault::MultiLevelWildcard),
            ("a/#/", TopicFault::MultiLevelWildcard),
            ("a/##", TopicFault::MultiLevelWildcard),
            ("+#", TopicFault::MultiLevelWildcard),
            // [MQTT-4.7.1-2]; in 3.1.1 [MQTT-4.7.1-3]
            ("a+", TopicFault::SingleLevelWildcard),
            ("a/+b/c", TopicFault::SingleLevelWildcard),
            ("++", TopicFault::SingleLevelWildcard),
        ];
        for (filter, fault) in cases {
            assert_eq!(Filter::parse(filter), Err(fault), "{filter:?}");
        }
    }

    #[test]
    fn shared_subscriptions_have_a_group_and_a_filter() {
        let parsed = |share, filter| Ok(Filter { share: Some(share), filter });
        assert_eq!(Filter::parse("$share/g/a/+/#"), parsed("g", "a/+/#"));
        assert_eq!(Filter::parse("$share/g//"), parsed("g", "/"));
        assert_eq!(Filter::parse("$share/g/$share/h/i"), parsed("g", "$share/h/i"));
        let cases = [
            ("$share/", TopicFault::ShareName),   // [MQTT-4.8.2-1]
            ("$share//a", TopicFault::ShareName), // [MQTT-4.8.2-1]
            ("$share/+/a", TopicFault::ShareName),
            ("$share/a#/a", TopicFault::ShareName), // [MQTT-4.8.2-2]
            ("$share/g", TopicFault::ShareFilter),  // [MQTT-4.8.2-2]
            ("$share/g/", TopicFault::ShareFilter), // [MQTT-4.8.2-2]
            ("$share/g/a#", TopicFault::MultiLevelWildcard),
        ];
        for (filter, fault) in cases {
            assert_eq!(Filter::parse(filter), Err(fault), "{filter:?}");
        }
    }

    #[test]
    fn topics_have_a_longest_length() {
        // [MQTT-4.7.3-3]
        let longest = "x".repeat(TOPIC_LEN_MAX);
        assert_eq!(check_name(&longest), Ok(()));
        assert!(Filter::parse(&longest).is_ok());
        let longer = "x".repeat(TOPIC_LEN_MAX + 1);
        assert_eq!(check_name(&longer), Err(TopicFault::TooLong(65_536)));
        assert_eq!(Filter::parse(&longer), Err(TopicFault::TooLong(65_536)));
    }
}
