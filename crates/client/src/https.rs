//! Requests over HTTP/1.1, one connection each: they are rare, and nothing has to be kept alive for them.

use crate::credentials::Credentials;
use crate::error::{Error, Result};
use crate::transport::{BoxStream, Remote};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, IF_MATCH};
use http::{HeaderMap, HeaderName, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::fmt::Display;
use std::time::Duration;

/// The port of HTTPS.
pub(crate) const HTTPS_PORT: u16 = 443;
/// How long an answer may take beyond what the request itself allows.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a token is good: one request.
const TOKEN_LIFETIME: Duration = Duration::from_secs(300);
/// Largest answer of an API that is read.
const ANSWER_LEN_MAX: usize = 16 << 20;
/// How much of an error's text is passed on, in characters.
const MESSAGE_LEN_MAX: usize = 500;

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Sends one request on a stream of its own and reads the answer, `limit` bytes at most. `peer` is for errors.
pub(crate) async fn exchange(
    stream: BoxStream,
    request: Request<Full<Bytes>>,
    limit: usize,
    peer: &(impl Display + Sync),
) -> Result<Answer> {
    let failed =
        |error: hyper::Error| Error::network(format!("a request to {peer}"), std::io::Error::other(error));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, limit).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                return Error::AnswerTooLarge { peer: peer.to_string(), limit };
            }
            Error::network(format!("reading the answer of {peer}"), std::io::Error::other(error))
        })?;
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    };
    // The connection has to be driven while the exchange goes on; both end together.
    tokio::pin!(connection);
    tokio::pin!(exchange);
    tokio::select! {
        biased;
        done = &mut exchange => done,
        ended = &mut connection => {
            ended.map_err(failed)?;
            exchange.await
        }
    }
}

/// A request that cannot be built, from ids and versions that were checked: a fault of the caller's settings.
pub(crate) fn unbuildable(error: &http::Error) -> Error {
    Error::Configuration(format!("a request cannot be built: {error}"))
}

/// One call of an API that takes tokens and speaks JSON.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub method: Method,
    /// With its query, which holds the API version.
    pub path: String,
    pub body: Option<&'a Value>,
    pub if_match: Option<&'a str>,
    /// Others besides those every call has.
    pub headers: Vec<(&'static str, String)>,
    pub timeout: Duration,
}

impl<'a> Call<'a> {
    pub(crate) fn new(method: Method, path: String) -> Self {
        Self { method, path, body: None, if_match: None, headers: Vec::new(), timeout: TIMEOUT }
    }

    pub(crate) fn body(self, body: &'a Value) -> Self {
        Self { body: Some(body), ..self }
    }

    pub(crate) fn if_match(self, etag: Option<&'a str>) -> Self {
        Self { if_match: etag, ..self }
    }
}

/// A hub's HTTPS API, and who asks.
#[derive(Debug)]
pub(crate) struct Api {
    pub remote: Remote,
    pub credentials: Credentials,
    /// What tokens are signed for.
    pub audience: String,
}

impl Api {
    /// The JSON that is answered, `null` where there is none.
    pub(crate) async fn call(&self, call: Call<'_>) -> Result<Value> {
        self.answer(call).await.map(|(value, _)| value)
    }

    /// The JSON that is answered, also with 400 where it tells of items by `errors`.
    pub(crate) async fn call_or_errors(&self, call: Call<'_>) -> Result<Value> {
        let answer = tokio::time::timeout(call.timeout, self.exchange(call)).await;
        let answer = answer.map_err(|_| Error::Timeout("an API call"))??;
        let items = serde_json::from_slice::<Value>(&answer.body).ok();
        let items = items.filter(|value| value.get("errors").is_some_and(Value::is_array));
        match items {
            Some(items) if answer.status == StatusCode::BAD_REQUEST => Ok(items),
            _ => judge(answer),
        }
    }

    /// As [`call`](Self::call), with the answer's headers.
    pub(crate) async fn answer(&self, call: Call<'_>) -> Result<(Value, HeaderMap)> {
        let timeout = call.timeout;
        let answer = tokio::time::timeout(timeout, self.exchange(call)).await;
        let mut answer = answer.map_err(|_| Error::Timeout("an API call"))??;
        let headers = std::mem::take(&mut answer.headers);
        Ok((judge(answer)?, headers))
    }

    async fn exchange(&self, call: Call<'_>) -> Result<Answer> {
        let Self { remote, credentials, audience } = self;
        let token = credentials.pass(audience, TOKEN_LIFETIME).await?.token;
        let body = call.body.map_or_else(Bytes::new, |value| value.to_string().into());
        let mut request = Request::builder()
            .method(call.method)
            .uri(call.path)
            .header(HOST, authority(remote, HTTPS_PORT))
            .header(AUTHORIZATION, token.0)
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .header(CONNECTION, "close");
        if let Some(etag) = call.if_match {
            request = request.header(IF_MATCH, etag);
        }
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).map_err(|error| unbuildable(&error))?;
        exchange(remote.connect().await?, request, ANSWER_LEN_MAX, remote).await
    }

    /// One request without a body whose answer is not, or not only, JSON.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: String,
        header: Option<(HeaderName, String)>,
    ) -> Result<Answer> {
        let Self { remote, credentials, audience } = self;
        let token = credentials.pass(audience, TOKEN_LIFETIME).await?.token;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, authority(remote, HTTPS_PORT))
            .header(AUTHORIZATION, token.0)
            .header(CONNECTION, "close");
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::new())).map_err(|error| unbuildable(&error))?;
        exchange(remote.connect().await?, request, ANSWER_LEN_MAX, remote).await
    }
}

/// The text of a `Host` header.
pub(crate) fn authority(remote: &Remote, default_port: u16) -> String {
    if remote.port == default_port { remote.host.clone() } else { remote.to_string() }
}

fn judge(answer: Answer) -> Result<Value> {
    match answer.status {
        status if status.is_success() && answer.body.is_empty() => Ok(Value::Null),
        status if status.is_success() => serde_json::from_slice(&answer.body)
            .map_err(|error| Error::Protocol(format!("the answer is not JSON: {error}"))),
        status => Err(refusal(status, &answer.body)),
    }
}

/// A status that says no.
pub(crate) fn refusal(status: StatusCode, body: &[u8]) -> Error {
    match status {
        StatusCode::UNAUTHORIZED => Error::Unauthorized(text(body)),
        status => Error::Refused { status: status.as_u16(), message: text(body) },
    }
}

/// The text of a refusal: the service's `Message`, or the start of whatever came.
fn text(bytes: &[u8]) -> String {
    let whole = serde_json::from_slice::<Value>(bytes).ok();
    let message =
        whole.as_ref().and_then(|v| v.get("Message").or_else(|| v.get("message"))).and_then(Value::as_str);
    let text = message.map_or_else(|| String::from_utf8_lossy(bytes).into_owned(), str::to_owned);
    text.chars().filter(|c| !c.is_control()).take(MESSAGE_LEN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_services_words() {
        assert_eq!(text(br#"{"Message":"ErrorCode:DeviceNotFound;gone"}"#), "ErrorCode:DeviceNotFound;gone");
        assert_eq!(text(b"plain"), "plain");
    }
}
