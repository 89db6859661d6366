//! The nouns of ironbrook: identities, messages, errors, tokens, twins. No input or output happens here.
//!
//! Start with [`Message`] (what travels), [`Identity`] (who speaks) and [`Refusal`] (why something was not done).
//! What is *not* here: sockets, files, clocks, and anything that differs between the two assemblies.

mod cause;
mod connection_string;
mod error;
mod id;
mod message;
mod percent;
mod policy;
mod property;
mod record;
mod sas;
mod time;
pub mod twin;

pub use cause::Cause;
pub use connection_string::{ConnectionString, ConnectionStringError};
pub use error::{AmqpCondition, ErrorCode, MqttAction, Refusal};
pub use id::{DeviceId, IdError, Identity, ModuleId};
pub use message::{Message, MessageSource, Properties, SystemProperties};
pub use percent::{percent_decode, percent_encode};
pub use policy::{Permissions, SharedAccessPolicy};
pub use property::SystemProperty;
pub use record::{
    AuthenticationType, IdentityRecord, IdentityStatus, Parent, SymmetricKeys, X509Thumbprints,
};
pub use sas::{SasError, SasToken, SharedAccessKey};
pub use time::Timestamp;
