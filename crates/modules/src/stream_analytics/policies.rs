//! Event ordering policies as twins and packages carry them.

use ironbrook_analytics::engine::{OnError, OnViolation, Policies};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Longest tolerance for late events, in seconds: 20 days and a bit, as in the service.
const LATE_MAX: u64 = 1_814_399;
/// Longest tolerance for disorder, in seconds: ten minutes but one second, as in the service.
const OUT_OF_ORDER_MAX: u64 = 599;
/// What open windows and waiting events may hold, in bytes: machines beside machines are small.
const STATE_MAX: usize = 64 << 20;

/// How events are brought into order; what is left out has the service's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OrderingPolicies {
    /// How far an event's time may lie before the greatest one seen, 0 s to 599 s; default 0.
    pub out_of_order_seconds: u64,
    /// How far an event's time may lie before its arrival, 0 s to 1 814 399 s; default 5.
    pub late_arrival_seconds: u64,
    /// What happens to events beyond these; default `adjust`.
    pub on_violation: Violation,
    /// What happens when a row cannot be computed; default `stop`, as in the service.
    pub on_error: Failure,
}

/// What happens when an expression cannot be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Failure {
    /// The query stops, and its inputs wait until it is replaced.
    #[default]
    Stop,
    /// The row is left out.
    Skip,
}

/// What happens to events that are too late or too far out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Violation {
    /// Their time is moved forward to the earliest one allowed.
    #[default]
    Adjust,
    /// They are left out.
    Drop,
}

impl Default for OrderingPolicies {
    fn default() -> Self {
        Self {
            out_of_order_seconds: 0,
            late_arrival_seconds: 5,
            on_violation: Violation::Adjust,
            on_error: Failure::Stop,
        }
    }
}

impl OrderingPolicies {
    /// Reads the desired property `policies`; an absent one is the default.
    pub fn from_twin(value: &serde_json::Value) -> Result<Self, String> {
        if value.is_null() {
            return Ok(Self::default());
        }
        let policies = Self::deserialize(value).map_err(|error| format!("policies: {error}"))?;
        policies.check()?;
        Ok(policies)
    }

    /// Says which value is beyond its bounds.
    pub fn check(&self) -> Result<(), String> {
        let over = |name: &str, limit: u64| Err(format!("policies: {name} is at most {limit}"));
        if self.out_of_order_seconds > OUT_OF_ORDER_MAX {
            return over("outOfOrderSeconds", OUT_OF_ORDER_MAX);
        }
        if self.late_arrival_seconds > LATE_MAX {
            return over("lateArrivalSeconds", LATE_MAX);
        }
        Ok(())
    }

    /// For the engine.
    pub(super) fn to_engine(self) -> Policies {
        Policies {
            late_arrival: Duration::from_secs(self.late_arrival_seconds),
            out_of_order: Duration::from_secs(self.out_of_order_seconds),
            on_violation: match self.on_violation {
                Violation::Adjust => OnViolation::Adjust,
                Violation::Drop => OnViolation::Drop,
            },
            on_error: match self.on_error {
                Failure::Stop => OnError::Stop,
                Failure::Skip => OnError::Skip,
            },
            max_state: STATE_MAX,
            ..Policies::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_left_out_have_the_defaults_of_the_service() {
        let policies = OrderingPolicies::from_twin(&json!({ "outOfOrderSeconds": 3 })).unwrap();
        assert_eq!(policies, OrderingPolicies { out_of_order_seconds: 3, ..OrderingPolicies::default() });
        assert_eq!((policies.late_arrival_seconds, policies.on_violation), (5, Violation::Adjust));
        assert_eq!(policies.on_error, Failure::Stop);
        assert_eq!(OrderingPolicies::from_twin(&json!(null)), Ok(OrderingPolicies::default()));
    }

    #[test]
    fn values_beyond_their_bounds_are_named() {
        for (value, name) in [
            (json!({ "outOfOrderSeconds": 600 }), "outOfOrderSeconds"),
            (json!({ "lateArrivalSeconds": 1_814_400 }), "lateArrivalSeconds"),
            (json!({ "onViolation": "Explode" }), "policies"),
            (json!({ "onError": 7 }), "policies"),
            (json!("x"), "policies"),
            (json!(5), "policies"),
        ] {
            let error = OrderingPolicies::from_twin(&value).unwrap_err();
            assert!(error.contains(name), "{value}: {error}");
        }
    }
}
