//! What may be changed while the sensor runs, and by whom: messages, desired properties and methods all end here.

use super::physics::Fault;
use super::telemetry::Telemetry;
use serde_json::{Map, Value, json};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// The shortest interval that may be asked for from outside, seconds; as on the Pico W.
const INTERVAL_MIN: f64 = 0.2;
/// The longest.
const INTERVAL_MAX: f64 = 3600.0;

/// State shared between the sensor's loops.
#[derive(Debug)]
pub(super) struct Settings {
    interval: watch::Sender<Duration>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    fault: Option<Fault>,
    latest: Option<Telemetry>,
}

impl Settings {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval: watch::Sender::new(interval), inner: Mutex::default() }
    }

    pub(super) fn interval(&self) -> watch::Receiver<Duration> {
        self.interval.subscribe()
    }

    pub(super) fn interval_seconds(&self) -> f64 {
        self.interval.borrow().as_secs_f64()
    }

    /// Applies `{"interval": seconds}`; `None` if there is no such member.
    pub(super) fn apply(&self, wish: &Map<String, Value>) -> Option<Result<f64, String>> {
        let wanted = wish.get("interval")?;
        let Some(seconds) = wanted.as_f64().filter(|s| (INTERVAL_MIN..=INTERVAL_MAX).contains(s)) else {
            return Some(Err(format!(
                "interval is a number of seconds from {INTERVAL_MIN} to {INTERVAL_MAX}"
            )));
        };
        self.interval.send_replace(Duration::from_secs_f64(seconds));
        Some(Ok(seconds))
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        self.lock().fault
    }

    pub(super) fn set_fault(&self, fault: Option<Fault>) {
        self.lock().fault = fault;
    }

    pub(super) fn measured(&self, telemetry: Telemetry) {
        self.lock().latest = Some(telemetry);
    }

    /// Answers a direct method.
    pub(super) fn method(&self, name: &str, payload: &Value) -> (i32, Value) {
        match name {
            "getStatus" => {
                let inner = self.lock();
                (
                    200,
                    json!({ "interval": self.interval_seconds(), "fault": inner.fault, "latest": inner.latest }),
                )
            }
            "setFault" => {
                // Both `"open"` and `{"fault": "open"}` are natural to type; null ends a fault.
                let wanted = payload.get("fault").unwrap_or(payload);
                match serde_json::from_value::<Option<Fault>>(wanted.clone()) {
                    Ok(fault) => {
                        self.set_fault(fault);
                        (200, json!({ "fault": fault }))
                    }
                    Err(_) => (400, json!({ "message": "fault is \"open\", \"short\" or null" })),
                }
            }
            _ => (404, json!({ "message": "the methods are getStatus and setFault" })),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn an_interval_is_applied_within_limits() {
        let settings = Settings::new(Duration::from_secs(1));
        assert_eq!(settings.apply(&wish(r#"{"interval": 2.5}"#)), Some(Ok(2.5)));
        assert_eq!(*settings.interval().borrow(), Duration::from_millis(2500));
        for bad in
            [r#"{"interval": 0}"#, r#"{"interval": 1e9}"#, r#"{"interval": "3"}"#, r#"{"interval": null}"#]
        {
            assert!(matches!(settings.apply(&wish(bad)), Some(Err(_))), "{bad}");
        }
        assert_eq!(settings.apply(&wish("{}")), None);
        assert_eq!(settings.interval_seconds(), 2.5);
    }

    #[test]
    fn methods_set_and_show_faults() {
        let settings = Settings::new(Duration::from_secs(1));
        assert_eq!(settings.method("setFault", &json!({"fault": "open"})).0, 200);
        assert_eq!(settings.fault(), Some(Fault::Open));
        assert_eq!(settings.method("getStatus", &Value::Null).1["fault"], "open");
        assert_eq!(settings.method("setFault", &json!("melted")).0, 400);
        assert_eq!(settings.method("setFault", &Value::Null), (200, json!({"fault": null})));
        assert_eq!(settings.fault(), None);
        assert_eq!(settings.method("explode", &Value::Null).0, 404);
    }
}
