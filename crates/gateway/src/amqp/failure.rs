//! Refusals as AMQP tells them.

use ironbrook_model::{ErrorCode, Refusal, Timestamp};
use ironbrook_wire::amqp::AmqpError;
use uuid::Uuid;

/// The error of a refusal: the condition that programs read, and the JSON text the original sends.
pub(super) fn error(refusal: &Refusal, now: Timestamp) -> AmqpError {
    // rule AMQP-08: a superseded device's links are stolen, the connection itself goes on.
    let code = match refusal.code {
        ErrorCode::ConnectionForcefullyClosedOnNewConnection => ErrorCode::LinkCreationConflict,
        other => other,
    };
    AmqpError::new(code.amqp_condition().0, describe(code, &refusal.message, now))
}

/// `{"errorCode":…,"message":…,"trackingId":…,"timestampUtc":…,"info":null}`
pub(super) fn describe(code: ErrorCode, message: &str, now: Timestamp) -> String {
    let tracking = format!("{:X}-TimeStamp:{now}", Uuid::new_v4().simple());
    serde_json::json!({
        "errorCode": code.number(),
        "message": message,
        "trackingId": tracking,
        "timestampUtc": now.to_string(),
        "info": null,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// rule AMQP-08
    #[test]
    fn a_superseded_link_is_stolen() {
        let refusal = Refusal::new(ErrorCode::ConnectionForcefullyClosedOnNewConnection, "newer");
        let error = error(&refusal, Timestamp::default());
        assert_eq!(&*error.condition, "amqp:link:stolen");
        assert!(
            error.description.unwrap().starts_with(r#"{"errorCode":409002,"message":"newer","trackingId""#)
        );
    }
}
