//! The tokens of a connection, put there by CBS or SASL PLAIN.

use super::address;
use crate::Services;
use ironbrook_hub::Credential;
use ironbrook_hub::auth::gateways;
use ironbrook_model::{ErrorCode, Identity, Permissions, Refusal, SasToken, Timestamp};

/// Tokens of a connection: one per identity where many devices share it.
const TOKENS_MAX: usize = 1024;

/// Tokens that were checked, newest first, with what each allows.
#[derive(Debug, Default)]
pub(super) struct Tokens(Vec<(SasToken, Permissions)>);

impl Tokens {
    /// Takes a checked token in; an older one for the same resource and policy goes. 403005 where there are too many.
    pub(super) fn insert(
        &mut self,
        token: SasToken,
        rights: Permissions,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.0.retain(|(old, _)| {
            let replaced = old.resource() == token.resource() && old.policy() == token.policy();
            !replaced && old.refused_from() > now
        });
        if self.0.len() >= TOKENS_MAX {
            let text = format!("more than {TOKENS_MAX} tokens on one connection; open another connection");
            return Err(Refusal::new(ErrorCode::IotHubMaxCbsTokenExceeded, text));
        }
        self.0.insert(0, (token, rights));
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, newest first.
    pub(super) fn all(&self) -> Vec<SasToken> {
        self.0.iter().map(|(token, _)| token.clone()).collect()
    }

    /// The token to act as an identity with: its own before a policy's, and that of a gateway last; whether that one speaks for
    /// the identity is seen when it is checked.
    pub(super) fn covering(&self, identity: &Identity, hosts: &[String]) -> Option<&SasToken> {
        let resource = identity.resource();
        let covers = |token: &&SasToken| token.check_scope(hosts, &resource).is_ok();
        let tokens = || self.0.iter().map(|(token, _)| token);
        let own = tokens().filter(covers).find(|t| t.policy().is_none());
        own.or_else(|| tokens().find(covers)).or_else(|| tokens().find(|token| !gateways(token).is_empty()))
    }

    /// When the last token that gives `right` ends: until then a link that needs it stays.
    pub(super) fn valid_until(&self, right: Permissions) -> Option<Timestamp> {
        let giving = self.0.iter().filter(|(_, rights)| rights.contains(right));
        giving.map(|(token, _)| token.refused_from()).max()
    }
}

/// Checks a token where it arrives and gives its rights. What it allows is checked again where it is used.
pub(super) async fn check(services: &Services, token: &SasToken) -> Result<Permissions, Refusal> {
    let Some(hub) = &services.hub else {
        return match &services.amqp {
            Some(service) => service.authorize(token).await,
            None => Err(nowhere()),
        };
    };
    let devices = devices_of(token);
    if token.policy().is_none() || !devices.is_empty() {
        let mut refusal = Refusal::new(
            ErrorCode::IotHubUnauthorized,
            "the token names neither a policy nor a device; sign it for <hub>/devices/<id>, or give the policy's name (skn)",
        );
        for identity in devices {
            match hub.auth().device(&identity, &Credential::Sas(token.clone())).await {
                // rule AUTH-06: whoever signed it, it speaks for this identity alone.
                Ok(_) => return Ok(Permissions::DEVICE_CONNECT),
                Err(error) => refusal = error,
            }
        }
        return Err(refusal);
    }
    let grant = hub.auth().service(token).await?;
    match &services.amqp {
        // A policy of devices is none of the service side's business.
        Some(service) if !grant.permissions.contains(Permissions::DEVICE_CONNECT) => {
            service.authorize(token).await
        }
        _ => Ok(grant.permissions),
    }
}

fn nowhere() -> Refusal {
    Refusal::new(ErrorCode::IotHubNotFound, "this port serves neither devices nor services over AMQP")
}

/// The identities a token's resource may name: `host/devices/d[/modules/m]`.
fn devices_of(token: &SasToken) -> Vec<Identity> {
    let mut segments = token.resource().split('/').skip(1);
    match (segments.next(), segments.next(), segments.next(), segments.next()) {
        (Some(devices), Some(d), None, None) if devices.eq_ignore_ascii_case("devices") => {
            address::identities(d, None)
        }
        (Some(devices), Some(d), Some(modules), Some(m))
            if devices.eq_ignore_ascii_case("devices") && modules.eq_ignore_ascii_case("modules") =>
        {
            address::identities(d, Some(m))
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::{HOST, KEY, World};
    use ironbrook_hub::seams::{Clock as _, SystemClock};
    use ironbrook_model::{DeviceId, SharedAccessKey};
    use std::time::Duration;

    fn token(resource: &str, expires: i64, policy: Option<&str>) -> SasToken {
        let key = SharedAccessKey::from_bytes(&[1; 32]);
        SasToken::parse(&key.sign(resource, Timestamp::from_secs(expires), policy)).unwrap()
    }

    #[test]
    fn an_own_token_comes_before_a_policy_and_a_new_one_replaces_the_old() {
        let now = Timestamp::from_secs(1000);
        let mut tokens = Tokens::default();
        let right = Permissions::DEVICE_CONNECT;
        tokens.insert(token("hub/devices/d", 2000, None), right, now).unwrap();
        tokens.insert(token("hub", 2000, Some("device")), right, now).unwrap();
        tokens.insert(token("hub/devices/d", 3000, None), right, now).unwrap();
        assert_eq!(tokens.all().len(), 2);
        let identity = Identity::device(DeviceId::new("d").unwrap());
        let hosts = ["hub".to_owned()];
        assert_eq!(tokens.covering(&identity, &hosts).unwrap().expires(), Timestamp::from_secs(3000));
        let other = Identity::device(DeviceId::new("e").unwrap());
        assert_eq!(tokens.covering(&other, &hosts).unwrap().policy(), Some("device"));
    }

    #[test]
    fn a_gateways_token_comes_last() {
        let now = Timestamp::from_secs(1000);
        let identity = Identity::device(DeviceId::new("leaf").unwrap());
        let gateway = Identity::gateway(DeviceId::new("g").unwrap());
        let hosts = ["hub".to_owned()];
        let mut tokens = Tokens::default();
        let right = Permissions::DEVICE_CONNECT;
        tokens.insert(token("hub/devices/other", 2000, None), right, now).unwrap();
        assert!(tokens.covering(&identity, &hosts).is_none());
        tokens.insert(token(&format!("hub/{}", gateway.resource()), 2000, None), right, now).unwrap();
        assert!(tokens.covering(&identity, &hosts).unwrap().resource().contains("/g/"));
        tokens.insert(token("hub/devices/leaf", 2000, None), right, now).unwrap();
        assert!(tokens.covering(&identity, &hosts).unwrap().resource().ends_with("/leaf"));
    }

    #[test]
    fn a_right_lasts_as_long_as_the_tokens_that_give_it() {
        let now = Timestamp::from_secs(1000);
        let (serve, connect) = (Permissions::SERVICE_CONNECT, Permissions::DEVICE_CONNECT);
        let mut tokens = Tokens::default();
        tokens.insert(token("hub", 9000, Some("device")), connect, now).unwrap();
        tokens.insert(token("hub/devices/d", 9000, None), connect, now).unwrap();
        assert_eq!(tokens.valid_until(serve), None);
        tokens.insert(token("hub", 2000, Some("service")), serve, now).unwrap();
        assert_eq!(tokens.valid_until(serve), Some(Timestamp::from_secs(2300)));
        tokens.insert(token("hub", 4000, Some("owner")), serve.union(connect), now).unwrap();
        assert_eq!(tokens.valid_until(serve), Some(Timestamp::from_secs(4300)));
        // The newest counts, also where it ends sooner or gives less.
        tokens.insert(token("hub", 3000, Some("owner")), connect, now).unwrap();
        assert_eq!(tokens.valid_until(serve), Some(Timestamp::from_secs(2300)));
    }

    #[tokio::test]
    async fn a_token_gives_the_rights_of_its_policy_on_its_scope() {
        let services = World::new(&["d1"]).services();
        let key = SharedAccessKey::from_base64(KEY).unwrap();
        for (scope, policy, wanted) in [
            ("", Some("service"), Permissions::SERVICE_CONNECT),
            ("", Some("device"), Permissions::DEVICE_CONNECT),
            ("/devices/d1", Some("device"), Permissions::DEVICE_CONNECT),
            ("/devices/d1", None, Permissions::DEVICE_CONNECT),
        ] {
            let expires = SystemClock.now().plus(Duration::from_secs(60));
            let token = SasToken::parse(&key.sign(&format!("{HOST}{scope}"), expires, policy)).unwrap();
            assert_eq!(check(&services, &token).await.unwrap(), wanted, "{scope} {policy:?}");
        }
    }

    #[test]
    fn expired_tokens_make_room() {
        let right = Permissions::DEVICE_CONNECT;
        let mut tokens = Tokens::default();
        for n in 0..TOKENS_MAX {
            let token = token(&format!("hub/devices/d{n}"), 1000, None);
            tokens.insert(token, right, Timestamp::from_secs(1000)).unwrap();
        }
        let one_more = || token("hub/devices/x", 9000, None);
        let refused = tokens.insert(one_more(), right, Timestamp::from_secs(1000)).unwrap_err();
        assert_eq!(refused.code, ErrorCode::IotHubMaxCbsTokenExceeded);
        tokens.insert(one_more(), right, Timestamp::from_secs(2000)).unwrap();
    }

    #[test]
    fn a_token_names_its_device() {
        let names = |resource| devices_of(&token(resource, 1, None));
        assert_eq!(names("hub/devices/d")[0].to_string(), "d");
        assert_eq!(names("hub/devices/d/modules/m")[0].to_string(), "d/m");
        assert!(names("hub").is_empty());
        assert!(names("hub/entity/ConsumerGroups/g").is_empty());
    }
}
