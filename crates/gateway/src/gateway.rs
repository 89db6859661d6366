//! Listeners and their accept loops.

use crate::connection::{self, Entrance};
use crate::tls::Handshaker;
use crate::{Error, Services};
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections open at once over all listeners, unless set otherwise; a process here has 20 000 file descriptors.
const CONNECTIONS_MAX: usize = 16_384;
/// Connections the kernel holds until they are accepted.
const BACKLOG: i32 = 4096;
/// Pause when the process has no file descriptors left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);
/// How long connections may take to end after the stop was asked for.
pub(crate) const DRAIN_TIME: Duration = Duration::from_secs(10);

/// How a listener treats encryption.
#[derive(Clone)]
pub enum Tls {
    /// No TLS. For loopback only: tokens would be readable on the way.
    Off,
    /// TLS only. The configuration (see [`tls::server_config`](crate::tls::server_config)) may be swapped at any time.
    On(Arc<ArcSwap<ServerConfig>>),
    /// Both on one port; the client's first byte tells. For loopback only.
    Either(Arc<ArcSwap<ServerConfig>>),
}

/// A port to be opened.
#[derive(Clone)]
pub struct Listener {
    /// Where; port 0 lets the system choose.
    pub addr: SocketAddr,
    /// Encryption.
    pub tls: Tls,
    /// Where it leads.
    pub services: Arc<Services>,
}

/// Open ports. [`run`](Self::run) serves them.
pub struct Gateway {
    listeners: Vec<(TcpListener, Listener)>,
    connections_max: usize,
}

impl Gateway {
    /// Opens all ports, or none.
    pub fn bind(listeners: Vec<Listener>) -> Result<Self, Error> {
        let listeners = listeners
            .into_iter()
            .map(|listener| match open(listener.addr) {
                Ok(socket) => Ok((socket, listener)),
                Err(error) => Err(Error::new(listener.addr, error)),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { listeners, connections_max: CONNECTIONS_MAX })
    }

    /// Bounds the connections open at once over all listeners.
    #[must_use]
    pub fn with_max_connections(mut self, max: usize) -> Self {
        self.connections_max = max.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// The addresses in the order of the listeners, with the ports that the system chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|(socket, listener)| socket.local_addr().unwrap_or(listener.addr)).collect()
    }

    /// Serves until cancelled, then lets connections end for up to ten seconds.
    pub async fn run(self, cancel: CancellationToken) {
        let tracker = TaskTracker::new();
        let permits = Arc::new(Semaphore::new(self.connections_max));
        for (socket, listener) in self.listeners {
            let addr = socket.local_addr().unwrap_or(listener.addr);
            let socket = match tokio::net::TcpListener::from_std(socket) {
                Ok(socket) => socket,
                Err(error) => {
                    tracing::error!(%addr, %error, "listener cannot be served");
                    continue;
                }
            };
            let entrance = Arc::new(Entrance::new(
                listener.tls.into(),
                listener.services,
                tracker.clone(),
                cancel.clone(),
            ));
            tracker.spawn(accept(socket, entrance, permits.clone(), tracker.clone(), cancel.clone()));
        }
        cancel.cancelled().await;
        tracker.close();
        if tokio::time::timeout(DRAIN_TIME, tracker.wait()).await.is_err() {
            tracing::warn!(connections = tracker.len(), "connections did not end in time and are cut");
        }
    }
}

/// A listener's TLS, ready for handshakes.
pub(crate) enum Encryption {
    Off,
    On(Handshaker),
    Either(Handshaker),
}

impl From<Tls> for Encryption {
    fn from(tls: Tls) -> Self {
        match tls {
            Tls::Off => Self::Off,
            Tls::On(config) => Self::On(Handshaker::new(config)),
            Tls::Either(config) => Self::Either(Handshaker::new(config)),
        }
    }
}

fn open(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the kernel to forget the connections of the last run.
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

async fn accept(
    socket: tokio::net::TcpListener,
    entrance: Arc<Entrance>,
    permits: Arc<Semaphore>,
    tracker: TaskTracker,
    cancel: CancellationToken,
) {
    loop {
        let permit = tokio::select! {
            () = cancel.cancelled() => return,
            permit = permits.clone().acquire_owned() => permit,
        };
        let Ok(permit) = permit else { return };
        let accepted = tokio::select! {
            () = cancel.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, addr)) => {
                tracker.spawn(connection::serve(stream, addr, entrance.clone(), Arc::new(permit)));
            }
            Err(error) if is_exhausted(&error) => {
                tracing::warn!(%error, "no connection accepted; raise the limit of open files (ulimit -n)");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
            // The client went away between its SYN and our accept.
            Err(error) => tracing::debug!(%error, "connection not accepted"),
        }
    }
}

/// Whether accepting fails for lack of descriptors or memory, so that trying at once would spin.
fn is_exhausted(error: &io::Error) -> bool {
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    matches!(error.raw_os_error(), Some(ENOMEM | ENFILE | EMFILE | ENOBUFS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(addr: SocketAddr) -> Listener {
        let services = Services {
            hub: None,
            topics: None,
            http: axum::Router::new(),
            amqp: None,
            provisioning: None,
            websocket: false,
            metrics: crate::Metrics::default(),
        };
        Listener { addr, tls: Tls::Off, services: Arc::new(services) }
    }

    #[test]
    fn an_address_in_use_is_named_with_cause_and_cure() {
        let first = Gateway::bind(vec![listener("127.0.0.1:0".parse().unwrap())]).unwrap();
        let addr = first.addresses()[0];
        let error = Gateway::bind(vec![listener(addr)]).err().unwrap().to_string();
        assert!(error.contains(&addr.to_string()) && error.contains("another program"), "{error}");
    }

    #[test]
    fn a_foreign_address_is_named_with_cause_and_cure() {
        let error = Gateway::bind(vec![listener("192.0.2.1:0".parse().unwrap())]).err().unwrap().to_string();
        assert!(error.contains("192.0.2.1") && error.contains("this machine has no address"), "{error}");
    }

    #[test]
    fn a_privileged_port_without_permission_says_how_to_get_it() {
        let addr: SocketAddr = "127.0.0.1:443".parse().unwrap();
        let error = Error::new(addr, io::ErrorKind::PermissionDenied.into()).to_string();
        assert!(error.contains("ip_unprivileged_port_start=443") && error.contains("setcap"), "{error}");
    }
}
