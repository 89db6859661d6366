//! The selector filter of a receiver: where to start.

use ironbrook_gateway::Attach;
use ironbrook_log::{Offset, Seek};
use ironbrook_model::{ErrorCode, Refusal, Timestamp};

/// The filter's name; Node's client describes it by a number instead, which the caller passes through the map key.
const FILTER: &str = "apache.org:selector-filter:string";

/// Where a receiver starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// A place the log finds.
    At(Seek),
    /// The first record with this offset or a later one.
    From(Offset),
}

impl Start {
    /// Reads the selector among the filters of an attach; without one: the oldest event.
    pub(super) fn of(attach: &Attach) -> Result<Self, Refusal> {
        let selector = attach.filters.iter().find(|(name, _)| name == FILTER);
        match selector.map(|(_, value)| value.undescribed().as_str()) {
            None => Ok(Self::At(Seek::Earliest)),
            Some(Some(text)) => Self::parse(text).ok_or_else(|| refused(text)),
            Some(None) => Err(refused("a value that is not a string")),
        }
    }

    /// `amqp.annotation.x-opt-offset > '12'`, with `>=`, without quotes, or with the other two properties.
    fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.trim().strip_prefix("amqp.annotation.")?.split_once('>')?;
        let (inclusive, value) = rest.strip_prefix('=').map_or((false, rest), |rest| (true, rest));
        let value = value.trim().trim_matches('\'');
        let after = |number: u64| if inclusive { Some(number) } else { number.checked_add(1) };
        Some(match (name.trim(), value) {
            ("x-opt-offset", "-1") => Self::At(Seek::Earliest),
            ("x-opt-offset", "@latest") => Self::At(Seek::Latest),
            ("x-opt-offset", offset) => Self::From(Offset(after(offset.parse().ok()?)?)),
            ("x-opt-sequence-number", "-1") => Self::At(Seek::Earliest),
            ("x-opt-sequence-number", number) => Self::At(Seek::EventSequence(after(number.parse().ok()?)?)),
            ("x-opt-enqueued-time", millis) => {
                let millis: i64 = millis.parse().ok()?;
                let millis = if inclusive { millis } else { millis.checked_add(1)? };
                Self::At(Seek::EnqueuedAt(Timestamp::from_millis(millis)))
            }
            _ => return None,
        })
    }
}

fn refused(text: &str) -> Refusal {
    let text: String = text.chars().take(200).collect();
    Refusal::new(
        ErrorCode::ArgumentInvalid,
        format!(
            "the selector {text:?} cannot be used; compare x-opt-offset, x-opt-sequence-number or x-opt-enqueued-time with > or >="
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Start> {
        Start::parse(text)
    }

    #[test]
    fn reads_what_stock_clients_send() {
        assert_eq!(parse("amqp.annotation.x-opt-offset > '-1'"), Some(Start::At(Seek::Earliest)));
        assert_eq!(parse("amqp.annotation.x-opt-offset > '@latest'"), Some(Start::At(Seek::Latest)));
        assert_eq!(parse("amqp.annotation.x-opt-offset > '41'"), Some(Start::From(Offset(42))));
        assert_eq!(parse("amqp.annotation.x-opt-offset >= '41'"), Some(Start::From(Offset(41))));
        assert_eq!(
            parse("amqp.annotation.x-opt-sequence-number > 7"),
            Some(Start::At(Seek::EventSequence(8)))
        );
        let time = Seek::EnqueuedAt(Timestamp::from_millis(1001));
        assert_eq!(parse("amqp.annotation.x-opt-enqueued-time > '1000'"), Some(Start::At(time)));
    }

    #[test]
    fn anything_else_is_refused_without_a_panic() {
        for text in [
            "",
            "amqp.annotation.",
            "amqp.annotation.x-opt-offset > ''",
            "amqp.annotation.x-opt-offset = '1'",
            "1 > 2",
            "amqp.annotation.x-opt-sequence-number > '18446744073709551615'",
            "amqp.annotation.other > '1'",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
