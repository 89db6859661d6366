//! The web portal: a page with the devices and a live chart. Plain ES modules, embedded as they are.
//!
//! Start with [`Portal`]. It is a client like any other: devices come from the service API, telemetry from the events endpoint.
//! What is *not* here: listeners (the doors serve [`Portal::router`]), rights (the service API decides them), and storage.

mod assets;
mod feed;
mod follow;
mod point;
mod routes;
mod session;

pub use routes::{Config, Portal};
