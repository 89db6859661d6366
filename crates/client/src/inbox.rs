//! Messages that wait for a device (C2D), fetched over HTTPS: without a connection of the device's own, so that none it has is ended.

use crate::credentials::Credentials;
use crate::device::identity_of;
use crate::error::{Error, Result};
use crate::https::{Answer, Api, HTTPS_PORT, TIMEOUT, refusal};
use crate::transport::{Transport, transport_options};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use ironbrook_model::{ConnectionString, Identity, Message, SystemProperty, percent_encode};
use std::time::Duration;

/// The version of the device-side API that is asked for.
const API_VERSION: &str = "2021-04-12";
/// Names of application properties start so.
const APPLICATION: &str = "iothub-app-";
/// Seconds for which a message is to be locked.
const LOCK_FOR: HeaderName = HeaderName::from_static("iothub-messagelocktimeout");

/// Sets up a [`DeviceInbox`].
#[derive(Debug, Clone)]
pub struct DeviceInboxBuilder {
    hub: String,
    identity: Identity,
    credentials: Credentials,
    transport: Transport,
}

transport_options!(DeviceInboxBuilder);

impl DeviceInboxBuilder {
    /// The client; it connects with its first call.
    pub fn build(self) -> Result<DeviceInbox> {
        let Self { hub, identity, credentials, transport } = self;
        let remote = transport.remote(&hub, HTTPS_PORT)?;
        let audience = format!("{}/{}", remote.host, identity.resource());
        Ok(DeviceInbox { api: Api { remote, credentials, audience }, identity })
    }
}

/// The messages that wait for a device.
#[derive(Debug)]
pub struct DeviceInbox {
    api: Api,
    identity: Identity,
}

/// A message under a lock.
#[derive(Debug, Clone)]
pub struct WaitingMessage {
    /// Proof of the lock, for [`DeviceInbox::settle`].
    pub lock: String,
    /// Number in the device's queue.
    pub sequence_number: Option<u64>,
    /// When it was queued, ISO 8601.
    pub enqueued_time: Option<String>,
    /// How often it was delivered before.
    pub delivery_count: Option<u32>,
    /// The message.
    pub message: Message,
}

/// How a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// Processed.
    Complete,
    /// Not wanted.
    Reject,
    /// To be given again.
    Abandon,
}

impl DeviceInbox {
    /// From a device's connection string.
    pub fn builder(connection_string: &str) -> Result<DeviceInboxBuilder> {
        let parts = ConnectionString::parse(connection_string)?;
        let credentials = Credentials::from_connection_string(&parts)?;
        let (hub, identity) = (parts.require("HostName")?.to_owned(), identity_of(&parts)?);
        Ok(DeviceInboxBuilder { hub, identity, credentials, transport: Transport::default() })
    }

    /// The next message, locked for a minute or as long as is said (5 to 300 s); `None` if none waits.
    pub async fn receive(&self, lock_for: Option<Duration>) -> Result<Option<WaitingMessage>> {
        let header = lock_for.map(|time| (LOCK_FOR, time.as_secs().to_string()));
        let answer = self.ask(Method::GET, String::new(), "", header).await?;
        match answer.status {
            StatusCode::NO_CONTENT => Ok(None),
            _ => waiting(&answer.headers, answer.body).map(Some),
        }
    }

    /// Ends the lock on a message; 412 if it is not held any more.
    pub async fn settle(&self, lock: &str, how: Settle) -> Result<()> {
        let lock = format!("/{}", percent_encode(lock));
        let (method, path, query) = match how {
            Settle::Complete => (Method::DELETE, lock, ""),
            Settle::Reject => (Method::DELETE, lock, "reject&"),
            Settle::Abandon => (Method::POST, format!("{lock}/abandon"), ""),
        };
        self.ask(method, path, query, None).await.map(drop)
    }

    async fn ask(
        &self,
        method: Method,
        rest: String,
        query: &str,
        header: Option<(HeaderName, String)>,
    ) -> Result<Answer> {
        let device = percent_encode(self.identity.device.as_str());
        let path = format!("/devices/{device}/messages/devicebound{rest}?{query}api-version={API_VERSION}");
        let answer = tokio::time::timeout(TIMEOUT, self.api.ask(method, path, header)).await;
        let answer = answer.map_err(|_| Error::Timeout("messages for a device"))??;
        if answer.status.is_success() { Ok(answer) } else { Err(refusal(answer.status, &answer.body)) }
    }
}

/// A message from an answer's headers and body.
fn waiting(headers: &HeaderMap, body: Bytes) -> Result<WaitingMessage> {
    let text = |name: &str| headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
    let lock = text("etag").map(|lock| lock.trim_matches('"').to_owned());
    let lock = lock.ok_or_else(|| Error::Protocol("a message has no lock".to_owned()))?;
    let mut message = Message::new(body);
    for (name, value) in headers {
        let Ok(value) = std::str::from_utf8(value.as_bytes()) else { continue };
        if let Some(property) = SystemProperty::from_http_header(name.as_str()) {
            message.system.set(property, value.to_owned());
        } else if let Some(name) = name.as_str().strip_prefix(APPLICATION) {
            message.properties.set(name.to_owned(), value.to_owned());
        }
    }
    Ok(WaitingMessage {
        lock,
        sequence_number: text("iothub-sequencenumber").and_then(|number| number.parse().ok()),
        enqueued_time: text("iothub-enqueuedtime").map(str::to_owned),
        delivery_count: text("iothub-deliverycount").and_then(|count| count.parse().ok()),
        message,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_message_is_read_from_headers_and_body() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("etag", "\"lock-1\""),
            ("iothub-sequencenumber", "7"),
            ("iothub-deliverycount", "2"),
            ("iothub-messageid", "m1"),
            ("iothub-app-colour", "red"),
            ("date", "now"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let found = waiting(&headers, Bytes::from_static(b"x")).unwrap();
        assert_eq!((&*found.lock, found.sequence_number, found.delivery_count), ("lock-1", Some(7), Some(2)));
        assert_eq!(found.message.system.get(SystemProperty::MessageId).map(|id| &**id), Some("m1"));
        assert_eq!(found.message.properties.get("colour").map(|colour| &**colour), Some("red"));
        assert!(waiting(&HeaderMap::new(), Bytes::new()).is_err());
    }
}
