//! What became of one message: found in the log by its id, followed by checkpoints and what is remembered of batches.

use super::input::invalid;
use super::test::trial_json;
use super::{EVENTS, PRIORITY, Routing};
use crate::endpoints::sender;
use crate::service_api::input::{answer, ok};
use axum::Extension;
use axum::extract::{Path, Query};
use axum::response::Response;
use ironbrook_hub::executor::{BatchEnd, BatchOutcome};
use ironbrook_hub::record;
use ironbrook_hub::router::{Facts, Trial};
use ironbrook_hub::seams::Routed;
use ironbrook_log::{Offset, PartitionId, QueueId, Record, Seek};
use ironbrook_model::{
    DeviceId, ErrorCode, Identity, MessageSource, Refusal, SystemProperty as P, Timestamp,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Messages of one id that are told.
const FOUND_MAX: usize = 10;
/// How far back is looked where nobody says.
const SINCE: Duration = Duration::from_secs(24 * 3600);
/// How long one request reads.
const PATIENCE: Duration = Duration::from_secs(30);
/// Records and bytes of one read.
const READ_RECORDS: usize = 1000;
const READ_BYTES: usize = 4 << 20;

#[derive(Deserialize)]
pub(in crate::service_api) struct Hint {
    /// ISO 8601; the last day where absent.
    since: Option<String>,
    until: Option<String>,
    /// The sender, so that one partition is enough.
    device: Option<String>,
}

/// Where to look.
struct Search<'a> {
    id: &'a str,
    since: Timestamp,
    until: Option<Timestamp>,
    device: Option<DeviceId>,
    began: Instant,
}

/// `GET /routing/messages/{id}[?since=&until=&device=]`: `{"messages":[…]}`, the messages of this id, oldest first, each with
/// who sent it, what the routes say to it now, and what became of it at each endpoint. 404000 where there is none in the log.
pub(in crate::service_api) async fn why(
    Extension(routing): Extension<Routing>,
    Path(id): Path<String>,
    Query(hint): Query<Hint>,
) -> Response {
    let why = async {
        let time = |text: Option<String>| match text {
            None => Ok(None),
            Some(text) => Timestamp::parse(&text)
                .map(Some)
                .ok_or_else(|| invalid(format!("{text:?} is no time of ISO 8601"))),
        };
        let device =
            hint.device.map(DeviceId::new).transpose().map_err(|error| invalid(error.to_string()))?;
        let now = routing.hub.seams().clock.now();
        let day_before = Timestamp::from_millis(now.as_millis() - SINCE.as_millis() as i64);
        let since = time(hint.since)?.unwrap_or(day_before);
        let search = Search { id: &id, since, until: time(hint.until)?, device, began: Instant::now() };
        let found = routing.search(&search).await?;
        if found.is_empty() {
            let text = format!(
                "no message {id:.128?} is in the log since {since}; it came earlier, no route wanted it, or it never came"
            );
            return Err(Refusal::new(ErrorCode::GenericNotFound, text));
        }
        let mut messages = Vec::with_capacity(found.len());
        for (partition, record, routed) in &found {
            messages.push(routing.fate(*partition, record, routed).await?);
        }
        Ok(ok(&json!({ "messages": messages })))
    };
    answer(why.await)
}

impl Routing {
    async fn search(&self, search: &Search<'_>) -> Result<Vec<(PartitionId, Record, Routed)>, Refusal> {
        let log = &self.hub.seams().log;
        let mut found: Vec<(PartitionId, Record, Routed)> = Vec::new();
        let partitions = match &search.device {
            Some(device) => {
                let partition = self.hub.partition_of(&Identity::device(device.clone()));
                partition.0..partition.0 + 1
            }
            None => 0..log.partitions(),
        };
        // A record is in at least one queue, and may be in several.
        let queues = std::iter::once(QueueId::EVENTS).chain(self.queues.iter().map(|(queue, _)| *queue));
        let queues: Vec<QueueId> = queues.collect();
        for partition in partitions.map(PartitionId) {
            for queue in &queues {
                self.search_queue(search, partition, *queue, &mut found).await?;
            }
        }
        found.sort_by_key(|(partition, record, _)| (record.enqueued, *partition, record.offset));
        Ok(found)
    }

    async fn search_queue(
        &self,
        search: &Search<'_>,
        partition: PartitionId,
        queue: QueueId,
        found: &mut Vec<(PartitionId, Record, Routed)>,
    ) -> Result<(), Refusal> {
        let log = &self.hub.seams().log;
        let mut next = log.seek(partition, Seek::EnqueuedAt(search.since)).await.map_err(failed)?;
        loop {
            if search.began.elapsed() > PATIENCE {
                let text = "the log is too long to be read through in one go; give the device, or a time before and after";
                return Err(invalid(text.to_owned()));
            }
            let batch = log.read(partition, queue, next, READ_RECORDS, READ_BYTES).await.map_err(failed)?;
            for record in batch.records {
                if search.until.is_some_and(|until| record.enqueued > until) || found.len() >= FOUND_MAX {
                    return Ok(());
                }
                let known = |(p, other, _): &(PartitionId, Record, Routed)| {
                    (*p, other.offset) == (partition, record.offset)
                };
                // Most records are of others: their headers are not read through.
                if !holds(&record.header, search.id) || found.iter().any(known) {
                    continue;
                }
                if let Ok(routed) = record::decode(&record)
                    && routed.message.system.get(P::MessageId).is_some_and(|id| &**id == search.id)
                {
                    found.push((partition, record, routed));
                }
            }
            if batch.next <= next {
                return Ok(());
            }
            next = batch.next;
        }
    }

