//! SASL frames (specification part 5, section 5.3).

use super::decode::Decoder;
use super::encode::Composite;
use super::{DecodeError, Value};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

/// The result of authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslCode {
    /// Let in.
    Ok = 0,
    /// Wrong credentials.
    Auth = 1,
    /// The server cannot tell.
    Sys = 2,
    /// The server cannot tell and never will.
    SysPerm = 3,
    /// The server cannot tell now.
    SysTemp = 4,
}

/// A SASL frame. Its `Debug` never shows a response, which may be a credential.
#[derive(Clone, PartialEq)]
pub enum SaslFrame {
    /// What the server offers.
    Mechanisms(Vec<ByteString>),
    /// What the client chose, with its first response.
    Init {
        /// The mechanism.
        mechanism: ByteString,
        /// The first response.
        initial_response: Option<Bytes>,
        /// The host the client wants.
        hostname: Option<ByteString>,
    },
    /// A question of the server.
    Challenge(Bytes),
    /// The client's answer.
    Response(Bytes),
    /// The result.
    Outcome(SaslCode),
}

impl std::fmt::Debug for SaslFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mechanisms(names) => f.debug_tuple("Mechanisms").field(names).finish(),
            Self::Init { mechanism, .. } => {
                f.debug_struct("Init").field("mechanism", mechanism).finish_non_exhaustive()
            }
            Self::Challenge(_) => f.write_str("Challenge"),
            Self::Response(_) => f.write_str("Response"),
            Self::Outcome(code) => f.debug_tuple("Outcome").field(code).finish(),
        }
    }
}

impl SaslFrame {
    /// Reads the body of a SASL frame.
    ///
    /// # Errors
    /// Bytes that are not a SASL frame.
    pub fn decode(body: &Bytes) -> Result<Self, DecodeError> {
        let (code, mut f) = Decoder::new(body).composite()?;
        Ok(match code {
            0x40 => Self::Mechanisms(f.symbols("sasl-server-mechanisms")?),
            0x41 => Self::Init {
                mechanism: f.text("mechanism")?,
                initial_response: f.opt_binary("initial-response")?,
                hostname: f.opt_text("hostname")?,
            },
            0x42 => Self::Challenge(f.opt_binary("challenge")?.unwrap_or_default()),
            0x43 => Self::Response(f.opt_binary("response")?.unwrap_or_default()),
            0x44 => Self::Outcome(match f.opt_u8("code")? {
                Some(0) => SaslCode::Ok,
                Some(1) => SaslCode::Auth,
                Some(2) => SaslCode::Sys,
                Some(3) => SaslCode::SysPerm,
                Some(4) => SaslCode::SysTemp,
                _ => return Err(DecodeError::Field("code")),
            }),
            other => return Err(DecodeError::Descriptor(other)),
        })
    }

    /// Writes the body of a SASL frame.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Mechanisms(names) => {
                let mut c = Composite::begin(out, 0x40);
                // An array even for a single one: the C client refuses a lone symbol. (rule AMQP-02)
                c.symbols(names);
                c.end();
            }
            Self::Init { mechanism, initial_response, hostname } => {
                let mut c = Composite::begin(out, 0x41);
                c.symbol(Some(mechanism));
                c.binary(initial_response.as_ref());
                c.string(hostname.as_ref());
                c.end();
            }
            Self::Challenge(bytes) | Self::Response(bytes) => {
                let descriptor = if matches!(self, Self::Challenge(_)) { 0x42 } else { 0x43 };
                let mut c = Composite::begin(out, descriptor);
                c.binary(Some(bytes));
                c.end();
            }
            Self::Outcome(code) => {
                let mut c = Composite::begin(out, 0x44);
                c.u8(Some(*code as u8));
                c.value(&Value::Null);
                c.end();
            }
        }
    }
}
