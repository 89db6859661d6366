//! MQTT 5.0 packets, both directions (OASIS standard "MQTT Version 5.0").
//!
//! ```
//! use bytes::BytesMut;
//! use ironbrook_wire::mqtt::v5::{Packet, decode, encode};
//!
//! let mut buffer = BytesMut::new();
//! encode(&Packet::PingReq, &mut buffer).unwrap();
//! assert_eq!(decode(&mut buffer, 1024).unwrap(), Some(Packet::PingReq));
//! assert_eq!(decode(&mut buffer, 1024).unwrap(), None); // more bytes are needed
//! ```
//!
//! One file per packet holds its fields, how they are read and how they are written; `property` holds what properties have in
//! common. Decoding copies nothing: texts, payloads and user properties are slices of the read buffer. A [`Violation`] knows
//! the reason code to answer with. As in [`v4`](super::v4), decoding lets wildcard characters through in topics;
//! [`Packet::check`] refuses them, and what only the other side may send.
//!
//! An absent property is `None`, so that what was absent stays so; what absence means stands at the field.

mod ack;
mod auth;
mod check;
mod conn_ack;
mod connect;
mod decode;
mod disconnect;
mod encode;
mod error;
mod packet;
mod property;
mod publish;
mod reason;
mod subscribe;
mod unsubscribe;
mod user;
mod write;

pub use super::basic::{PacketId, QoS, REMAINING_LEN_MAX};
pub use ack::{Ack, AckProperties};
pub use auth::{Auth, AuthProperties};
pub use conn_ack::{ConnAck, ConnAckProperties};
pub use connect::{Connect, ConnectProperties, Will, WillProperties};
pub use decode::decode;
pub use disconnect::{Disconnect, DisconnectProperties};
pub use encode::{PeerLimits, encode, encode_publish, encode_within, encoded_len};
pub use error::{Unencodable, Violation};
pub use packet::Packet;
pub use property::{AuthData, PropertyId, SubscriptionId};
pub use publish::{Publish, PublishProperties, PublishRef};
pub use reason::ReasonCode;
pub use subscribe::{RetainHandling, SubAck, Subscribe, SubscribeFilter, SubscribeProperties};
pub use unsubscribe::{UnsubAck, Unsubscribe, UnsubscribeProperties};
pub use user::UserProperties;

/// Most topic filters in one SUBSCRIBE or UNSUBSCRIBE; a bound of ours.
pub const FILTERS_MAX: usize = super::v4::FILTERS_MAX;
/// Most bytes of properties in one packet, and once more in its will; a bound of ours. It has room for the three longest
/// fields a message may have.
pub const PROPERTIES_LEN_MAX: usize = 256 * 1024;
/// Most user properties in one packet; a bound of ours.
pub const USER_PROPERTIES_MAX: usize = 1000;
/// Most subscription identifiers in one PUBLISH; a bound of ours.
pub const SUBSCRIPTION_IDS_MAX: usize = 1000;
