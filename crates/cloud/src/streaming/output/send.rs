//! Deliveries on their way: into blobs, to a URL, to devices, into the hub's routes.

use super::{Delivery, To};
use crate::storage::account::{self, Account, BlockChoice, BlockSource, Code, ContentHeaders, NewBlob};
use crate::streaming::definition::{DefinitionError, Method, Output as Settings, Receiver, Webhook};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytestring::ByteString;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use ironbrook_client::{Poster, Transport};
use ironbrook_hub::throttle::Throttle;
use ironbrook_hub::{Hub, MethodCall};
use ironbrook_model::{DeviceId, ErrorCode, Identity, Message, MessageSource, Refusal, SystemProperty as P};
use serde_json::value::RawValue;
use std::time::Duration;

/// The application property that says which job a message is of. A job passes over messages of its own.
pub(in crate::streaming) const JOB: &str = "streamingJob";
/// The application property that says which output a message left by.
const OUTPUT: &str = "streamingOutput";
/// Number of the block that ends an array; all ids of a blob have one length.
const END: u32 = u32::MAX;

/// What became of a delivery.
#[derive(Debug)]
pub(in crate::streaming) enum Sent {
    /// The receiver has it.
    Done,
    /// It may take it later, and why not now; after this while at the earliest where the receiver said so.
    Later(Option<Duration>, String),
    /// It will never take it.
    Refused(String),
}

/// The way to the receivers of one output.
pub(in crate::streaming) struct Sender {
    hub: Hub,
    account: Account,
    /// `{job}/{run}/{output}`: with the number of a row it is the row's id.
    id: String,
    job: String,
    output: String,
    way: Way,
}

enum Way {
    Blob(String),
    Url(Box<Url>),
    Route,
    CloudToDevice,
    Method(Method),
}

struct Url {
    poster: Poster,
    headers: HeaderMap,
    timeout: Duration,
}

impl Sender {
    /// For an output of a job. Nothing is connected yet.
    pub(in crate::streaming) fn new(
        hub: &Hub,
        account: &Account,
        (job, run, output): (&str, &str, &str),
        settings: &Settings,
    ) -> Result<Self, DefinitionError> {
        let way = match settings {
            Settings::Blob(blob) => Way::Blob(blob.container.clone()),
            Settings::Webhook(hook) => url(output, hook)?,
            Settings::Route(_) => Way::Route,
            Settings::CloudToDevice(_) => Way::CloudToDevice,
            Settings::Method(method) => Way::Method(method.clone()),
        };
        let id = format!("{job}/{run}/{output}");
        let (job, output) = (job.to_owned(), output.to_owned());
        Ok(Self { hub: hub.clone(), account: account.clone(), id, job, output, way })
    }

    /// Sends once.
    pub(in crate::streaming) async fn send(&self, delivery: &Delivery) -> Sent {
        match (&self.way, &delivery.to) {
            (Way::Blob(container), To::Block { blob, block, is_array }) => {
                match self.append(container, blob, *block, *is_array, delivery).await {
                    Ok(()) => Sent::Done,
                    Err(error) => Sent::Later(None, error.to_string()),
                }
            }
            (Way::Url(url), To::Url) => self.post(url, delivery).await,
            (Way::Route, To::Device(id)) => by_refusal(self.route(id, delivery).await),
            (Way::CloudToDevice, To::Device(id)) => by_refusal(self.message(id, delivery).await),
            (Way::Method(method), To::Device(id)) => by_refusal(self.call(id, method, delivery).await),
            _ => Sent::Refused("the output was changed to another kind before it took these rows".to_owned()),
        }
    }

    /// Puts a block at the end of a blob. Doing it again changes nothing.
    async fn append(
        &self,
        container: &str,
        blob: &str,
        block: u32,
        is_array: bool,
        delivery: &Delivery,
    ) -> Result<(), account::Error> {
        let stage = || async {
            self.account.stage(container, blob, &block_id(block), delivery.body.clone()).await?;
            // The end is there already with every later block, unless somebody took it away.
            if is_array && block == 0 {
                self.account.stage(container, blob, &block_id(END), bytes::Bytes::from_static(b"]")).await?;
            }
            Ok(())
        };
        match stage().await {
            Err(account::Error::Refused(Code::ContainerNotFound)) => {
                self.account.ensure_container(container).await?;
                stage().await?;
            }
            other => other?,
        }
        let ids = (0..=block).chain(is_array.then_some(END)).map(block_id);
        match self.commit(container, blob, ids.collect()).await {
            Err(account::Error::Refused(Code::InvalidBlockList)) => {
                self.commit_what_is_there(container, blob, block, is_array).await
            }
            other => other,
        }
    }

