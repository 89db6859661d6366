//! Who is at the other end of a connection, as far as the transport can tell.

use bytes::Bytes;
use ironbrook_hub::auth::refusals::Origin;
use std::net::SocketAddr;

/// The other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub addr: SocketAddr,
    /// The TLS client certificate it proved to hold, DER, leaf first; empty where it showed none. The chain is not
    /// checked: that is for the hub, against the identity's record.
    pub certificates: Vec<Bytes>,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

impl Peer {
    /// Where something comes from that the peer asks over a protocol.
    pub fn origin(&self, protocol: &'static str) -> Origin {
        Origin { protocol, address: self.addr }
    }
}
