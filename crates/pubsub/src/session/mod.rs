//! What one client is owed and has asked for, without sockets, threads or clocks.
//!
//! [`Outbound`] is what goes to the client: a queue, a window, handshakes, redelivery. [`Inbound`] is what comes from it:
//! identifiers of QoS 2, aliases, the receive maximum. Both outlive a connection if the session does; what belongs to
//! the connection alone is in [`Link`]. `Subscriptions` are the session's filters, `Replays` the retained messages they are
//! still owed.

mod inbound;
mod outbound;
mod outgoing;
mod replays;
mod size;
mod subscriptions;
#[cfg(test)]
mod tests;

pub use inbound::{Inbound, Received};
pub(crate) use outbound::{Delivery, State};
pub use outbound::{Link, Outbound, Outgoing, OutgoingPublish, Pushed, Sealed, Step};
pub(crate) use replays::{Owed, Replays};
pub use size::publish_len;
pub(crate) use subscriptions::Subscriptions;
