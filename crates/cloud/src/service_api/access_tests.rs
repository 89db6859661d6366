//! Who may do what: one table over all routes, driven through the real router with a policy for each right.

use super::route::{Caller, Routes};
use super::tests::{Hub, LATER, hub};
use super::{Api, provisioning_routes, routes};
use crate::registry::{SeedFile, permissions_text};
use http::StatusCode;
use ironbrook_model::{Permissions, SharedAccessKey};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The rights, each with the name of a policy that has it and no other.
pub(crate) const SINGLE: [(&str, Permissions); 8] = [
    ("only-registry-read", Permissions::REGISTRY_READ),
    ("only-registry-write", Permissions::REGISTRY_WRITE),
    ("only-service-connect", Permissions::SERVICE_CONNECT),
    ("only-device-connect", Permissions::DEVICE_CONNECT),
    ("only-enrollment-read", Permissions::ENROLLMENT_READ),
    ("only-enrollment-write", Permissions::ENROLLMENT_WRITE),
    ("only-registration-status-read", Permissions::REGISTRATION_STATUS_READ),
    ("only-registration-status-write", Permissions::REGISTRATION_STATUS_WRITE),
];

const READ: Caller = Caller::Policy(Permissions::REGISTRY_READ);
const WRITE: Caller = Caller::Policy(Permissions::REGISTRY_WRITE);
const SERVICE: Caller = Caller::Policy(Permissions::SERVICE_CONNECT);
const CONFIGURE: Caller = Caller::AnyOf(Permissions::REGISTRY_WRITE.union(Permissions::SERVICE_CONNECT));
const READ_CONFIGURED: Caller = Caller::AnyOf(Permissions::REGISTRY_READ.union(Permissions::SERVICE_CONNECT));
const ENROLLMENT_READ: Caller = Caller::Policy(Permissions::ENROLLMENT_READ);
const ENROLLMENT_WRITE: Caller = Caller::Policy(Permissions::ENROLLMENT_WRITE);
const STATUS_READ: Caller = Caller::Policy(Permissions::REGISTRATION_STATUS_READ);
const STATUS_WRITE: Caller = Caller::Policy(Permissions::REGISTRATION_STATUS_WRITE);
const READ_OR_DEVICE: Caller = Caller::PolicyOrDevice(Permissions::REGISTRY_READ);
const WRITE_OR_DEVICE: Caller = Caller::PolicyOrDevice(Permissions::REGISTRY_WRITE);

const SCOPE: &str = "/devices/{device}/modules/{module}/devicesAndModulesInDeviceScope";
const IN_SCOPE: &str = "/devices/{device}/modules/{module}/deviceAndModuleInDeviceScope";
const TARGET_SCOPE: &str = "/devices/{device}/modules/{module}/devicesAndModulesInTargetDeviceScope";
const ON_BEHALF: &str = "/devices/{device}/modules/{module}/getDeviceAndModuleOnBehalfOf";
const PUT_MODULE: &str = "/devices/{device}/modules/{module}/putModuleOnBehalfOf";

