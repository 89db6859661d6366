//! Authentication: the one place where identity is checked.

use crate::hub::Credential;
use ironbrook_model::{Identity, Permissions, Refusal, SasToken, Timestamp};

/// A verified right to act as an identity.
#[derive(Debug, Clone)]
pub struct Authenticated {
    /// Who.
    pub identity: Identity,
    /// When the credential stops being accepted; `None` for certificates.
    pub refused_from: Option<Timestamp>,
    /// The JSON text of `iothub-connection-auth-method`.
    pub auth_method: String,
    /// Generation of the identity.
    pub generation_id: String,
}

/// A verified service token.
#[derive(Debug, Clone)]
pub struct ServiceGrant {
    /// The policy that signed it.
    pub policy: String,
    /// Its rights.
    pub permissions: Permissions,
    /// When the token stops being accepted.
    pub refused_from: Timestamp,
}

/// Checks credentials against identities and policies.
pub struct Auth {
    _private: (),
}

impl Auth {
    /// Checks that a credential proves an identity (own key, policy with DeviceConnect, or certificate).
    pub async fn device(
        &self,
        _identity: &Identity,
        _credential: &Credential,
    ) -> Result<Authenticated, Refusal> {
        unimplemented!()
    }

    /// Checks a service token: policy, signature, expiry, host. 401002 / 401003 if it does not hold.
    pub async fn service(&self, _token: &SasToken) -> Result<ServiceGrant, Refusal> {
        unimplemented!()
    }

    /// Checks a service token and that it has all rights of `wanted`.
    pub async fn require(&self, _token: &SasToken, _wanted: Permissions) -> Result<ServiceGrant, Refusal> {
        unimplemented!()
    }

    /// Names the hub answers to: its host names, lower case.
    pub fn hosts(&self) -> &[String] {
        unimplemented!()
    }

    /// The hub's short name, used in storage names and events.
    pub fn hub_name(&self) -> &str {
        unimplemented!()
    }
}
