//! The way up: connections to the hub on behalf of the clients here, and the endpoint that sends by them.
//!
//! - [`Links`]: one connection for each identity that needs one, opened with the credential of `$edgeHub`.
//! - [`Upstream`]: the endpoint `$upstream`.

mod endpoint;
mod link;
mod links;

pub use endpoint::Upstream;
pub(crate) use link::{Down, Wants};
pub use links::{Away, Lease, Links, LinksConfig};

#[cfg(test)]
mod tests;
