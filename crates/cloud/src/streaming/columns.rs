//! What the hub knows of an event beside its body: as columns, and for `GetMetadataPropertyValue`. Names are Azure's.
//!
//! Source: Azure docs "Stream data as input into Stream Analytics", IoT Hub, and the reference of `GetMetadataPropertyValue`.

use ironbrook_analytics::value::{DateTime, Record, Value};
use ironbrook_analytics::{Compatibility, Query};
use ironbrook_hub::seams::Routed;
use ironbrook_log::PartitionId;
use ironbrook_model::{SystemProperty as P, Timestamp};
use std::sync::Arc;

/// Columns that every event of the hub has. rule ASA-03
const COLUMNS: [&str; 4] = ["EventProcessedUtcTime", "PartitionId", "EventEnqueuedUtcTime", "IoTHub"];
/// The function that asks for more.
const FUNCTION: &str = "GetMetadataPropertyValue";

/// Which of it a query looks at.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    /// The names, in the case of the query's events.
    names: [Arc<str>; 4],
    /// Whether events get the columns.
    pub(super) has_columns: bool,
    /// Whether the query names one of them, so that a filter may look at it.
    pub(super) names_columns: bool,
    /// Whether it asks for metadata.
    pub(super) has_metadata: bool,
    /// What tells events of this hub from those of another.
    hub: u64,
}

impl Columns {
    /// Of a query. Its text decides: what it looks at stands in it, or it has a star.
    pub(super) fn of(query: &Query, hub: &str) -> Self {
        let text = query.text().to_ascii_lowercase();
        let names_columns = COLUMNS.iter().any(|name| text.contains(&name.to_ascii_lowercase()));
        let lower = query.options().compatibility == Compatibility::V1_0;
        let name = |name: &str| if lower { name.to_ascii_lowercase().into() } else { name.into() };
        Self {
            names: COLUMNS.map(name),
            has_columns: names_columns || text.contains('*'),
            names_columns,
            has_metadata: text.contains(&FUNCTION.to_ascii_lowercase()),
            hub: crc32c::crc32c(hub.as_bytes()).into(),
        }
    }

    /// The columns of the events of a message.
    pub(super) fn values(&self, partition: PartitionId, routed: &Routed, now: Timestamp) -> [Value; 4] {
        let time = |time: Timestamp| Value::from(DateTime::from_unix_millis(time.as_millis()));
        let (text, enqueued) = (|property| text(routed, property), time(routed.enqueued));
        let record = [
            ("MessageId", text(P::MessageId)),
            ("CorrelationId", text(P::CorrelationId)),
            ("ConnectionDeviceId", text(P::ConnectionDeviceId)),
            ("ConnectionDeviceGenerationId", text(P::ConnectionGenerationId)),
            ("EnqueuedTime", enqueued.clone()),
        ];
        let is_lower = self.names[3].starts_with('i');
        let name = |name: &str| if is_lower { name.to_ascii_lowercase().into() } else { Arc::from(name) };
        let record: Record = record.into_iter().map(|(known, value)| (name(known), value)).collect();
        [time(now), i64::from(partition.0).into(), enqueued, record.into()]
    }

    /// Gives an event its columns; those of the event that have their names are replaced.
    pub(super) fn add(&self, event: &mut Arc<Record>, values: &[Value; 4]) {
        let event = Arc::make_mut(event);
        for (name, value) in self.names.iter().zip(values) {
            event.set(name.clone(), value.clone());
        }
    }

    /// What `GetMetadataPropertyValue` finds of the event of this number in a message.
    pub(super) fn metadata(
        &self,
        partition: PartitionId,
        routed: &Routed,
        now: Timestamp,
        number: usize,
    ) -> Arc<Record> {
        let text = |property| text(routed, property);
        let time = |time: Timestamp| Value::from(DateTime::from_unix_millis(time.as_millis()));
        let source = Value::text(routed.source.wire_name());
        let sequence = routed.event_sequence.map(|number| i64::try_from(number).unwrap_or(i64::MAX));
        let iot_hub = [
            ("MessageId", text(P::MessageId)),
            ("CorrelationId", text(P::CorrelationId)),
            ("ConnectionDeviceId", text(P::ConnectionDeviceId)),
            ("ConnectionModuleId", text(P::ConnectionModuleId)),
            ("ConnectionDeviceGenerationId", text(P::ConnectionGenerationId)),
            ("AuthMethod", text(P::ConnectionAuthMethod)),
            ("AuthGenerationId", text(P::ConnectionGenerationId)),
            ("EnqueuedTime", time(routed.enqueued)),
            ("EnqueueTime", time(routed.enqueued)),
            ("MessageSource", source.clone()),
            ("InterfaceName", text(P::InterfaceId)),
        ];
        let event_hub = [
            ("EventEnqueuedUtcTime", time(routed.enqueued)),
            ("EventProcessedUtcTime", time(now)),
            ("PartitionId", i64::from(partition.0).into()),
            ("Offset", Value::text(routed.offset.0.to_string())),
            ("SequenceNumber", sequence.into()),
            ("IoTConnectionDeviceId", text(P::ConnectionDeviceId)),
            ("IoTConnectionModuleId", text(P::ConnectionModuleId)),
            ("IoTAuthMethod", text(P::ConnectionAuthMethod)),
            ("IoTAuthGenerationId", text(P::ConnectionGenerationId)),
            ("IoTEnqueueTime", time(routed.enqueued)),
            ("IoTMessageSource", source),
            ("IoTInterfaceName", text(P::InterfaceId)),
        ];
        let user = routed.message.properties.iter();
        let user: Record = user.map(|(name, value)| (Arc::from(&**name), Value::text(&**value))).collect();
        let high = self.hub << 32 | u64::from(partition.0) << 16 | (number as u64 & 0xffff);
        let id = uuid::Uuid::from_u64_pair(high, routed.offset.0);
        let all = [
            ("EventId", Value::text(id.to_string())),
            ("IoTHub", record(iot_hub).into()),
            ("EventHub", record(event_hub).into()),
            ("User", user.into()),
        ];
        Arc::new(record(all))
    }
}

