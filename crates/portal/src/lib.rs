//! The web portal: a page with the devices, the modules of edge devices and a live chart. Plain ES modules, embedded as they are.
//!
//! Start with [`Portal`]. It is a client like any other: devices come from the service API, telemetry from the events endpoint.
//! What is *not* here: listeners (the doors serve [`Portal::router`]), rights (the service API decides them), and storage.

mod assets;
mod edge;
mod feed;
mod follow;
mod reading;
mod routes;
mod session;

pub use routes::{Config, Portal};

/// This machine's time.
fn now() -> ironbrook_model::Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    ironbrook_model::Timestamp::from_millis(i64::try_from(now.as_millis()).unwrap_or_default())
}