    async fn fate(&self, partition: PartitionId, record: &Record, routed: &Routed) -> Result<Value, Refusal> {
        let system = |property| routed.message.system.get(property).map(|value| value.to_string());
        let mut endpoints: Vec<Value> = Vec::new();
        for queue in &record.queues {
            endpoints.push(self.endpoint_fate(*queue, partition, routed.offset));
        }
        let mut told = json!({
            "messageId": system(P::MessageId),
            "deviceId": system(P::ConnectionDeviceId),
            "source": routed.source.route_name(),
            "enqueuedTimeUtc": routed.enqueued.to_string(),
            "partition": partition.0,
            "offset": routed.offset.0.to_string(),
            "bytes": routed.message.body.len(),
            "endpoints": endpoints,
            "routes": self.routes_now(routed).await,
        });
        if let Some(module) = system(P::ConnectionModuleId) {
            told["moduleId"] = module.into();
        }
        Ok(told)
    }

    fn endpoint_fate(&self, queue: QueueId, partition: PartitionId, offset: Offset) -> Value {
        let Some(name) = self.endpoint(queue) else {
            return json!({ "endpoint": null, "outcome": "gone", "why": "this endpoint is not configured any more" });
        };
        if name == EVENTS {
            return json!({ "endpoint": EVENTS, "outcome": "stored", "why": "readers of the events endpoint fetch it" });
        }
        let outcomes = self.executors.history().of(name, partition, offset);
        if let Some(last) = outcomes.last() {
            return outcome_json(last, offset);
        }
        match self.executors.position(name, PRIORITY, partition) {
            Some(next) if next > offset => json!({
                "endpoint": name, "outcome": "ended",
                "why": "the checkpoint is past it; how its batch ended is no longer remembered",
            }),
            _ => {
                let health = self.executors.health().into_iter().find(|health| health.name == name);
                let why = match health.and_then(|health| health.failing) {
                    Some(failing) => format!("the endpoint takes nothing now: {failing}"),
                    None => "it waits for its batch".to_owned(),
                };
                json!({ "endpoint": name, "outcome": "waiting", "why": why })
            }
        }
    }

    /// What the routes say now; they may have been others when the message came, and the twin as well.
    async fn routes_now(&self, routed: &Routed) -> Vec<Value> {
        let Some(identity) = sender::of(routed) else { return Vec::new() };
        let auth = routed.message.system.get(P::ConnectionAuthMethod).map_or("", |auth| &**auth);
        let twin = self.hub.seams().twins.service_view(&identity).await.ok();
        let facts = Facts::new(&identity, auth, routed.source, &routed.message, routed.enqueued);
        let facts = facts.with_twin(twin.as_deref());
        let routes = self.hub.router().configured();
        let mut told: Vec<Value> = Vec::new();
        let mut any = false;
        for route in routes.iter() {
            let trial = Trial::of(route, &facts, false);
            any |= trial.takes();
            told.push(trial_json(route, &trial));
        }
        if !any && self.hub.router().fallback() && routed.source == MessageSource::DeviceMessages {
            told.push(json!({
                "name": "$fallback", "result": "true", "condition": "true", "endpointNames": [EVENTS],
                "why": "no other route took it",
            }));
        }
        told
    }
}

fn outcome_json(outcome: &BatchOutcome, offset: Offset) -> Value {
    let dead = outcome.dead_letters.iter().find(|(dead, _)| *dead == offset.0).map(|(_, why)| why.as_str());
    let (word, why) = match (outcome.end, dead) {
        (BatchEnd::DeadLettered, _) => ("deadLettered", outcome.reason.as_deref()),
        (BatchEnd::Taken, Some(why)) => ("deadLettered", Some(why)),
        (BatchEnd::Taken, None) => ("delivered", None),
    };
    let mut told = json!({
        "endpoint": outcome.endpoint,
        "outcome": word,
        "attempts": outcome.attempts,
        "firstAttemptTime": outcome.started.to_string(),
        "endTime": outcome.ended.to_string(),
        "batch": { "firstOffset": outcome.first.to_string(), "lastOffset": outcome.last.to_string(), "messages": outcome.messages },
    });
    if let Some(why) = why {
        told["why"] = why.into();
    } else if let Some(failure) = &outcome.reason {
        told["lastFailure"] = failure.as_str().into();
    }
    if let Some(place) = outcome.place.as_ref().filter(|_| word == "delivered") {
        told["place"] = place.as_str().into();
    }
    told
}

/// Whether a header may name an id.
fn holds(header: &[u8], id: &str) -> bool {
    let Some((first, rest)) = id.as_bytes().split_first() else { return false };
    let begins = header.iter().enumerate().filter(|(_, byte)| *byte == first);
    begins.into_iter().any(|(at, _)| header[at + 1..].starts_with(rest))
}

fn failed(error: ironbrook_log::Error) -> Refusal {
    Refusal::new(ErrorCode::ServerError, error.to_string())
}
