//! Who may speak.

use super::Activity;
use crate::auth::certificate::CertificateAuthority;
use async_trait::async_trait;
use ironbrook_model::{Identity, IdentityRecord, Refusal, SharedAccessPolicy};
use std::sync::Arc;

/// Identities and shared access policies as authentication needs them.
///
/// Contract: `find` answers from the newest committed state. After a change of an identity (disabled, deleted, keys
/// changed, re-created) every listener was called with it before the change is acknowledged to whoever asked for it.
#[async_trait]
pub trait Identities: Send + Sync + 'static {
    /// The record of an identity; `None` if it does not exist. An error only where the answer is not known.
    async fn find(&self, identity: &Identity) -> Result<Option<Arc<IdentityRecord>>, Refusal>;

    /// A shared access policy by exact name.
    async fn policy(&self, name: &str) -> Result<Option<Arc<SharedAccessPolicy>>, Refusal>;

    /// The authorities whose certificates prove identities; none where nothing registers them.
    async fn authorities(&self) -> Result<Arc<Vec<CertificateAuthority>>, Refusal> {
        Ok(Arc::default())
    }

    /// Registers a listener for the authorities: one was taken away, or is not verified any more. It must not block.
    fn listen_authorities(&self, _changed: Box<dyn Fn() + Send + Sync>) {}

    /// Registers a listener for changed identities; it must not block.
    fn listen(&self, changed: Box<dyn Fn(&Identity) + Send + Sync>);

    /// Notes what a session of this generation of the identity did, when the session ends; must not block. Merged with what
    /// is known, shown at once, and stored lazily: a crash may lose the notes of the last minute, a stop loses none. Notes of
    /// other generations are dropped. What sessions under way did is asked of the [`Fabric`](super::Fabric).
    fn note_activity(&self, _identity: &Identity, _generation_id: &str, _activity: Activity) {}
}
