//! The hub's devices and routes, and what the generator says to be one of the devices.

use anyhow::{Context as _, Result};
use ironbrook_model::{SharedAccessKey, Timestamp};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One for each connection of the largest scenario.
pub const COUNT: usize = 10_000;
/// Good for nothing but a hub that lives as long as the measurement.
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// Outlives every measurement.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Routes with a condition on a property; one more has a condition on the body.
const PROPERTY_ROUTES: usize = 9;
/// Sent with each message: that its body is JSON, so that routes look into it, and a property for the conditions.
const BAG: &str = "$.ct=application%2Fjson&$.ce=utf-8&level=normal";

/// A seed file with devices and ten routes. No message meets a condition on a property and each meets the one on the body, which comes
/// last, so that all ten are looked at.
pub fn seed() -> String {
    let devices: Vec<Value> =
        (0..COUNT).map(|number| json!({ "deviceId": name(number), "primaryKey": KEY })).collect();
    let route = |name: &str, condition: &str| json!({ "name": name, "condition": condition, "endpoints": ["events"] });
    // Those of a new hub are not the measurement's.
    let off = |name: &str, endpoint: &str| json!({ "name": name, "endpoints": [endpoint], "enabled": false });
    let mut routes = vec![
        off("telemetry-to-events", "events"),
        off("telemetry-to-json", "telemetry-json"),
        off("telemetry-to-avro", "telemetry-avro"),
    ];
    for number in 0..PROPERTY_ROUTES {
        routes.push(route(&format!("property-{number}"), &format!("level = 'alarm-{number}'")));
    }
    routes.push(route("body", "$body.v > 20"));
    json!({ "devices": devices, "routes": routes }).to_string()
}

/// A line of the generator's credentials file for each device: client id, user name, SAS token, topic.
pub fn credentials() -> Result<String> {
    let key: SharedAccessKey = serde_json::from_value(json!(KEY)).context("the key of the devices")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)? + LIFETIME;
    let expires = Timestamp::from_secs(i64::try_from(now.as_secs())?);
    let mut lines = String::new();
    for number in 0..COUNT {
        let device = name(number);
        let token = key.sign(&format!("localhost/devices/{device}"), expires, None);
        let user = format!("localhost/{device}/?api-version=2021-04-12");
        writeln!(lines, "{device}\t{user}\t{token}\tdevices/{device}/messages/events/{BAG}")?;
    }
    Ok(lines)
}

fn name(number: usize) -> String {
    format!("device-{number}")
}
