//! The core both assemblies are built from: sessions, authentication, operations, telemetry, twins, methods, routing,
//! endpoint executors, and the seams behind which the assemblies differ.
//!
//! Start with [`operation`]: [`Operation`] is all a device may ask, [`Delivery`] all the hub may do to a device.
//! [`Hub`] is the handle. The core knows no protocol and not where it runs.

pub mod auth;
mod hub;
mod limits;
pub mod metrics;
pub mod operation;
pub mod router;
pub mod seams;

pub use hub::{Config, ConnectRequest, Credential, Hub, Session};
pub use limits::Limits;
pub use metrics::Metrics;
pub use operation::{
    Delivery, LockToken, LockedMessage, MethodAnswer, MethodCall, Operation, Outcome, Settlement,
    Subscription,
};
pub use router::{Route, Router};
