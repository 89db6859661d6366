//! The core both assemblies are built from: sessions, authentication, operations, telemetry, twins, methods, routing,
//! endpoint executors, and the seams behind which the assemblies differ.
//!
//! Start with [`operation`]: [`Operation`] is all a device may ask, [`Delivery`] all the hub may do to a device.
//! [`Hub`] is the handle. The core knows no protocol and not where it runs.

pub mod auth;
mod hub;
pub mod operation;
pub mod seams;

pub use operation::{
    Delivery, LockToken, MethodAnswer, MethodCall, Operation, Outcome, Settlement, Subscription,
};
