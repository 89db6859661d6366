//! The seams: small traits with a contract each, and one conformance suite each in `testkit`.
//! The log's own seams (`Log`, `Checkpoints`, `Storage`) live in the `log` crate.

mod activity;
mod clock;
mod endpoint;
mod fabric;
mod identities;
mod inbox;
mod twins;

pub use activity::Activity;
pub use clock::{Clock, SystemClock};
pub use endpoint::{Batching, Endpoint, Routed, Sent};
pub use fabric::{Epoch, Fabric, InputRefused, Mailbox};
pub use identities::Identities;
pub use inbox::{Feedback, FeedbackRecord, Inbox, Kept};
pub use ironbrook_log::{Checkpoints, Log, Storage};
pub use twins::{DesiredChange, Section, Twins};

use std::sync::Arc;

/// Everything the core needs from the assembly around it.
#[derive(Clone)]
pub struct Seams {
    /// Who may speak.
    pub identities: Arc<dyn Identities>,
    /// Twins.
    pub twins: Arc<dyn Twins>,
    /// Messages that wait for devices.
    pub inbox: Arc<dyn Inbox>,
    /// The message log.
    pub log: Arc<dyn Log>,
    /// Where readers of the log stand.
    pub checkpoints: Arc<dyn Checkpoints>,
    /// Who is connected where.
    pub fabric: Arc<dyn Fabric>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}
