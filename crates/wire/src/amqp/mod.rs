//! AMQP 1.0 on bytes.

mod decode;
mod encode;
mod error;
mod message;
mod value;

pub use error::DecodeError;
pub use message::{BATCH_FORMAT, Body, Header, Message, Properties};
pub use value::Value;
