//! An AMQP connection of a client: the sans-I/O engine of the wire crate on a byte stream, and requests over link pairs.

use crate::credentials::Credentials;
use crate::error::{Error, Result};
use crate::transport::{BoxStream, Remote};
use bytes::{Bytes, BytesMut};
use ironbrook_wire::amqp::{
    AmqpError, ClientSasl, Config, Connection, Delivery, DeliveryState, Event, LinkId, LinkOptions, Message,
    Outgoing, SessionId, Value, Violation,
};
use std::collections::VecDeque;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until, timeout};

/// Longest wait for the server's open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for the answer to a request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a token is good.
pub(crate) const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);
/// Links of a session: two per partition would allow hubs of 500 partitions.
const LINKS_MAX: u32 = 1024;
/// Events set aside while an answer is awaited; the links' credit bounds them far below.
const ASIDE_MAX: usize = 16 * 1024;

/// A connection that was opened.
pub(crate) struct Port {
    stream: BoxStream,
    engine: Connection,
    /// What the engine wrote and the stream has not taken yet.
    out: BytesMut,
    tick_at: Instant,
    unflushed: bool,
    /// What came while something else was awaited.
    aside: VecDeque<Event>,
    requests: u64,
}

/// A pair of links to a node that answers requests: `$cbs` or `$management`.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    sender: LinkId,
    receiver: LinkId,
    reply_to: String,
}

impl Port {
    /// Connects and opens; rights come later by [`put_token`](Self::put_token).
    pub(crate) async fn open(remote: &Remote, hostname: &str) -> Result<Self> {
        Self::over(remote.connect().await?, hostname).await
    }

    /// Opens on a stream that is there.
    pub(crate) async fn over(stream: BoxStream, hostname: &str) -> Result<Self> {
        let config = Config {
            container_id: format!("ironbrook-{:016x}", rand::random::<u64>()).into(),
            hostname: Some(hostname.into()),
            max_links: LINKS_MAX,
            ..Config::default()
        };
        let engine = Connection::client(config, ClientSasl::Anonymous);
        let tick_at = Instant::now() + engine.tick_interval();
        let (out, aside) = (BytesMut::new(), VecDeque::new());
        let mut port = Self { stream, engine, out, tick_at, unflushed: true, aside, requests: 0 };
        match timeout(OPEN_TIMEOUT, port.event()).await {
            Ok(Ok(Event::Opened(_))) => Ok(port),
            Ok(Ok(other)) => Err(unexpected(&other)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::Timeout("the AMQP open")),
        }
    }

    /// The engine, for commands; what it wrote goes out with the next wait for an event.
    pub(crate) fn engine(&mut self) -> &mut Connection {
        &mut self.engine
    }

    /// A new session.
    pub(crate) fn begin(&mut self) -> Result<SessionId> {
        self.engine.begin().map_err(command)
    }

    /// Waits for the next event. Cancel-safe. A close by the server is an error.
    pub(crate) async fn event(&mut self) -> Result<Event> {
        match self.aside.pop_front() {
            Some(event) => Ok(event),
            None => self.fresh_event().await,
        }
    }

    async fn fresh_event(&mut self) -> Result<Event> {
        loop {
            match self.engine.poll().map_err(violation)? {
                Some(Event::Closed(error)) => return Err(closed(error)),
                Some(event) => return Ok(event),
                None => self.exchange().await?,
            }
        }
    }

