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
//! | `POST /devices/{device}/applyConfigurationContent` | RegistryWrite or ServiceConnect | 204; sets the modules of an edge device |
//! | `GET /configurations[?top=]`, `GET /configurations/{id}`, `POST /configurations/testQueries` | RegistryRead or ServiceConnect | with results of metrics |
//! | `PUT, DELETE /configurations/{id}` | RegistryWrite or ServiceConnect | create; change with `If-Match` |
//! | `POST /jobs/create`, `DELETE /jobs/{id}` | RegistryWrite | import and export of all identities |
//! | `GET /jobs`, `GET /jobs/{id}` | RegistryRead | imports and exports |
//! | `PUT, GET /jobs/v2/{id}`, `POST /jobs/v2/{id}/cancel`, `GET /jobs/v2/query` | ServiceConnect | jobs over many devices |
//! | `GET /messages/serviceBound/feedback`, `DELETE …/{lock}`, `POST …/{lock}/abandon` | ServiceConnect | feedback about messages to devices |
//! | `…/devices/{device}/modules/$edgeHub/devicesAndModulesInDeviceScope` and its kin | `$edgeHub`'s own credential | identities in scope, with keys |
//!
//! Any `api-version` is taken. Routes are added through [`route::Routes`], which asks for the right a caller needs and puts the
//! guard in front of the handler; the guard asks the core's `auth`.

#[cfg(test)]
pub(crate) mod access_tests;
mod bulk;
mod configuration;
mod configurations;
#[cfg(test)]
mod configurations_tests;
mod devices;
#[cfg(test)]
mod edge_tests;
mod feedback;
#[cfg(test)]
mod feedback_tests;
mod guard;
mod input;
mod jobs;
#[cfg(test)]
mod jobs_tests;
mod methods;
mod modules;
mod query;
mod route;
mod scope;
#[cfg(test)]
pub(crate) mod tests;
mod transfers;
#[cfg(test)]
mod transfers_tests;
mod twins;

use crate::registry::Registry;
use ironbrook_hub::Hub;
use ironbrook_model::Permissions;
use route::{Access, Routes};

/// What the routes work on.
#[derive(Clone)]
struct Api {
    registry: Registry,
    hub: Hub,
}

/// The service API of a hub.
pub fn router(registry: Registry, hub: Hub) -> axum::Router {
    routes(Api { registry, hub }).into_router()
}

/// The routes. Path parameters are named `{device}` and `{module}`, so that the device-side API can be merged in.
fn routes(api: Api) -> Routes {
    let read = Access::policy(Permissions::REGISTRY_READ);
    let write = Access::policy(Permissions::REGISTRY_WRITE);
    let service = Access::policy(Permissions::SERVICE_CONNECT);
    let methods = service.method_errors();
    let modules_read = Access::policy_or_device(Permissions::REGISTRY_READ).module_errors();
    let modules_write = Access::policy_or_device(Permissions::REGISTRY_WRITE).module_errors();
    // The documents name one right in one place and the other in another.
    let configure = Access::any_of(Permissions::REGISTRY_WRITE.union(Permissions::SERVICE_CONNECT));
    let read_configured = Access::any_of(Permissions::REGISTRY_READ.union(Permissions::SERVICE_CONNECT));
    let gateway = Access::gateway();
    Routes::new(api)
        .get("/devices", read, devices::list_devices)
        .post("/devices", write, bulk::apply)
        // rule HTTP-10: the Node SDK lists with a slash at the end.
        .get("/devices/", read, devices::list_devices)
        .post("/devices/", write, bulk::apply)
        .post("/devices/query", service, query::run)
        .get("/devices/{device}", read, devices::get_device)
        .put("/devices/{device}", write, devices::put_device)
        .delete("/devices/{device}", write, devices::delete_device)
        .delete("/devices/{device}/commands", service, devices::purge)
        .get("/devices/{device}/modules", modules_read, modules::list_modules)
        .get("/devices/{device}/modules/{module}", modules_read, modules::get_module)
        .put("/devices/{device}/modules/{module}", modules_write, modules::put_module)
        .delete("/devices/{device}/modules/{module}", modules_write, modules::delete_module)
        .get("/statistics/devices", read, devices::device_statistics)
        .get("/statistics/service", read, devices::service_statistics)
        .get("/twins/{device}", service, twins::get_twin)
        .patch("/twins/{device}", service, twins::patch_twin)
        .put("/twins/{device}", service, twins::put_twin)
        .get("/twins/{device}/modules/{module}", service, twins::get_twin)
        .patch("/twins/{device}/modules/{module}", service, twins::patch_twin)
        .put("/twins/{device}/modules/{module}", service, twins::put_twin)
        .post("/twins/{device}/methods", methods, methods::invoke)
        .post("/twins/{device}/modules/{module}/methods", methods, methods::invoke)
        .post("/devices/{device}/applyConfigurationContent", configure, configuration::apply)
        .get("/configurations", read_configured, configurations::list)
        .get("/configurations/", read_configured, configurations::list)
        .post("/configurations/testQueries", read_configured, configurations::test_queries)
        .get("/configurations/{id}", read_configured, configurations::get)
        .put("/configurations/{id}", configure, configurations::put)
        .delete("/configurations/{id}", configure, configurations::delete)
        .get("/jobs", read, transfers::list)
        .get("/jobs/", read, transfers::list)
        .post("/jobs/create", write, transfers::create)
        .get("/jobs/{id}", read, transfers::get)
        .delete("/jobs/{id}", write, transfers::cancel)
        .get("/jobs/v2/query", service, jobs::list)
        .get("/jobs/v2/{id}", service, jobs::get)
        .put("/jobs/v2/{id}", service, jobs::put)
        .post("/jobs/v2/{id}/cancel", service, jobs::cancel)
        .get("/messages/serviceBound/feedback", service, feedback::receive)
        .delete("/messages/serviceBound/feedback/{lock}", service, feedback::complete)
        .post("/messages/serviceBound/feedback/{lock}/abandon", service, feedback::abandon)
        .get(&scoped("devicesAndModulesInDeviceScope"), gateway, scope::list)
        .get(&scoped("deviceAndModuleInDeviceScope"), gateway, scope::one)
        .post(&scoped("devicesAndModulesInTargetDeviceScope"), gateway, scope::list_target)
        .post(&scoped("getDeviceAndModuleOnBehalfOf"), gateway, scope::one_on_behalf)
}

/// The path of a call that an edge device's hub makes about its scope.
fn scoped(call: &str) -> String {
    format!("/devices/{{device}}/modules/{{module}}/{call}")
}
