//! A provisioning service that knows one id scope, and every registration by the tests' key.

use super::{HOST, KEY};
use crate::{Provisioning, Registrant, RegistrationAnswer};
use async_trait::async_trait;
use ironbrook_hub::Credential;
use ironbrook_hub::seams::{Clock as _, SystemClock};
use ironbrook_model::{ErrorCode, Refusal, SharedAccessKey};
use serde_json::json;
use std::time::Duration;

pub(crate) const SCOPE: &str = "0ne00000001";

/// A token of a registration, good for an hour.
pub(crate) fn registration_token(id: &str) -> String {
    let expires = SystemClock.now().plus(Duration::from_secs(3600));
    let resource = format!("{SCOPE}/registrations/{id}");
    SharedAccessKey::from_base64(KEY).unwrap().sign(&resource, expires, Some("registration"))
}

pub(crate) struct FakeProvisioning;

#[async_trait]
impl Provisioning for FakeProvisioning {
    async fn authenticate(&self, registrant: &Registrant) -> Result<(), Refusal> {
        let Credential::Sas(token) = &registrant.credential else { return Ok(()) };
        let key = SharedAccessKey::from_base64(KEY).unwrap();
        let good = registrant.id_scope == SCOPE && token.check(SystemClock.now(), [&key, &key]).is_ok();
        if good { Ok(()) } else { Err(Refusal::new(ErrorCode::IotHubUnauthorized, "not of this service")) }
    }

    async fn register(&self, registrant: &Registrant, request: &[u8]) -> Result<RegistrationAnswer, Refusal> {
        self.authenticate(registrant).await?;
        if request == b"too much" {
            return Err(Refusal::new(ErrorCode::ThrottlingException, "slowly"));
        }
        let body = json!({ "operationId": "op 1", "status": "assigning" });
        Ok(RegistrationAnswer { status: 202, retry_after: Some(3), body })
    }

    async fn operation(
        &self,
        registrant: &Registrant,
        operation_id: &str,
    ) -> Result<RegistrationAnswer, Refusal> {
        self.authenticate(registrant).await?;
        if operation_id != "op 1" {
            return Err(Refusal::new(ErrorCode::GenericNotFound, "no such operation"));
        }
        let state = json!({ "assignedHub": HOST, "deviceId": registrant.registration_id });
        let body = json!({ "operationId": operation_id, "status": "assigned", "registrationState": state });
        Ok(RegistrationAnswer { status: 200, retry_after: None, body })
    }
}
