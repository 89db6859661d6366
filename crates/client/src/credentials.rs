//! How a device proves itself: a key it signs tokens with, somebody else who signs for it, or one ready-made token.

use crate::error::{Error, Result};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ironbrook_model::{
    ConnectionString, ConnectionStringError, SasToken, SharedAccessKey, Timestamp, percent_encode,
};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::timeout;

/// Longest wait for a signer.
const SIGN_TIMEOUT: Duration = Duration::from_secs(20);

/// Signs for an identity whose key is kept elsewhere: in another process, or in hardware.
#[async_trait]
pub trait Signer: Send + Sync + 'static {
    /// HMAC-SHA256 of `data` under the identity's key.
    ///
    /// Asked at each connection and before a token ends, with a limit of 20 s. A failure is retried as a broken connection is.
    async fn sign(&self, data: &[u8]) -> Result<[u8; 32]>;
}

/// A secret, and what it is for. `Debug` hides it.
#[derive(Clone)]
pub(crate) enum Credentials {
    /// Tokens are signed here, each valid for a while.
    Key(SharedAccessKey, Option<String>),
    /// Tokens are signed elsewhere.
    Signer(Arc<dyn Signer>),
    /// One token, good until it expires.
    Token(Secret),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Key(..) => "Key(<hidden>)",
            Self::Signer(_) => "Signer(..)",
            Self::Token(_) => "Token(<hidden>)",
        })
    }
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
    pub(crate) async fn pass(&self, resource: &str, lifetime: Duration) -> Result<Pass> {
        let expires = now().plus(lifetime);
        // Early enough that a slow reconnect still finds the old token good.
        let renew_after = Some(lifetime.mul_f64(0.85));
        match self {
            Self::Key(key, policy) => {
                Ok(Pass { token: Secret(key.sign(resource, expires, policy.as_deref())), renew_after })
            }
            Self::Signer(signer) => {
                Ok(Pass { token: Secret(signed(&**signer, resource, expires).await?), renew_after })
            }
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

/// A token that somebody else signs.
async fn signed(signer: &dyn Signer, resource: &str, expires: Timestamp) -> Result<String> {
    let (sr, se) = (percent_encode(resource), expires.as_secs());
    let text = format!("{sr}\n{se}");
    let digest = match timeout(SIGN_TIMEOUT, signer.sign(text.as_bytes())).await {
        Ok(digest) => digest.map_err(|error| Error::Signing(error.to_string()))?,
        Err(_) => return Err(Error::Signing("no answer in time".to_owned())),
    };
    let sig = STANDARD.encode(digest);
    Ok(format!("SharedAccessSignature sr={sr}&sig={}&se={se}", percent_encode(&sig)))
}

/// The machine's clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESOURCE: &str = "h.test/devices/d";

    #[async_trait]
    impl Signer for SharedAccessKey {
        async fn sign(&self, data: &[u8]) -> Result<[u8; 32]> {
            Ok(self.hmac_sha256(data))
        }
    }

    struct Silent;

    #[async_trait]
    impl Signer for Silent {
        async fn sign(&self, _: &[u8]) -> Result<[u8; 32]> {
            std::future::pending().await
        }
    }

    #[tokio::test]
    async fn keys_and_signers_give_tokens_that_the_hub_accepts_and_debug_hides_them() {
        let parts =
            ConnectionString::parse("HostName=h.test;DeviceId=d;SharedAccessKey=Y2FuYXJ5LWNhbmFyeQ==")
                .unwrap();
        let key = parts.require_key("SharedAccessKey").unwrap();
        let of_string = Credentials::from_connection_string(&parts).unwrap();
        for credentials in [of_string, Credentials::Signer(Arc::new(key.clone()))] {
            let pass = credentials.pass(RESOURCE, Duration::from_secs(3600)).await.unwrap();
            let token = SasToken::parse(&pass.token.0).unwrap();
            token.check(now(), [&key, &key]).unwrap();
            token.check_scope(&["h.test"], "devices/d").unwrap();
            assert_eq!(pass.renew_after, Some(Duration::from_secs(3060)));
            let shown = format!("{credentials:?} {pass:?}");
            assert!(!shown.contains("Y2Fu") && !shown.contains("canary"), "{shown}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_signer_that_says_nothing_is_a_failure_worth_retrying() {
        let error = Credentials::Signer(Arc::new(Silent)).pass(RESOURCE, Duration::ZERO).await.unwrap_err();
        assert!(matches!(error, Error::Signing(_)) && error.is_transient(), "{error}");
    }

    #[tokio::test]
    async fn an_expired_token_is_told_before_anything_is_dialled() {
        let token = SharedAccessKey::from_bytes(b"k").sign(RESOURCE, Timestamp::from_secs(1000), None);
        let refused = Credentials::Token(Secret(token)).pass(RESOURCE, Duration::ZERO).await;
        assert!(matches!(refused, Err(Error::Unauthorized(_))));
    }

    #[test]
    fn a_string_without_secret_names_what_is_missing() {
        let parts = ConnectionString::parse("HostName=h;DeviceId=d").unwrap();
        let error = Credentials::from_connection_string(&parts).unwrap_err();
        assert!(error.to_string().contains("SharedAccessKey"), "{error}");
    }
}
