//! The AMQP door: devices, services and readers of events, all on one kind of connection.
//!
//! Start with [`Door`]: one task per connection that owns the engine of `wire`, the links and the sessions of the devices on
//! it. `attach` decides what a link is for, `telemetry` is the hot path, `device` what else goes to and from a device, `exchange`
//! its twin and methods, `request` tokens and management, `service` the links that the assembly answers. What is *not* here: AMQP itself (that is `wire`) and what
//! the service side's addresses mean.

mod address;
mod attach;
mod convert;
mod device;
mod door;
mod exchange;
mod failure;
mod io;
mod link;
mod provisioning;
mod request;
mod service;
mod telemetry;
#[cfg(test)]
mod tests;
mod token;
mod twin;

use crate::{Peer, Protocol, Services};
use door::Door;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

/// Serves one connection to its end.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send>(
    stream: S,
    services: Arc<Services>,
    peer: Peer,
    cancel: CancellationToken,
) {
    let _counted = services.metrics.connection(Protocol::amqp);
    let (door, reports) = Door::new(services, peer);
    door.run(stream, reports, cancel).await;
}
