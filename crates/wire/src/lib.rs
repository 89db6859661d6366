//! The protocols as bytes: MQTT 3.1.1 and 5.0 and AMQP 1.0, without sockets, clocks or tasks.
//!
//! Start with [`mqtt`] (packet codecs) or [`amqp`] (a codec and a connection engine). Both are used in both roles:
//! the doors speak as servers, the client crate as a client. What is *not* here: topics, link addresses and any other
//! meaning that the platform gives to what travels.

pub mod amqp;
pub mod mqtt;
