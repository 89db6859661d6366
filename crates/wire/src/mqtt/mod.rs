//! MQTT on bytes.
//!
//! [`v4`] is MQTT 3.1.1 (protocol level 4), [`v5`] is MQTT 5.0 (level 5). Both have the same two functions, `decode` and
//! `encode`, and the same kinds of errors, so that a door can hold either. [`first`] reads the first packet of a connection,
//! which tells the level, and knows the answer to what cannot be taken. [`topic`] holds the grammar of topic names and
//! filters, which is the same in both.
//!
//! A packet is judged in two steps. `decode` refuses what nobody may send. `Packet::check` refuses besides what this
//! [`Sender`] may not send, and topics that break the grammar; a door that gives topics a meaning of its own leaves it out.

mod frame;
mod reader;

pub mod basic;
pub mod first;
pub mod topic;
pub mod v4;
pub mod v5;

pub use basic::{PacketId, PacketType, QoS, Sender};
