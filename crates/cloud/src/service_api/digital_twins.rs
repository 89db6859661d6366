//! Digital twins: devices by the names of their plug-and-play model.
//!
//! A digital twin is the twin in other words, so reading it, changing it and calling its commands is done on the twin and by direct
//! methods. Source: Azure REST reference "Digital Twin"; Azure docs "IoT Plug and Play conventions".

use super::Api;
use super::input::{Target, if_match, json, module_answer, ok};
use crate::registry::{IfMatch, MethodWish, TwinChange};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{ETAG, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use ironbrook_model::twin::Object;
use ironbrook_model::{ErrorCode, Refusal};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Operations of one patch at most.
const OPERATIONS_MAX: usize = 1000;
/// What is known of properties; marks an object as a component in a patch.
const METADATA: &str = "$metadata";

#[derive(Deserialize)]
struct Operation {
    op: String,
    path: String,
    value: Option<Value>,
}

/// How long a command may take.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Timeouts {
    connect_timeout_in_seconds: Option<u64>,
    response_timeout_in_seconds: Option<u64>,
}

/// Which command of which component.
#[derive(Deserialize)]
pub(super) struct Command {
    component: Option<String>,
    command: String,
}

/// `GET /digitaltwins/{device}`: properties, components and `$metadata`. 404001. rule DTWIN-01
pub(super) async fn get(State(api): State<Api>, Target(target): Target) -> Response {
    let get = async {
        let (twin, etag) = api.registry.digital_twin(target).await?;
        let mut response = ok(&Value::Object(twin));
        put_etag(&mut response, &etag);
        Ok(response)
    };
    module_answer(get.await)
}

/// `PATCH /digitaltwins/{device}`: a JSON Patch becomes desired properties; 202. 400507, 400508, 412001. rule DTWIN-02
pub(super) async fn patch(
    State(api): State<Api>,
    Target(target): Target,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let patch = async {
        let desired = desired(&json::<Vec<Operation>>(&body)?)?;
        let change = TwinChange::Patch { tags: None, desired: Some(desired) };
        let location = format!("/digitaltwins/{}", ironbrook_model::percent_encode(target.device.as_str()));
        let if_match = if_match(&headers).unwrap_or(IfMatch::Any);
        let twin = api.registry.change_twin(target, change, if_match).await?;
        let mut response = StatusCode::ACCEPTED.into_response();
        put_etag(&mut response, twin["etag"].as_str().unwrap_or_default());
        if let Ok(location) = HeaderValue::from_str(&location) {
            response.headers_mut().insert(LOCATION, location);
        }
        Ok(response)
    };
    module_answer(patch.await)
}

/// `POST /digitaltwins/{device}[/components/{component}]/commands/{command}`: what the device answers, its status in a header.
/// 404103 not online, 504101 no answer in time. rule DTWIN-03
pub(super) async fn invoke(
    State(api): State<Api>,
    Target(target): Target,
    Path(named): Path<Command>,
    Query(timeouts): Query<Timeouts>,
    body: Bytes,
) -> Response {
    let invoke = async {
        let method = match named.component {
            Some(component) => format!("{component}*{}", named.command),
            None => named.command,
        };
        let payload = if body.is_empty() { None } else { Some(json::<Value>(&body)?) };
        let wish = MethodWish {
            method_name: Some(method),
            payload,
            response_timeout_in_seconds: timeouts.response_timeout_in_seconds,
            connect_timeout_in_seconds: timeouts.connect_timeout_in_seconds,
        };
        let answer = api.hub.invoke_method(&target, wish.call()?).await?;
        let mut response = ok(&serde_json::from_str(answer.payload.get()).unwrap_or_default());
        let headers = response.headers_mut();
        headers.insert("x-ms-command-statuscode", HeaderValue::from(answer.status));
        if let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
            headers.insert("x-ms-request-id", id);
        }
        Ok(response)
    };
    module_answer(invoke.await)
}

fn put_etag(response: &mut Response, etag: &str) {
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{etag}\"")) {
        response.headers_mut().insert(ETAG, etag);
    }
}

