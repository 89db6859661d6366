//! What an assembly adds where devices ask which hub is theirs: the device provisioning service.

use async_trait::async_trait;
use ironbrook_hub::Credential;
use ironbrook_model::{ErrorCode, Refusal};
use serde_json::Value;

/// The word in user names, addresses and paths that tells a device of the provisioning service from one of the hub:
/// `{id scope}/registrations/{registration id}`.
const REGISTRATIONS: &str = "registrations";

/// A device that wants to be provisioned, and its proof; not checked yet.
#[derive(Debug, Clone)]
pub struct Registrant {
    /// The provisioning service it means, e.g. `0ne00A1B2C3`.
    pub id_scope: String,
    /// Who it says it is.
    pub registration_id: String,
    /// How it proves that: a token signed with a key of its enrolment, or a certificate.
    pub credential: Credential,
}

/// What the service answers.
#[derive(Debug, Clone, PartialEq)]
pub struct RegistrationAnswer {
    /// 200 with the outcome, 202 while it is being worked on.
    pub status: u16,
    /// Seconds after which to ask again.
    pub retry_after: Option<u32>,
    /// `{"operationId","status","registrationState"}`
    pub body: Value,
}

/// Device provisioning, as doors ask for it.
#[async_trait]
pub trait Provisioning: Send + Sync + 'static {
    /// Checks the credential, as when connecting. Each of the calls below checks it again.
    async fn authenticate(&self, registrant: &Registrant) -> Result<(), Refusal>;

    /// Registers the device; `request` is the body it sent, JSON or nothing.
    async fn register(&self, registrant: &Registrant, request: &[u8]) -> Result<RegistrationAnswer, Refusal>;

    /// Tells how a registration goes.
    async fn operation(
        &self,
        registrant: &Registrant,
        operation_id: &str,
    ) -> Result<RegistrationAnswer, Refusal>;
}

/// Id scope and registration id of an MQTT user name, where it is one of the provisioning service's:
/// `{scope}/registrations/{id}[/api-version=…&ClientVersion=…]`, with the id as client id.
///
/// rule DPS-01: a module `x` of a device named `registrations` has client id `registrations/x`, so the two are never the same.
pub(crate) fn of_user_name(user_name: &str, client_id: &str) -> Option<(String, String)> {
    let mut parts = user_name.splitn(4, '/');
    let (scope, word, id) = (parts.next()?, parts.next()?, parts.next()?);
    let fits = !scope.is_empty() && !id.is_empty() && word == REGISTRATIONS && id == client_id;
    fits.then(|| (scope.to_owned(), id.to_owned()))
}

/// Id scope and registration id of an AMQP address or SASL user name: `{scope}/registrations/{id}`.
pub(crate) fn of_address(text: &str) -> Option<(String, String)> {
    let mut parts = text.split('/');
    match (parts.next()?, parts.next()?, parts.next()?, parts.next()) {
        (scope, word, id, None)
            if word.eq_ignore_ascii_case(REGISTRATIONS) && !scope.is_empty() && !id.is_empty() =>
        {
            Some((scope.to_owned(), id.to_owned()))
        }
        _ => None,
    }
}

/// Where there is no provisioning service.
pub(crate) fn nowhere() -> Refusal {
    Refusal::new(
        ErrorCode::ServiceUnavailable,
        "this port provisions no devices; turn provisioning on in the configuration",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    // DPS-01
    #[test]
    fn dps_01_user_names_of_the_provisioning_service_are_told_from_those_of_the_hub() {
        let found = Some(("0ne1".to_owned(), "reg-1".to_owned()));
        for tail in ["/api-version=2019-03-31&ClientVersion=azure%2F1", "/", ""] {
            assert_eq!(of_user_name(&format!("0ne1/registrations/reg-1{tail}"), "reg-1"), found);
        }
        // A module of a device with that name, and a device of another.
        assert_eq!(of_user_name("hub/registrations/reg-1/?api-version=1", "registrations/reg-1"), None);
        assert_eq!(of_user_name("hub/d1/?api-version=1", "d1"), None);
        assert_eq!(of_user_name("0ne1/registrations/other", "reg-1"), None);
        assert_eq!(of_user_name("/registrations/reg-1", "reg-1"), None);
        assert_eq!(of_address("0ne1/registrations/reg-1"), found);
        for other in
            ["devices/d/twin", "0ne1/registrations/", "0ne1/registrations/a/b", "hub/$management", ""]
        {
            assert_eq!(of_address(other), None, "{other}");
        }
    }
}
