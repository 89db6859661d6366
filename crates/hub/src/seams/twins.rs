//! Device and module twins.

use async_trait::async_trait;
use bytes::Bytes;
use ironbrook_model::{Identity, Refusal};
use std::sync::Arc;

/// A section of a twin that can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Section {
    /// Service only.
    Tags,
    /// Written by services, read by the device.
    Desired,
    /// Written by the device, read by services.
    Reported,
}

/// A committed change of desired properties.
#[derive(Debug, Clone)]
pub struct DesiredChange {
    /// Whose.
    pub identity: Identity,
    /// `desired.$version` after the change.
    pub version: u64,
    /// The patch as applied, nulls kept, with `$version`; JSON object.
    pub patch: Bytes,
}

/// Twins as the core needs them: a device's reading and reporting, and news for connected devices.
///
/// Contract: a change of a twin and its change event become durable together (outbox). Every listener is called once for
/// each committed change of desired properties, in version order per identity.
#[async_trait]
pub trait Twins: Send + Sync + 'static {
    /// The twin as its device sees it: `{"desired":{…,"$version":n},"reported":{…,"$version":m}}`, no metadata, no tags.
    /// 404001 or 404010 if the identity does not exist.
    async fn device_view(&self, identity: &Identity) -> Result<Bytes, Refusal>;

    /// Merges a JSON object into the reported properties and returns `reported.$version`. 400 and 413 codes where a rule
    /// of twins is broken; nothing is changed then.
    async fn patch_reported(&self, identity: &Identity, patch: &[u8]) -> Result<u64, Refusal>;

    /// Notes the plug-and-play model id a device announced when it connected.
    async fn announce_model(&self, _identity: &Identity, _model_id: &str) -> Result<(), Refusal> {
        Ok(())
    }

    /// The whole twin as services see it, parsed, for routes that read `$twin`.
    async fn service_view(&self, identity: &Identity) -> Result<Arc<serde_json::Value>, Refusal>;

    /// Registers a listener for changes of any part of a twin and for twins that come and go, called before the change is
    /// acknowledged; it must not block. Only for routes that read `$twin`, so who has none of them needs not call it.
    fn watch(&self, _changed: Box<dyn Fn(&Identity) + Send + Sync>) {}

    /// Registers a listener for changes of desired properties; it must not block.
    fn listen(&self, changed: Box<dyn Fn(&DesiredChange) + Send + Sync>);
}
