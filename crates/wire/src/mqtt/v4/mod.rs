//! MQTT 3.1.1 packets, both directions (OASIS standard "MQTT Version 3.1.1").
//!
//! ```
//! use bytes::BytesMut;
//! use ironbrook_wire::mqtt::v4::{Packet, decode, encode};
//!
//! let mut buffer = BytesMut::new();
//! encode(&Packet::PingReq, &mut buffer).unwrap();
//! assert_eq!(decode(&mut buffer, 1024).unwrap(), Some(Packet::PingReq));
//! assert_eq!(decode(&mut buffer, 1024).unwrap(), None); // more bytes are needed
//! ```
//!
//! Decoding copies nothing: topics and payloads are slices of the read buffer. The codec holds the rules of single packets
//! only; which packet may come when, and what topics mean, is the caller's matter. In particular wildcard characters are let
//! through in the topic of a PUBLISH, since device ids and property bags may hold them; [`Packet::check`] refuses them.

mod check;
mod decode;
mod encode;
mod error;
mod packet;
mod repeated;
#[cfg(test)]
mod tests;

pub use super::basic::{PacketId, QoS, REMAINING_LEN_MAX as PACKET_LEN_MAX};
pub use decode::decode;
pub use encode::{encode, encode_publish};
pub use error::{Unencodable, Violation};
pub use packet::{
    ConnAck, Connect, ConnectReturnCode, Packet, Publish, PublishRef, SubAck, SubAckCode, Subscribe,
    SubscribeFilter, Unsubscribe, Will,
};
pub use repeated::{Repeated, repeated};

/// Most topic filters in one SUBSCRIBE or UNSUBSCRIBE; a bound of ours, far above what any client of the platform sends.
pub const FILTERS_MAX: usize = 256;
