//! A temperature out of a telemetry message.

use serde::Serialize;
use serde_json::Value;

/// One point of the chart.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// The device, or `device/module`.
    pub device: String,
    /// When the hub took it in, milliseconds since 1970 UTC.
    pub time: i64,
    /// Degrees Celsius.
    pub temperature: f64,
}

impl Point {
    /// Reads `temperature`, or `machine.temperature` as the simulated machine sends it; `None` where there is no such number.
    pub fn read(device: String, time: i64, body: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let temperature =
            body.get("temperature").or_else(|| body.get("machine")?.get("temperature"))?.as_f64()?;
        Some(Self { device, time, temperature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_shapes_and_nothing_else() {
        let read = |body: &str| Point::read("d".into(), 7, body.as_bytes()).map(|p| p.temperature);
        assert_eq!(read(r#"{"temperature": 21.5}"#), Some(21.5));
        assert_eq!(read(r#"{"machine":{"temperature": 70}}"#), Some(70.0));
        assert_eq!(read(r#"{"fault":"open"}"#), None);
        assert_eq!(read("not json"), None);
    }
}
