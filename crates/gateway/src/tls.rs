//! TLS: the server's configuration and the handshake.
//!
//! A client certificate is asked for but not demanded, and any is accepted whose private key the client holds: tokens and
//! certificates come through the same ports, and thumbprint devices have self-signed ones. The hub checks it later against the
//! identity's record. Browsers are not asked, since they would bother their users; they are known by ALPN, where they offer HTTP/2,
//! which no device SDK speaks.

use bytes::Bytes;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{AlertDescription, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

const HTTP_1_1: &[u8] = b"http/1.1";
const HTTP_2: &[u8] = b"h2";

/// A configuration for TLS 1.2 and 1.3 with optional client certificates.
///
/// `chain` is the server's certificate and the authorities above it, `key` its private key. The doors derive from it what
/// browsers get; so the certificate is replaced by swapping this one value.
pub fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(AnyCertificate { provider: provider.clone() });
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
}

/// The configurations of one certificate, by what the client says in its hello.
struct Variants {
    /// What these were made from.
    source: Arc<ServerConfig>,
    /// Offers HTTP/1.1 and nothing newer: a device's HTTP client. HTTP/1.1 answered. rule TLS-01
    device_http: Arc<ServerConfig>,
    /// Offers HTTP/2 and HTTP/1.1: no client certificate, HTTP/1.1 answered.
    http: Arc<ServerConfig>,
    /// Offers HTTP/2 only: no client certificate, no answer, so that the client falls back.
    silent: Arc<ServerConfig>,
}

impl Variants {
    fn new(source: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let bare = ServerConfig::builder_with_provider(source.crypto_provider().clone())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(source.cert_resolver.clone());
        let mut http = bare.clone();
        http.alpn_protocols = vec![HTTP_1_1.to_vec()];
        let mut device_http = (*source).clone();
        device_http.alpn_protocols = vec![HTTP_1_1.to_vec()];
        let (device_http, http, silent) = (Arc::new(device_http), Arc::new(http), Arc::new(bare));
        Ok(Self { source, device_http, http, silent })
    }
}

/// Does handshakes for one listener.
pub(crate) struct Handshaker {
    config: Arc<arc_swap::ArcSwap<ServerConfig>>,
    variants: Mutex<Option<Arc<Variants>>>,
}

impl Handshaker {
    pub(crate) fn new(config: Arc<arc_swap::ArcSwap<ServerConfig>>) -> Self {
        Self { config, variants: Mutex::new(None) }
    }

    /// Does the server's side of a handshake. The caller bounds the time.
    pub(crate) async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
        let mut offers_http = false;
        let mut offers_http2 = false;
        for protocol in start.client_hello().alpn().into_iter().flatten() {
            offers_http |= protocol == HTTP_1_1;
            offers_http2 |= protocol == HTTP_2;
        }
        let variants = self.variants().map_err(io::Error::other)?;
        // A name we do not know must not end the handshake, so a configuration without names answers all others.
        let config = match (offers_http, offers_http2) {
            (true, false) => variants.device_http.clone(),
            (true, true) => variants.http.clone(),
            (false, true) => variants.silent.clone(),
            (false, false) => variants.source.clone(),
        };
        start.into_stream(config).await
    }

    fn variants(&self) -> Result<Arc<Variants>, rustls::Error> {
        let source = self.config.load_full();
        let mut cached = self.variants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(variants) = cached.as_ref().filter(|v| Arc::ptr_eq(&v.source, &source)) {
            return Ok(variants.clone());
        }
        let variants = Arc::new(Variants::new(source)?);
        *cached = Some(variants.clone());
        Ok(variants)
    }
}

/// The client's certificate chain, leaf first.
pub(crate) fn certificates<S>(stream: &TlsStream<S>) -> Vec<Bytes> {
    let (_, connection) = stream.get_ref();
    let chain = connection.peer_certificates().unwrap_or_default();
    chain.iter().map(|certificate| Bytes::copy_from_slice(certificate)).collect()
}

/// Whether a failed handshake is the client's refusal of our certificate, and with which alert.
pub(crate) fn refused_by_client(error: &io::Error) -> Option<AlertDescription> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    match error {
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::UnsupportedCertificate),
        ) => Some(*alert),
        _ => None,
    }
}

/// Accepts every certificate whose private key the client proves to hold.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    // An empty list lets clients offer whatever they have.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
