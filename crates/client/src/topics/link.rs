//! One connection: hello, bytes in and out, pings, and the graceful end.

use super::driver::{Config, Driver};
use super::outbound::said;
use super::{Control, Error, Result, Version};
use crate::outbox::Outbox;
use crate::transport::{BoxStream, Dial};
use bytes::{Bytes, BytesMut};
use ironbrook_wire::mqtt::v5::{self, ConnAck, ConnectProperties, Packet, ReasonCode, WillProperties};
use std::io;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Bytes waiting to be written above which nothing new is taken.
const OUT_LEN_MAX: usize = 256 * 1024;
/// Bytes there is room for before each read.
const READ_LEN: usize = 16 * 1024;
/// Longest wait for CONNACK.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for acknowledgements before a graceful end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// A time that never comes, in practice.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// As wished.
    Closed,
    /// Broken.
    Lost(Error),
}

/// An accepted connection.
pub(super) struct Link {
    stream: BoxStream,
    /// What came right behind CONNACK.
    inbox: BytesMut,
    pub ack: Box<ConnAck>,
}

/// Dials and says hello; `first` is whether no connection was accepted before.
pub(super) async fn open(config: Arc<Config>, dial: Arc<dyn Dial>, first: bool) -> Result<Link> {
    let stream = dial.dial().await?;
    match timeout(WELCOME_TIMEOUT, hello(stream, &config, first)).await {
        Ok(link) => link,
        Err(_) => Err(crate::Error::Timeout("CONNECT").into()),
    }
}

fn connect(config: &Config, first: bool) -> v5::Connect {
    let keeps = config.session_expiry > 0;
    let will = config.will.as_ref().map(|will| {
        let (message, properties) = (&will.message, &will.message.properties);
        let delay = u32::try_from(will.delay.as_secs()).unwrap_or(u32::MAX);
        v5::Will {
            topic: message.topic.clone(),
            payload: message.payload.clone(),
            qos: message.qos,
            retain: message.retain,
            properties: WillProperties {
                will_delay_interval: Some(delay).filter(|delay| *delay > 0),
                payload_format_indicator: properties.is_text,
                message_expiry_interval: properties.expiry,
                content_type: properties.content_type.clone(),
                response_topic: properties.response_topic.clone(),
                correlation_data: properties.correlation_data.clone(),
                user: properties.user.clone(),
            },
        }
    });
    v5::Connect {
        client_id: config.client_id.clone(),
        keep_alive: u16::try_from(config.keep_alive.as_secs()).unwrap_or(u16::MAX),
        // A session that lives on is gone on with after the first connection.
        clean_start: if first { config.clean_start } else { !keeps },
        will,
        username: config.user.clone(),
        password: config.password.as_ref().map(|password| Bytes::copy_from_slice(password.0.as_bytes())),
        properties: ConnectProperties {
            session_expiry_interval: Some(config.session_expiry).filter(|_| keeps),
            receive_maximum: NonZeroU16::new(config.receive_maximum),
            maximum_packet_size: u32::try_from(config.codec.packet_max).ok().and_then(NonZeroU32::new),
            topic_alias_maximum: Some(config.alias_maximum),
            ..ConnectProperties::default()
        },
    }
}

