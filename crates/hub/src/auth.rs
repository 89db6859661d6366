//! Authentication: the one place where identity is checked.
//!
//! Every refusal is logged here once, with code, identity and reason, and never with a token or key.

pub mod certificate;
mod gateway;
pub mod refusals;
pub mod registration;

use crate::hub::Credential;
use crate::record::COMMON;
use crate::seams::{Clock, Identities};
use bytes::Bytes;
use ironbrook_model::{
    AuthenticationType, Cause, DeviceId, ErrorCode, Identity, IdentityRecord, IdentityStatus, Permissions,
    Refusal, SasError, SasToken, SharedAccessKey, SymmetricKeys, Timestamp,
};
use std::sync::Arc;

pub use gateway::gateways;
use refusals::Refusals;

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
    /// The gateway device whose credential proved the identity, where it was not its own.
    pub through: Option<DeviceId>,
    /// The gateways on the way to that one, nearest first and itself last.
    pub via: Vec<DeviceId>,
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

/// `iothub-connection-auth-method` of what a bridge brings; the original has no such.
const BRIDGE_METHOD: &str =
    r#"{"scope":"hub","type":"bridge","issuer":"iothub","acceptingIpFilterRule":null}"#;

/// Which key or certificate proved an identity; numbers of the texts in the auth-method table.
#[derive(Debug, Clone, Copy)]
enum Proof {
    /// Also that of a gateway that speaks for the identity.
    OwnKey,
    PolicyKey,
    SelfSigned,
    /// A certificate that a registered authority vouches for.
    Authority,
    /// The operator's configuration, for a bridge of this process.
    Bridge,
}

/// Checks credentials against identities and policies.
pub struct Auth {
    hub_name: String,
    hosts: Vec<String>,
    identities: Arc<dyn Identities>,
    clock: Arc<dyn Clock>,
    refusals: Refusals,
}

impl Auth {
    /// For a hub of this short name that answers to these host names.
    pub fn new(
        hub_name: impl Into<String>,
        hosts: &[String],
        identities: Arc<dyn Identities>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let hosts = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Self { hub_name: hub_name.into(), hosts, identities, clock, refusals: Refusals::default() }
    }

    /// Whom the hub refused last, and why.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Notes that a door refused somebody who called itself this identity, before anything could be checked.
    pub async fn refused(&self, identity: &Identity, refusal: &Refusal) {
        self.note(identity, refusal, None).await;
    }

    async fn note(&self, identity: &Identity, refusal: &Refusal, expires: Option<Timestamp>) {
        // An answer that is not known is no refusal of the identity.
        if refusal.code.http_status() >= 500 {
            return;
        }
        let registered = match refusal.cause {
            Some(Cause::UnknownIdentity) => false,
            _ => self.identities.find(identity).await.is_ok_and(|found| found.is_some()),
        };
        self.refusals.note(identity, registered, refusal, expires, self.clock.now());
    }

    /// Checks that a credential proves an identity (own key, policy with DeviceConnect, or certificate).
    pub async fn device(
        &self,
        identity: &Identity,
        credential: &Credential,
    ) -> Result<Authenticated, Refusal> {
        let checked = self.check_device(identity, credential, self.clock.now()).await;
        match (&checked, credential) {
            (Err(refusal), _) => {
                tracing::warn!(code = %refusal.code, %identity, reason = %refusal.message, "refused a device");
                let expires = match credential {
                    Credential::Sas(token) => Some(token.expires()),
                    Credential::Certificate(_) | Credential::Bridge(_) => None,
                };
                self.note(identity, refusal, expires).await;
            }
            // Nobody showed a secret: it has to be seen afterwards who spoke.
            (Ok(_), Credential::Bridge(bridge)) => {
                tracing::info!(%identity, bridge = shown(bridge.as_str()), "a bridge speaks for a device");
            }
            (Ok(_), _) => {}
        }
        checked
    }

    /// Checks a credential that was accepted before against the identity as it is now. Its expiry is not looked at: the
    /// session watches that itself, and its token may have been renewed.
    pub(crate) async fn again(
        &self,
        identity: &Identity,
        credential: &Credential,
        generation_id: &str,
    ) -> Result<(), Refusal> {
        let then = Timestamp::from_millis(i64::MIN);
        let found = self.check_device(identity, credential, then).await?;
        if found.generation_id != generation_id {
            return Err(unauthorized(
                Cause::UnknownIdentity,
                "the identity was deleted and created again; connect with its new credential",
            ));
        }
        Ok(())
    }

