//! Requests on `$management`: what the events endpoint and its partitions are.

use super::Shared;
use ironbrook_log::PartitionId;
use ironbrook_model::{ErrorCode, Refusal};
use ironbrook_wire::amqp::{Message, Value};

/// Answers a request. The door adds the correlation id.
pub(super) fn answer(shared: &Shared, request: &Message) -> Result<Message, Refusal> {
    let text = |name: &str| request.application_property(name).and_then(Value::as_str);
    if text("operation") != Some("READ") {
        return Err(Refusal::new(ErrorCode::InvalidOperation, "the only operation on $management is READ"));
    }
    let name = text("name").unwrap_or_default();
    let body = match text("type") {
        Some("com.microsoft:eventhub") => endpoint(shared, name),
        Some("com.microsoft:partition") => {
            // Some clients write the number as a number.
            let partition = request.application_property("partition");
            let number = partition.and_then(|p| p.as_str().map_or_else(|| p.as_i64(), |t| t.parse().ok()));
            let number = number.and_then(|n| u16::try_from(n).ok());
            let known = number.filter(|n| *n < shared.hub.seams().log.partitions());
            let number = known.ok_or_else(|| super::not_found("there is no such partition".to_owned()))?;
            describe(shared, name, PartitionId(number))
        }
        other => {
            let what = other.unwrap_or("(none)");
            return Err(Refusal::new(
                ErrorCode::InvalidOperation,
                format!("the type {what:.64} cannot be read"),
            ));
        }
    };
    let mut answer = Message::value(Value::Map(body));
    answer.set_property("status-code", 200_i32);
    answer.set_property("status-description", "OK");
    Ok(answer)
}

fn entry(name: &'static str, value: impl Into<Value>) -> (Value, Value) {
    (Value::from(name), value.into())
}

fn endpoint(shared: &Shared, name: &str) -> Vec<(Value, Value)> {
    let partitions = shared.hub.seams().log.partitions();
    let ids = (0..partitions).map(|n| Value::from(n.to_string())).collect();
    vec![
        entry("name", name),
        entry("type", "com.microsoft:eventhub"),
        entry("created_at", shared.config.created_at),
        entry("partition_count", i32::from(partitions)),
        entry("partition_ids", Value::Array(ids)),
    ]
}

fn describe(shared: &Shared, name: &str, partition: PartitionId) -> Vec<(Value, Value)> {
    let bounds = shared.hub.seams().log.bounds(partition);
    let long = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let offset = bounds.last_event.map_or_else(|| "-1".to_owned(), |(offset, _)| offset.0.to_string());
    vec![
        entry("name", name),
        entry("type", "com.microsoft:partition"),
        entry("partition", partition.0.to_string()),
        entry("begin_sequence_number", long(bounds.first_event_sequence)),
        entry("last_enqueued_sequence_number", long(bounds.end_event_sequence) - 1),
        entry("last_enqueued_offset", offset),
        entry("last_enqueued_time_utc", bounds.last_event.map(|(_, time)| time).unwrap_or_default()),
        entry("is_partition_empty", bounds.first_event_sequence == bounds.end_event_sequence),
    ]
}
