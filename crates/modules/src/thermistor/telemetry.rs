//! One reading as a message: the shape that the Pico W sends too.

use super::physics::{Fault, Reading};
use ironbrook_client::{Message, SystemProperty};
use ironbrook_model::Timestamp;
use serde::Serialize;

/// The JSON body. A faulty reading has no temperature.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Telemetry {
    /// °C, two decimals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Ω, rounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resistance: Option<u64>,
    /// What is wrong, if something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// The ADC value, 0 to 65535.
    pub adc: u16,
    /// Counts readings from 1.
    pub sequence: u64,
    /// When the reading was taken, ISO 8601 UTC.
    pub time_created: String,
}

impl Telemetry {
    /// The body for a reading.
    pub fn new(adc: u16, reading: Reading, sequence: u64, taken: Timestamp) -> Self {
        let (temperature, resistance, fault) = match reading {
            Reading::Good { celsius, ohm } => {
                (Some((celsius * 100.0).round() / 100.0), Some(ohm.round() as u64), None)
            }
            Reading::Fault(fault) => (None, None, Some(fault)),
        };
        Self { temperature, resistance, fault, adc, sequence, time_created: taken.to_string() }
    }

    /// The message: JSON in UTF-8, with the property `fault` where there is one, for routes to look at.
    pub fn message(&self) -> Message {
        // Numbers, short texts and a fixed shape: this cannot fail to serialise.
        let mut message = Message::new(serde_json::to_vec(self).unwrap_or_default());
        message.system.set(SystemProperty::ContentType, "application/json");
        message.system.set(SystemProperty::ContentEncoding, "utf-8");
        if let Some(fault) = self.fault {
            message.properties.set("fault", fault.name());
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_shapes() {
        let taken = Timestamp::from_millis(1_769_850_000_123);
        let good = Telemetry::new(35_316, Reading::Good { celsius: 21.534_9, ohm: 11_686.6 }, 7, taken);
        assert_eq!(
            std::str::from_utf8(&good.message().body).unwrap(),
            r#"{"temperature":21.53,"resistance":11687,"adc":35316,"sequence":7,"timeCreated":"2026-01-31T09:00:00.1230000Z"}"#
        );
        assert!(good.message().has_json_body() && good.message().properties.is_empty());
        let faulty = Telemetry::new(65_535, Reading::Fault(Fault::Open), 8, taken).message();
        assert_eq!(
            std::str::from_utf8(&faulty.body).unwrap(),
            r#"{"fault":"open","adc":65535,"sequence":8,"timeCreated":"2026-01-31T09:00:00.1230000Z"}"#
        );
        assert_eq!(faulty.properties.get("fault").map(|v| &**v), Some("open"));
    }
}