/// Every route and who may call it, as Azure's documentation has it ("Control access to IoT Hub", table of permissions).
/// A route that is not here fails the test.
const TABLE: &[(&str, &str, Caller)] = &[
    ("GET", "/devices", READ),
    ("GET", "/devices/", READ),
    ("POST", "/devices", WRITE),
    ("POST", "/devices/", WRITE),
    ("POST", "/devices/query", SERVICE),
    ("GET", "/devices/{device}", READ),
    ("PUT", "/devices/{device}", WRITE),
    ("DELETE", "/devices/{device}", WRITE),
    ("DELETE", "/devices/{device}/commands", SERVICE),
    ("GET", "/devices/{device}/modules", READ_OR_DEVICE),
    ("GET", "/devices/{device}/modules/{module}", READ_OR_DEVICE),
    ("PUT", "/devices/{device}/modules/{module}", WRITE_OR_DEVICE),
    ("DELETE", "/devices/{device}/modules/{module}", WRITE_OR_DEVICE),
    ("GET", "/statistics/devices", READ),
    ("GET", "/statistics/service", READ),
    ("GET", "/twins/{device}", SERVICE),
    ("PATCH", "/twins/{device}", SERVICE),
    ("PUT", "/twins/{device}", SERVICE),
    ("GET", "/twins/{device}/modules/{module}", SERVICE),
    ("PATCH", "/twins/{device}/modules/{module}", SERVICE),
    ("PUT", "/twins/{device}/modules/{module}", SERVICE),
    ("POST", "/twins/{device}/methods", SERVICE),
    ("POST", "/twins/{device}/modules/{module}/methods", SERVICE),
    ("GET", "/digitaltwins/{device}", SERVICE),
    ("PATCH", "/digitaltwins/{device}", SERVICE),
    ("POST", "/digitaltwins/{device}/commands/{command}", SERVICE),
    ("POST", "/digitaltwins/{device}/components/{component}/commands/{command}", SERVICE),
    ("POST", "/devices/{device}/applyConfigurationContent", CONFIGURE),
    ("GET", "/configurations", READ_CONFIGURED),
    ("GET", "/configurations/", READ_CONFIGURED),
    ("POST", "/configurations/testQueries", READ_CONFIGURED),
    ("GET", "/configurations/{id}", READ_CONFIGURED),
    ("PUT", "/configurations/{id}", CONFIGURE),
    ("DELETE", "/configurations/{id}", CONFIGURE),
    ("GET", "/jobs", READ),
    ("GET", "/jobs/", READ),
    ("POST", "/jobs/create", WRITE),
    ("GET", "/jobs/{id}", READ),
    ("DELETE", "/jobs/{id}", WRITE),
    ("GET", "/jobs/v2/query", SERVICE),
    ("GET", "/jobs/v2/{id}", SERVICE),
    ("PUT", "/jobs/v2/{id}", SERVICE),
    ("POST", "/jobs/v2/{id}/cancel", SERVICE),
    ("GET", "/streamingjobs", SERVICE),
    ("GET", "/streamingjobs/{id}", SERVICE),
    ("PUT", "/streamingjobs/{id}", SERVICE),
    ("DELETE", "/streamingjobs/{id}", SERVICE),
    ("POST", "/streamingjobs/{id}/start", SERVICE),
    ("POST", "/streamingjobs/{id}/stop", SERVICE),
    ("GET", "/messages/serviceBound/feedback", SERVICE),
    ("DELETE", "/messages/serviceBound/feedback/{lock}", SERVICE),
    ("POST", "/messages/serviceBound/feedback/{lock}/abandon", SERVICE),
    ("GET", "/refusals", READ),
    ("GET", "/devices/{device}/refusals", READ),
    ("GET", "/certificates", READ),
    ("GET", "/certificates/{name}", READ),
    ("PUT", "/certificates/{name}", WRITE),
    ("DELETE", "/certificates/{name}", WRITE),
    ("POST", "/certificates/{name}/generateVerificationCode", WRITE),
    ("POST", "/certificates/{name}/verify", WRITE),
    ("GET", "/routing", SERVICE),
    ("GET", "/routingEndpointsHealth", SERVICE),
    ("POST", "/routing/routes/$testall", SERVICE),
    ("POST", "/routing/routes/$testnew", SERVICE),
    ("GET", "/routing/messages/{id}", SERVICE),
    ("GET", SCOPE, Caller::Gateway),
    ("GET", IN_SCOPE, Caller::Gateway),
    ("POST", TARGET_SCOPE, Caller::Gateway),
    ("POST", ON_BEHALF, Caller::Gateway),
    ("PUT", PUT_MODULE, Caller::Gateway),
    ("POST", PUT_MODULE, Caller::Gateway),
    ("POST", "/devices/{device}/modules/{module}/getModuleOnBehalfOf", Caller::Gateway),
    ("POST", "/devices/{device}/modules/{module}/getModulesOnTargetDevice", Caller::Gateway),
    ("POST", "/devices/{device}/modules/{module}/deleteModuleOnBehalfOf", Caller::Gateway),
    ("POST", "/enrollments", ENROLLMENT_WRITE),
    ("POST", "/enrollments/", ENROLLMENT_WRITE),
    ("POST", "/enrollments/query", ENROLLMENT_READ),
    ("GET", "/enrollments/{id}", ENROLLMENT_READ),
    ("PUT", "/enrollments/{id}", ENROLLMENT_WRITE),
    ("DELETE", "/enrollments/{id}", ENROLLMENT_WRITE),
    ("POST", "/enrollments/{id}/attestationmechanism", ENROLLMENT_WRITE),
    ("POST", "/enrollmentGroups/query", ENROLLMENT_READ),
    ("GET", "/enrollmentGroups/{id}", ENROLLMENT_READ),
    ("PUT", "/enrollmentGroups/{id}", ENROLLMENT_WRITE),
    ("DELETE", "/enrollmentGroups/{id}", ENROLLMENT_WRITE),
    ("POST", "/enrollmentGroups/{id}/attestationmechanism", ENROLLMENT_WRITE),
    ("POST", "/enrollmentgroups/query", ENROLLMENT_READ),
    ("GET", "/enrollmentgroups/{id}", ENROLLMENT_READ),
    ("PUT", "/enrollmentgroups/{id}", ENROLLMENT_WRITE),
    ("DELETE", "/enrollmentgroups/{id}", ENROLLMENT_WRITE),
    ("POST", "/enrollmentgroups/{id}/attestationmechanism", ENROLLMENT_WRITE),
    ("GET", "/registrations/{id}", STATUS_READ),
    ("DELETE", "/registrations/{id}", STATUS_WRITE),
    ("POST", "/registrations/{id}/query", STATUS_READ),
    ("PUT", "/{scope}/registrations/{id}/register", Caller::Registrant),
    ("GET", "/{scope}/registrations/{id}/operations/{operation}", Caller::Registrant),
    ("POST", "/{scope}/registrations/{id}", Caller::Registrant),
];

