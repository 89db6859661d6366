//! Twin requests and answers: one message each, told apart by annotations.

use bytes::Bytes;
use ironbrook_hub::{Operation, Outcome, Subscription};
use ironbrook_model::{ErrorCode, Refusal, Timestamp};
use ironbrook_wire::amqp::{Message, Value};

/// What a twin message asks for: annotations `operation` and `resource`.
pub(super) fn request(message: &Message) -> Result<Operation, Refusal> {
    let annotation = |name| message.annotation(name).and_then(Value::as_str).unwrap_or_default();
    let (operation, resource) = (annotation("operation"), annotation("resource"));
    let resource = resource.trim_matches('/');
    let is = |wanted: &str, path: &str| {
        operation.eq_ignore_ascii_case(wanted) && resource.eq_ignore_ascii_case(path)
    };
    let desired = Subscription::DesiredProperties;
    if is("GET", "") {
        Ok(Operation::GetTwin)
    } else if is("PATCH", "properties/reported") {
        Ok(Operation::PatchReported(message.body_bytes()))
    } else if is("PUT", "notifications/twin/properties/desired") {
        Ok(Operation::Subscribe(desired))
    } else if is("DELETE", "notifications/twin/properties/desired") {
        Ok(Operation::Unsubscribe(desired))
    } else {
        Err(Refusal::new(
            ErrorCode::InvalidOperation,
            "a twin message needs the annotations operation (GET, PATCH, PUT, DELETE) and resource",
        ))
    }
}

/// The answer. `status` is an int, which .NET insists on; the correlation id comes back as it was. (rule AMQP-11)
pub(super) fn answer(
    correlation_id: Option<Value>,
    result: &Result<Outcome, Refusal>,
    now: Timestamp,
) -> Message {
    let (status, body, version) = match result {
        Ok(Outcome::Done) => (200, Bytes::new(), None),
        Ok(Outcome::Twin(twin)) => (200, twin.clone(), None),
        Ok(Outcome::Reported { version }) => (204, Bytes::new(), Some(*version)),
        Err(refusal) => {
            let body = super::failure::describe(refusal.code, &refusal.message, now);
            (i32::from(refusal.code.http_status()), body.into(), None)
        }
    };
    let mut message = Message::data(body);
    message.properties.correlation_id = correlation_id;
    message.annotate("status", status);
    if let Some(version) = version {
        message.annotate("version", i64::try_from(version).unwrap_or(i64::MAX));
    }
    message
}

/// News of desired properties: no correlation id, by which clients know it. (rule AMQP-12)
pub(super) fn notification(patch: Bytes) -> Message {
    let mut message = Message::data(patch);
    message.annotate("operation", "PATCH");
    message.annotate("resource", "/properties/desired");
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(operation: &'static str, resource: Option<&'static str>) -> Result<Operation, Refusal> {
        let mut message = Message::data(" ");
        message.annotate("operation", operation);
        message.annotate("resource", resource);
        request(&message)
    }

    #[test]
    fn the_four_operations_are_known() {
        assert!(matches!(asked("GET", None), Ok(Operation::GetTwin)));
        assert!(matches!(asked("PATCH", Some("/properties/reported")), Ok(Operation::PatchReported(_))));
        let desired = Some("/notifications/twin/properties/desired");
        assert!(matches!(asked("PUT", desired), Ok(Operation::Subscribe(_))));
        assert!(matches!(asked("DELETE", desired), Ok(Operation::Unsubscribe(_))));
        assert!(asked("PATCH", Some("/properties/desired")).is_err());
    }

    /// rule AMQP-11
    #[test]
    fn an_answer_has_an_int_status_and_the_same_correlation_id() {
        let id = Value::from("GET7");
        let got = answer(Some(id.clone()), &Ok(Outcome::Reported { version: 3 }), Timestamp::default());
        assert_eq!(got.annotation("status"), Some(&Value::Int(204)));
        assert_eq!(got.annotation("version"), Some(&Value::Long(3)));
        assert_eq!(got.properties.correlation_id, Some(id));
    }

    /// rule AMQP-12
    #[test]
    fn a_notification_has_no_correlation_id() {
        assert_eq!(notification(Bytes::new()).properties.correlation_id, None);
    }
}
