//! One reading as a message, in the shape of the stock module.

use super::model::Reading;
use ironbrook_client::{Message, SystemProperty};
use ironbrook_model::Timestamp;
use serde::Serialize;

/// The JSON body.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Telemetry {
    /// The machine.
    pub machine: Machine,
    /// The room.
    pub ambient: Ambient,
    /// When the reading was taken, ISO 8601 UTC, without zeros at the end of the fraction.
    pub time_created: String,
}

/// The machine's part.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// °C.
    pub temperature: f64,
    /// psi.
    pub pressure: f64,
}

/// The room's part.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ambient {
    /// °C.
    pub temperature: f64,
    /// %.
    pub humidity: u32,
}

impl Telemetry {
    /// The body for a reading.
    pub fn new(reading: Reading, taken: Timestamp) -> Self {
        let Reading { temperature, pressure, ambient_temperature, humidity } = reading;
        let time = taken.to_string();
        let digits = time.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
        Self {
            machine: Machine { temperature, pressure },
            ambient: Ambient { temperature: ambient_temperature, humidity },
            time_created: format!("{digits}Z"),
        }
    }

    /// The body as JSON.
    pub fn to_json(&self) -> String {
        // Finite numbers and a fixed shape: this cannot fail to serialise.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The message with a body, its number (from 1) and the id of this run of the sensor.
pub(super) fn message(body: String, number: u64, batch: &str) -> Message {
    let mut message = Message::new(body);
    message.system.set(SystemProperty::ContentType, "application/json");
    message.system.set(SystemProperty::ContentEncoding, "utf-8");
    message.properties.set("sequenceNumber", number.to_string());
    message.properties.set("batchId", batch);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_of_the_stock_module() {
        let reading = Reading { temperature: 21.0, pressure: 1.5, ambient_temperature: 20.93, humidity: 26 };
        let at = |millis| Telemetry::new(reading, Timestamp::from_millis(millis));
        assert_eq!(
            at(1_769_850_000_120).to_json(),
            r#"{"machine":{"temperature":21.0,"pressure":1.5},"ambient":{"temperature":20.93,"humidity":26},"timeCreated":"2026-01-31T09:00:00.12Z"}"#
        );
        assert_eq!(at(1_769_850_000_000).time_created, "2026-01-31T09:00:00Z");
        let sent = message(at(0).to_json(), 3, "b");
        assert!(sent.has_json_body());
        assert_eq!(sent.properties.get("sequenceNumber").map(|v| &**v), Some("3"));
        assert_eq!(sent.properties.get("batchId").map(|v| &**v), Some("b"));
    }
}
