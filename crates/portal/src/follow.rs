//! Reads telemetry from the events endpoint into the feed.

use crate::Config;
use crate::feed::Feed;
use crate::now;
use crate::reading::{Reading, Source};
use ironbrook_client::{Error, Event, EventsClient, Position};
use ironbrook_model::Timestamp;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How far back a started portal looks.
const HISTORY: Duration = Duration::from_secs(600);
/// Pause after a failure; the reader itself reconnects, so this is for what it gives up on.
const RETRY: Duration = Duration::from_secs(5);

/// Follows telemetry until cancelled.
pub(crate) async fn run(config: &Config, feed: &Feed, cancel: &CancellationToken) {
    let mut from = Position::EnqueuedAfter(ago(HISTORY));
    loop {
        let failed = tokio::select! {
            () = cancel.cancelled() => return,
            result = follow(config, feed, from.clone()) => result,
        };
        if let Err(error) = failed {
            tracing::warn!(%error, "the portal cannot read telemetry; trying again");
        }
        // The history is in the feed already.
        from = Position::EnqueuedAfter(ago(RETRY));
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

async fn follow(config: &Config, feed: &Feed, from: Position) -> Result<(), Error> {
    let mut client = EventsClient::builder(&config.events)?.ca_file(&config.ca_file)?;
    if let Some(address) = config.events_address {
        client = client.address(address);
    }
    let client = client.build()?;
    let mut events = client.read(from).await?;
    while let Some(event) = events.next().await {
        let event = event?;
        if let Some((source, reading)) = read(&event) {
            feed.push(source, event.enqueued_time.as_millis(), reading);
        }
    }
    Ok(())
}

fn read(event: &Event) -> Option<(Source, Reading)> {
    let source = Source { device: event.device()?.to_owned(), module: event.module().map(str::to_owned) };
    let reading = Reading::of(&source, &event.message.body)?;
    Some((source, reading))
}

fn ago(duration: Duration) -> Timestamp {
    let millis = i64::try_from(duration.as_millis()).unwrap_or_default();
    Timestamp::from_millis(now().as_millis().saturating_sub(millis))
}
