//! Enrichments: application properties added to messages on their way to some endpoints.
//!
//! Source: Azure docs "Message enrichments for device-to-cloud IoT Hub messages".

use super::sender;
use async_trait::async_trait;
use bytestring::ByteString;
use ironbrook_hub::router::{TwinCache, TwinPath};
use ironbrook_hub::seams::{Batching, Endpoint, Routed, Sent};
use ironbrook_log::PartitionId;
use ironbrook_model::{Identity, Refusal};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Wait where a twin cannot be read now.
const RETRY: Duration = Duration::from_secs(1);
/// What a value may begin with, where it begins with `$`.
const VALUES: &str = "$iothubname, $twin.tags.…, $twin.properties.desired.… or $twin.properties.reported.…";

/// An enrichment as it is configured.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Enrichment {
    /// The name of the property.
    pub key: String,
    /// A text, `$iothubname`, or a place in the sender's twin: `$twin.tags.site`.
    pub value: String,
    /// The endpoints it is for; `events` is the built-in one.
    #[serde(alias = "endpointNames")]
    pub endpoints: Vec<String>,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Text(ByteString),
    /// A place in the twin, and how it was written.
    Twin(TwinPath, ByteString),
}

impl Enrichment {
    /// rule ROUTE-10: the key has letters, digits, `_`, `-` and `.`; a value that begins with `$` is one of those known.
    fn source(&self, hub: &str) -> Result<Source, String> {
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if self.key.is_empty() || !self.key.chars().all(named) {
            return Err(format!("enrichment {:?}: a key has letters, digits, _ - and . only", self.key));
        }
        if self.value == "$iothubname" {
            return Ok(Source::Text(hub.into()));
        }
        let Some(path) = self.value.strip_prefix('$') else {
            return Ok(Source::Text(self.value.as_str().into()));
        };
        let names: Vec<String> = path.split('.').map(str::to_owned).collect();
        let is = |at: usize, name: &str| names.get(at).is_some_and(|found| found == name);
        let places = is(1, "tags") && names.len() > 2
            || is(1, "properties") && (is(2, "desired") || is(2, "reported")) && names.len() > 3;
        if !is(0, "twin") || !places || names.iter().any(String::is_empty) {
            return Err(format!("enrichment {}: {:?} is none of {VALUES}", self.key, self.value));
        }
        Ok(Source::Twin(names[1..].to_vec(), self.value.as_str().into()))
    }
}

/// What is added on the way to one endpoint.
#[derive(Debug)]
pub struct Enricher {
    rules: Vec<(ByteString, Source)>,
    twins: Arc<TwinCache>,
    /// Longest enriched message.
    bytes_max: usize,
}

/// The places in twins that enrichments name. An error tells what is wrong with one.
pub fn twin_paths(enrichments: &[Enrichment]) -> Result<Vec<TwinPath>, String> {
    let mut paths = Vec::new();
    for enrichment in enrichments {
        if let Source::Twin(path, _) = enrichment.source("")? {
            paths.push(path);
        }
    }
    Ok(paths)
}

impl Enricher {
    /// What is added on the way to `endpoint`; `None` where that is nothing. `twins` looks at [`twin_paths`].
    pub fn new(
        endpoint: &str,
        enrichments: &[Enrichment],
        hub: &str,
        twins: &Arc<TwinCache>,
        bytes_max: usize,
    ) -> Result<Option<Self>, String> {
        let mut rules = Vec::new();
        for enrichment in enrichments.iter().filter(|e| e.endpoints.iter().any(|name| name == endpoint)) {
            rules.push((ByteString::from(enrichment.key.as_str()), enrichment.source(hub)?));
        }
        let twins = Arc::clone(twins);
        Ok((!rules.is_empty()).then_some(Self { rules, twins, bytes_max }))
    }

    /// Adds what there is to add. What a message has of the same name is replaced. An error only where a twin cannot be read now.
    pub async fn apply(&self, batch: &mut [Routed]) -> Result<(), Refusal> {
        let reads = self.rules.iter().any(|(_, source)| matches!(source, Source::Twin(..)));
        let mut twins: HashMap<Identity, Arc<Value>> = HashMap::new();
        for routed in batch {
            let sender = if reads { sender::of(routed) } else { None };
            let twin = match &sender {
                None => None,
                Some(sender) => Some(match twins.get(sender) {
                    Some(twin) => Arc::clone(twin),
                    None => {
                        let twin = self.twins.load(sender).await?;
                        twins.insert(sender.clone(), Arc::clone(&twin));
                        twin
                    }
                }),
            };
            for (key, source) in &self.rules {
                routed.message.properties.set(key.clone(), value(source, twin.as_deref()));
            }
        }
        Ok(())
    }
}

/// rule ROUTE-10: where a twin has no such place, the expression itself is the value.
fn value(source: &Source, twin: Option<&Value>) -> ByteString {
    match source {
        Source::Text(text) => text.clone(),
        Source::Twin(path, written) => {
            let found = path.iter().try_fold(twin.unwrap_or(&Value::Null), |value, name| value.get(name));
            match found {
                None | Some(Value::Null) => written.clone(),
                Some(Value::String(text)) => text.as_str().into(),
                Some(other) => other.to_string().into(),
            }
        }
    }
}

/// An endpoint whose messages are enriched before they come to it.
pub struct Enriched {
    inner: Arc<dyn Endpoint>,
    enricher: Enricher,
}

impl Enriched {
    /// Enriches what goes to an endpoint.
    pub fn new(inner: Arc<dyn Endpoint>, enricher: Enricher) -> Self {
        Self { inner, enricher }
    }
}

#[async_trait]
impl Endpoint for Enriched {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn batching(&self) -> Batching {
        self.inner.batching()
    }

    fn place(&self, partition: PartitionId) -> Option<String> {
        self.inner.place(partition)
    }

    async fn send(&self, partition: PartitionId, batch: &[Routed]) -> Sent {
        let mut enriched = batch.to_vec();
        if let Err(refusal) = self.enricher.apply(&mut enriched).await {
            return Sent::RetryAfter(RETRY, refusal.to_string());
        }
        // rule ROUTE-10: what grows over the limit is dropped.
        let most = self.enricher.bytes_max;
        let (mut kept, mut indexes, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for (index, routed) in enriched.into_iter().enumerate() {
            let len = routed.message.metered_len();
            if len > most {
                refused.push((index, format!("{len} bytes with its enrichments; {most} are allowed")));
            } else {
                indexes.push(index);
                kept.push(routed);
            }
        }
        let sent = if kept.is_empty() { Sent::Done } else { self.inner.send(partition, &kept).await };
        match sent {
            Sent::Done if refused.is_empty() => Sent::Done,
            Sent::Done => Sent::Reject(refused),
            Sent::RetryAfter(wait, why) => Sent::RetryAfter(wait, why),
            Sent::Reject(more) => {
                refused.extend(more.into_iter().filter_map(|(at, why)| Some((*indexes.get(at)?, why))));
                Sent::Reject(refused)
            }
        }
    }
}

#[cfg(test)]
mod tests;
