//! The workload API: what a module asks of the daemon that keeps its key, over a unix socket or `http://`.
//!
//! Source: the workload API of the Azure IoT daemon, as stock SDKs use it.

use crate::credentials::Signer;
use crate::error::{Error, Result};
use crate::https::{self, Answer};
use crate::transport::{BoxStream, Remote, split_port};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::Full;
use ironbrook_model::{ModuleId, Timestamp, percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// The oldest version of the API, which every daemon knows.
pub(crate) const API_VERSION_FIRST: &str = "2018-06-28";
/// Largest answer that is read: certificates are some kilobytes.
const ANSWER_LEN_MAX: usize = 1 << 20;
/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Where the daemon listens.
#[derive(Debug, Clone)]
enum Place {
    Unix(PathBuf),
    Http(Remote),
}

/// A client of the workload API for one module.
#[derive(Debug, Clone)]
pub struct Workload {
    place: Place,
    api_version: String,
    module: ModuleId,
    generation: String,
}

/// A server certificate with its key. `Debug` hides the key.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerCertificate {
    /// PEM: the certificate, and behind it those of its issuers.
    pub certificate: String,
    /// PEM, PKCS #8.
    pub private_key: String,
    /// When it ends.
    pub expires: Timestamp,
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate").field("expires", &self.expires).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Digest {
    digest: String,
}

#[derive(Deserialize)]
struct Bundle {
    certificate: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Issued {
    private_key: PrivateKey,
    certificate: String,
    expiration: String,
}

#[derive(Deserialize)]
struct PrivateKey {
    /// Absent where the key stays with the daemon, which no known one does.
    bytes: Option<String>,
}

impl Workload {
    /// `uri`: `unix:///path/of.sock` or `http://host:port`. `generation` is the module's generation id.
    pub fn new(uri: &str, api_version: &str, module: ModuleId, generation: &str) -> Result<Self> {
        Ok(Self {
            place: Place::parse(uri)?,
            api_version: api_version.to_owned(),
            module,
            generation: generation.to_owned(),
        })
    }

    /// HMAC-SHA256 under the module's key.
    pub async fn sign(&self, data: &[u8]) -> Result<[u8; 32]> {
        let body = json!({ "keyId": "primary", "algo": "HMACSHA256", "data": STANDARD.encode(data) });
        let Digest { digest } = self.call(Method::POST, &self.own("sign"), Some(body)).await?;
        let bytes = STANDARD.decode(digest).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| {
            Error::Protocol("the digest of the workload API is not 32 bytes in base64".to_owned())
        })
    }

    /// The authorities that modules believe, PEM; they may change while a module runs.
    pub async fn trust_bundle(&self) -> Result<String> {
        let Bundle { certificate } = self.call(Method::GET, "/trust-bundle", None).await?;
        Ok(certificate)
    }

    /// A new server certificate for a host name. The daemon decides how long it is good and may not follow `until`.
    pub async fn server_certificate(&self, host: &str, until: Timestamp) -> Result<ServerCertificate> {
        let body = json!({ "commonName": host, "expiration": until.to_string() });
        let path = self.own("certificate/server");
        let Issued { private_key, certificate, expiration } =
            self.call(Method::POST, &path, Some(body)).await?;
        let bad = |what: &str| Error::Protocol(format!("a certificate of the workload API has no {what}"));
        Ok(ServerCertificate {
            certificate,
            private_key: private_key.bytes.ok_or_else(|| bad("private key in it"))?,
            expires: Timestamp::parse(&expiration).ok_or_else(|| bad("expiration that is a time"))?,
        })
    }

    /// A path of this module.
    fn own(&self, what: &str) -> String {
        let (module, generation) = (percent_encode(self.module.as_str()), percent_encode(&self.generation));
        format!("/modules/{module}/genid/{generation}/{what}")
    }

    async fn call<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<Value>) -> Result<T> {
        let answer = timeout(TIMEOUT, self.exchange(method, path, body)).await;
        let Answer { status, body, .. } = answer.map_err(|_| Error::Timeout("the workload API"))??;
        if !status.is_success() {
            return Err(https::refusal(status, &body));
        }
        serde_json::from_slice(&body)
            // The error's text would quote the answer, and with it perhaps a key.
            .map_err(|e| {
                Error::Protocol(format!(
                    "an answer of the workload API is not as expected (column {})",
                    e.column()
                ))
            })
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<Value>) -> Result<Answer> {
        let body = body.map_or_else(Bytes::new, |value| value.to_string().into());
        let request = Request::builder()
            .method(method)
            .uri(format!("{path}?api-version={}", percent_encode(&self.api_version)))
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .header(CONNECTION, "close")
            .body(Full::new(body))
            .map_err(|error| https::unbuildable(&error))?;
        https::exchange(self.place.connect().await?, request, ANSWER_LEN_MAX, &self.place).await
    }
}

#[async_trait]
impl Signer for Workload {
    async fn sign(&self, data: &[u8]) -> Result<[u8; 32]> {
        Self::sign(self, data).await
    }
}