pub(crate) async fn with_single_rights() -> Hub {
    let hub = hub().await;
    let policies: Vec<Value> = SINGLE
        .iter()
        .map(|(name, right)| json!({ "name": name, "permissions": permissions_text(*right) }))
        .collect();
    let seed = SeedFile::parse(&json!({ "policies": policies }).to_string()).unwrap();
    hub.cloud.registry().seed(&seed).await.unwrap();
    hub
}

/// The path for device `d`, with every other parameter filled in.
fn filled(path: &str) -> String {
    path.split('/')
        .map(|part| match part {
            "{device}" => "d",
            part if part.starts_with('{') => "x",
            part => part,
        })
        .collect::<Vec<_>>()
        .join("/")
}

// AUTH-20
#[tokio::test]
async fn auth_20_every_route_is_in_the_table_and_the_table_has_no_other() {
    let hub = hub().await;
    let api = Api {
        registry: hub.cloud.registry().clone(),
        hub: hub.cloud.hub().clone(),
        provisioning: hub.cloud.provisioning_service().clone(),
    };
    let routes = provisioning_routes(routes(Routes::new(api)));
    let routes: BTreeSet<_> = routes
        .entries()
        .iter()
        .map(|entry| format!("{} {} {:?}", entry.method, entry.path, entry.caller))
        .collect();
    let table: BTreeSet<_> =
        TABLE.iter().map(|(method, path, caller)| format!("{method} {path} {caller:?}")).collect();
    let without: Vec<_> = routes.difference(&table).collect();
    let no_more: Vec<_> = table.difference(&routes).collect();
    assert!(without.is_empty(), "routes without a line in the table: {without:#?}");
    assert!(no_more.is_empty(), "lines of the table without such a route: {no_more:#?}");
}

// AUTH-20
#[tokio::test]
async fn auth_20_every_route_lets_in_who_has_its_right_and_nobody_else() {
    let hub = with_single_rights().await;
    for (method, path, caller) in TABLE {
        let path = filled(path);
        let bare = hub.send(None, method, &path, &[], &Value::Null).await;
        assert_eq!(bare.status, StatusCode::UNAUTHORIZED, "{method} {path} without a token");
        for (policy, right) in SINGLE {
            let reply = hub.send(Some(&hub.token(policy)), method, &path, &[], &Value::Null).await;
            let allowed = match *caller {
                Caller::Policy(rights) | Caller::PolicyOrDevice(rights) => rights == right,
                Caller::AnyOf(rights) => rights.contains(right),
                Caller::Gateway | Caller::Registrant => false,
            };
            let refused = reply.status == StatusCode::UNAUTHORIZED;
            assert_eq!(refused, !allowed, "{method} {path} as {policy}: {}", reply.body);
            if refused && !matches!(caller, Caller::Gateway | Caller::Registrant) {
                assert_eq!(reply.headers["iothub-errorcode"], "IotHubUnauthorizedAccess", "{method} {path}");
            }
        }
    }
}

// AUTH-20
#[tokio::test]
async fn auth_20_a_devices_own_credential_opens_its_modules_and_nothing_else() {
    let hub = hub().await;
    let device = hub.ask("GET", "/devices/d", &[], Value::Null).await;
    let key = device.body["authentication"]["symmetricKey"]["primaryKey"].as_str().unwrap();
    let token = SharedAccessKey::from_base64(key).unwrap().sign("localhost/devices/d", LATER, None);
    for (method, path, caller) in TABLE {
        let reply = hub.send(Some(&token), method, &filled(path), &[], &Value::Null).await;
        let allowed = matches!(caller, Caller::PolicyOrDevice(_));
        assert_eq!(reply.status != StatusCode::UNAUTHORIZED, allowed, "{method} {path}: {}", reply.body);
    }
}

// AUTH-20
#[tokio::test]
async fn auth_20_a_token_of_nobody_is_refused_before_a_body_or_an_id_is_looked_at() {
    let hub = hub().await;
    let stranger = SharedAccessKey::from_bytes(b"a stranger's key").sign("localhost", LATER, Some("service"));
    for (method, path, _) in TABLE {
        let body = json!({"neither": "here nor there"});
        let reply = hub.send(Some(&stranger), method, &filled(path), &[], &body).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{method} {path}");
        // A provisioning service of another scope is not told from a wrong key.
        let code = reply.headers["iothub-errorcode"].to_str().unwrap();
        assert!(code.starts_with("IotHubUnauthorized"), "{method} {path}: {code}");
    }
    // What a path does not have is no secret.
    let nothing = hub.send(None, "POST", "/statistics/devices", &[], &Value::Null).await;
    assert_eq!(nothing.status, StatusCode::METHOD_NOT_ALLOWED);
}
