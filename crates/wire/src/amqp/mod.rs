//! AMQP 1.0 on bytes: values, messages, frames, and a connection engine for both roles.
//!
//! Start with [`Connection`] to speak, [`Message`] and [`Value`] for what is said. What is *not* here: sockets, tasks, timers
//! (the user calls [`Connection::tick`]), transactions, link resumption, and any meaning of addresses.
//! Source: OASIS AMQP 1.0, parts 1 (types), 2 (transport), 3 (messaging), 5 (security).
//!
//! A client that authenticates by put-token and reads events, without the I/O around it:
//!
//! ```no_run
//! use ironbrook_wire::amqp::{
//!     ClientSasl, Config, Connection, DeliveryState, Event, LinkOptions, Message, Outgoing, Value,
//! };
//!
//! fn exchange_bytes(connection: &mut Connection) { /* write output() away, read into input() */ }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config { hostname: Some("localhost".into()), ..Config::default() };
//! let mut connection = Connection::client(config, ClientSasl::Anonymous);
//! let (mut token_sender, mut events) = (None, None);
//! loop {
//!     exchange_bytes(&mut connection);
//!     while let Some(event) = connection.poll()? {
//!         match event {
//!             Event::Opened(_) => {
//!                 let session = connection.begin()?;
//!                 let sender = connection.attach(session, LinkOptions::sender("cbs-out", "$cbs"))?;
//!                 let mut answers = LinkOptions::receiver("cbs-in", "$cbs");
//!                 answers.credit = 10;
//!                 connection.attach(session, answers)?;
//!                 // Kept until the server grants credit.
//!                 let mut put = Message::value("SharedAccessSignature sr=…");
//!                 put.properties.message_id = Some(Value::from(1_u64));
//!                 put.properties.reply_to = Some("cbs-in".into());
//!                 put.set_property("operation", "put-token");
//!                 put.set_property("type", "servicebus.windows.net:sastoken");
//!                 put.set_property("name", "sb://localhost/hub");
//!                 let tag = bytes::Bytes::from_static(b"1");
//!                 connection.send(sender, Outgoing { tag, format: 0, settled: true, payload: put.to_bytes() })?;
//!                 token_sender = Some(sender);
//!             }
//!             Event::Delivery(delivery) if Some(delivery.link) == events => {
//!                 let event = Message::decode(&delivery.payload)?;
//!                 println!("{:?}", event.body_bytes());
//!                 if !delivery.settled {
//!                     connection.settle(delivery.link, delivery.id, delivery.id, DeliveryState::Accepted);
//!                 }
//!                 if connection.credit(delivery.link) < 50 {
//!                     connection.set_credit(delivery.link, 100);
//!                 }
//!             }
//!             Event::Delivery(answer) => {
//!                 let answer = Message::decode(&answer.payload)?;
//!                 assert_eq!(answer.application_property("status-code"), Some(&Value::Int(200)));
//!                 let session = token_sender.ok_or("no session")?.session();
//!                 let address = "hub/ConsumerGroups/$Default/Partitions/0";
//!                 let mut reader = LinkOptions::receiver("reader-0", address);
//!                 let selector = "apache.org:selector-filter:string";
//!                 let position = Value::from("amqp.annotation.x-opt-offset > '-1'");
//!                 let filter = Value::described(Value::symbol(selector), position);
//!                 reader.source.filter.push((selector.into(), filter));
//!                 reader.credit = 100;
//!                 events = Some(connection.attach(session, reader)?);
//!             }
//!             Event::Detached(_, error) => return Err(format!("detached: {error:?}").into()),
//!             Event::Closed(_) => return Ok(()),
//!             _ => {}
//!         }
//!     }
//! }
//! # }
//! ```

mod connection;
mod decode;
mod encode;
mod error;
mod frame;
mod message;
mod performative;
mod sasl;
#[cfg(test)]
mod tests;
mod types;
mod value;

pub use connection::{
    ClientSasl, CommandError, Config, Connection, Delivery, Event, LinkId, LinkOptions, Outgoing,
    SaslRequest, SessionId, Violation,
};
pub use error::DecodeError;
pub use frame::{FRAME_HEADER_LEN, FRAME_SIZE_MIN, Frame, FrameKind};
pub use message::{BATCH_FORMAT, Body, Header, Message, Properties};
pub use performative::{Attach, Begin, Detach, Disposition, Flow, Open, Performative, Transfer};
pub use sasl::{SaslCode, SaslFrame};
pub use types::{AmqpError, DeliveryState, ReceiverSettleMode, Role, SenderSettleMode, Source, Target};
pub use value::Value;