impl Place {
    fn parse(uri: &str) -> Result<Self> {
        if let Some(path) = uri.strip_prefix("unix://").filter(|path| path.starts_with('/')) {
            return Ok(Self::Unix(path.into()));
        }
        if let Some(authority) = uri.strip_prefix("http://") {
            let (host, port) = split_port(authority.trim_end_matches('/'), 80)?;
            return Ok(Self::Http(Remote { host, port, address: None, tls: None }));
        }
        Err(Error::Configuration(format!(
            "{uri:?} is no address of a workload API; it looks like unix:///path/of.sock or http://host:port"
        )))
    }

    async fn connect(&self) -> Result<BoxStream> {
        match self {
            Self::Unix(path) => match UnixStream::connect(path).await {
                Ok(stream) => Ok(Box::new(stream)),
                Err(error) => Err(Error::network(format!("connecting to {self}"), error)),
            },
            Self::Http(remote) => remote.connect().await,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "the workload socket {}", path.display()),
            Self::Http(remote) => write!(f, "the workload API at {remote}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{json, serve_tcp, serve_unix};
    use ironbrook_model::SharedAccessKey;

    fn workload(uri: &str) -> Workload {
        Workload::new(uri, "2022-08-03", ModuleId::new("$m").unwrap(), "g/1").unwrap()
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[tokio::test]
    async fn signs_over_a_unix_socket_as_stock_modules_ask() {
        let folder = folder();
        let path = folder.path().join("w.sock");
        let digest = SharedAccessKey::from_bytes(b"k").hmac_sha256(b"text");
        let answer = json(&format!(r#"{{"digest":"{}"}}"#, STANDARD.encode(digest)));
        let mut requests = serve_unix(&path, vec![answer]);
        let workload = workload(&format!("unix://{}", path.display()));
        assert_eq!(workload.sign(b"text").await.unwrap(), digest);
        let request = requests.next().await;
        assert!(
            request.starts_with("POST /modules/%24m/genid/g%2F1/sign?api-version=2022-08-03 HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(
            request.ends_with(r#"{"keyId":"primary","algo":"HMACSHA256","data":"dGV4dA=="}"#),
            "{request}"
        );
    }

    #[tokio::test]
    async fn bundles_and_certificates_come_over_http_too() {
        let issued = r#"{"privateKey":{"type":"key","bytes":"canary"},"certificate":"chain","expiration":"2026-01-31T09:00:00Z"}"#;
        let answers = vec![json(r#"{"certificate":"root"}"#), (201, "", issued.to_owned())];
        let (port, mut requests) = serve_tcp(answers).await;
        let workload = workload(&format!("http://127.0.0.1:{port}"));
        assert_eq!(workload.trust_bundle().await.unwrap(), "root");
        assert!(requests.next().await.starts_with("GET /trust-bundle?api-version=2022-08-03 HTTP/1.1\r\n"));
        let until = Timestamp::from_millis(1_769_850_000_000);
        let certificate = workload.server_certificate("gateway.test", until).await.unwrap();
        assert_eq!((&*certificate.certificate, &*certificate.private_key), ("chain", "canary"));
        assert_eq!(certificate.expires, until);
        assert!(!format!("{certificate:?}").contains("canary"));
        let request = requests.next().await;
        assert!(request.starts_with("POST /modules/%24m/genid/g%2F1/certificate/server?"), "{request}");
        assert!(request.contains(r#""commonName":"gateway.test""#), "{request}");
    }

    #[tokio::test]
    async fn refusals_and_nonsense_are_told_without_quoting_secrets() {
        let (port, _requests) = serve_tcp(vec![
            (403, "", r#"{"message":"forbidden"}"#.to_owned()),
            json(r#"{"digest":"Y2FuYXJ5"}"#),
            json(r#"{"digest":5,"x":"canary"}"#),
            json(&format!(r#"{{"digest":"{}"}}"#, "A".repeat(ANSWER_LEN_MAX))),
        ])
        .await;
        let workload = workload(&format!("http://127.0.0.1:{port}/"));
        let error = workload.sign(b"x").await.unwrap_err();
        assert!(
            matches!(&error, Error::Refused { status: 403, message } if message == "forbidden"),
            "{error}"
        );
        for _ in 0..2 {
            let error = workload.sign(b"x").await.unwrap_err();
            assert!(matches!(error, Error::Protocol(_)) && !error.to_string().contains("canary"), "{error}");
        }
        assert!(matches!(workload.sign(b"x").await, Err(Error::AnswerTooLarge { .. })));
        // Nobody listens any more.
        assert!(matches!(workload.sign(b"x").await, Err(Error::Network { .. })));
    }

    #[test]
    fn other_addresses_are_refused() {
        for uri in ["", "unix://relative", "https://x", "/var/run/x.sock", "http://h:port"] {
            let refused = Workload::new(uri, "v", ModuleId::new("m").unwrap(), "g");
            assert!(matches!(refused, Err(Error::Configuration(_))), "{uri}");
        }
    }
}
