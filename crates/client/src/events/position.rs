//! Where reading of a partition begins.

use ironbrook_model::Timestamp;
use ironbrook_wire::amqp::Value;

/// The filter's name, and the descriptor of its value.
pub(super) const SELECTOR: &str = "apache.org:selector-filter:string";

/// Where reading begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// The oldest event that is kept.
    Earliest,
    /// After the newest event at the time of asking.
    Latest,
    /// After the event with this sequence number; the same number for every partition.
    AfterSequence(i64),
    /// The first event that the hub got after this time.
    EnqueuedAfter(Timestamp),
}

impl Position {
    /// The selector text (Azure Event Hubs' filter for receivers).
    fn selector(&self) -> String {
        match self {
            Self::Earliest => "amqp.annotation.x-opt-offset > '-1'".to_owned(),
            Self::Latest => "amqp.annotation.x-opt-offset > '@latest'".to_owned(),
            Self::AfterSequence(number) => format!("amqp.annotation.x-opt-sequence-number > '{number}'"),
            Self::EnqueuedAfter(time) => {
                format!("amqp.annotation.x-opt-enqueued-time > '{}'", time.as_millis())
            }
        }
    }

    /// The described value for a source's filter map.
    pub(super) fn filter(&self) -> Value {
        Value::described(Value::symbol(SELECTOR), Value::string(self.selector()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_spelled_as_stock_clients_do() {
        let time = Timestamp::from_millis(1_769_850_000_123);
        for (position, text) in [
            (Position::Earliest, "amqp.annotation.x-opt-offset > '-1'"),
            (Position::Latest, "amqp.annotation.x-opt-offset > '@latest'"),
            (Position::AfterSequence(41), "amqp.annotation.x-opt-sequence-number > '41'"),
            (Position::EnqueuedAfter(time), "amqp.annotation.x-opt-enqueued-time > '1769850000123'"),
        ] {
            assert_eq!(position.selector(), text);
        }
    }
}