    /// Somebody deleted or replaced the blob: what of it is gone stays gone, and what is new is not lost.
    async fn commit_what_is_there(
        &self,
        container: &str,
        blob: &str,
        block: u32,
        is_array: bool,
    ) -> Result<(), account::Error> {
        if is_array {
            self.account.stage(container, blob, &block_id(END), bytes::Bytes::from_static(b"]")).await?;
        }
        let known = self.account.blocks(container, blob).await?;
        let is_there = |id: &String| known.committed.iter().chain(&known.uncommitted).any(|(k, _)| k == id);
        let ids = (0..=block).chain(is_array.then_some(END)).map(block_id).filter(is_there).collect();
        tracing::warn!(
            job = self.job,
            output = self.output,
            blob,
            "blocks of a blob are gone; it goes on without them"
        );
        self.commit(container, blob, ids).await
    }

    async fn commit(&self, container: &str, blob: &str, ids: Vec<String>) -> Result<(), account::Error> {
        let choose = |id| BlockChoice { id, source: BlockSource::Latest };
        let content_type = match blob.rsplit('.').next() {
            Some("csv") => "text/csv",
            Some("avro") => "application/avro",
            Some("parquet") => "application/vnd.apache.parquet",
            _ => "application/json",
        };
        let content_type = Some(content_type.to_owned());
        let headers = ContentHeaders { content_type, ..ContentHeaders::default() };
        let new = NewBlob { headers, ..NewBlob::default() };
        self.account
            .commit_blocks(container, blob, ids.into_iter().map(choose).collect(), new)
            .await
            .map(drop)
    }

