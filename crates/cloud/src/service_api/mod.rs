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
//! | `GET, PATCH /digitaltwins/{device}`, `POST …/commands/{command}`, `POST …/components/{component}/commands/{command}` | ServiceConnect | the twin by the names of its model; 202; what the device answers |
//! | `POST /devices/query` | ServiceConnect | items, paged by headers |
//! | `POST /devices/{device}/applyConfigurationContent` | RegistryWrite or ServiceConnect | 204; sets the modules of an edge device |
//! | `GET /configurations[?top=]`, `GET /configurations/{id}`, `POST /configurations/testQueries` | RegistryRead or ServiceConnect | with results of metrics |
//! | `PUT, DELETE /configurations/{id}` | RegistryWrite or ServiceConnect | create; change with `If-Match` |
//! | `POST /jobs/create`, `DELETE /jobs/{id}` | RegistryWrite | import and export of all identities |
//! | `GET /jobs`, `GET /jobs/{id}` | RegistryRead | imports and exports |
//! | `PUT, GET /jobs/v2/{id}`, `POST /jobs/v2/{id}/cancel`, `GET /jobs/v2/query` | ServiceConnect | jobs over many devices |
//! | `GET /streamingjobs`, `GET, PUT, DELETE /streamingjobs/{id}`, `POST …/start`, `POST …/stop` | ServiceConnect | see [`Streaming`](crate::streaming::Streaming) |
//! | `GET /messages/serviceBound/feedback`, `DELETE …/{lock}`, `POST …/{lock}/abandon` | ServiceConnect | feedback about messages to devices |
//! | `GET /refusals`, `GET /devices/{device}/refusals` | RegistryRead | why they were not let in |
//! | `GET /certificates[/{name}]` | RegistryRead | authorities of devices' certificates |
//! | `PUT, DELETE /certificates/{name}`, `POST …/generateVerificationCode`, `POST …/verify` | RegistryWrite | the authority; 204 |
//! | `…/enrollments…`, `…/enrollmentGroups…` | EnrollmentRead, EnrollmentWrite | enrolments of the provisioning service |
//! | `…/registrations/{id}…` | RegistrationStatusRead, RegistrationStatusWrite | what became of devices that registered |
//! | `/{scope}/registrations/{id}…` | a credential of the enrolment | registers, and tells how it goes |
//! | `/routing`, `/routingEndpointsHealth`, `/routing/…` | ServiceConnect | see [`Routing`] |
//! | `…/devices/{device}/modules/$edgeHub/devicesAndModulesInDeviceScope` and its kin | `$edgeHub`'s own credential | identities in scope, with keys |
//!
//! Any `api-version` is taken. Routes are added through [`route::Routes`], which asks for the right a caller needs and puts the
//! guard in front of the handler; the guard asks the core's `auth`.

#[cfg(test)]
pub(crate) mod access_tests;
mod bulk;
mod certificates;
#[cfg(test)]
mod certificates_tests;
mod configuration;
mod configurations;
#[cfg(test)]
mod configurations_tests;
mod devices;
mod digital_twins;
#[cfg(test)]
mod edge_tests;
#[cfg(test)]
mod events_tests;
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
mod on_behalf;
mod provisioning;
mod query;
mod refusals;
#[cfg(test)]
mod refusals_tests;
mod route;
mod routing;
mod scope;
mod streaming;
#[cfg(test)]
mod streaming_tests;
#[cfg(test)]
pub(crate) mod tests;
mod transfers;
#[cfg(test)]
mod transfers_tests;
mod twins;

pub use routing::Routing;

use crate::provisioning::ProvisioningService;
use crate::registry::Registry;
use ironbrook_hub::Hub;
use ironbrook_hub::throttle::Throttle;
use ironbrook_model::Permissions;
use route::{Access, Routes};

/// What the routes work on.
#[derive(Clone)]
struct Api {
    registry: Registry,
    hub: Hub,
    provisioning: ProvisioningService,
}

/// The service API of a hub.
pub fn router(registry: Registry, hub: Hub, provisioning: ProvisioningService) -> axum::Router {
    provisioning_routes(routes(Routes::new(Api { registry, hub, provisioning }))).into_router()
}

