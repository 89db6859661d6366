//! The edge devices of the hub, as the page shows them: what their agents last reported, and who is connected.
//!
//! Everything comes from three queries of the service API. Desired properties are not asked for: registry passwords stand there.

mod reported;

use crate::now;
use ironbrook_client::{Error, ServiceClient};
use ironbrook_model::Timestamp;
use reported::{Agent, is_connected};
use serde::Serialize;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Edge devices shown.
const DEVICES_MAX: usize = 50;
/// How long an answer is good for all who ask. Each query looks through the whole registry.
const FRESH: Duration = Duration::from_secs(1);

/// The edge devices of a hub.
#[derive(Debug, PartialEq, Serialize)]
pub struct EdgeDevices {
    devices: Vec<EdgeDevice>,
    /// Whether there are more than are shown.
    more: bool,
}

#[derive(Debug, PartialEq, Serialize)]
struct EdgeDevice {
    device: String,
    /// Whether `$edgeAgent` is connected. If not, all that is reported is as old as its going.
    agent_connected: bool,
    /// Whether `$edgeHub` is connected.
    hub_connected: bool,
    #[serde(flatten)]
    agent: Agent,
}

/// Asks for edge devices, once for all pages that ask at the same time.
#[derive(Default)]
pub struct Watch {
    last: Mutex<Option<(Instant, Answer)>>,
}

/// The devices, or the text of an error.
type Answer = Result<Arc<EdgeDevices>, String>;

impl Watch {
    /// How the edge devices are, at most [`FRESH`] ago.
    pub async fn devices(&self, service: &ServiceClient) -> Answer {
        let mut last = self.last.lock().await;
        if let Some((asked, answer)) = &*last
            && asked.elapsed() < FRESH
        {
            return answer.clone();
        }
        let answer = ask(service).await.map(Arc::new).map_err(|error| {
            tracing::warn!(%error, "the portal cannot read edge devices");
            error.to_string()
        });
        *last = Some((Instant::now(), answer.clone()));
        answer
    }
}

async fn ask(service: &ServiceClient) -> Result<EdgeDevices, Error> {
    // One more than is shown, to know whether there are more. The rows of all three come sorted by device.
    let top = DEVICES_MAX + 1;
    let devices = format!("SELECT TOP {top} deviceId FROM devices WHERE capabilities.iotEdge = true");
    let agents = format!(
        "SELECT TOP {top} deviceId, connectionState, properties.reported FROM devices.modules WHERE moduleId = '$edgeAgent'"
    );
    let hubs = format!(
        "SELECT TOP {top} deviceId, connectionState FROM devices.modules WHERE moduleId = '$edgeHub'"
    );
    let (devices, agents, hubs) =
        tokio::try_join!(service.query(&devices), service.query(&agents), service.query(&hubs))?;
    Ok(joined(&devices, &agents, &hubs, now()))
}

fn joined(devices: &[Value], agents: &[Value], hubs: &[Value], now: Timestamp) -> EdgeDevices {
    let (agents, hubs) = (by_device(agents), by_device(hubs));
    let names = devices.iter().filter_map(device_id);
    let shown = names.clone().take(DEVICES_MAX).map(|name| {
        let agent = agents.get(name).copied();
        let agent_connected = agent.is_some_and(is_connected);
        EdgeDevice {
            device: name.to_owned(),
            agent_connected,
            hub_connected: hubs.get(name).copied().is_some_and(is_connected),
            agent: Agent::read(agent.and_then(|row| row.get("reported")), agent_connected, now),
        }
    });
    EdgeDevices { devices: shown.collect(), more: names.count() > DEVICES_MAX }
}

fn by_device(rows: &[Value]) -> HashMap<&str, &Value> {
    rows.iter().filter_map(|row| Some((device_id(row)?, row))).collect()
}

fn device_id(row: &Value) -> Option<&str> {
    row.get("deviceId").and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_of_the_same_device_are_joined() {
        let devices = [json!({"deviceId": "a"}), json!({"deviceId": "b"})];
        let reported = json!({"lastDesiredStatus": {"code": 200, "description": ""}});
        let agents = [
            json!({"deviceId": "b", "connectionState": "Connected", "reported": reported}),
            json!({"deviceId": "a"}),
        ];
        let hubs = [json!({"deviceId": "b", "connectionState": "Disconnected"})];
        let told = serde_json::to_value(joined(&devices, &agents, &hubs, Timestamp::from_secs(0))).unwrap();
        let [a, b] = told["devices"].as_array().unwrap().as_slice() else { panic!("{told}") };
        assert_eq!(
            (&a["device"], &a["deployment"], &a["agent_connected"]),
            (&json!("a"), &Value::Null, &json!(false))
        );
        assert_eq!((&b["device"], &b["deployment"]["code"]), (&json!("b"), &json!(200)));
        assert_eq!((&b["agent_connected"], &b["hub_connected"]), (&json!(true), &json!(false)));
        assert_eq!(told["more"], json!(false));
    }

    #[test]
    fn devices_are_bounded_and_the_page_is_told() {
        let devices: Vec<Value> = (0..=DEVICES_MAX).map(|n| json!({"deviceId": format!("d{n}")})).collect();
        let told = joined(&devices, &[], &[], Timestamp::from_secs(0));
        assert_eq!((told.devices.len(), told.more), (DEVICES_MAX, true));
        assert!(!joined(&devices[1..], &[], &[], Timestamp::from_secs(0)).more);
    }
}
