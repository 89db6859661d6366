//! Messages as an Avro container file. Source: Azure docs "IoT Hub message routing endpoints", storage container.

use super::json::system_properties;
use apache_avro::types::Value;
use apache_avro::{Codec, Error, Schema, Writer};
use ironbrook_hub::seams::Routed;
use std::sync::OnceLock;

/// The record: names and types as documented; the body is raw, whatever its content type.
const SCHEMA: &str = r#"{"type":"record","name":"Message","fields":[
    {"name":"EnqueuedTimeUtc","type":"string"},
    {"name":"Properties","type":{"type":"map","values":"string"}},
    {"name":"SystemProperties","type":{"type":"map","values":"string"}},
    {"name":"Body","type":["null","bytes"]}]}"#;

fn schema() -> Result<&'static Schema, Error> {
    static PARSED: OnceLock<Schema> = OnceLock::new();
    if let Some(schema) = PARSED.get() {
        return Ok(schema);
    }
    let schema = Schema::parse_str(SCHEMA)?;
    Ok(PARSED.get_or_init(|| schema))
}

/// A container file, not compressed, which every reader reads.
pub fn encode(batch: &[Routed]) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::with_codec(schema()?, Vec::new(), Codec::Null);
    for message in batch {
        writer.append(record(message))?;
    }
    writer.into_inner()
}

fn record(routed: &Routed) -> Value {
    let time = routed.enqueued.to_string();
    let text = |value: &str| Value::String(value.to_owned());
    let properties = routed.message.properties.iter().map(|(n, v)| (n.to_string(), text(v))).collect();
    let system = system_properties(routed)
        .map(|(name, value)| (name.to_owned(), text(value)))
        .chain([("enqueuedTime".to_owned(), text(&time))])
        .collect();
    let body = Value::Bytes(routed.message.body.to_vec());
    Value::Record(vec![
        ("EnqueuedTimeUtc".into(), Value::String(time)),
        ("Properties".into(), Value::Map(properties)),
        ("SystemProperties".into(), Value::Map(system)),
        ("Body".into(), Value::Union(1, Box::new(body))),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_log::Offset;
    use ironbrook_model::{Message, MessageSource, SystemProperty, Timestamp};

    #[test]
    fn reads_back_with_raw_body() {
        let mut message = Message::new(vec![0_u8, 255, 10]);
        message.system.set(SystemProperty::ConnectionDeviceId, "d1");
        message.properties.set("level", "high");
        let routed = Routed {
            offset: Offset(0),
            event_sequence: None,
            enqueued: Timestamp::from_millis(0),
            source: MessageSource::DeviceMessages,
            message,
        };
        let bytes = encode(&[routed.clone(), routed]).unwrap();
        let records: Vec<_> = apache_avro::Reader::new(&bytes[..]).unwrap().map(Result::unwrap).collect();
        assert_eq!(records.len(), 2);
        let Value::Record(fields) = &records[0] else { panic!("a record") };
        assert_eq!(fields[0].1, Value::String("1970-01-01T00:00:00.0000000Z".into()));
        let Value::Map(system) = &fields[2].1 else { panic!("a map") };
        assert_eq!(system["connectionDeviceId"], Value::String("d1".into()));
        assert_eq!(fields[3].1, Value::Union(1, Box::new(Value::Bytes(vec![0, 255, 10]))));
    }
}