    /// Moves bytes in one direction, or lets time pass. Cancel-safe.
    async fn exchange(&mut self) -> Result<()> {
        let Self { stream, engine, out, .. } = self;
        out.unsplit(engine.output().split());
        self.unflushed |= !out.is_empty();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let write = async {
            if out.is_empty() {
                writer.flush().await.map(|()| true)
            } else {
                writer.write_buf(out).await.map(|_| false)
            }
        };
        tokio::select! {
            biased;
            written = write, if self.unflushed => {
                self.unflushed = !written.map_err(|e| Error::network("sending", e))?;
                Ok(())
            }
            read = reader.read_buf(engine.input()) => match read {
                Ok(0) => Err(Error::network("receiving", io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => Ok(()),
                Err(e) => Err(Error::network("receiving", e)),
            },
            () = sleep_until(self.tick_at) => {
                self.tick_at = Instant::now() + engine.tick_interval();
                engine.tick().map_err(violation)
            }
        }
    }

    /// Attaches a pair of links to a node that answers requests.
    pub(crate) async fn pair(&mut self, session: SessionId, node: &str) -> Result<Pair> {
        let reply_to = format!("{}-reply", node.trim_start_matches('$'));
        let sender = self.attach(session, LinkOptions::sender(format!("{node}-request"), node)).await?;
        let mut options = LinkOptions::receiver(reply_to.clone(), node);
        options.credit = 16;
        let receiver = self.attach(session, options).await?;
        Ok(Pair { sender, receiver, reply_to })
    }

    /// Attaches a link and waits until the server agrees; a refusal is an error.
    pub(crate) async fn attach(&mut self, session: SessionId, options: LinkOptions) -> Result<LinkId> {
        let wanted = self.engine.attach(session, options).map_err(command)?;
        self.wait_for(|event| match event {
            Event::Attached(link, _) if *link == wanted => Some(Ok(wanted)),
            Event::Detached(link, error) if *link == wanted => Some(Err(detached(error.as_ref()))),
            _ => None,
        })
        .await?
    }

    /// Asks the node of a pair; the answer must have status 200 to 299.
    pub(crate) async fn request(&mut self, pair: &Pair, request: Message) -> Result<Message> {
        let id = self.send_request(pair, request)?;
        let receiver = pair.receiver;
        let delivery = self
            .wait_for(|event| match event {
                Event::Delivery(delivery) if delivery.link == receiver => Some(Ok(delivery.clone())),
                Event::Detached(link, error) if *link == receiver => Some(Err(detached(error.as_ref()))),
                _ => None,
            })
            .await??;
        let answer = self.take_answer(pair, &delivery)?;
        if answer.properties.correlation_id != Some(id) {
            return Err(Error::Protocol("an answer to another request".to_owned()));
        }
        check_status(&answer)?;
        Ok(answer)
    }

    /// Sends a request without waiting; gives its message id.
    fn send_request(&mut self, pair: &Pair, mut request: Message) -> Result<Value> {
        self.requests += 1;
        let id = Value::string(format!("ironbrook-{}", self.requests));
        request.properties.message_id = Some(id.clone());
        request.properties.reply_to = Some(pair.reply_to.clone().into());
        let tag = Bytes::copy_from_slice(&self.requests.to_be_bytes());
        let outgoing = Outgoing { tag, format: 0, settled: true, payload: request.to_bytes() };
        self.engine.send(pair.sender, outgoing).map_err(command)?;
        Ok(id)
    }

    fn take_answer(&mut self, pair: &Pair, delivery: &Delivery) -> Result<Message> {
        if !delivery.settled {
            self.engine.settle(delivery.link, delivery.id, delivery.id, DeliveryState::Accepted);
        }
        self.engine.set_credit(pair.receiver, 16);
        Message::decode(&delivery.payload).map_err(|e| Error::Protocol(e.to_string()))
    }

    /// Proves rights on `audience` and waits for the answer; gives when to do it again, if that is possible.
    pub(crate) async fn put_token(
        &mut self,
        cbs: &Pair,
        credentials: &Credentials,
        audience: &str,
    ) -> Result<Option<Duration>> {
        let (request, renew_after) = token_request(credentials, audience).await?;
        self.request(cbs, request).await?;
        Ok(renew_after)
    }

    /// Sends a fresh token; its answer arrives as a delivery, see [`token_answer`](Self::token_answer).
    pub(crate) async fn renew_token(
        &mut self,
        cbs: &Pair,
        credentials: &Credentials,
        audience: &str,
    ) -> Result<Option<Duration>> {
        let (request, renew_after) = token_request(credentials, audience).await?;
        self.send_request(cbs, request)?;
        Ok(renew_after)
    }

    /// Checks a delivery on `$cbs`; `None` if the delivery is of another link.
    pub(crate) fn token_answer(&mut self, cbs: &Pair, delivery: &Delivery) -> Option<Result<()>> {
        (delivery.link == cbs.receiver)
            .then(|| self.take_answer(cbs, delivery).and_then(|answer| check_status(&answer)))
    }

    /// Waits for the event that `pick` takes; everything else is set aside for [`event`](Self::event).
    pub(crate) async fn wait_for<T>(&mut self, mut pick: impl FnMut(&Event) -> Option<T>) -> Result<T> {
        let search = async {
            loop {
                let event = self.fresh_event().await?;
                if let Some(found) = pick(&event) {
                    return Ok(found);
                }
                if self.aside.len() >= ASIDE_MAX {
                    return Err(Error::Protocol("more events than granted".to_owned()));
                }
                self.aside.push_back(event);
            }
        };
        match timeout(ANSWER_TIMEOUT, search).await {
            Ok(found) => found,
            Err(_) => Err(Error::Timeout("an AMQP request")),
        }
    }

    /// Says goodbye, as far as the peer listens.
    pub(crate) async fn close(mut self) {
        self.engine.close(None);
        let mut output = self.out;
        output.unsplit(self.engine.output().split());
        let last_words = async {
            self.stream.write_all(&output).await?;
            self.stream.shutdown().await
        };
        let _ = timeout(Duration::from_secs(2), last_words).await;
    }
}

async fn token_request(credentials: &Credentials, audience: &str) -> Result<(Message, Option<Duration>)> {
    let pass = credentials.pass(audience, TOKEN_LIFETIME).await?;
    let mut request = Message::value(Value::string(pass.token.0));
    request.set_property("operation", "put-token");
    request.set_property("type", "servicebus.windows.net:sastoken");
    request.set_property("name", Value::string(audience));
    Ok((request, pass.renew_after))
}

fn check_status(answer: &Message) -> Result<()> {
    // Two spellings are in use among servers.
    let status = ["status-code", "statusCode"]
        .iter()
        .find_map(|name| answer.application_property(name)?.as_u64())
        .ok_or_else(|| Error::Protocol("an answer without status-code".to_owned()))?;
    if (200..300).contains(&status) {
        return Ok(());
    }
    let text = ["status-description", "statusDescription"]
        .iter()
        .find_map(|name| answer.application_property(name)?.to_text())
        .unwrap_or_default();
    let message = crate::error::excerpt(text.as_bytes());
    if status == 401 {
        return Err(Error::Unauthorized(message));
    }
    Err(Error::Refused { status: u16::try_from(status).unwrap_or(u16::MAX), message })
}

/// A link that was refused or taken away.
pub(crate) fn detached(error: Option<&AmqpError>) -> Error {
    let Some(error) = error else {
        return Error::network("holding an AMQP link", io::ErrorKind::ConnectionAborted.into());
    };
    let message = crate::error::excerpt(reason(error).as_bytes());
    match &*error.condition {
        "amqp:unauthorized-access" => Error::Unauthorized(message),
        "amqp:not-found" => Error::Refused { status: 404, message },
        "amqp:not-allowed" => Error::Refused { status: 403, message },
        "amqp:resource-limit-exceeded" | "com.microsoft:device-container-throttled" => {
            Error::Refused { status: 429, message }
        }
        "amqp:link:message-size-exceeded" => Error::Refused { status: 413, message },
        "amqp:link:stolen" => Error::Refused { status: 409, message },
        condition if condition.starts_with("com.microsoft:argument") => {
            Error::Refused { status: 400, message }
        }
        _ => Error::Refused { status: 503, message },
    }
}

/// The text of an error: hubs put JSON with a `message` into the description.
fn reason(error: &AmqpError) -> String {
    let description = error.description.as_deref().unwrap_or_default();
    let parsed: Option<serde_json::Value> = serde_json::from_str(description).ok();
    match parsed.as_ref().and_then(|json| json.get("message")?.as_str()) {
        Some(message) => format!("{} ({})", message, error.condition),
        None => error.to_string(),
    }
}

fn closed(error: Option<AmqpError>) -> Error {
    match error {
        Some(error) if &*error.condition == "amqp:unauthorized-access" => detached(Some(&error)),
        Some(error) => Error::network("holding the AMQP connection", io::Error::other(error.to_string())),
        None => Error::network("holding the AMQP connection", io::ErrorKind::ConnectionAborted.into()),
    }
}

pub(crate) fn violation(violation: Violation) -> Error {
    match violation {
        Violation::Sasl(code) => Error::Unauthorized(format!("SASL ended with {code:?}")),
        other => Error::Protocol(other.to_string()),
    }
}

pub(crate) fn command(error: impl std::fmt::Display) -> Error {
    Error::Protocol(error.to_string())
}

fn unexpected(event: &Event) -> Error {
    let text: String = format!("{event:?}").chars().take(60).collect();
    Error::Protocol(format!("not expected now: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_in_a_json_description_is_shown_alone() {
        let text = r#"{"errorCode":404001,"message":"no such device","trackingId":"x"}"#;
        let error = detached(Some(&AmqpError::new("amqp:not-found", text)));
        assert_eq!(error.to_string(), "refused with 404: no such device (amqp:not-found)");
        let error = detached(Some(&AmqpError::new("amqp:unauthorized-access", "expired")));
        assert!(matches!(&error, Error::Unauthorized(text) if text.contains("expired")), "{error}");
        assert!(detached(None).is_transient());
    }
}