    async fn check_device(
        &self,
        identity: &Identity,
        credential: &Credential,
        now: Timestamp,
    ) -> Result<Authenticated, Refusal> {
        let found = self.identities.find(identity).await?;
        let mut via = None;
        let (proof, refused_from) = match credential {
            Credential::Sas(token) => {
                via = self.acting(identity, token, now).await?;
                let proof = match via {
                    Some(_) => Proof::OwnKey,
                    None => self.check_token(identity, found.as_deref(), token, now).await?,
                };
                (proof, Some(token.refused_from()))
            }
            Credential::Certificate(chain) => {
                (self.check_certificate(found.as_deref(), identity, chain).await?, None)
            }
            // rule AUTH-18: the identity has to exist and be enabled, as for any credential.
            Credential::Bridge(_) => (Proof::Bridge, None),
        };
        let record = found.ok_or_else(|| not_found(identity))?;
        // Only who has the credential is told that it is disabled.
        self.check_status(&record).await?;
        Ok(Authenticated {
            identity: identity.clone(),
            refused_from,
            auth_method: auth_method(proof, identity).to_owned(),
            generation_id: record.generation_id.clone(),
            through: via.as_ref().and_then(|via| via.last().cloned()),
            via: via.unwrap_or_default(),
        })
    }

    async fn check_token(
        &self,
        identity: &Identity,
        record: Option<&IdentityRecord>,
        token: &SasToken,
        now: Timestamp,
    ) -> Result<Proof, Refusal> {
        // rule AUTH-03: a token of another resource proves nothing here.
        token
            .check_scope(&self.hosts, &identity.resource())
            .map_err(|_| self.out_of_scope(token, identity))?;
        if let Some(name) = token.policy() {
            let policy = self.identities.policy(name).await?.ok_or_else(|| no_policy(name))?;
            check_key(token, now, [&policy.primary_key, &policy.secondary_key])?;
            if !policy.permissions.contains(Permissions::DEVICE_CONNECT) {
                return Err(lacks_right(name, "DeviceConnect"));
            }
            return Ok(Proof::PolicyKey);
        }
        match &record.ok_or_else(|| not_found(identity))?.authentication {
            AuthenticationType::Sas(SymmetricKeys { primary, secondary }) => {
                check_key(token, now, [primary, secondary])?;
                Ok(Proof::OwnKey)
            }
            AuthenticationType::None => Err(unauthorized(
                Cause::OtherCredential,
                "the identity has no credential yet; set its keys first",
            )),
            AuthenticationType::SelfSigned(_) | AuthenticationType::CertificateAuthority => {
                Err(unauthorized(
                    Cause::OtherCredential,
                    "the identity is registered with a certificate, not with keys; present the certificate",
                ))
            }
        }
    }

    async fn check_certificate(
        &self,
        record: Option<&IdentityRecord>,
        identity: &Identity,
        chain: &[Bytes],
    ) -> Result<Proof, Refusal> {
        let record = record.ok_or_else(|| not_found(identity))?;
        let leaf = chain.first().ok_or_else(certificate::none_presented)?;
        match &record.authentication {
            // rule AUTH-04: SHA-1 or SHA-256 of the certificate, either of two.
            AuthenticationType::SelfSigned(thumbprints) if thumbprints.matches(leaf) => Ok(Proof::SelfSigned),
            AuthenticationType::SelfSigned(_) => Err(unauthorized(
                Cause::ThumbprintDiffers,
                "the client certificate has neither of the registered thumbprints; register its SHA-256 thumbprint",
            )),
            AuthenticationType::CertificateAuthority => {
                // A certificate is as old as it is, however long the connection lasts: always the time of day.
                let authorities = self.identities.authorities().await?;
                certificate::check(identity, chain, &authorities, self.clock.now()).map(|_| Proof::Authority)
            }
            AuthenticationType::Sas(_) | AuthenticationType::None => Err(unauthorized(
                Cause::OtherCredential,
                "the identity is registered with keys, not with a certificate; present a SAS token",
            )),
        }
    }