/// The routes. Path parameters are named `{device}` and `{module}`, so that the device-side API can be merged in.
fn routes(routes: Routes) -> Routes {
    let read = Access::policy(Permissions::REGISTRY_READ);
    let write = Access::policy(Permissions::REGISTRY_WRITE);
    let service = Access::policy(Permissions::SERVICE_CONNECT);
    let (methods, commands) = (service.method_errors(), service.module_errors());
    let modules_read = Access::policy_or_device(Permissions::REGISTRY_READ).module_errors();
    let modules_write = Access::policy_or_device(Permissions::REGISTRY_WRITE).module_errors();
    // Each kind of operation has a throttle of its own (rule HUB-20).
    let (read_identity, write_identity) =
        (read.throttled(Throttle::Identities), write.throttled(Throttle::Identities));
    let modules_read = modules_read.throttled(Throttle::Identities);
    let modules_write = modules_write.throttled(Throttle::Identities);
    let (read_twin, write_twin) =
        (service.throttled(Throttle::TwinReads), service.throttled(Throttle::TwinUpdates));
    // The documents name one right in one place and the other in another.
    let configure = Access::any_of(Permissions::REGISTRY_WRITE.union(Permissions::SERVICE_CONNECT))
        .throttled(Throttle::Configurations);
    let read_configured = Access::any_of(Permissions::REGISTRY_READ.union(Permissions::SERVICE_CONNECT))
        .throttled(Throttle::Configurations);
    let (read_jobs, write_jobs) = (read.throttled(Throttle::Jobs), write.throttled(Throttle::Jobs));
    let jobs_v2 = service.throttled(Throttle::Jobs);
    let gateway = Access::gateway();
    routes
        .get("/devices", read_identity, devices::list_devices)
        .post("/devices", write_identity, bulk::apply)
        // rule HTTP-10: the Node SDK lists with a slash at the end.
        .get("/devices/", read_identity, devices::list_devices)
        .post("/devices/", write_identity, bulk::apply)
        .post("/devices/query", service.throttled(Throttle::Queries), query::run)
        .get("/devices/{device}", read_identity, devices::get_device)
        .put("/devices/{device}", write_identity, devices::put_device)
        .delete("/devices/{device}", write_identity, devices::delete_device)
        .delete("/devices/{device}/commands", service, devices::purge)
        .get("/devices/{device}/modules", modules_read, modules::list_modules)
        .get("/devices/{device}/modules/{module}", modules_read, modules::get_module)
        .put("/devices/{device}/modules/{module}", modules_write, modules::put_module)
        .delete("/devices/{device}/modules/{module}", modules_write, modules::delete_module)
        .get("/statistics/devices", read, devices::device_statistics)
        .get("/statistics/service", read, devices::service_statistics)
        .get("/twins/{device}", read_twin, twins::get_twin)
        .patch("/twins/{device}", write_twin, twins::patch_twin)
        .put("/twins/{device}", write_twin, twins::put_twin)
        .get("/twins/{device}/modules/{module}", read_twin, twins::get_twin)
        .patch("/twins/{device}/modules/{module}", write_twin, twins::patch_twin)
        .put("/twins/{device}/modules/{module}", write_twin, twins::put_twin)
        .post("/twins/{device}/methods", methods, methods::invoke)
        .post("/twins/{device}/modules/{module}/methods", methods, methods::invoke)
        .get("/digitaltwins/{device}", read_twin.module_errors(), digital_twins::get)
        .patch("/digitaltwins/{device}", write_twin.module_errors(), digital_twins::patch)
        .post("/digitaltwins/{device}/commands/{command}", commands, digital_twins::invoke)
        .post(
            "/digitaltwins/{device}/components/{component}/commands/{command}",
            commands,
            digital_twins::invoke,
        )
        .post("/devices/{device}/applyConfigurationContent", configure, configuration::apply)
        .get("/configurations", read_configured, configurations::list)
        .get("/configurations/", read_configured, configurations::list)
        .post("/configurations/testQueries", read_configured, configurations::test_queries)
        .get("/configurations/{id}", read_configured, configurations::get)
        .put("/configurations/{id}", configure, configurations::put)
        .delete("/configurations/{id}", configure, configurations::delete)
        .get("/jobs", read_jobs, transfers::list)
        .get("/jobs/", read_jobs, transfers::list)
        .post("/jobs/create", write_jobs, transfers::create)
        .get("/jobs/{id}", read_jobs, transfers::get)
        .delete("/jobs/{id}", write_jobs, transfers::cancel)
        .get("/jobs/v2/query", jobs_v2, jobs::list)
        .get("/jobs/v2/{id}", jobs_v2, jobs::get)
        .put("/jobs/v2/{id}", jobs_v2, jobs::put)
        .post("/jobs/v2/{id}/cancel", jobs_v2, jobs::cancel)
        .get("/streamingjobs", jobs_v2, streaming::list)
        .get("/streamingjobs/{id}", jobs_v2, streaming::get)
        .put("/streamingjobs/{id}", jobs_v2, streaming::put)
        .delete("/streamingjobs/{id}", jobs_v2, streaming::delete)
        .post("/streamingjobs/{id}/start", jobs_v2, streaming::start)
        .post("/streamingjobs/{id}/stop", jobs_v2, streaming::stop)
        .get("/messages/serviceBound/feedback", service, feedback::receive)
        .delete("/messages/serviceBound/feedback/{lock}", service, feedback::complete)
        .post("/messages/serviceBound/feedback/{lock}/abandon", service, feedback::abandon)
        .get("/refusals", read, refusals::all)
        .get("/devices/{device}/refusals", read, refusals::of_device)
        .get("/certificates", read, certificates::list)
        .get("/certificates/{name}", read, certificates::get)
        .put("/certificates/{name}", write, certificates::put)
        .delete("/certificates/{name}", write, certificates::delete)
        .post("/certificates/{name}/generateVerificationCode", write, certificates::generate_code)
        .post("/certificates/{name}/verify", write, certificates::verify)
        .get("/routing", service, routing::show)
        .get("/routingEndpointsHealth", service, routing::health)
        .post("/routing/routes/$testall", service, routing::test::all)
        .post("/routing/routes/$testnew", service, routing::test::new)
        .get("/routing/messages/{id}", service, routing::why::why)
        .get(&scoped("devicesAndModulesInDeviceScope"), gateway, scope::list)
        .get(&scoped("deviceAndModuleInDeviceScope"), gateway, scope::one)
        .post(&scoped("devicesAndModulesInTargetDeviceScope"), gateway, scope::list_target)
        .post(&scoped("getDeviceAndModuleOnBehalfOf"), gateway, scope::one_on_behalf)
        .put(&scoped("putModuleOnBehalfOf"), gateway, on_behalf::put)
        .post(&scoped("putModuleOnBehalfOf"), gateway, on_behalf::put)
        .post(&scoped("getModuleOnBehalfOf"), gateway, on_behalf::get)
        .post(&scoped("getModulesOnTargetDevice"), gateway, on_behalf::list)
        .post(&scoped("deleteModuleOnBehalfOf"), gateway, on_behalf::delete)
}

