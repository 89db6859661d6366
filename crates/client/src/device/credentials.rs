//! How a device proves itself: a key it signs tokens with, or one ready-made token.

use crate::error::{Error, Result};
use ironbrook_model::{ConnectionString, ConnectionStringError, SasToken, SharedAccessKey, Timestamp};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A secret, and what it is for. `Debug` hides it.
#[derive(Debug, Clone)]
pub(crate) enum Credentials {
    /// Tokens are signed here, each valid for a while.
    Key(SharedAccessKey, Option<String>),
    /// One token, good until it expires.
    Token(Secret),
}

/// A text that `Debug` hides.
#[derive(Clone)]
pub(crate) struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<hidden>")
    }
}

/// A token and how long it may be used before it should be replaced; `None` where nothing can replace it.
#[derive(Debug)]
pub(crate) struct Pass {
    pub token: Secret,
    pub renew_after: Option<Duration>,
}

impl Credentials {
    /// `SharedAccessKey` (with `SharedAccessKeyName` where it is a policy's) or `SharedAccessSignature`.
    pub(crate) fn from_connection_string(parts: &ConnectionString) -> Result<Self> {
        if let Some(token) = parts.get("SharedAccessSignature") {
            return Ok(Self::Token(Secret(token.to_owned())));
        }
        if parts.get("SharedAccessKey").is_none() {
            return Err(ConnectionStringError::Missing("SharedAccessKey").into());
        }
        let policy = parts.get("SharedAccessKeyName").map(str::to_owned);
        Ok(Self::Key(parts.require_key("SharedAccessKey")?, policy))
    }

    /// A token for `resource` that is good for `lifetime` from now.
    pub(crate) fn pass(&self, resource: &str, lifetime: Duration) -> Result<Pass> {
        match self {
            Self::Key(key, policy) => Ok(Pass {
                token: Secret(key.sign(resource, now().plus(lifetime), policy.as_deref())),
                // Early enough that a slow reconnect still finds the old token good.
                renew_after: Some(lifetime.mul_f64(0.85)),
            }),
            Self::Token(token) => {
                let parsed = SasToken::parse(&token.0)
                    .map_err(|e| Error::Configuration(format!("SharedAccessSignature is not usable: {e}")))?;
                if now() > parsed.refused_from() {
                    return Err(Error::Unauthorized(format!("the token expired at {}", parsed.expires())));
                }
                Ok(Pass { token: token.clone(), renew_after: None })
            }
        }
    }
}

/// The machine's clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_signs_tokens_that_the_hub_accepts_and_debug_hides_it() {
        let parts =
            ConnectionString::parse("HostName=h.test;DeviceId=d;SharedAccessKey=Y2FuYXJ5LWNhbmFyeQ==")
                .unwrap();
        let credentials = Credentials::from_connection_string(&parts).unwrap();
        let pass = credentials.pass("h.test/devices/d", Duration::from_secs(3600)).unwrap();
        let token = SasToken::parse(&pass.token.0).unwrap();
        let key = parts.require_key("SharedAccessKey").unwrap();
        token.check(now(), [&key, &key]).unwrap();
        assert_eq!(pass.renew_after, Some(Duration::from_secs(3060)));
        let shown = format!("{credentials:?} {pass:?}");
        assert!(!shown.contains("Y2Fu") && !shown.contains("canary"), "{shown}");
    }

    #[test]
    fn an_expired_token_is_told_before_anything_is_dialled() {
        let token = SharedAccessKey::from_bytes(b"k").sign("h/devices/d", Timestamp::from_secs(1000), None);
        let credentials = Credentials::Token(Secret(token));
        assert!(matches!(credentials.pass("h/devices/d", Duration::ZERO), Err(Error::Unauthorized(_))));
    }

    #[test]
    fn a_string_without_secret_names_what_is_missing() {
        let parts = ConnectionString::parse("HostName=h;DeviceId=d").unwrap();
        let error = Credentials::from_connection_string(&parts).unwrap_err();
        assert!(error.to_string().contains("SharedAccessKey"), "{error}");
    }
}
