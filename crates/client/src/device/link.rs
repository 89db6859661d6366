//! One connection: hello, bytes in and out, pings, and the graceful end.

use super::Control;
use super::driver::{Config, Driver};
use crate::credentials::{Pass, Secret};
use crate::error::{Error, Result};
use crate::outbox::Outbox;
use crate::transport::{BoxStream, Dial};
use bytes::{Bytes, BytesMut};
use ironbrook_model::percent_encode;
use ironbrook_wire::mqtt::v4::{self, Connect, ConnectReturnCode, Packet};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// The API version stock clients of today send.
const API_VERSION: &str = "2021-04-12";
/// Longest packet taken from a hub, bytes; twins and messages are well below.
const PACKET_LEN_MAX: usize = 1024 * 1024;
/// Bytes waiting to be written above which nothing new is taken.
const OUT_LEN_MAX: usize = 256 * 1024;
/// Longest wait for CONNACK.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for acknowledgements before a graceful end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for acknowledgements before a token is renewed (rule CLIENT-02).
const RENEW_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause before a signer that failed is asked again.
const RENEW_AGAIN: Duration = Duration::from_secs(10);
/// A time that never comes, in practice.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// As wished.
    Closed,
    /// To come back at once, with this token if there is one.
    Renew(Option<Pass>),
    /// Broken.
    Lost(Error),
}

/// CONNECT and what goes with it.
struct Greeting {
    client_id: String,
    username: String,
    password: Secret,
    keep_alive: Duration,
    renew_after: Option<Duration>,
}

impl Greeting {
    /// The user name and the password.
    fn new(config: &Config, pass: Pass) -> Self {
        let Config { identity, signer, hub, .. } = config;
        let client_type = percent_encode(&config.client_type);
        let mut username =
            format!("{hub}/{identity}/?api-version={API_VERSION}&DeviceClientType={client_type}");
        if identity != signer {
            // rule CLIENT-08: who is meant, and the device whose module speaks for it.
            let chain = format!("{identity};{}", signer.device);
            username.push_str("&auth-chain=");
            username.push_str(&percent_encode(&chain));
        }
        Self {
            client_id: identity.to_string(),
            username,
            password: pass.token,
            keep_alive: config.keep_alive,
            renew_after: pass.renew_after,
        }
    }

    fn packet(&self) -> Packet {
        Packet::Connect(Box::new(Connect {
            client_id: self.client_id.as_str().into(),
            keep_alive: u16::try_from(self.keep_alive.as_secs()).unwrap_or(u16::MAX),
            // rule CLIENT-01: the hub keeps messages for a session that is not clean, and packet ids stay valid for sending again.
            clean_session: false,
            will: None,
            username: Some(self.username.as_str().into()),
            password: Some(Bytes::copy_from_slice(self.password.0.as_bytes())),
        }))
    }
}

/// An accepted connection.
pub(super) struct Link {
    stream: BoxStream,
    /// What came right behind CONNACK.
    inbox: BytesMut,
    renew_at: Option<Instant>,
}

/// Dials and says hello, with a new token unless there is a fresh one.
pub(super) async fn open(config: Arc<Config>, dial: Arc<dyn Dial>, pass: Option<Pass>) -> Result<Link> {
    let pass = match pass {
        Some(pass) => pass,
        None => config.pass().await?,
    };
    let greeting = Greeting::new(&config, pass);
    let stream = dial.dial().await?;
    match timeout(WELCOME_TIMEOUT, hello(stream, &greeting)).await {
        Ok(link) => link,
        Err(_) => Err(Error::Timeout("CONNECT")),
    }
}

