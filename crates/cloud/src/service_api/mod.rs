//! The HTTPS service API: registry, twins, direct methods, queries.
//!
//! | Request | Rights | Answer |
//! |---|---|---|
//! | `GET /devices[?top=]`, `GET /devices/{device}` | RegistryRead | identities with keys |
//! | `PUT /devices/{device}` | RegistryWrite | create; update with `If-Match` |
//! | `DELETE /devices/{device}` | RegistryWrite | 204 |
//! | `POST /devices` | RegistryWrite | bulk of up to 100 changes |
//! | `…/devices/{device}/modules[/{module}]` | the same, or the device's own credential | modules |
//! | `GET /statistics/devices`, `/statistics/service` | RegistryRead | counts |
//! | `DELETE /devices/{device}/commands` | ServiceConnect | purges the cloud-to-device queue |
//! | `GET, PATCH, PUT /twins/{device}[/modules/{module}]` | ServiceConnect | the whole twin |
//! | `POST /twins/{device}[/modules/{module}]/methods` | ServiceConnect | the device's answer |
//! | `POST /devices/query` | ServiceConnect | items, paged by headers |
//! | `POST /devices/{device}/applyConfigurationContent` | RegistryWrite | 204; sets the modules of an edge device |
//! | `…/devices/{device}/modules/$edgeHub/devicesAndModulesInDeviceScope` and its kin | `$edgeHub`'s own credential | identities in scope, with keys |
//!
//! Any `api-version` is taken. Every route checks its rights through the core's `auth`; none decides alone.

mod bulk;
mod configuration;
mod devices;
#[cfg(test)]
mod edge_tests;
mod guard;
mod input;
mod methods;
mod modules;
mod query;
mod scope;
#[cfg(test)]
mod tests;
mod twins;

use crate::registry::Registry;
use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, post};
use ironbrook_hub::Hub;

/// Largest body of one request: a bulk of 100 devices with full twins.
const BODY_MAX: usize = 8 * 1024 * 1024;

/// What the routes work on.
#[derive(Clone)]
struct Api {
    registry: Registry,
    hub: Hub,
}

/// The routes. Path parameters are named `{device}` and `{module}`, so that the device-side API can be merged in.
pub fn router(registry: Registry, hub: Hub) -> axum::Router {
    let device = get(devices::get_device).put(devices::put_device).delete(devices::delete_device);
    let module = get(modules::get_module).put(modules::put_module).delete(modules::delete_module);
    let twin = get(twins::get_twin).patch(twins::patch_twin).put(twins::put_twin);
    // rule HTTP-10: the Node SDK lists with a slash at the end.
    let list = get(devices::list_devices).post(bulk::apply);
    axum::Router::new()
        .route("/devices", list.clone())
        .route("/devices/", list)
        .route("/devices/query", post(query::run))
        .route("/devices/{device}", device)
        .route("/devices/{device}/commands", delete(devices::purge))
        .route("/devices/{device}/modules", get(modules::list_modules))
        .route("/devices/{device}/modules/{module}", module)
        .route("/statistics/devices", get(devices::device_statistics))
        .route("/statistics/service", get(devices::service_statistics))
        .route("/twins/{device}", twin.clone())
        .route("/twins/{device}/modules/{module}", twin)
        .route("/twins/{device}/methods", post(methods::invoke))
        .route("/twins/{device}/modules/{module}/methods", post(methods::invoke))
        .route("/devices/{device}/applyConfigurationContent", post(configuration::apply))
        .route(&scoped("devicesAndModulesInDeviceScope"), get(scope::list))
        .route(&scoped("deviceAndModuleInDeviceScope"), get(scope::one))
        .route(&scoped("devicesAndModulesInTargetDeviceScope"), post(scope::list_target))
        .route(&scoped("getDeviceAndModuleOnBehalfOf"), post(scope::one_on_behalf))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(Api { registry, hub })
}

/// The path of a call that an edge device's hub makes about its scope.
fn scoped(call: &str) -> String {
    format!("/devices/{{device}}/modules/{{module}}/{call}")
}