async fn hello(mut stream: BoxStream, config: &Config, first: bool) -> Result<Link> {
    let network = |action: &str, error| Error::from(crate::Error::network(action, error));
    let mut out = BytesMut::new();
    config.codec.encode_connect(connect(config, first), config.bridge, &mut out)?;
    stream.write_all(&out).await.map_err(|e| network("sending CONNECT", e))?;
    stream.flush().await.map_err(|e| network("sending CONNECT", e))?;
    let mut inbox = BytesMut::new();
    loop {
        match config.codec.decode(&mut inbox)? {
            Some(Packet::ConnAck(ack)) if ack.reason.is_error() => {
                let said = said(ack.properties.reason_string.as_ref());
                return Err(Error::Rejected { reason: ack.reason, said });
            }
            Some(Packet::ConnAck(ack)) => return Ok(Link { stream, inbox, ack }),
            Some(_) => return Err(Error::Protocol("its first packet was no CONNACK".to_owned())),
            None => {}
        }
        let read = stream.read_buf(&mut inbox).await.map_err(|e| network("waiting for CONNACK", e))?;
        if read == 0 {
            return Err(network("waiting for CONNACK", io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

impl Driver {
    /// Serves one connection until it ends.
    pub(super) async fn online(&mut self, link: Link, cancel: &CancellationToken) -> End {
        let Link { stream, mut inbox, ack } = link;
        let (mut reader, mut writer) = tokio::io::split(stream);
        let keep_alive = ack.properties.server_keep_alive.map(|seconds| Duration::from_secs(seconds.into()));
        let keep_alive = Some(keep_alive.unwrap_or(self.config.keep_alive)).filter(|time| !time.is_zero());
        let mut outbox = Outbox::new(keep_alive.unwrap_or(NEVER));
        let mut leaving: Option<Instant> = None;
        let mut has_handles = true;
        self.session.connected(&ack, &mut outbox.bytes);
        loop {
            self.session.acknowledge(&mut outbox.bytes);
            let reads = match self.handle_packets(&mut inbox, &mut outbox) {
                Ok(reads) => reads,
                Err(error) => {
                    if matches!(error, Error::Protocol(_)) && self.config.codec.version == Version::V5 {
                        self.session.goodbye(ReasonCode::ProtocolError, &mut outbox.bytes);
                        outbox.finish(&mut writer).await;
                    }
                    return End::Lost(error);
                }
            };
            if !reads {
                // The server's answer may be in what is not read.
                outbox.heard();
            }
            if let Err(error) = outbox.ping() {
                return End::Lost(error.into());
            }
            if leaving.is_some_and(|deadline| deadline <= Instant::now() || self.is_idle()) {
                self.session.goodbye(ReasonCode::NORMAL_DISCONNECTION, &mut outbox.bytes);
                outbox.finish(&mut writer).await;
                return End::Closed;
            }
            outbox.dirty |= !outbox.bytes.is_empty();
            let (dirty, spare) = (outbox.dirty, outbox.bytes.len() < OUT_LEN_MAX);
            let takes = spare && self.session.outbound.has_room();
            let wake_at = leaving.map_or(outbox.ping_at, |deadline| deadline.min(outbox.ping_at));
            inbox.reserve(if reads && spare { READ_LEN } else { 0 });
            tokio::select! {
                biased;
                () = cancel.cancelled(), if leaving.is_none() => leaving = Some(self.leave()),
                written = outbox.write(&mut writer), if dirty => if let Err(e) = written {
                    return End::Lost(crate::Error::network("sending", e).into());
                },
                // Answers are written for what is read: no more is read than can be answered.
                read = reader.read_buf(&mut inbox), if reads && spare => match read {
                    Ok(0) => return End::Lost(
                        crate::Error::network("receiving", io::ErrorKind::UnexpectedEof.into()).into(),
                    ),
                    Ok(_) => outbox.heard(),
                    Err(e) => return End::Lost(crate::Error::network("receiving", e).into()),
                },
                () = self.flow.changed() => {}
                wish = self.ports.control.recv(), if spare && has_handles => match wish {
                    None => {
                        has_handles = false;
                        leaving = Some(self.leave());
                    }
                    Some(Control::Close(reply)) => {
                        self.closing.push(reply);
                        leaving = Some(self.leave());
                    }
                    Some(Control::Request(request)) => {
                        self.session.request(request, Some(&mut outbox.bytes));
                    }
                },
                Some(message) = self.ports.outgoing.recv(), if takes => {
                    self.session.publish(message, &mut outbox.bytes);
                    while self.session.outbound.has_room()
                        && outbox.bytes.len() < OUT_LEN_MAX
                        && let Ok(message) = self.ports.outgoing.try_recv()
                    {
                        self.session.publish(message, &mut outbox.bytes);
                    }
                },
                () = sleep_until(wake_at) => {}
            }
        }
    }

    /// Handles what has come; false while the program has to take messages before more is read.
    fn handle_packets(&mut self, inbox: &mut BytesMut, outbox: &mut Outbox) -> Result<bool> {
        loop {
            let place = match self.messages.try_reserve() {
                Ok(place) if self.session.has_room() => Some(place),
                Err(TrySendError::Closed(())) => None,
                Ok(_) | Err(TrySendError::Full(())) => return Ok(false),
            };
            let Some(packet) = self.config.codec.decode(inbox)? else { return Ok(true) };
            self.session.packet(packet, place, &mut outbox.bytes)?;
            if outbox.bytes.len() >= OUT_LEN_MAX {
                // What is left of the inbox has its turn when the outbox has been written.
                return Ok(true);
            }
        }
    }

    /// Begins the graceful end: no new messages are taken from handles, what is here still goes out.
    fn leave(&mut self) -> Instant {
        self.ports.outgoing.close();
        Instant::now() + CLOSE_TIMEOUT
    }

    fn is_idle(&self) -> bool {
        self.session.outbound.is_empty() && self.ports.outgoing.is_empty()
    }
}