    /// A module cannot do more than its device.
    async fn check_status(&self, record: &IdentityRecord) -> Result<(), Refusal> {
        // rule AUTH-05: disabled identities, and modules of disabled devices, are refused.
        let disabled = |what: &str| {
            Refusal::new(
                ErrorCode::DeviceDisabled,
                format!("the {what} is disabled; enable it in the registry"),
            )
            .because(Cause::Disabled)
        };
        if record.status == IdentityStatus::Disabled {
            return Err(disabled("identity"));
        }
        if record.identity.module.is_some() {
            let device = Identity::device(record.identity.device.clone());
            let found = self.identities.find(&device).await?.ok_or_else(|| not_found(&device))?;
            if found.status == IdentityStatus::Disabled {
                return Err(disabled("module's device"));
            }
        }
        Ok(())
    }

    fn out_of_scope(&self, token: &SasToken, identity: &Identity) -> Refusal {
        let host = token.resource().split('/').next().unwrap_or_default();
        if self.hosts.iter().any(|known| known == host) {
            let text = format!(
                "the token was signed for {}, not for {}",
                shown(token.resource()),
                identity.resource()
            );
            unauthorized(Cause::WrongAudience, text)
        } else {
            self.wrong_host(host)
        }
    }

    fn wrong_host(&self, host: &str) -> Refusal {
        let hosts = self.hosts.join(", ");
        let text = format!("the token was signed for host {}; this hub answers to {hosts}", shown(host));
        unauthorized(Cause::WrongAudience, text)
    }

    /// Checks a service token: policy, signature, expiry, host. 401002 / 401003 if it does not hold.
    pub async fn service(&self, token: &SasToken) -> Result<ServiceGrant, Refusal> {
        self.check_service(token).await.inspect_err(|refusal| log_service(token.policy(), refusal))
    }

    /// Checks a service token and that it has all rights of `wanted`.
    pub async fn require(&self, token: &SasToken, wanted: Permissions) -> Result<ServiceGrant, Refusal> {
        self.require_any(std::slice::from_ref(token), wanted).await
    }

    /// Checks a service token and that it has at least one right of `wanted`.
    pub async fn require_one_of(
        &self,
        token: &SasToken,
        wanted: Permissions,
    ) -> Result<ServiceGrant, Refusal> {
        let checked = self.check_service(token).await.and_then(|grant| {
            let enough = grant.permissions.intersects(wanted);
            if enough { Ok(grant) } else { Err(lacks_right(&grant.policy, "needed")) }
        });
        checked.inspect_err(|refusal| log_service(token.policy(), refusal))
    }

    /// Checks that one of these service tokens has all rights of `wanted`, and gives the first that has. If none has, the
    /// refusal of the last is logged and returned; 401002 where there is no token at all.
    pub async fn require_any(
        &self,
        tokens: &[SasToken],
        wanted: Permissions,
    ) -> Result<ServiceGrant, Refusal> {
        let mut refused = None;
        for token in tokens {
            match self.check_service(token).await {
                Ok(grant) if grant.permissions.contains(wanted) => return Ok(grant),
                Ok(grant) => refused = Some((token, lacks_right(&grant.policy, "needed"))),
                Err(refusal) => refused = Some((token, refusal)),
            }
        }
        let policy = refused.as_ref().and_then(|(token, _)| token.policy());
        let refusal = refused.as_ref().map_or_else(no_token, |(_, refusal)| refusal.clone());
        log_service(policy, &refusal);
        Err(refusal)
    }

    async fn check_service(&self, token: &SasToken) -> Result<ServiceGrant, Refusal> {
        let (host, path) = token.resource().split_once('/').unwrap_or((token.resource(), ""));
        if !self.hosts.iter().any(|known| known == host) {
            return Err(self.wrong_host(host));
        }
        let name = token.policy().ok_or_else(|| {
            unauthorized(
                Cause::OtherCredential,
                "the token names no policy (skn); a device's own key does not sign service calls",
            )
        })?;
        let policy = self.identities.policy(name).await?.ok_or_else(|| no_policy(name))?;
        check_key(token, self.clock.now(), [&policy.primary_key, &policy.secondary_key])?;
        Ok(ServiceGrant {
            policy: name.to_owned(),
            permissions: scoped(policy.permissions, path)?,
            refused_from: token.refused_from(),
        })
    }

