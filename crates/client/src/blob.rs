//! Files by URL, as a SAS URL gives access to one: download and upload, whole and bounded.

use crate::error::{Error, Result};
use crate::https::{self, Answer, HTTPS_PORT};
use crate::transport::{Transport, Trust};
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION};
use http::{Method, Request, Uri};
use http_body_util::Full;
use std::time::Duration;

/// The port of HTTP.
const HTTP_PORT: u16 = 80;
/// Longest time for a file.
const TIMEOUT: Duration = Duration::from_secs(300);
/// Largest answer to an upload.
const ANSWER_LEN_MAX: usize = 64 * 1024;
/// The version of the blob API that is asked for.
const BLOB_VERSION: &str = "2021-08-06";

/// Reads the file at an `http://` or `https://` URL, `len_max` bytes at most. One redirect is followed, but never from TLS to none.
///
/// Errors name host and path, never the query, which is the secret of a SAS URL.
pub async fn download(url: &str, trust: &Trust, len_max: usize) -> Result<Bytes> {
    let work = async {
        let first = Target::parse(url)?;
        let mut answer = first.ask(Method::GET, Bytes::new(), trust, len_max).await?;
        if answer.status.is_redirection() {
            let next = first.redirected(&answer)?;
            answer = next.ask(Method::GET, Bytes::new(), trust, len_max).await?;
        }
        taken(answer)
    };
    tokio::time::timeout(TIMEOUT, work).await.map_err(|_| Error::Timeout("a download"))?
}

/// Writes a block blob to a SAS URL, replacing what is there.
pub async fn upload(url: &str, trust: &Trust, content_type: &str, body: Bytes) -> Result<()> {
    let work = async {
        let target = Target::parse(url)?;
        let request = target
            .request(Method::PUT)
            .header("x-ms-blob-type", "BlockBlob")
            .header(CONTENT_TYPE, content_type)
            .header(CONTENT_LENGTH, body.len())
            .body(Full::new(body))
            .map_err(|error| https::unbuildable(&error))?;
        let answer = target.send(request, trust, ANSWER_LEN_MAX).await?;
        if answer.status.is_success() { Ok(()) } else { Err(https::refusal(answer.status, &answer.body)) }
    };
    tokio::time::timeout(TIMEOUT, work).await.map_err(|_| Error::Timeout("an upload"))?
}

fn taken(answer: Answer) -> Result<Bytes> {
    if answer.status.is_success() {
        return Ok(answer.body);
    }
    // Not the body: whoever chose the URL may not read by it what only this machine can reach.
    let message = answer.status.canonical_reason().unwrap_or("no reason given").to_owned();
    Err(Error::Refused { status: answer.status.as_u16(), message })
}

/// A URL taken apart.
struct Target {
    is_tls: bool,
    authority: String,
    /// Path and query.
    path: String,
}

impl Target {
    fn parse(url: &str) -> Result<Self> {
        // The URL itself is not quoted in the error: it may hold a signature.
        let bad = |reason: &str| Error::Configuration(format!("the URL of a file cannot be used: {reason}"));
        let uri: Uri = url.trim().parse().map_err(|_| bad("it is not a URL"))?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(bad("it begins neither with https:// nor with http://")),
        };
        let authority = uri.authority().ok_or_else(|| bad("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("it holds a user name"));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { is_tls, authority: authority.to_string(), path })
    }

    fn redirected(&self, answer: &Answer) -> Result<Self> {
        let location = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if location.starts_with('/') && !location.starts_with("//") {
            let (is_tls, authority) = (self.is_tls, self.authority.clone());
            return Ok(Self { is_tls, authority, path: location.to_owned() });
        }
        let next = Self::parse(location)?;
        if self.is_tls && !next.is_tls {
            return Err(Error::Protocol(format!("{self} redirects to a place without TLS")));
        }
        Ok(next)
    }

    fn request(&self, method: Method) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(&self.path)
            .header(HOST, &self.authority)
            .header("x-ms-version", BLOB_VERSION)
            .header(CONNECTION, "close")
    }

    async fn ask(&self, method: Method, body: Bytes, trust: &Trust, limit: usize) -> Result<Answer> {
        let request =
            self.request(method).body(Full::new(body)).map_err(|error| https::unbuildable(&error))?;
        self.send(request, trust, limit).await
    }

