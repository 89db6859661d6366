//! Opening byte streams: TCP, and TLS on it with a private or the system's authorities.

use crate::error::{Error, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Longest wait for TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A byte stream in both directions.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub(crate) type BoxStream = Box<dyn Stream>;

/// Opens streams to one place; a seam, so that tests need no sockets.
pub(crate) trait Dial: Send + Sync {
    fn dial(&self) -> Pin<Box<dyn Future<Output = Result<BoxStream>> + Send + '_>>;
}

/// Whose certificates are believed.
#[derive(Clone, Default)]
pub enum Trust {
    /// The authorities of the operating system.
    #[default]
    System,
    /// These authorities and no others: PEM text with one or more certificates.
    Pem(Vec<u8>),
    /// Authorities that were read before, see [`Trust::load`].
    Loaded(Authorities),
}

/// Authorities ready for use; clones share one copy.
#[derive(Clone)]
pub struct Authorities(Arc<ClientConfig>);

impl Trust {
    /// The authorities in a PEM file and no others.
    pub fn file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let pem = std::fs::read(path).map_err(|e| {
            Error::Configuration(format!("the CA file {} cannot be read: {e}", path.display()))
        })?;
        Ok(Self::Pem(pem))
    }

    /// Reads the authorities now, so that many clients share one copy of them and their TLS sessions.
    pub fn load(&self) -> Result<Self> {
        Ok(Self::Loaded(Authorities(self.client_config()?)))
    }

    /// A TLS client configuration with these authorities.
    pub(crate) fn client_config(&self) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        match self {
            Self::Loaded(Authorities(config)) => return Ok(config.clone()),
            Self::System => {
                // Single bad certificates in a system store are usual and no reason to fail.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
            Self::Pem(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate = certificate.map_err(|e| bad_pem(&e))?;
                    roots.add(certificate).map_err(|e| bad_pem(&e))?;
                }
                if roots.is_empty() {
                    return Err(bad_pem(&"there is no certificate in it"));
                }
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::Configuration(format!("TLS cannot be set up: {e}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::System => "System",
            Self::Pem(_) => "Pem(..)",
            Self::Loaded(_) => "Loaded(..)",
        })
    }
}

fn bad_pem(reason: &dyn std::fmt::Display) -> Error {
    Error::Configuration(format!("the CA text is not usable PEM: {reason}"))
}

/// How a server is reached: whom to believe and where to dial.
#[derive(Debug, Clone, Default)]
pub struct Transport {
    pub(crate) trust: Trust,
    pub(crate) port: Option<u16>,
    pub(crate) address: Option<SocketAddr>,
}

impl Transport {
    /// Believes these authorities and dials what the host's name resolves to, on the usual port.
    pub fn new(trust: Trust) -> Self {
        Self { trust, ..Self::default() }
    }

    /// Dials this port.
    pub fn port(self, port: u16) -> Self {
        Self { port: Some(port), ..self }
    }

    /// Dials this address whatever the host name resolves to; the certificate is still checked against the name.
    pub fn address(self, address: SocketAddr) -> Self {
        Self { address: Some(address), ..self }
    }

    /// The server of `host[:port]`, with TLS.
    pub(crate) fn remote(&self, authority: &str, default_port: u16) -> Result<Remote> {
        let tls = Some(self.trust.client_config()?);
        Ok(Remote { tls, ..self.plain(authority, default_port)? })
    }

    /// The server of `host[:port]`, without TLS.
    pub(crate) fn plain(&self, authority: &str, default_port: u16) -> Result<Remote> {
        let (host, port) = split_port(authority, default_port)?;
        Ok(Remote { host, port: self.port.unwrap_or(port), address: self.address, tls: None })
    }
}

/// The methods that every builder of a client has, on its field `transport`.
macro_rules! transport_options {
    ($builder:ident) => {
        impl $builder {
            /// Believes only the authorities in this PEM file, read now.
            pub fn ca_file(mut self, path: impl AsRef<std::path::Path>) -> $crate::Result<Self> {
                self.transport.trust = $crate::Trust::file(path)?;
                Ok(self)
            }

            /// Believes only these authorities, or the system's (the default).
            pub fn trust(mut self, trust: $crate::Trust) -> Self {
                self.transport.trust = trust;
                self
            }

            /// Another port than the usual one.
            pub fn port(mut self, port: u16) -> Self {
                self.transport.port = Some(port);
                self
            }

            /// Dials this address whatever the host name resolves to; the certificate is still checked against the name.
            pub fn address(mut self, address: std::net::SocketAddr) -> Self {
                self.transport.address = Some(address);
                self
            }

            /// Trust, port and address at once.
            pub fn transport(mut self, transport: $crate::Transport) -> Self {
                self.transport = transport;
                self
            }
        }
    };
}
pub(crate) use transport_options;

/// A host and port, with or without TLS.
#[derive(Clone)]
pub(crate) struct Remote {
    /// The name the certificate must carry.
    pub host: String,
    pub port: u16,
    /// Dialled instead of what the name resolves to.
    pub address: Option<SocketAddr>,
    pub tls: Option<Arc<ClientConfig>>,
}

impl Remote {
    pub(crate) async fn connect(&self) -> Result<BoxStream> {
        match tokio::time::timeout(CONNECT_TIMEOUT, self.open()).await {
            Ok(opened) => opened,
            Err(_) => Err(self.network("connecting", io::ErrorKind::TimedOut.into())),
        }
    }

    async fn open(&self) -> Result<BoxStream> {
        let tcp = match self.address {
            Some(address) => TcpStream::connect(address).await,
            None => TcpStream::connect((bare(&self.host), self.port)).await,
        }
        .map_err(|e| self.network("connecting", e))?;
        // Telemetry is many small packets: waiting for more bytes only adds latency.
        tcp.set_nodelay(true).map_err(|e| self.network("connecting", e))?;
        let Some(tls) = &self.tls else { return Ok(Box::new(tcp)) };
        let name = ServerName::try_from(bare(&self.host).to_owned())
            .map_err(|_| Error::Configuration(format!("{:?} is not a host name", self.host)))?;
        let connector = tokio_rustls::TlsConnector::from(tls.clone());
        let stream = connector.connect(name, tcp).await.map_err(|e| match e.get_ref() {
            Some(inner) if inner.is::<rustls::Error>() => {
                Error::Tls { peer: self.to_string(), reason: inner.to_string() }
            }
            _ => self.network("the TLS handshake", e),
        })?;
        Ok(Box::new(stream))
    }

    pub(crate) fn network(&self, action: &str, source: io::Error) -> Error {
        Error::network(format!("{action} to {self}"), source)
    }
}

impl Dial for Remote {
    fn dial(&self) -> Pin<Box<dyn Future<Output = Result<BoxStream>> + Send + '_>> {
        Box::pin(self.connect())
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Remote({self})")
    }
}

impl std::fmt::Display for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// An IPv6 address without its brackets.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host)
}

/// Splits `host:port`; `[::1]:port` too.
pub(crate) fn split_port(authority: &str, default: u16) -> Result<(String, u16)> {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            let port = port.parse().map_err(|_| {
                Error::Configuration(format!("{port:?} in {authority:?} is not a port number"))
            })?;
            Ok((host.to_owned(), port))
        }
        _ => Ok((authority.to_owned(), default)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_split_from_names_and_addresses() {
        assert_eq!(split_port("localhost", 8883).unwrap(), ("localhost".to_owned(), 8883));
        assert_eq!(split_port("localhost:18883", 8883).unwrap(), ("localhost".to_owned(), 18883));
        assert_eq!(split_port("[::1]:1", 8883).unwrap(), ("[::1]".to_owned(), 1));
        assert_eq!(split_port("::1", 8883).unwrap(), ("::1".to_owned(), 8883));
        assert!(split_port("localhost:x", 8883).is_err());
    }

    #[test]
    fn a_ca_text_without_certificate_is_refused_by_name() {
        let error = Trust::Pem(b"nonsense".to_vec()).client_config().unwrap_err();
        assert!(error.to_string().contains("no certificate"), "{error}");
    }
}
