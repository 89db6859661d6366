//! When an identity was last heard of.

use ironbrook_model::Timestamp;

/// When an identity was last heard of; `None` is never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    /// When its lasting connection began or, where it has none, ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_changed: Option<Timestamp>,
    /// When it last connected, sent telemetry or received a cloud-to-device message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
}

impl Activity {
    /// What is known from both sources: the later of each.
    #[must_use]
    pub fn merged(self, other: Self) -> Self {
        Self {
            connection_changed: self.connection_changed.max(other.connection_changed),
            last: self.last.max(other.last),
        }
    }
}
