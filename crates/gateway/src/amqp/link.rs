//! What a link of a connection is for.

use super::service::{Sink, Source};
use crate::provisioning::Registrant;
use bytestring::ByteString;
use std::sync::Arc;

/// A device on a connection; a number, because it is looked up for every message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key(pub(super) u32);

/// A link, seen from the door.
pub(super) struct Link {
    pub(super) kind: Kind,
    /// The address it leads to, as the client spells it, for the log.
    pub(super) address: Box<str>,
    /// The client's own address of the link, by which it wants answers.
    pub(super) answers_at: Option<ByteString>,
    /// The client wants everything settled when it is sent.
    pub(super) settled_mode: bool,
    /// How many deliveries may come before some are answered; 0 where nothing comes.
    pub(super) window: u32,
    /// How many came and are not answered.
    pub(super) outstanding: u32,
}

pub(super) enum Kind {
    /// Not decided yet.
    Opening,
    TokenRequests,
    TokenAnswers,
    ManagementRequests,
    ManagementAnswers,
    /// From a device that wants to be provisioned.
    RegistrationRequests(Arc<Registrant>),
    RegistrationAnswers,
    /// From the device.
    Telemetry(Key),
    /// To the device: cloud-to-device messages.
    Commands(Key),
    /// To a module: messages routed to its inputs.
    Inputs(Key),
    TwinRequests(Key),
    TwinAnswers(Key),
    /// To the device.
    MethodCalls(Key),
    /// From the device.
    MethodAnswers(Key),
    /// To a service.
    Source(Source),
    /// From a service.
    Sink(Sink),
}

/// A peer's own words, safe for a log line: escaped and short.
fn shown(text: &str) -> Box<str> {
    text.chars().take(200).flat_map(char::escape_debug).collect::<String>().into()
}

impl Link {
    pub(super) fn new(address: &str, answers_at: Option<ByteString>, settled_mode: bool) -> Self {
        Self {
            kind: Kind::Opening,
            address: shown(address),
            answers_at,
            settled_mode,
            window: 0,
            outstanding: 0,
        }
    }

    /// The device it belongs to.
    pub(super) fn key(&self) -> Option<Key> {
        match self.kind {
            Kind::Telemetry(key)
            | Kind::Commands(key)
            | Kind::Inputs(key)
            | Kind::TwinRequests(key)
            | Kind::TwinAnswers(key)
            | Kind::MethodCalls(key)
            | Kind::MethodAnswers(key) => Some(key),
            _ => None,
        }
    }
}
