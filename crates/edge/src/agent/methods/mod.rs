//! The direct methods of `$edgeAgent`.
//!
//! Names in any case. 200 is success, 400 what the caller can mend, 500 what only the machine can; errors are
//! `{"message": …}`.

mod filter;
mod logs;
#[cfg(test)]
mod tests;

use super::metrics::Metrics;
use super::seams::{AgentTwin, MethodAnswer, MethodRequest};
use super::{Config, Handle, Seams};
use crate::daemon::management::RestartError;
use crate::runtime::ModuleLogs;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use ironbrook_hub::seams::Clock;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Calls answered at the same time; more wait.
const CALLS_MAX: usize = 8;
const SUPPORTED: &str = "ping, RestartModule, GetModuleLogs";

/// Answers the methods.
pub(super) struct Methods {
    handle: Handle,
    logs: Arc<dyn ModuleLogs>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    hub_host: String,
    device: String,
}

/// What a method comes to: a payload, or a status and a message.
type Outcome = Result<Value, (i32, String)>;

fn wrong(message: impl Into<String>) -> (i32, String) {
    (400, message.into())
}

impl Methods {
    pub(super) fn new(config: &Config, seams: &Seams, handle: Handle, metrics: Metrics) -> Self {
        Self {
            handle,
            logs: seams.logs.clone(),
            clock: seams.clock.clone(),
            metrics,
            hub_host: config.hub_host.clone(),
            device: config.device.clone(),
        }
    }

    /// Answers calls, several at once: a restart that takes its time keeps no ping waiting.
    pub(super) async fn run(&self, twin: Arc<dyn AgentTwin>) {
        let mut under_way = FuturesUnordered::new();
        loop {
            tokio::select! {
                request = twin.method(), if under_way.len() < CALLS_MAX => under_way.push(self.answer(request)),
                Some(()) = under_way.next() => {}
            }
        }
    }

    async fn answer(&self, request: MethodRequest) {
        let (status, payload) = match self.call(&request.name, &request.payload).await {
            Ok(payload) => (200, payload),
            Err((status, message)) => (status, json!({ "message": message })),
        };
        tracing::info!(method = %request.name.escape_debug(), status, "direct method answered");
        // The caller may have gone; that is its affair.
        let _ = request.answer.send(MethodAnswer { status, payload });
    }

    async fn call(&self, name: &str, payload: &Value) -> Outcome {
        const NAMES: [&str; 6] = [
            "ping",
            "RestartModule",
            "GetModuleLogs",
            "UploadModuleLogs",
            "UploadSupportBundle",
            "GetTaskStatus",
        ];
        let known = NAMES.into_iter().find(|known| known.eq_ignore_ascii_case(name)).unwrap_or("unknown");
        self.metrics.called(known);
        match known {
            "ping" => Ok(Value::Null),
            "RestartModule" => self.restart(payload).await,
            "GetModuleLogs" => self.module_logs(payload).await,
            "unknown" => Err(wrong(format!("there is no method `{name}`; supported are {SUPPORTED}"))),
            other => {
                Err(wrong(format!("{other} is not available in this version; supported are {SUPPORTED}")))
            }
        }
    }

    async fn restart(&self, payload: &Value) -> Outcome {
        let request = checked(payload)?;
        let Some(module) = member(request, "id").and_then(Value::as_str) else {
            return Err(wrong("`id` is missing: the name of the module"));
        };
        match self.handle.restart_module(module).await {
            Ok(()) => Ok(Value::Null),
            Err(error @ RestartError::NotFound(_)) => Err(wrong(error.to_string())),
            Err(error @ RestartError::Refused(_)) if is_built_in(module) => Err(wrong(error.to_string())),
            Err(error) => Err((500, error.to_string())),
        }
    }
}

fn is_built_in(module: &str) -> bool {
    [crate::manifest::EDGE_AGENT, crate::manifest::EDGE_HUB].contains(&module)
}

/// The payload as an object of a schema that is known here: major version 1.
fn checked(payload: &Value) -> Result<&Map<String, Value>, (i32, String)> {
    let Value::Object(request) = payload else { return Err(wrong("the payload must be an object")) };
    let version = member(request, "schemaVersion").and_then(Value::as_str).unwrap_or_default();
    if version.split('.').next() == Some("1") {
        return Ok(request);
    }
    Err(wrong(r#"`schemaVersion` is missing or not known; write "schemaVersion": "1.0""#))
}

/// A member, its key in any case; `null` is none.
fn member<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let found = object.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value);
    found.filter(|value| !value.is_null())
}
