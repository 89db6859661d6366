//! A web hook: batches are posted as JSON, or messages one by one as they are.
//!
//! What a receiver sees stands in `docs/routing.md`. A 2xx takes a batch. 408, 429, 5xx, a redirect and silence mean "later", after
//! what `Retry-After` says. Every other 4xx refuses for good: what is refused is dead-lettered.

mod request;

use super::backoff::Backoff;
use super::{Error, Gather};
use async_trait::async_trait;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use ironbrook_client::{Posted, Poster, Transport};
use ironbrook_hub::seams::{Batching, Clock, Endpoint, Routed, Sent};
use ironbrook_log::{Offset, PartitionId};
use ironbrook_model::{SharedAccessKey, Timestamp};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub(super) use request::SYSTEM;

/// Longest pause a receiver can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// What one request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A JSON array of messages, each as in a stored JSON line.
    #[default]
    Batch,
    /// The body of one message as it came, its properties as headers.
    Single,
}

/// Where messages go. `Debug` hides what may be secret.
#[derive(Clone)]
pub struct Config {
    /// `https://host/path?query`.
    pub url: String,
    /// What one request carries.
    pub format: Format,
    /// How it gathers.
    pub gather: Gather,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Headers of every request, such as `Authorization`.
    pub headers: Vec<(String, String)>,
    /// Requests are signed with HMAC-SHA256 under this key, where there is one.
    pub signing_key: Option<SharedAccessKey>,
    /// Whom to believe and where to dial.
    pub transport: Transport,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("format", &self.format)
            .field("gather", &self.gather)
            .finish_non_exhaustive()
    }
}

/// An endpoint that posts.
pub struct Webhook {
    name: String,
    hub: String,
    config: Config,
    headers: HeaderMap,
    /// By partition, so that they do not wait for each other.
    posters: Vec<Poster>,
    /// How far a batch came that is posted message by message.
    progress: Mutex<HashMap<PartitionId, Progress>>,
    backoff: Backoff,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Clone, Default)]
struct Progress {
    /// What is before needs no request any more.
    next: Offset,
    refused: Vec<(Offset, String)>,
}

/// What an answer means.
enum Verdict {
    Taken,
    Later(Option<Duration>, String),
    Refused(StatusCode, String),
}

impl Webhook {
    /// Checks the settings; nothing is connected yet.
    pub fn open(
        name: &str,
        hub: &str,
        config: Config,
        partitions: u16,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let posters = (0..partitions).map(|_| Poster::new(&config.url, &config.transport));
        let posters = posters.collect::<Result<_, _>>()?;
        let headers =
            config.headers.iter().map(|(name, value)| header(name, value)).collect::<Result<_, _>>()?;
        let (name, hub) = (name.to_owned(), hub.to_owned());
        let (progress, backoff) = (Mutex::default(), Backoff::default());
        Ok(Self { name, hub, config, headers, posters, progress, backoff, clock })
    }

    async fn post(&self, partition: PartitionId, messages: &[Routed], as_array: bool) -> Verdict {
        let Some(poster) = self.posters.get(usize::from(partition.0)) else {
            return Verdict::Later(None, format!("there is no partition {}", partition.0));
        };
        let (mut headers, body) = match messages {
            [message] if !as_array => request::single(message),
            messages => request::batch(messages),
        };
        request::describe(&mut headers, &self.hub, &self.name, partition, messages);
        if let Some(key) = &self.config.signing_key {
            request::sign(&mut headers, key, self.clock.now(), &body);
        }
        // What the operator sets replaces what we say.
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        match poster.post(headers, body, self.config.timeout).await {
            Ok(posted) => judge(&posted, self.clock.now()),
            Err(error) => Verdict::Later(None, error.to_string()),
        }
    }

    fn later(&self, partition: PartitionId, asked: Option<Duration>, why: String) -> Sent {
        let wait = self.backoff.failed(partition);
        Sent::RetryAfter(asked.map_or(wait, |asked| asked.max(wait).min(RETRY_AFTER_MAX)), why)
    }