async fn hello(mut stream: BoxStream, greeting: &Greeting) -> Result<Link> {
    let renew_at = greeting.renew_after.map(|after| Instant::now() + after);
    let mut out = BytesMut::new();
    v4::encode(&greeting.packet(), &mut out).map_err(|e| Error::Configuration(e.to_string()))?;
    stream.write_all(&out).await.map_err(|e| Error::network("sending CONNECT", e))?;
    stream.flush().await.map_err(|e| Error::network("sending CONNECT", e))?;
    let mut inbox = BytesMut::new();
    loop {
        match decode(&mut inbox)? {
            Some(Packet::ConnAck(ack)) => {
                return welcome(ack.code).map(|()| Link { stream, inbox, renew_at });
            }
            Some(_) => return Err(Error::Protocol("the first packet was no CONNACK".to_owned())),
            None => {}
        }
        let read = stream.read_buf(&mut inbox).await.map_err(|e| Error::network("waiting for CONNACK", e))?;
        if read == 0 {
            return Err(Error::network("waiting for CONNACK", io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

fn welcome(code: ConnectReturnCode) -> Result<()> {
    match code {
        ConnectReturnCode::Accepted => Ok(()),
        ConnectReturnCode::BadUserNameOrPassword | ConnectReturnCode::NotAuthorized => {
            Err(Error::Unauthorized(format!("the hub answered CONNECT with code {}", code as u8)))
        }
        ConnectReturnCode::ServerUnavailable => {
            Err(Error::Refused { status: 503, message: "the hub is not available now".to_owned() })
        }
        ConnectReturnCode::UnacceptableProtocolVersion | ConnectReturnCode::IdentifierRejected => Err(
            Error::Configuration(format!("the hub does not take this client: CONNACK code {}", code as u8)),
        ),
    }
}

fn decode(inbox: &mut BytesMut) -> Result<Option<Packet>> {
    v4::decode(inbox, PACKET_LEN_MAX).map_err(|e| Error::Protocol(e.to_string()))
}

/// A graceful end that is under way.
#[derive(Debug, Clone, Copy)]
struct Leaving {
    /// Whether the client comes back at once.
    renew: bool,
    deadline: Instant,
}

impl Leaving {
    fn to_renew() -> Option<Self> {
        Some(Self { renew: true, deadline: Instant::now() + RENEW_TIMEOUT })
    }
}

/// The next token: when it is due, and who is making it.
struct Renewal {
    due: Option<Instant>,
    signing: Option<Signing>,
    fresh: Option<Pass>,
}

type Signing = Pin<Box<dyn Future<Output = Result<Pass>> + Send>>;

impl Renewal {
    fn new(due: Option<Instant>) -> Self {
        Self { due, signing: None, fresh: None }
    }

    /// Asks for a token when its time has come. The connection goes on meanwhile: the old token is still good.
    fn begin_if_due(&mut self, config: &Arc<Config>) {
        if self.due.is_some_and(|due| due <= Instant::now()) {
            let config = config.clone();
            self.due = None;
            self.signing = Some(Box::pin(async move { config.pass().await }));
        }
    }

    /// Waits for the token; true when it is here. Cancel-safe.
    async fn signed(&mut self) -> bool {
        let Some(signing) = &mut self.signing else { return std::future::pending().await };
        let outcome = signing.await;
        self.signing = None;
        match outcome {
            Ok(pass) => self.fresh = Some(pass),
            Err(error) => {
                tracing::warn!(%error, "the token could not be renewed; trying again");
                self.due = Some(Instant::now() + RENEW_AGAIN);
            }
        }
        self.fresh.is_some()
    }
}

impl Driver {
    /// Serves one connection until it ends.
    pub(super) async fn online(&mut self, link: Link, cancel: &CancellationToken) -> End {
        let Link { stream, mut inbox, renew_at } = link;
        let mut renewal = Renewal::new(renew_at);
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut outbox = Outbox::new(self.config.keep_alive);
        let mut leaving: Option<Leaving> = None;
        let mut has_handles = true;
        self.session.connected(&mut outbox.bytes);
        loop {
            if let Err(error) = self.handle_packets(&mut inbox, &mut outbox) {
                return End::Lost(error);
            }
            if self.session.desired.must_read_again() {
                self.session.read_desired(&mut outbox.bytes);
            }
            if let Err(error) = outbox.ping() {
                return End::Lost(error);
            }
            if leaving.is_none() {
                renewal.begin_if_due(&self.config);
                if self.session.must_come_back() {
                    leaving = Leaving::to_renew();
                }
            }
            if let Some(plan) = leaving
                && (plan.deadline <= Instant::now() || self.is_idle(plan))
            {
                let _ = v4::encode(&Packet::Disconnect, &mut outbox.bytes);
                outbox.finish(&mut writer).await;
                return if plan.renew { End::Renew(renewal.fresh) } else { End::Closed };
            }
            outbox.dirty |= !outbox.bytes.is_empty();
            let (dirty, spare) = (outbox.dirty, outbox.bytes.len() < OUT_LEN_MAX);
            // Before a renewal nothing new is taken; before the end, what was handed over still goes.
            let takes = spare && self.session.window.has_room() && leaving.is_none_or(|plan| !plan.renew);
            let wake_at = self.wake_at(&outbox, &renewal, leaving);
            tokio::select! {
                biased;
                () = cancel.cancelled(), if leaving.is_none_or(|plan| plan.renew) => leaving = Some(self.leave()),
                written = outbox.write(&mut writer), if dirty => if let Err(e) = written {
                    return End::Lost(Error::network("sending", e));
                },
                read = reader.read_buf(&mut inbox) => match read {
                    Ok(0) => return lost_or_closed(leaving, renewal.fresh),
                    Ok(_) => outbox.heard(),
                    Err(e) => return End::Lost(Error::network("receiving", e)),
                },
                wish = self.ports.control.recv(), if spare && has_handles => match wish {
                    None => {
                        has_handles = false;
                        leaving = Some(self.leave());
                    }
                    Some(Control::Close(reply)) => {
                        self.closing.push(reply);
                        leaving = Some(self.leave());
                    }
                    Some(wish) => self.session.control(wish, Some(&mut outbox.bytes)),
                },
                Some(message) = self.ports.outgoing.recv(), if takes => {
                    self.session.send(message, &mut outbox.bytes);
                    while self.session.window.has_room()
                        && outbox.bytes.len() < OUT_LEN_MAX
                        && let Ok(message) = self.ports.outgoing.try_recv()
                    {
                        self.session.send(message, &mut outbox.bytes);
                    }
                },
                is_fresh = renewal.signed(), if leaving.is_none() => if is_fresh {
                    leaving = Leaving::to_renew();
                },
                () = sleep_until(wake_at) => {}
            }
        }
    }

    fn handle_packets(&mut self, inbox: &mut BytesMut, outbox: &mut Outbox) -> Result<()> {
        while let Some(packet) = decode(inbox)? {
            self.session.packet(packet, &mut outbox.bytes)?;
        }
        Ok(())
    }

    /// Begins the graceful end: no new telemetry is taken from handles, what is here still goes out.
    fn leave(&mut self) -> Leaving {
        self.ports.outgoing.close();
        Leaving { renew: false, deadline: Instant::now() + CLOSE_TIMEOUT }
    }

    fn is_idle(&self, plan: Leaving) -> bool {
        self.session.window.is_empty() && (plan.renew || self.ports.outgoing.is_empty())
    }

    fn wake_at(&self, outbox: &Outbox, renewal: &Renewal, leaving: Option<Leaving>) -> Instant {
        let leave_at = leaving.map(|plan| plan.deadline);
        // On the way out neither matters any more, and must not wake us again and again.
        let others = [renewal.due, self.session.come_back_check()].map(|at| at.filter(|_| leaving.is_none()));
        [Some(outbox.ping_at), leave_at, self.session.desired.wake_at()]
            .into_iter()
            .chain(others)
            .flatten()
            .min()
            .unwrap_or_else(|| Instant::now() + NEVER)
    }
}

fn lost_or_closed(leaving: Option<Leaving>, fresh: Option<Pass>) -> End {
    match leaving {
        // The server may end its side first when a token runs out.
        Some(Leaving { renew: true, .. }) => End::Renew(fresh),
        _ => End::Lost(Error::network("receiving", io::ErrorKind::UnexpectedEof.into())),
    }
}
