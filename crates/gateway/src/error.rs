//! Why the doors do not open.

use std::io;
use std::net::SocketAddr;

/// A listener that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}: {source}; {cure}")]
pub struct Error {
    /// The address.
    pub addr: SocketAddr,
    /// The cause.
    pub source: io::Error,
    /// What helps.
    pub cure: String,
}

impl Error {
    pub(crate) fn new(addr: SocketAddr, source: io::Error) -> Self {
        let cure = match source.kind() {
            io::ErrorKind::PermissionDenied if addr.port() < 1024 => format!(
                "ports below 1024 need a privilege: run 'sudo sysctl net.ipv4.ip_unprivileged_port_start={port}', or 'sudo setcap cap_net_bind_service=+ep' on the program, or choose a port from 1024 on",
                port = addr.port()
            ),
            io::ErrorKind::PermissionDenied => "the system forbids it; choose another port".to_owned(),
            io::ErrorKind::AddrInUse => {
                format!(
                    "another program listens there ('ss -ltnp sport = :{}' shows it); stop it or choose another port",
                    addr.port()
                )
            }
            io::ErrorKind::AddrNotAvailable => {
                format!("this machine has no address {}; choose one of its own", addr.ip())
            }
            _ => "check the address and the limit of open files".to_owned(),
        };
        Self { addr, source, cure }
    }
}