fn record<const N: usize>(fields: [(&str, Value); N]) -> Record {
    fields.into_iter().map(|(name, value)| (Arc::from(name), value)).collect()
}

fn text(routed: &Routed, property: P) -> Value {
    routed.message.system.get(property).map_or(Value::Null, |text| Value::text(&**text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_analytics::{Level, Options};
    use ironbrook_log::Offset;
    use ironbrook_model::{Message, MessageSource};

    fn columns(text: &str, compatibility: Compatibility) -> Columns {
        let options = Options { level: Level::Extended, compatibility, ..Options::default() };
        Columns::of(&Query::compile(text, &options).unwrap(), "hub")
    }

    fn routed() -> Routed {
        let mut message = Message::new("{}");
        message.system.set(P::ConnectionDeviceId, "d1");
        message.properties.set("site", "north");
        let (enqueued, source) = (Timestamp::from_secs(1), MessageSource::DeviceMessages);
        Routed { offset: Offset(9), event_sequence: Some(3), enqueued, source, message }
    }

    #[test]
    fn only_what_the_query_can_see_is_made() {
        let made = |text| {
            let columns = columns(text, Compatibility::V1_2);
            (columns.has_columns, columns.names_columns, columns.has_metadata)
        };
        assert_eq!(made("SELECT a FROM i"), (false, false, false));
        assert_eq!(made("SELECT * FROM i"), (true, false, false));
        assert_eq!(made("SELECT i.iothub.x FROM i WHERE a = 1"), (true, true, false));
        assert_eq!(made("SELECT getMetadataPropertyValue(i, 'EventId') AS e FROM i"), (false, false, true));
    }

    #[test]
    fn events_have_the_columns_of_the_service_rule_asa_03() {
        let columns = columns("SELECT * FROM i", Compatibility::V1_2);
        let values = columns.values(PartitionId(2), &routed(), Timestamp::from_secs(5));
        let mut event: Arc<Record> =
            Arc::new([(Arc::from("PartitionId"), Value::text("mine"))].into_iter().collect());
        columns.add(&mut event, &values);
        let mut json = Vec::new();
        event.write_json(&mut json);
        assert_eq!(
            String::from_utf8(json).unwrap(),
            "{\"PartitionId\":2,\"EventProcessedUtcTime\":\"1970-01-01T00:00:05.0000000Z\",\
             \"EventEnqueuedUtcTime\":\"1970-01-01T00:00:01.0000000Z\",\"IoTHub\":{\"MessageId\":null,\
             \"CorrelationId\":null,\"ConnectionDeviceId\":\"d1\",\"ConnectionDeviceGenerationId\":null,\
             \"EnqueuedTime\":\"1970-01-01T00:00:01.0000000Z\"}}"
        );
    }

    #[test]
    fn metadata_has_an_id_that_no_other_event_has() {
        let columns = columns("SELECT * FROM i", Compatibility::V1_0);
        let of = |partition, number| {
            columns.metadata(PartitionId(partition), &routed(), Timestamp::from_secs(5), number)
        };
        let found = Value::Record(of(0, 0));
        assert_eq!(found.field("User").field("site"), &Value::text("north"));
        assert_eq!(found.field("IoTHub").field("ConnectionDeviceId"), &Value::text("d1"));
        assert_eq!(found.field("EventHub").field("SequenceNumber"), &Value::BigInt(3));
        let id = |record: Arc<Record>| record.get("EventId").unwrap().clone();
        assert_eq!(id(of(0, 0)), id(of(0, 0)));
        assert!(id(of(0, 0)) != id(of(0, 1)) && id(of(0, 0)) != id(of(1, 0)));
        // At level 1.0 names are in lower case.
        let values = columns.values(PartitionId(0), &routed(), Timestamp::from_secs(5));
        assert_eq!(values[3].field("connectiondeviceid"), &Value::text("d1"));
    }
}