    /// Names the hub answers to: its host names, lower case.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// The hub's short name, used in storage names and events.
    pub fn hub_name(&self) -> &str {
        &self.hub_name
    }
}

/// The rights left to a policy's token that was signed for a part of the hub only.
fn scoped(permissions: Permissions, path: &str) -> Result<Permissions, Refusal> {
    let first_and_rest = path.split_once('/');
    match first_and_rest {
        // The whole hub, or all of its registry.
        None if path.is_empty() || path.eq_ignore_ascii_case("devices") => Ok(permissions),
        // rule AUTH-06: a policy's token for one device, as programs hand to that device, opens nothing else.
        Some((first, _)) if first.eq_ignore_ascii_case("devices") => Err(Refusal::new(
            ErrorCode::IotHubUnauthorizedAccess,
            "the token was signed for one device; service calls need a token signed for the hub",
        )
        .because(Cause::WrongAudience)),
        // The events endpoint, messages and twins have scopes of their own.
        _ if permissions.contains(Permissions::SERVICE_CONNECT) => Ok(Permissions::SERVICE_CONNECT),
        _ => Ok(Permissions::NONE),
    }
}

fn check_key(token: &SasToken, now: Timestamp, keys: [&SharedAccessKey; 2]) -> Result<(), Refusal> {
    // rule AUTH-01: either key; rule AUTH-02: five minutes after its expiry a token is still taken.
    token.check(now, keys).map_err(|error| match error {
        SasError::Expired(at) => {
            let ago = now.since(at).as_secs();
            let text = format!(
                "the token expired at {at}, {ago} s ago: the hub's clock says {now}; sign a new one, and check the sender's clock"
            );
            unauthorized(Cause::Expired, text)
        }
        _ => unauthorized(
            Cause::WrongKey,
            "the token's signature does not match either key; check the key it was signed with",
        ),
    })
}

fn auth_method(proof: Proof, identity: &Identity) -> &'static str {
    let module = usize::from(identity.module.is_some());
    COMMON[match proof {
        Proof::Bridge => return BRIDGE_METHOD,
        Proof::OwnKey => module,
        Proof::PolicyKey => 2,
        Proof::SelfSigned => 3 + module,
        Proof::Authority => 5 + module,
    }]
}

fn log_service(policy: Option<&str>, refusal: &Refusal) {
    let policy = shown(policy.unwrap_or("none"));
    tracing::warn!(code = %refusal.code, policy, reason = %refusal.message, "refused a service token");
}

/// A peer's own words, safe for a log line: escaped and short.
fn shown(text: &str) -> String {
    text.chars().take(128).flat_map(char::escape_debug).collect()
}

fn unauthorized(cause: Cause, message: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(ErrorCode::IotHubUnauthorized, message).because(cause)
}

fn no_token() -> Refusal {
    Refusal::new(
        ErrorCode::IotHubUnauthorizedAccess,
        "no token was sent; send one of a policy with the needed right first",
    )
    .because(Cause::NoCredential)
}

fn no_policy(name: &str) -> Refusal {
    let text = format!("there is no shared access policy named {}; names are case-sensitive", shown(name));
    unauthorized(Cause::UnknownPolicy, text)
}

fn lacks_right(policy: &str, right: &str) -> Refusal {
    Refusal::new(
        ErrorCode::IotHubUnauthorizedAccess,
        format!("policy {policy} lacks the {right} right; use a policy that has it"),
    )
    .because(Cause::NoRight)
}

/// No such device or module, 404001 or 404010.
pub(crate) fn not_found(identity: &Identity) -> Refusal {
    let refusal = match &identity.module {
        None => Refusal::new(
            ErrorCode::DeviceNotFound,
            format!("there is no device {identity}; ids are case-sensitive, create it in the registry"),
        ),
        Some(_) => Refusal::new(
            ErrorCode::ModuleNotFound,
            format!("there is no module {identity}; ids are case-sensitive, create it in the registry"),
        ),
    };
    refusal.because(Cause::UnknownIdentity)
}

#[cfg(test)]
mod tests;
