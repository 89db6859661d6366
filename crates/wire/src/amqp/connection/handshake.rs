//! Protocol headers and SASL (specification part 2, 2.2; part 5, 5.3).

use super::super::{Frame, FrameKind, Performative, SaslCode, SaslFrame};
use super::{Connection, Event, SaslRequest, Violation};
use bytes::{Buf, Bytes};
use bytestring::ByteString;

pub(super) const AMQP_HEADER: [u8; 8] = *b"AMQP\x00\x01\x00\x00";
pub(super) const SASL_HEADER: [u8; 8] = *b"AMQP\x03\x01\x00\x00";
/// No SASL frame may be longer (specification part 5, 5.3.1).
const SASL_FRAME_MAX: usize = 512;
/// Tokens come as PLAIN passwords, which need more.
const SASL_INIT_MAX: usize = 8 * 1024;

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Server: any header.
    FirstHeader,
    /// Server: the client's choice.
    Init,
    /// Server: our user's decision.
    Decision,
    /// Client: the SASL header.
    SaslHeader,
    /// Client: what the server offers.
    Mechanisms,
    /// Client: the result.
    Outcome,
    /// Both: the AMQP header.
    AmqpHeader,
    /// Frames.
    Open,
    /// Nothing more is read.
    Closed,
}

impl Connection {
    /// One step of the handshake; false if more bytes are needed.
    pub(super) fn handshake(&mut self) -> Result<bool, Violation> {
        match self.phase {
            Phase::FirstHeader | Phase::SaslHeader | Phase::AmqpHeader => self.take_header(),
            Phase::Init | Phase::Mechanisms | Phase::Outcome => self.take_sasl(),
            Phase::Decision | Phase::Open | Phase::Closed => Ok(false),
        }
    }

    fn take_header(&mut self) -> Result<bool, Violation> {
        let Some(header) = self.input.first_chunk::<8>().copied() else {
            // Bytes that cannot become a header are told apart at once.
            let known = [AMQP_HEADER, SASL_HEADER].iter().any(|h| h.starts_with(&self.input));
            return if known { Ok(false) } else { Err(self.bad_header([0; 8])) };
        };
        self.input.advance(8);
        match (self.phase, header) {
            (Phase::FirstHeader, SASL_HEADER) => {
                self.writer.header(SASL_HEADER);
                let offer = self.mechanisms.iter().map(|m| ByteString::from_static(m)).collect();
                self.writer.sasl(&SaslFrame::Mechanisms(offer));
                self.phase = Phase::Init;
            }
            // A bare header: rhea starts so and authenticates by put-token or by its certificate. (rule AMQP-04)
            (Phase::FirstHeader, AMQP_HEADER) => {
                self.writer.header(AMQP_HEADER);
                self.phase = Phase::Open;
            }
            (Phase::SaslHeader, SASL_HEADER) => self.phase = Phase::Mechanisms,
            (Phase::AmqpHeader, AMQP_HEADER) => {
                if !self.is_client {
                    self.writer.header(AMQP_HEADER);
                }
                self.phase = Phase::Open;
                if self.is_client {
                    self.write_open();
                }
            }
            (_, other) => return Err(self.bad_header(other)),
        }
        Ok(true)
    }

    /// A server answers a header it does not know with the one it wants, and closes.
    fn bad_header(&mut self, header: [u8; 8]) -> Violation {
        if !self.is_client {
            self.writer.header(if self.phase == Phase::FirstHeader { SASL_HEADER } else { AMQP_HEADER });
        }
        Violation::Header(header)
    }

    fn take_sasl(&mut self) -> Result<bool, Violation> {
        let max = if self.phase == Phase::Init { SASL_INIT_MAX } else { SASL_FRAME_MAX };
        let Some(frame) = Frame::decode(&mut self.input, max)? else { return Ok(false) };
        if frame.kind != FrameKind::Sasl {
            return Err(Violation::State("an AMQP frame before authentication ended"));
        }
        match (self.phase, SaslFrame::decode(&frame.body)?) {
            (Phase::Init, SaslFrame::Init { mechanism, initial_response, .. }) => {
                if !self.mechanisms.contains(&&*mechanism) {
                    self.writer.sasl(&SaslFrame::Outcome(SaslCode::Auth));
                    return Err(Violation::Mechanism(mechanism));
                }
                self.phase = Phase::Decision;
                let response = initial_response.unwrap_or_default();
                self.events.push_back(Event::Sasl(SaslRequest { mechanism, response }));
            }
            (Phase::Mechanisms, SaslFrame::Mechanisms(offer)) => {
                let (mechanism, initial_response) = self.client_sasl.init();
                if !offer.contains(&mechanism) {
                    return Err(Violation::Mechanism(mechanism));
                }
                let hostname = self.config.hostname.clone();
                self.writer.sasl(&SaslFrame::Init { mechanism, initial_response, hostname });
                self.phase = Phase::Outcome;
            }
            (Phase::Outcome, SaslFrame::Outcome(SaslCode::Ok)) => {
                self.writer.header(AMQP_HEADER);
                self.phase = Phase::AmqpHeader;
            }
            (Phase::Outcome, SaslFrame::Outcome(code)) => return Err(Violation::Sasl(code)),
            (Phase::Outcome, SaslFrame::Challenge(_)) => {
                self.writer.sasl(&SaslFrame::Response(Bytes::new()));
            }
            _ => return Err(Violation::State("a SASL frame out of turn")),
        }
        Ok(true)
    }

    /// Server: answers an [`Event::Sasl`]. With anything but [`SaslCode::Ok`] the connection is over: write the output and
    /// drop it.
    pub fn sasl_outcome(&mut self, code: SaslCode) {
        if self.phase != Phase::Decision {
            return;
        }
        self.writer.sasl(&SaslFrame::Outcome(code));
        self.phase = if code == SaslCode::Ok { Phase::AmqpHeader } else { Phase::Closed };
    }

    /// Writes our open.
    pub(super) fn write_open(&mut self) {
        let open = super::super::Open {
            container_id: self.config.container_id.clone(),
            hostname: self.config.hostname.clone(),
            max_frame_size: Some(self.config.max_frame_size),
            channel_max: Some(self.config.max_sessions.saturating_sub(1)),
            idle_timeout: Some(
                u32::try_from(self.config.idle_timeout.as_millis() / 2).unwrap_or(u32::MAX).max(1),
            ),
            properties: self.config.properties.clone(),
            ..super::super::Open::default()
        };
        self.open_sent = true;
        self.writer.frame(0, &Performative::Open(Box::new(open)));
    }
}
