//! Device and module twins: the document, merging, versions, metadata, limits. No storage, no clock.
//!
//! Start with [`Twin`]. A change is checked as a whole before anything of it is applied: a patch that breaks one rule
//! changes nothing. Rules: Azure docs "Understand and use device twins in IoT Hub".

mod change;
mod digital;
mod document;
mod limits;
mod merge;

pub use change::{change_view, device_patch, difference, replacement_patch};
pub use digital::{digital_twin, json_patch};
pub use document::{ConfigurationStatus, Properties, Twin};
pub use limits::{MAX_DEPTH, MAX_INTEGER, MIN_INTEGER, SectionKind, TwinError, TwinLimits};

/// A JSON object; member order kept as given.
pub type Object = serde_json::Map<String, serde_json::Value>;

/// The time that stands in the metadata of a section that was never written.
pub const NEVER: &str = "0001-01-01T00:00:00Z";