    /// Posts message by message, and goes on where it was when the batch comes again.
    async fn one_by_one(&self, partition: PartitionId, batch: &[Routed], as_array: bool) -> Sent {
        for message in batch {
            if message.offset < self.progress(partition, |p| p.next) {
                continue;
            }
            let refused = match self.post(partition, std::slice::from_ref(message), as_array).await {
                Verdict::Taken => None,
                Verdict::Refused(_, why) => Some((message.offset, why)),
                Verdict::Later(asked, why) => return self.later(partition, asked, why),
            };
            self.progress(partition, |p| {
                p.next = Offset(message.offset.0 + 1);
                p.refused.extend(refused);
            });
        }
        let refused = self.progress(partition, |p| std::mem::take(&mut p.refused));
        let index = |offset| batch.iter().position(|message| message.offset == offset);
        let refused: Vec<_> =
            refused.into_iter().filter_map(|(offset, why)| Some((index(offset)?, why))).collect();
        self.backoff.worked(partition);
        if refused.is_empty() { Sent::Done } else { Sent::Reject(refused) }
    }

    fn progress<T>(&self, partition: PartitionId, look: impl FnOnce(&mut Progress) -> T) -> T {
        let mut all = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        look(all.entry(partition).or_default())
    }
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Error> {
    let wrong = || Error::Value(format!("{name:?} is no header, or its value cannot stand in one"));
    let mut value = HeaderValue::from_str(value).map_err(|_| wrong())?;
    value.set_sensitive(true);
    Ok((HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?, value))
}

fn judge(posted: &Posted, now: Timestamp) -> Verdict {
    let status = posted.status;
    if status.is_success() {
        return Verdict::Taken;
    }
    let why = match posted.excerpt.as_str() {
        "" => format!("HTTP {status}"),
        text => format!("HTTP {status}: {text}"),
    };
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            Verdict::Later(retry_after(posted, now), why)
        }
        status if status.is_client_error() => Verdict::Refused(status, why),
        status if status.is_redirection() => {
            Verdict::Later(None, format!("{why}; redirects are not followed, give the address they lead to"))
        }
        _ => Verdict::Later(retry_after(posted, now), why),
    }
}

/// Seconds, or a date.
fn retry_after(posted: &Posted, now: Timestamp) -> Option<Duration> {
    let text = posted.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    u64::try_from(date.as_millisecond() - now.as_millis()).ok().map(Duration::from_millis)
}

/// Whether a refusal is about a message of the batch, and not about the request as such.
fn is_about_content(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::UNPROCESSABLE_ENTITY
    )
}

#[async_trait]
impl Endpoint for Webhook {
    fn name(&self) -> &str {
        &self.name
    }

    fn batching(&self) -> Batching {
        self.config.gather.batching()
    }

    async fn send(&self, partition: PartitionId, batch: &[Routed]) -> Sent {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return Sent::Done };
        let begun = self.progress(partition, |p| p.next > first.offset && p.next <= last.offset);
        if self.config.format == Format::Single || begun {
            return self.one_by_one(partition, batch, self.config.format == Format::Batch).await;
        }
        match self.post(partition, batch, true).await {
            Verdict::Taken => {
                self.backoff.worked(partition);
                Sent::Done
            }
            Verdict::Later(asked, why) => self.later(partition, asked, why),
            // One bad message must not take the others with it.
            Verdict::Refused(status, _) if batch.len() > 1 && is_about_content(status) => {
                self.progress(partition, |p| *p = Progress { next: first.offset, ..Progress::default() });
                self.one_by_one(partition, batch, true).await
            }
            Verdict::Refused(_, why) => {
                self.backoff.worked(partition);
                Sent::Reject((0..batch.len()).map(|index| (index, why.clone())).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests;
