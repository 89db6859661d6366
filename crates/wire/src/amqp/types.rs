//! Types that performatives are made of (specification part 2, section 2.8; part 3, sections 3.4 and 3.5).

use super::decode::{Fields, into_composite, into_map};
use super::encode::Composite;
use super::{DecodeError, Value};
use bytes::BytesMut;
use bytestring::ByteString;

/// Which end of a link one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Gives messages.
    Sender,
    /// Takes messages.
    Receiver,
}

impl Role {
    pub(super) fn from_bool(receiver: bool) -> Self {
        if receiver { Self::Receiver } else { Self::Sender }
    }

    /// The other end.
    pub fn other(self) -> Self {
        match self {
            Self::Sender => Self::Receiver,
            Self::Receiver => Self::Sender,
        }
    }
}

/// How a sender settles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SenderSettleMode {
    /// All deliveries wait for the receiver.
    Unsettled,
    /// All deliveries are settled when sent.
    Settled,
    /// As the sender likes.
    #[default]
    Mixed,
}

/// How a receiver settles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReceiverSettleMode {
    /// At once.
    #[default]
    First,
    /// After the sender.
    Second,
}

/// An error on the wire: a symbol that programs read and a text for people.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AmqpError {
    /// The condition, e.g. `amqp:not-found`.
    pub condition: ByteString,
    /// For people.
    pub description: Option<ByteString>,
    /// More; symbol keys.
    pub info: Vec<(ByteString, Value)>,
}

impl AmqpError {
    /// An error with a text.
    pub fn new(condition: impl Into<ByteString>, description: impl Into<ByteString>) -> Self {
        Self { condition: condition.into(), description: Some(description.into()), info: Vec::new() }
    }

    pub(super) fn decode(value: Value) -> Result<Option<Self>, DecodeError> {
        if value.is_null() {
            return Ok(None);
        }
        let (code, mut f) = into_composite(value)?;
        if code != 0x1d {
            return Err(DecodeError::Descriptor(code));
        }
        Ok(Some(Self {
            condition: f.text("condition")?,
            description: f.opt_text("description")?,
            info: f.map("info")?,
        }))
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        let mut c = Composite::begin(out, 0x1d);
        c.symbol(Some(&self.condition));
        c.string(self.description.as_ref());
        c.map(&self.info);
        c.end();
    }
}

impl std::fmt::Display for AmqpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.description {
            Some(text) => write!(f, "{}: {text}", self.condition),
            None => f.write_str(&self.condition),
        }
    }
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq)]
pub enum DeliveryState {
    /// A part was received.
    Received {
        /// Section, from 0.
        section: u32,
        /// Byte in the section.
        offset: u64,
    },
    /// Processed.
    Accepted,
    /// Invalid.
    Rejected(Option<AmqpError>),
    /// Not processed, to be given again.
    Released,
    /// Not processed, to be given again changed.
    Modified {
        /// The attempt counts.
        delivery_failed: bool,
        /// Not to the same receiver again.
        undeliverable_here: bool,
    },
    /// Something else, e.g. a transaction's state.
    Other(Value),
}

impl DeliveryState {
    /// Whether it is an outcome, after which nothing else follows.
    pub fn is_outcome(&self) -> bool {
        !matches!(self, Self::Received { .. } | Self::Other(_))
    }

    pub(super) fn decode(value: Value) -> Result<Option<Self>, DecodeError> {
        if value.is_null() {
            return Ok(None);
        }
        let Value::Described(parts) = &value else { return Err(DecodeError::Field("state")) };
        let Ok(code @ 0x23..=0x27) = super::decode::descriptor_code(&parts.0) else {
            return Ok(Some(Self::Other(value)));
        };
        let (_, mut f) = into_composite(value)?;
        Ok(Some(match code {
            0x23 => Self::Received {
                section: f.u32("section-number")?,
                offset: f.opt_u64("section-offset")?.unwrap_or(0),
            },
            0x24 => Self::Accepted,
            0x25 => Self::Rejected(AmqpError::decode(f.value())?),
            0x26 => Self::Released,
            _ => Self::Modified {
                delivery_failed: f.bool("delivery-failed")?,
                undeliverable_here: f.bool("undeliverable-here")?,
            },
        }))
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Received { section, offset } => {
                let mut c = Composite::begin(out, 0x23);
                c.u32(*section);
                c.u64(Some(*offset));
                c.end();
            }
            Self::Accepted => Composite::begin(out, 0x24).end(),
            Self::Rejected(error) => {
                let mut c = Composite::begin(out, 0x25);
                c.nested(error.as_ref(), AmqpError::encode);
                c.end();
            }
            Self::Released => Composite::begin(out, 0x26).end(),
            Self::Modified { delivery_failed, undeliverable_here } => {
                let mut c = Composite::begin(out, 0x27);
                c.bool(*delivery_failed);
                c.bool(*undeliverable_here);
                c.value(&Value::Null);
                c.end();
            }
            Self::Other(value) => super::encode::value(out, value),
        }
    }
}

