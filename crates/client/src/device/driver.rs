//! Keeps a connection: dials, says hello, moves bytes, pings, renews the token, dials again.

use super::backoff::{Backoff, RetryPolicy};
use super::handle::ConnectionState;
use super::link::{self, End};
use super::session::{Outlets, Session};
use super::window::Outgoing;
use super::{Control, Reply};
use crate::credentials::{Credentials, Pass};
use crate::error::{Error, Result};
use crate::transport::Dial;
use ironbrook_model::Identity;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What a driver needs to know.
#[derive(Debug)]
pub(crate) struct Config {
    /// Whose connection it is.
    pub identity: Identity,
    /// Whose token is shown.
    pub signer: Identity,
    pub hub: String,
    pub client_type: String,
    pub credentials: Credentials,
    pub token_lifetime: Duration,
    pub keep_alive: Duration,
    pub in_flight: usize,
    pub retry: RetryPolicy,
    pub retry_unauthorized: bool,
}

/// The driver's ends of the handle's channels.
#[derive(Debug)]
pub(crate) struct Ports {
    pub outgoing: mpsc::Receiver<Outgoing>,
    pub control: mpsc::Receiver<Control>,
    pub state: watch::Sender<ConnectionState>,
}

/// Runs the connection of a [`DeviceClient`](super::DeviceClient).
pub struct Driver {
    pub(super) config: Arc<Config>,
    dial: Arc<dyn Dial>,
    pub(super) session: Session,
    pub(super) ports: Ports,
    /// Who waits for the graceful end that is under way.
    pub(super) closing: Vec<Reply<()>>,
}

impl Config {
    /// A token for one connection.
    pub(super) async fn pass(&self) -> Result<Pass> {
        let resource = format!("{}/{}", self.hub, self.signer.resource());
        self.credentials.pass(&resource, self.token_lifetime).await
    }
}

impl Driver {
    pub(crate) fn new(config: Config, dial: Arc<dyn Dial>, outlets: Outlets, ports: Ports) -> Self {
        let session = Session::new(&config.identity, config.in_flight, outlets);
        Self { config: Arc::new(config), dial, session, ports, closing: Vec::new() }
    }

    /// Runs until the client is closed, has failed for good, or `cancel` asks for a graceful end.
    pub async fn run(mut self, cancel: CancellationToken) {
        let outcome = self.keep_connected(&cancel).await;
        let error = outcome.as_ref().err().cloned();
        if let Some(error) = &error {
            tracing::warn!(identity = %self.config.identity, %error, "client ended");
        }
        let reason = error.clone().unwrap_or(Error::Closed);
        self.ports.state.send_replace(ConnectionState::Closed(error.clone()));
        let unsent = self.drain_ports(&reason) || !self.session.window.is_empty();
        self.session.fail(&reason);
        for reply in self.closing {
            let late = || error.clone().unwrap_or(Error::Timeout("the last messages"));
            let _ = reply.send(if unsent { Err(late()) } else { Ok(()) });
        }
    }

    async fn keep_connected(&mut self, cancel: &CancellationToken) -> Result<()> {
        let mut backoff = Backoff::new(self.config.retry);
        let mut pass = None;
        loop {
            self.ports.state.send_replace(ConnectionState::Connecting);
            let began = Instant::now();
            let attempt = link::open(self.config.clone(), self.dial.clone(), pass.take());
            let end = match self.offline(cancel, attempt).await? {
                None => return Ok(()),
                Some(Ok(link)) => {
                    self.ports.state.send_replace(ConnectionState::Connected);
                    let end = self.online(link, cancel).await;
                    self.session.disconnected();
                    backoff.lived(began.elapsed());
                    end
                }
                Some(Err(error)) => End::Lost(error),
            };
            let error = match end {
                End::Closed => return Ok(()),
                End::Renew(fresh) => {
                    pass = fresh;
                    continue;
                }
                End::Lost(error) => error,
            };
            if !self.closing.is_empty() || !self.is_worth_retrying(&error) {
                return Err(error);
            }
            let retry_in = backoff.next_wait();
            tracing::warn!(
                identity = %self.config.identity, %error, retry_ms = retry_in.as_millis() as u64, "not connected"
            );
            self.ports.state.send_replace(ConnectionState::Waiting { error, retry_in });
            if self.offline(cancel, tokio::time::sleep(retry_in)).await?.is_none() {
                return Ok(());
            }
        }
    }

    /// A refused credential is final unless configured (rule CLIENT-06).
    fn is_worth_retrying(&self, error: &Error) -> bool {
        error.is_transient() || (self.config.retry_unauthorized && matches!(error, Error::Unauthorized(_)))
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
                    Some(wish) => self.session.control(wish, None),
                },
            }
        }
    }

    /// Refuses everything that handles still ask; tells whether telemetry was among it.
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
                Control::Subscribe(_, reply) => drop(reply.send(Err(reason.clone()))),
                Control::TwinGet(reply) => drop(reply.send(Err(reason.clone()))),
                Control::TwinPatch(_, reply) => drop(reply.send(Err(reason.clone()))),
                Control::Close(reply) => self.closing.push(reply),
                Control::Answer { .. } | Control::Complete { .. } => {}
            }
        }
        unsent
    }
}
