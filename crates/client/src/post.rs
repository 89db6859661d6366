//! Posting to one URL, over a connection that is kept.

use crate::error::{Error, Result};
use crate::https::{authority, unbuildable};
use crate::transport::{Remote, Transport};
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use std::io;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// The ports of HTTP and HTTPS.
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;
/// How much of an answer is read: nobody needs more than the reason of a refusal.
const ANSWER_LEN_MAX: usize = 64 * 1024;

/// What a server answered.
#[derive(Debug)]
pub struct Posted {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The beginning of the body without control characters, at most 300 characters.
    pub excerpt: String,
}

/// Posts to one URL. One request at a time; the connection is kept between them where the server keeps it.
pub struct Poster {
    remote: Remote,
    path: String,
    host: String,
    kept: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl std::fmt::Debug for Poster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A path may hold a secret.
        f.debug_struct("Poster").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Poster {
    /// For `https://host[:port]/path?query`, or `http://` without TLS. Nothing is connected yet.
    pub fn new(url: &str, transport: &Transport) -> Result<Self> {
        let wrong = |why: &str| Error::Configuration(format!("the URL {why}"));
        let uri: Uri = url.parse().map_err(|_| wrong("cannot be read; it looks like https://host/path"))?;
        let authority_text = uri.authority().ok_or_else(|| wrong("names no host"))?.as_str();
        if authority_text.contains('@') {
            return Err(wrong("holds a user name; give the header Authorization instead"));
        }
        let (remote, port) = match uri.scheme_str() {
            Some("https") => (transport.remote(authority_text, HTTPS_PORT)?, HTTPS_PORT),
            Some("http") => (transport.plain(authority_text, HTTP_PORT)?, HTTP_PORT),
            _ => return Err(wrong("has another scheme than https or http")),
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let host = authority(&remote, port);
        Ok(Self { remote, path, host, kept: Mutex::default() })
    }

    /// Posts a body and reads the answer, whatever its status is.
    ///
    /// # Errors
    /// Where there is no answer within `patience`: whether the server did what was asked is not known then.
    pub async fn post(&self, headers: HeaderMap, body: Bytes, patience: Duration) -> Result<Posted> {
        timeout(patience, self.exchange(headers, body)).await.map_err(|_| Error::Timeout("a POST"))?
    }

    async fn exchange(&self, headers: HeaderMap, body: Bytes) -> Result<Posted> {
        let mut kept = self.kept.lock().await;
        // A connection the server closed meanwhile shows only when it is used: then once more on a new one.
        if let Some(mut sender) = kept.take().filter(|sender| !sender.is_closed())
            && sender.ready().await.is_ok()
            && let Some(posted) = self.try_kept(&mut sender, &headers, &body).await?
        {
            *kept = Some(sender);
            return Ok(posted);
        }
        let mut sender = self.connect().await?;
        let response =
            sender.send_request(self.request(&headers, &body)?).await.map_err(|e| self.failed(e))?;
        let posted = self.read(response).await?;
        *kept = Some(sender);
        Ok(posted)
    }

    /// `None` where the connection turned out to be gone before anything was sent.
    async fn try_kept(
        &self,
        sender: &mut SendRequest<Full<Bytes>>,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Option<Posted>> {
        match sender.send_request(self.request(headers, body)?).await {
            Ok(response) => self.read(response).await.map(Some),
            Err(error) if error.is_canceled() || error.is_closed() || error.is_incomplete_message() => {
                Ok(None)
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = self.remote.connect().await?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|e| self.failed(e))?;
        // It ends with the sender.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn request(&self, headers: &HeaderMap, body: &Bytes) -> Result<Request<Full<Bytes>>> {
        let builder = Request::builder().method(Method::POST).uri(&self.path).header(HOST, &self.host);
        let mut request = builder.body(Full::new(body.clone())).map_err(|error| unbuildable(&error))?;
        request.headers_mut().extend(headers.clone());
        Ok(request)
    }

    async fn read(&self, response: http::Response<hyper::body::Incoming>) -> Result<Posted> {
        let (head, body) = response.into_parts();
        let body = match Limited::new(body, ANSWER_LEN_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => Bytes::new(),
            Err(error) => {
                let action = format!("reading the answer of {}", self.remote);
                return Err(Error::network(action, io::Error::other(error)));
            }
        };
        let excerpt = crate::error::excerpt(&body);
        Ok(Posted { status: head.status, headers: head.headers, excerpt })
    }

    fn failed(&self, error: hyper::Error) -> Error {
        Error::network(format!("a POST to {}", self.remote), io::Error::other(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::serve_tcp;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_is_posted_arrives_and_a_closed_connection_is_no_failure() {
        let answers = vec![(200, "", "ok".to_owned()), (503, "retry-after: 7\r\n", "no\x07t now".to_owned())];
        let (port, mut requests) = serve_tcp(answers).await;
        let poster = Poster::new(&format!("http://127.0.0.1:{port}/in?x=1"), &Transport::default()).unwrap();
        let headers =
            HeaderMap::from_iter([(http::header::CONTENT_TYPE, "application/json".parse().unwrap())]);
        let first = poster.post(headers.clone(), Bytes::from_static(b"[1]"), PATIENCE).await.unwrap();
        assert_eq!(first.status, StatusCode::OK);
        // The server closes after each answer.
        let second = poster.post(headers, Bytes::from_static(b"[2]"), PATIENCE).await.unwrap();
        assert_eq!((second.status.as_u16(), second.excerpt.as_str()), (503, "not now"));
        assert_eq!(second.headers["retry-after"], "7");
        let request = requests.next().await;
        assert!(
            request.starts_with("POST /in?x=1 HTTP/1.1\r\n") && request.ends_with("\r\n\r\n[1]"),
            "{request}"
        );
        assert!(request.contains(&format!("host: 127.0.0.1:{port}\r\n")), "{request}");
        assert!(requests.next().await.ends_with("[2]"));
    }

    #[test]
    fn only_plain_urls_are_taken() {
        for (url, why) in [
            ("ftp://h/", "scheme"),
            ("https://user:secret@h/", "user name"),
            ("/path", "host"),
            ("https://h:x/", "port"),
        ] {
            let error = Poster::new(url, &Transport::default()).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("secret"), "{url}: {error}");
        }
    }
}
