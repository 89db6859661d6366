//! Reads telemetry from the events endpoint into the feed.

use crate::Config;
use crate::feed::Feed;
use crate::point::Point;
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
        if let Some(point) = point(&event?) {
            feed.push(point);
        }
    }
    Ok(())
}

fn point(event: &Event) -> Option<Point> {
    let device = event.device()?;
    let name = event.module().map_or_else(|| device.to_owned(), |module| format!("{device}/{module}"));
    Point::read(name, event.enqueued_time.as_millis(), &event.message.body)
}

fn ago(duration: Duration) -> Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(now.saturating_sub(duration).as_millis()).unwrap_or_default())
}