    async fn send(&self, request: Request<Full<Bytes>>, trust: &Trust, limit: usize) -> Result<Answer> {
        let transport = Transport::new(trust.clone());
        let remote = match self.is_tls {
            true => transport.remote(&self.authority, HTTPS_PORT)?,
            false => transport.plain(&self.authority, HTTP_PORT)?,
        };
        https::exchange(remote.connect().await?, request, limit, self).await
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{}{path}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Scripted, serve_tcp};

    const SECRET: &str = "?sig=canary";

    async fn get(answers: Vec<Scripted>, limit: usize) -> (Result<Bytes>, Vec<String>) {
        let count = answers.len();
        let (port, mut requests) = serve_tcp(answers).await;
        let url = format!("http://127.0.0.1:{port}/c/a%20b.zip{SECRET}");
        let outcome = download(&url, &Trust::System, limit).await;
        let mut seen = Vec::new();
        for _ in 0..count {
            seen.push(requests.next().await);
        }
        (outcome, seen)
    }

    #[tokio::test]
    async fn a_file_is_read_up_to_the_limit() {
        let (body, seen) = get(vec![(200, "", "x".repeat(10))], 10).await;
        assert_eq!(&body.unwrap()[..], b"xxxxxxxxxx");
        assert!(seen[0].starts_with("GET /c/a%20b.zip?sig=canary HTTP/1.1\r\n"), "{}", seen[0]);
        let (body, _) = get(vec![(200, "", "x".repeat(11))], 10).await;
        let error = body.unwrap_err();
        assert!(matches!(error, Error::AnswerTooLarge { limit: 10, .. }));
        assert!(!error.to_string().contains("canary") && error.to_string().contains("/c/a"), "{error}");
    }

    #[tokio::test]
    async fn one_redirect_is_followed_and_no_second() {
        let to_other = (302, "location: /other?x=1\r\n", String::new());
        let (body, seen) = get(vec![to_other.clone(), (200, "", "y".to_owned())], 10).await;
        assert_eq!(&body.unwrap()[..], b"y");
        assert!(seen[1].starts_with("GET /other?x=1 HTTP/1.1\r\n"), "{}", seen[1]);
        let (body, _) = get(vec![to_other.clone(), to_other], 10).await;
        assert!(matches!(body, Err(Error::Refused { status: 302, .. })), "{body:?}");
    }

    #[test]
    fn a_redirect_never_leads_from_tls_to_none() {
        let target = Target::parse("https://h/a?sig=canary").unwrap();
        let answer = |location: &str| Answer {
            status: http::StatusCode::FOUND,
            headers: [(LOCATION, location.parse().unwrap())].into_iter().collect(),
            body: Bytes::new(),
        };
        assert!(target.redirected(&answer("http://h/a")).is_err());
        assert!(target.redirected(&answer("//elsewhere/a")).is_err());
        assert_eq!(
            target.redirected(&answer("https://other:8443/b?c=1")).unwrap().to_string(),
            "other:8443/b"
        );
    }

    #[tokio::test]
    async fn a_blob_is_written_and_refusals_hide_the_signature() {
        let (port, mut requests) =
            serve_tcp(vec![(201, "", String::new()), (403, "", "no".to_owned())]).await;
        let url = format!("http://127.0.0.1:{port}/c/b{SECRET}");
        let body = Bytes::from_static(b"{}");
        upload(&url, &Trust::System, "application/json", body.clone()).await.unwrap();
        let request = requests.next().await.to_ascii_lowercase();
        assert!(request.starts_with("put /c/b?sig=canary http/1.1\r\n"), "{request}");
        assert!(request.contains("x-ms-blob-type: blockblob\r\n"), "{request}");
        assert!(request.ends_with("\r\n\r\n{}"), "{request}");
        let refused = upload(&url, &Trust::System, "application/json", body).await.unwrap_err();
        assert!(matches!(&refused, Error::Refused { status: 403, message } if message == "no"));
        for url in ["", "ftp://h/canary", "/canary", "http://", "https://canary@h/x"] {
            let error = download(url, &Trust::System, 1).await.unwrap_err();
            assert!(
                matches!(error, Error::Configuration(_)) && !error.to_string().contains("canary"),
                "{error}"
            );
        }
    }
}
