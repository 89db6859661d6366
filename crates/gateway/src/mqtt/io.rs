//! The stream of a connection as packets of MQTT 3.1.1.

pub(super) use crate::packet_io::{Event, Io};

use ironbrook_wire::mqtt::v4::{Packet, Unencodable, Violation, decode, encode};
use tokio::io::{AsyncRead, AsyncWrite};

impl<S: AsyncRead + AsyncWrite + Unpin> Io<S> {
    /// The next whole packet of what was read.
    pub(super) fn packet(&mut self) -> Result<Option<Packet>, Violation> {
        self.take(decode)
    }

    /// Puts a packet into the output buffer; [`drive`](Self::drive) writes it.
    pub(super) fn put(&mut self, packet: &Packet) -> Result<(), Unencodable> {
        self.put_with(|output| encode(packet, output))
    }
}
