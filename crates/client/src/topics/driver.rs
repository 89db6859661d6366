//! Keeps a connection: dials, says hello, moves bytes, pings, dials again.

use super::codec::Codec;
use super::flow::Flow;
use super::handle::ConnectionState;
use super::link::{self, End};
use super::outbound::Outgoing;
use super::session::Session;
use super::{Control, Error, Received, Reply, Result, RetryPolicy, Will};
use crate::credentials::Secret;
use crate::device::Backoff;
use crate::transport::Dial;
use bytestring::ByteString;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What a driver needs to know.
#[derive(Debug, Clone)]
pub(super) struct Config {
    pub codec: Codec,
    pub client_id: ByteString,
    pub user: Option<ByteString>,
    pub password: Option<Secret>,
    pub clean_start: bool,
    /// Seconds; `u32::MAX` is for ever.
    pub session_expiry: u32,
    pub will: Option<Will>,
    pub keep_alive: Duration,
    pub in_flight: usize,
    pub receive_maximum: u16,
    pub alias_maximum: u16,
    pub by_hand: bool,
    pub bridge: bool,
    pub retry: RetryPolicy,
    pub retry_always: bool,
}

/// The driver's ends of the handle's channels.
#[derive(Debug)]
pub(super) struct Ports {
    pub outgoing: mpsc::Receiver<Outgoing>,
    pub control: mpsc::Receiver<Control>,
    pub state: watch::Sender<ConnectionState>,
}

/// Runs the connection of a [`Client`](super::Client).
pub struct Driver {
    pub(super) config: Arc<Config>,
    dial: Arc<dyn Dial>,
    pub(super) session: Session,
    pub(super) messages: mpsc::Sender<Received>,
    pub(super) flow: Arc<Flow>,
    pub(super) ports: Ports,
    /// Who waits for the graceful end that is under way.
    pub(super) closing: Vec<Reply<()>>,
}

impl Driver {
    pub(super) fn new(
        config: Config,
        dial: Arc<dyn Dial>,
        messages: mpsc::Sender<Received>,
        flow: Arc<Flow>,
        ports: Ports,
    ) -> Self {
        let session = Session::new(&config, flow.clone());
        Self { config: Arc::new(config), dial, session, messages, flow, ports, closing: Vec::new() }
    }

    /// Runs until the client is closed, has failed for good, or `cancel` asks for a graceful end.
    pub async fn run(mut self, cancel: CancellationToken) {
        let outcome = self.keep_connected(&cancel).await;
        let error = outcome.as_ref().err().cloned();
        if let Some(error) = &error {
            tracing::debug!(client_id = %self.config.client_id, %error, "the client ended");
        }
        let reason = error.clone().unwrap_or(Error::Closed);
        self.ports.state.send_replace(ConnectionState::Closed(error.clone()));
        let unsent = self.drain_ports(&reason) || !self.session.outbound.is_empty();
        self.session.fail(&reason);
        for reply in self.closing {
            let late = || error.clone().unwrap_or(crate::Error::Timeout("the last messages").into());
            let _ = reply.send(if unsent { Err(late()) } else { Ok(()) });
        }
    }

    async fn keep_connected(&mut self, cancel: &CancellationToken) -> Result<()> {
        let mut backoff = Backoff::new(self.config.retry);
        let mut first = true;
        loop {
            self.ports.state.send_replace(ConnectionState::Connecting);
            let began = Instant::now();
            let attempt = link::open(self.config.clone(), self.dial.clone(), first);
            let end = match self.offline(cancel, attempt).await? {
                None => return Ok(()),
                Some(Ok(link)) => {
                    first = false;
                    if let Some(id) = &link.ack.properties.assigned_client_identifier {
                        // Kept, so that the server knows who comes back.
                        Arc::make_mut(&mut self.config).client_id = ByteString::from(&**id);
                    }
                    let session_present = link.ack.session_present;
                    self.ports.state.send_replace(ConnectionState::Connected { session_present });
                    let end = self.online(link, cancel).await;
                    backoff.lived(began.elapsed());
                    end
                }
                Some(Err(error)) => End::Lost(error),
            };
            let error = match end {
                End::Closed => return Ok(()),
                End::Lost(error) => error,
            };
            if !self.closing.is_empty() || !(error.is_transient() || self.config.retry_always) {
                return Err(error);
            }
            let retry_in = backoff.next_wait();
            tracing::debug!(
                client_id = %self.config.client_id, %error, retry_ms = retry_in.as_millis() as u64, "not connected"
            );
            self.ports.state.send_replace(ConnectionState::Waiting { error, retry_in });
            if self.offline(cancel, tokio::time::sleep(retry_in)).await?.is_none() {
                return Ok(());
            }
        }
    }

    /// Waits for `work` while there is no connection; `None` when asked to end.
    async fn offline<T>(
        &mut self,
        cancel: &CancellationToken,
        work: impl Future<Output = T>,
    ) -> Result<Option<T>> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(None),
                done = &mut work => return Ok(Some(done)),
                wish = self.ports.control.recv() => match wish {
                    None => return Ok(None),
                    Some(Control::Close(reply)) => {
                        self.closing.push(reply);
                        return Ok(None);
                    }
                    Some(Control::Request(request)) => self.session.request(request, None),
                },
            }
        }
    }

    /// Refuses everything that handles still ask; tells whether messages were among it.
    fn drain_ports(&mut self, reason: &Error) -> bool {
        let Ports { outgoing, control, .. } = &mut self.ports;
        outgoing.close();
        control.close();
        let mut unsent = false;
        while let Ok(message) = outgoing.try_recv() {
            unsent = true;
            let _ = message.done.send(Err(reason.clone()));
        }
        while let Ok(wish) = control.try_recv() {
            match wish {
                Control::Request(request) => request.fail(reason.clone()),
                Control::Close(reply) => self.closing.push(reply),
            }
        }
        unsent
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("config", &self.config).finish_non_exhaustive()
    }
}