/// The routes of the provisioning service: of operators, and of devices that want to be provisioned.
fn provisioning_routes(routes: Routes) -> Routes {
    let read = Access::policy(Permissions::ENROLLMENT_READ).module_errors();
    let write = Access::policy(Permissions::ENROLLMENT_WRITE).module_errors();
    let states = Access::policy(Permissions::REGISTRATION_STATUS_READ).module_errors();
    let forget = Access::policy(Permissions::REGISTRATION_STATUS_WRITE).module_errors();
    let device = Access::registrant();
    let mut routes = routes
        .post("/enrollments", write, provisioning::apply_bulk)
        // The Node SDK writes the slash.
        .post("/enrollments/", write, provisioning::apply_bulk)
        .post("/enrollments/query", read, provisioning::query_individual)
        .get("/enrollments/{id}", read, provisioning::get_individual)
        .put("/enrollments/{id}", write, provisioning::put_individual)
        .delete("/enrollments/{id}", write, provisioning::delete_individual)
        // Keys are shown here, so the right to write is asked for.
        .post("/enrollments/{id}/attestationmechanism", write, provisioning::attestation_individual)
        .get("/registrations/{id}", states, provisioning::get_registration)
        .delete("/registrations/{id}", forget, provisioning::delete_registration)
        .post("/registrations/{id}/query", states, provisioning::query_registrations)
        .put("/{scope}/registrations/{id}/register", device, provisioning::register)
        .get("/{scope}/registrations/{id}/operations/{operation}", device, provisioning::operation)
        .post("/{scope}/registrations/{id}", device, provisioning::lookup);
    // The Node SDK writes groups in both ways.
    for groups in ["/enrollmentGroups", "/enrollmentgroups"] {
        let one = format!("{groups}/{{id}}");
        routes = routes
            .post(&format!("{groups}/query"), read, provisioning::query_groups)
            .get(&one, read, provisioning::get_group)
            .put(&one, write, provisioning::put_group)
            .delete(&one, write, provisioning::delete_group)
            .post(&format!("{one}/attestationmechanism"), write, provisioning::attestation_group);
    }
    routes
}

/// The path of a call that an edge device's hub makes about its scope.
fn scoped(call: &str) -> String {
    format!("/devices/{{device}}/modules/{{module}}/{call}")
}