    async fn post(&self, url: &Url, delivery: &Delivery) -> Sent {
        let mut headers = url.headers.clone();
        let (first, last) = (delivery.first, delivery.first + delivery.rows.saturating_sub(1));
        for (name, text) in [
            ("ironbrook-job", self.job.clone()),
            ("ironbrook-output", self.output.clone()),
            ("ironbrook-first-row", first.to_string()),
            ("ironbrook-rows", delivery.rows.to_string()),
            ("ironbrook-delivery-id", format!("{}/{first}-{last}", self.id)),
        ] {
            // Names of outputs may hold what no header can.
            if let Ok(value) =
                HeaderValue::from_str(&ironbrook_model::percent_encode(&text).replace("%2F", "/"))
            {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        let posted = match url.poster.post(headers, delivery.body.clone(), url.timeout).await {
            Ok(posted) => posted,
            Err(error) => return Sent::Later(None, error.to_string()),
        };
        let why = match posted.excerpt.as_str() {
            "" => format!("HTTP {}", posted.status),
            text => format!("HTTP {}: {text}", posted.status),
        };
        match posted.status {
            status if status.is_success() => Sent::Done,
            // These are about what was sent; everything else can be cured at the other side.
            StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::UNPROCESSABLE_ENTITY => Sent::Refused(why),
            _ => Sent::Later(retry_after(&posted.headers), why),
        }
    }

    async fn route(&self, id: &str, delivery: &Delivery) -> Result<(), Refusal> {
        let about = device(id)?;
        let mut made = self.json(delivery);
        made.properties.set(JOB, self.job.as_str());
        made.properties.set(OUTPUT, self.output.as_str());
        let most = self.hub.limits().telemetry_bytes;
        if made.metered_len() > most {
            let text = format!("a row of {} bytes; a message has at most {most}", made.metered_len());
            return Err(Refusal::new(ErrorCode::MessageTooLarge, text));
        }
        self.hub.event_room(MessageSource::DeviceMessages, &about).await?;
        match self.hub.publish(MessageSource::DeviceMessages, &about, &made)? {
            Some(ticket) => self.hub.durable(ticket).await,
            None => Err(Refusal::new(ErrorCode::ArgumentInvalid, "no route takes the message")),
        }
    }

    async fn message(&self, id: &str, delivery: &Delivery) -> Result<(), Refusal> {
        let to = device(id)?;
        self.hub.throttles().take(Throttle::CloudToDevice)?;
        let mut made = self.json(delivery);
        made.properties.set(JOB, self.job.as_str());
        made.properties.set(OUTPUT, self.output.as_str());
        let address = format!("/devices/{}/messages/devicebound", ironbrook_model::percent_encode(id));
        made.system.set(P::To, address);
        self.hub.seams().inbox.enqueue(&to, made).await
    }

    async fn call(&self, id: &str, method: &Method, delivery: &Delivery) -> Result<(), Refusal> {
        let to = device(id)?;
        let text = std::str::from_utf8(&delivery.body).unwrap_or("null").to_owned();
        let invalid = |_| Refusal::new(ErrorCode::ArgumentInvalid, "the row is no JSON");
        let call = MethodCall {
            name: ByteString::from(method.method_name.as_str()),
            payload: RawValue::from_string(text).map_err(invalid)?,
            response_timeout: Duration::from_secs(method.response_timeout_seconds),
            connect_timeout: Duration::ZERO,
        };
        let answer = self.hub.invoke_method(&to, call).await?;
        if (200..300).contains(&answer.status) {
            return Ok(());
        }
        let text = format!("the device answered the method with status {}", answer.status);
        Err(Refusal::new(ErrorCode::ArgumentInvalid, text))
    }

    /// A row as a message that routes can look into.
    fn json(&self, delivery: &Delivery) -> Message {
        let mut message = Message::new(delivery.body.clone());
        message.system.set(P::MessageId, message_id(&format!("{}/{}", self.id, delivery.first)));
        message.system.set(P::ContentType, "application/json");
        message.system.set(P::ContentEncoding, "utf-8");
        message
    }
}

/// How long a row for a device is tried again; the others are tried for ever.
pub(in crate::streaming) fn patience(settings: &Settings) -> Option<Duration> {
    let seconds = |to: &Receiver| Some(Duration::from_secs(to.patience_seconds));
    match settings {
        Settings::Blob(_) | Settings::Webhook(_) | Settings::Route(_) => None,
        Settings::CloudToDevice(to) => seconds(to),
        Settings::Method(method) => seconds(&method.to()),
    }
}

fn url(output: &str, hook: &Webhook) -> Result<Way, DefinitionError> {
    let wrong =
        |reason: String| DefinitionError::Setting { setting: format!("outputs.{output}.url"), reason };
    let poster = Poster::new(&hook.url, &Transport::default()).map_err(|error| wrong(error.to_string()))?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    for (name, value) in &hook.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| wrong(error.to_string()))?;
        let mut value = HeaderValue::from_str(value).map_err(|error| wrong(error.to_string()))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(Way::Url(Box::new(Url { poster, headers, timeout: Duration::from_secs(hook.timeout_seconds) })))
}

fn device(id: &str) -> Result<Identity, Refusal> {
    let invalid = |why: String| Refusal::new(ErrorCode::ArgumentInvalid, why);
    let id =
        DeviceId::new(id.to_owned()).map_err(|error| invalid(format!("the row names no device: {error}")))?;
    Ok(Identity::device(id))
}

/// Ids of messages have at most 128 characters; of a longer one the end tells rows apart.
fn message_id(id: &str) -> String {
    let long = id.chars().count().saturating_sub(128);
    id.chars().skip(long).filter(char::is_ascii_graphic).collect()
}

fn by_refusal(result: Result<(), Refusal>) -> Sent {
    let Err(refusal) = result else { return Sent::Done };
    let why = refusal.to_string();
    match refusal.code {
        ErrorCode::ArgumentInvalid
        | ErrorCode::DeviceNotFound
        | ErrorCode::ModuleNotFound
        | ErrorCode::MessageTooLarge
        | ErrorCode::GenericRequestEntityTooLarge
        | ErrorCode::DeviceDisabled => Sent::Refused(why),
        _ => Sent::Later(None, why),
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

fn block_id(number: u32) -> String {
    STANDARD.encode(format!("{number:010}"))
}
