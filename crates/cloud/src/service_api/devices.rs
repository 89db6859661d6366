//! Device identities, statistics, purge.

use super::Api;
use super::input::{Target, answer, identity_json, if_match, ok, ok_with_etag};
use super::query::{continued, place};
use crate::registry::{IfMatch, Stored, Wish};
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use ironbrook_hub::seams::Inbox as _;
use ironbrook_model::{ErrorCode, Identity, Refusal};
use serde::Deserialize;
use serde_json::{Value, json};

/// Devices in one list at most.
const LIST_MAX: usize = 1000;

/// `?top=`
#[derive(Deserialize)]
pub(super) struct Top {
    top: Option<usize>,
}

/// `GET /devices[?top=]`: up to 1000 devices, by id. Where there are more, `x-ms-continuation` brings the next ones, as with
/// queries; clients that do not know it see the first.
pub(super) async fn list_devices(
    State(api): State<Api>,
    headers: HeaderMap,
    Query(Top { top }): Query<Top>,
) -> Response {
    let list = async {
        let most = top.unwrap_or(LIST_MAX).min(LIST_MAX);
        let (devices, next) = api.registry.devices_page(place(&headers)?, most).await?;
        let view = |(identity, stored): &(_, _)| api.registry.identity_view(identity, stored);
        continued(ok(&Value::Array(devices.iter().map(view).collect())), next)
    };
    answer(list.await)
}

/// `GET /devices/{device}`: the device with its keys. 404001.
pub(super) async fn get_device(State(api): State<Api>, Target(device): Target) -> Response {
    let get = async {
        let stored = api.registry.get(device.clone()).await?;
        Ok(api.identity_answer(&device, &stored))
    };
    answer(get.await)
}

/// `PUT /devices/{device}`: creates (409001 if it exists) or, with `If-Match`, updates (404001, 412001).
pub(super) async fn put_device(
    State(api): State<Api>,
    Target(device): Target,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let put = async { api.put(device, identity_json(&body)?, if_match(&headers)).await };
    answer(put.await)
}

/// `DELETE /devices/{device}`: with its modules and twins. 204, 404001, 412001.
pub(super) async fn delete_device(
    State(api): State<Api>,
    Target(device): Target,
    headers: HeaderMap,
) -> Response {
    let delete = async {
        api.registry.delete(device, if_match(&headers).unwrap_or(IfMatch::Any)).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    answer(delete.await)
}

/// `DELETE /devices/{device}/commands`: how many waiting messages were removed.
pub(super) async fn purge(State(api): State<Api>, Target(device): Target) -> Response {
    let purge = async {
        let purged = api.registry.purge(&device).await?;
        Ok(ok(&json!({
            "totalMessagesPurged": purged, "deviceId": device.device.as_str(), "moduleId": null,
        })))
    };
    answer(purge.await)
}

/// `GET /statistics/devices`
pub(super) async fn device_statistics(State(api): State<Api>) -> Response {
    let count = async {
        let counts = api.registry.counts().await?;
        Ok(ok(&json!({
            "totalDeviceCount": counts.total,
            "enabledDeviceCount": counts.enabled,
            "disabledDeviceCount": counts.total - counts.enabled,
        })))
    };
    answer(count.await)
}

/// `GET /statistics/service`
pub(super) async fn service_statistics(State(api): State<Api>) -> Response {
    let count = async { Ok(ok(&json!({ "connectedDeviceCount": api.hub.seams().fabric.connected() }))) };
    answer(count.await)
}

impl Api {
    /// An identity as JSON with its etag.
    pub(super) fn identity_answer(&self, identity: &Identity, stored: &Stored) -> Response {
        ok_with_etag(&self.registry.identity_view(identity, stored))
    }

    /// Creates or, with a precondition, updates. rule REG-05
    pub(super) async fn put(
        &self,
        identity: Identity,
        wish: Wish,
        if_match: Option<IfMatch>,
    ) -> Result<Response, Refusal> {
        check_id(wish.device_id.as_deref(), Some(identity.device.as_str()), "deviceId")?;
        check_id(wish.module_id.as_deref(), identity.module.as_ref().map(|m| m.as_str()), "moduleId")?;
        let stored = match if_match {
            None => self.registry.create(identity.clone(), wish).await?,
            Some(if_match) => self.registry.update(identity.clone(), wish, if_match).await?,
        };
        Ok(self.identity_answer(&identity, &stored))
    }
}

fn check_id(given: Option<&str>, path: Option<&str>, name: &str) -> Result<(), Refusal> {
    match given {
        Some(given) if path != Some(given) => Err(Refusal::new(
            ErrorCode::ArgumentInvalid,
            format!("{name} '{given}' in the body is not the one in the path"),
        )),
        _ => Ok(()),
    }
}
