//! Enhanced authentication of MQTT 5.0 (section 4.12): a method that client and server take in steps, by AUTH packets.
//!
//! [`ScramSha256`] is served from the start; others come in by [`Topics::with_method`](super::Topics::with_method).

use super::speech::{Unwritten, V5};
use super::{Denied, Topics};
use crate::packet_io::{Event, Io};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use ironbrook_pubsub::Reason;
use ironbrook_pubsub::acl::{Acl, SCRAM_SHA_256, Scram, ScramStep};
use ironbrook_wire::mqtt::v5::{Auth, AuthData, AuthProperties, Packet, ReasonCode, decode, encode_within};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// Steps of one authentication.
const STEPS_MAX: usize = 16;
/// How long one may take before CONNACK.
const TIME_MAX: Duration = Duration::from_secs(60);

/// A method of enhanced authentication.
pub trait EnhancedAuthentication: Send + Sync + 'static {
    /// Its name, as CONNECT has it.
    fn name(&self) -> &str;

    /// Begins one authentication against the users there are now.
    fn begin(&self, users: Arc<Acl>) -> Box<dyn Exchange>;
}

/// One authentication. Its steps are taken on the connection's own task, so they must be short.
pub trait Exchange: Send {
    /// Takes what the client sent. `None` refuses it.
    fn step(&mut self, data: &[u8]) -> Option<ExchangeStep>;
}

/// What a step led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExchangeStep {
    /// This is to be sent, and an answer waited for.
    Continue(Bytes),
    /// The client is this user, and is sent this with the success.
    Done {
        /// Its user name.
        user: ByteString,
        /// The server's last word.
        data: Bytes,
    },
}

/// SCRAM-SHA-256 with the passwords of the users.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScramSha256;

impl EnhancedAuthentication for ScramSha256 {
    fn name(&self) -> &str {
        SCRAM_SHA_256
    }

    fn begin(&self, users: Arc<Acl>) -> Box<dyn Exchange> {
        Box::new(Scram::new(users))
    }
}

impl Exchange for Scram {
    fn step(&mut self, data: &[u8]) -> Option<ExchangeStep> {
        Some(match Scram::step(self, data)? {
            ScramStep::Continue(text) => ExchangeStep::Continue(text.into()),
            ScramStep::Done { user, data } => ExchangeStep::Done { user: user.into(), data: data.into() },
        })
    }
}

/// How a client proved who it is, for it to do so again.
pub(super) struct Proven {
    pub(super) method: Arc<dyn EnhancedAuthentication>,
    pub(super) user: ByteString,
    /// An authentication under way.
    pub(super) exchange: Option<Box<dyn Exchange>>,
}

/// Authenticates a client between CONNECT and CONNACK; gives how, and the last data.
pub(super) async fn authenticate<S: AsyncRead + AsyncWrite + Unpin>(
    io: &mut Io<S>,
    topics: &Topics,
    (name, data): (ByteString, Bytes),
    speech: V5,
) -> Result<(Proven, Bytes), Denied> {
    let Some(method) = topics.methods.iter().find(|method| *method.name() == *name) else {
        // [MQTT-4.12.0-1]
        return Err(Denied {
            reason: Reason::NotAuthorized,
            code: Some(ReasonCode::BadAuthenticationMethod),
            text: "this authentication method is not served; use SCRAM-SHA-256, or user name and password"
                .to_owned(),
        });
    };
    let exchanging = async {
        let mut exchange = method.begin(topics.broker.acl());
        let mut data = data;
        for _ in 0..STEPS_MAX {
            match exchange.step(&data).ok_or(Reason::NotAuthorized)? {
                ExchangeStep::Done { user, data } => {
                    return Ok((Proven { method: method.clone(), user, exchange: None }, data));
                }
                ExchangeStep::Continue(answer) => {
                    // [MQTT-4.12.0-2], [MQTT-4.12.0-3], [MQTT-4.12.0-5]
                    let reason = ReasonCode::ContinueAuthentication;
                    io.put_with(|out| put(method.name(), reason, answer, speech, out))
                        .map_err(|_| Reason::PacketTooLarge)?;
                    data = answered(io, &name).await?;
                }
            }
        }
        Err(Denied::from(Reason::NotAuthorized))
    };
    tokio::time::timeout(TIME_MAX, exchanging).await.unwrap_or_else(|_| Err(Reason::NotAuthorized.into()))
}

/// The data of the client's next AUTH, before which it may send nothing else [MQTT-3.1.2-30].
async fn answered<S: AsyncRead + AsyncWrite + Unpin>(io: &mut Io<S>, name: &str) -> Result<Bytes, Denied> {
    loop {
        match io.take(decode).map_err(|violation| Denied {
            reason: Reason::ProtocolError,
            code: Some(violation.reason()),
            text: violation.to_string(),
        })? {
            Some(Packet::Auth(auth)) if goes_on(&auth, name) => return Ok(data(auth)),
            Some(_) => return Err(Reason::ProtocolError.into()),
            None => {}
        }
        if !matches!(io.drive(true).await, Ok(Event::Read(1..) | Event::Wrote)) {
            return Err(Reason::NotAuthorized.into());
        }
    }
}

fn goes_on(auth: &Auth, name: &str) -> bool {
    auth.reason == ReasonCode::ContinueAuthentication
        && auth.properties.authentication_method.as_deref() == Some(name)
}

/// What a client sends in an AUTH.
pub(super) fn data(auth: Auth) -> Bytes {
    auth.properties.authentication_data.map_or_else(Bytes::new, |AuthData(data)| data)
}

/// Writes an AUTH.
pub(super) fn put(
    name: &str,
    reason: ReasonCode,
    data: Bytes,
    speech: V5,
    out: &mut BytesMut,
) -> Result<(), Unwritten> {
    let properties = AuthProperties {
        authentication_method: Some(name.into()),
        authentication_data: Some(AuthData(data)),
        ..AuthProperties::default()
    };
    Ok(encode_within(&Packet::Auth(Auth { reason, properties }), speech.limits, out)?)
}