/// The desired properties that a patch of a digital twin asks for.
fn desired(operations: &[Operation]) -> Result<Object, Refusal> {
    let refuse = |code, text: String| Err(Refusal::new(code, text));
    if operations.len() > OPERATIONS_MAX {
        let text = format!("a patch of {} operations; {OPERATIONS_MAX} are taken", operations.len());
        return refuse(ErrorCode::InvalidDigitalTwinPatch, text);
    }
    let mut desired = Map::new();
    for Operation { op, path, value } in operations {
        let value = match (op.as_str(), value) {
            ("add" | "replace", Some(value)) => value.clone(),
            ("remove", _) => Value::Null,
            ("add" | "replace", None) => {
                return refuse(ErrorCode::InvalidDigitalTwinPatch, format!("{op} of {path} has no value"));
            }
            _ => {
                let text = format!("op '{op}' of {path} is none of add, replace and remove");
                return refuse(ErrorCode::InvalidDigitalTwinPatch, text);
            }
        };
        let names: Vec<String> =
            path.split('/').skip(1).map(|name| name.replace("~1", "/").replace("~0", "~")).collect();
        let is_own = |name: &String| name.is_empty() || name.starts_with('$');
        match &names[..] {
            [name] if !is_own(name) => _ = desired.insert(name.clone(), whole(value)),
            [component, name] if !is_own(component) && !is_own(name) => {
                let part = desired.entry(component.clone()).or_insert_with(|| json!({ "__t": "c" }));
                if let Value::Object(part) = part {
                    part.insert(name.clone(), value);
                }
            }
            _ => {
                let text = format!("path '{path}' is neither /property nor /component/property");
                return refuse(ErrorCode::InvalidDigitalTwinPatchPath, text);
            }
        }
    }
    Ok(desired)
}

/// A component as a whole is known by its metadata, which is the hub's own.
fn whole(value: Value) -> Value {
    match value {
        Value::Object(mut component) if component.contains_key(METADATA) => {
            component.shift_remove(METADATA);
            component.insert("__t".to_owned(), "c".into());
            Value::Object(component)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ANY, hub};
    use super::*;

    fn of(patch: Value) -> Result<Object, Refusal> {
        desired(&serde_json::from_value::<Vec<Operation>>(patch).unwrap())
    }

    // DTWIN-02
    #[test]
    fn dtwin_02_a_json_patch_becomes_desired_properties() {
        let patch = json!([
            {"op": "add", "path": "/target", "value": 21},
            {"op": "remove", "path": "/old"},
            {"op": "replace", "path": "/thermostat1/target", "value": {"a": 1}},
            {"op": "remove", "path": "/thermostat1/old"},
            {"op": "add", "path": "/thermostat2", "value": {"$metadata": {}, "target": 5}},
            {"op": "add", "path": "/a~1b", "value": {"plain": true}},
        ]);
        assert_eq!(
            Value::Object(of(patch).unwrap()),
            json!({
                "target": 21, "old": null,
                "thermostat1": {"__t": "c", "target": {"a": 1}, "old": null},
                "thermostat2": {"target": 5, "__t": "c"},
                "a/b": {"plain": true},
            })
        );
        for (operation, code) in [
            (json!({"op": "move", "path": "/a"}), ErrorCode::InvalidDigitalTwinPatch),
            (json!({"op": "add", "path": "/a"}), ErrorCode::InvalidDigitalTwinPatch),
            (json!({"op": "remove", "path": "/$metadata"}), ErrorCode::InvalidDigitalTwinPatchPath),
            (json!({"op": "remove", "path": "/a/b/c"}), ErrorCode::InvalidDigitalTwinPatchPath),
            (json!({"op": "remove", "path": "a"}), ErrorCode::InvalidDigitalTwinPatchPath),
        ] {
            assert_eq!(of(json!([operation])).unwrap_err().code, code, "{operation}");
        }
    }

    // DTWIN-01, DTWIN-02
    #[tokio::test]
    async fn dtwin_01_a_digital_twin_is_read_and_changed_under_its_etag() {
        let hub = hub().await;
        let patch = json!([{"op": "add", "path": "/target", "value": 21}]);
        let changed = hub.ask("PATCH", "/digitaltwins/d", &ANY, patch.clone()).await;
        assert_eq!(changed.status, StatusCode::ACCEPTED, "{}", changed.body);
        assert_eq!(changed.headers[LOCATION], "/digitaltwins/d");
        let read = hub.ask("GET", "/digitaltwins/d", &[], Value::Null).await;
        assert_eq!((&read.body["$dtId"], &read.headers[ETAG]), (&json!("d"), &changed.headers[ETAG]));
        assert_eq!(read.body["$metadata"]["target"]["desiredValue"], 21);
        let stale = [("if-match", "\"stale\"")];
        let refused = hub.ask("PATCH", "/digitaltwins/d", &stale, patch).await;
        assert_eq!(refused.status, StatusCode::PRECONDITION_FAILED);
        // The envelope of digital twins, and no such device.
        let missing = hub.ask("GET", "/digitaltwins/nobody", &[], Value::Null).await;
        assert_eq!(missing.body["errorCode"], 404_001, "{}", missing.body);
        let away = hub.ask("POST", "/digitaltwins/d/components/t/commands/c", &[], json!(1)).await;
        assert_eq!(away.body["errorCode"], 404_103, "{}", away.body);
    }
}