/// Where messages of a link come from.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs, reason = "the names are the specification's and say it")]
pub struct Source {
    pub address: Option<ByteString>,
    pub durable: Option<u32>,
    pub expiry_policy: Option<ByteString>,
    pub timeout: Option<u32>,
    pub dynamic: bool,
    pub dynamic_node_properties: Vec<(ByteString, Value)>,
    pub distribution_mode: Option<ByteString>,
    /// Filter name and described value.
    pub filter: Vec<(ByteString, Value)>,
    pub default_outcome: Option<DeliveryState>,
    pub outcomes: Vec<ByteString>,
    pub capabilities: Vec<ByteString>,
}

impl Source {
    /// A source with an address.
    pub fn address(address: impl Into<ByteString>) -> Self {
        Self { address: Some(address.into()), ..Self::default() }
    }

    pub(super) fn decode(value: Value) -> Result<Option<Self>, DecodeError> {
        if value.is_null() {
            return Ok(None);
        }
        let (code, mut f) = into_composite(value)?;
        if code != 0x28 {
            return Err(DecodeError::Descriptor(code));
        }
        Ok(Some(Self {
            address: address(&mut f)?,
            durable: f.opt_u32("durable")?,
            expiry_policy: f.opt_text("expiry-policy")?,
            timeout: f.opt_u32("timeout")?,
            dynamic: f.bool("dynamic")?,
            dynamic_node_properties: f.map("dynamic-node-properties")?,
            distribution_mode: f.opt_text("distribution-mode")?,
            filter: into_map(f.value(), "filter")?,
            default_outcome: DeliveryState::decode(f.value())?,
            outcomes: f.symbols("outcomes")?,
            capabilities: f.symbols("capabilities")?,
        }))
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        let mut c = Composite::begin(out, 0x28);
        c.string(self.address.as_ref());
        c.u32(self.durable);
        c.symbol(self.expiry_policy.as_ref());
        c.u32(self.timeout);
        c.bool(self.dynamic);
        c.map(&self.dynamic_node_properties);
        c.symbol(self.distribution_mode.as_ref());
        c.map(&self.filter);
        c.nested(self.default_outcome.as_ref(), DeliveryState::encode);
        c.symbols(&self.outcomes);
        c.symbols(&self.capabilities);
        c.end();
    }
}

/// Where messages of a link go to.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs, reason = "the names are the specification's and say it")]
pub struct Target {
    pub address: Option<ByteString>,
    pub durable: Option<u32>,
    pub expiry_policy: Option<ByteString>,
    pub timeout: Option<u32>,
    pub dynamic: bool,
    pub dynamic_node_properties: Vec<(ByteString, Value)>,
    pub capabilities: Vec<ByteString>,
}

impl Target {
    /// A target with an address.
    pub fn address(address: impl Into<ByteString>) -> Self {
        Self { address: Some(address.into()), ..Self::default() }
    }

    pub(super) fn decode(value: Value) -> Result<Option<Self>, DecodeError> {
        if value.is_null() {
            return Ok(None);
        }
        let (code, mut f) = into_composite(value)?;
        match code {
            0x29 => {}
            // A transaction coordinator: known to the specification, offered by nobody here, so the same as no target.
            0x30 => return Ok(None),
            other => return Err(DecodeError::Descriptor(other)),
        }
        Ok(Some(Self {
            address: address(&mut f)?,
            durable: f.opt_u32("durable")?,
            expiry_policy: f.opt_text("expiry-policy")?,
            timeout: f.opt_u32("timeout")?,
            dynamic: f.bool("dynamic")?,
            dynamic_node_properties: f.map("dynamic-node-properties")?,
            capabilities: f.symbols("capabilities")?,
        }))
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        let mut c = Composite::begin(out, 0x29);
        c.string(self.address.as_ref());
        c.u32(self.durable);
        c.symbol(self.expiry_policy.as_ref());
        c.u32(self.timeout);
        c.bool(self.dynamic);
        c.map(&self.dynamic_node_properties);
        c.symbols(&self.capabilities);
        c.end();
    }
}

/// An address may be of any type by the specification; here it is text, and anything else is as good as none.
fn address(f: &mut Fields) -> Result<Option<ByteString>, DecodeError> {
    Ok(match f.value() {
        Value::Binary(bytes) => Some(ByteString::try_from(bytes).map_err(|_| DecodeError::Text)?),
        other => other.to_text(),
    })
}
