//! The core both assemblies are built from: sessions, authentication, operations, telemetry, twins, methods, routing,
//! endpoint executors, and the seams behind which the assemblies differ.
//!
//! Start with [`operation`]: [`Operation`] is all a device may ask, [`Delivery`] all the hub may do to a device.
//! [`Hub`] is the handle. The core knows no protocol and not where it runs.
//!
//! In the order the data goes: [`Hub::connect`] checks a credential ([`auth`]) and opens a [`Session`];
//! [`Hub::telemetry`] asks the [`router`] which queues want a message and appends it to the log in the form of
//! [`record`]; an [`executor`] reads the queues of an endpoint and hands batches to it. Messages to a module's [`input`] go the
//! other way: into its session, and back as settlements.

mod hub;

pub mod auth;
mod burst;
mod connection_state;
mod limits;
mod mailbox;
mod orphans;
mod session;

pub mod input;
mod method;
pub mod operation;
mod perform;
mod telemetry;
pub mod throttle;

pub mod executor;
pub mod record;
pub mod router;

pub mod fabric;
pub mod metrics;
pub mod seams;

#[cfg(test)]
mod testing;

pub use burst::{Burst, Envelope};
pub use hub::{BridgeName, Config, ConnectRequest, Credential, Hub};
pub use input::{InputOutcome, InputStop};
pub use limits::{Flapping, Limits, Tier, Units};
pub use metrics::Metrics;
pub use operation::{
    Delivery, LockToken, LockedMessage, MethodAnswer, MethodCall, Operation, Outcome, Settlement,
    Subscription,
};
pub use router::{Route, Router};
pub use session::Session;
