//! Reads telemetry from the events endpoint into the feed, while there are pages that show it.

use crate::Config;
use crate::feed::Feed;
use crate::now;
use crate::reading::{Reading, Source};
use ironbrook_client::{Error, Event, EventsClient, Position};
use ironbrook_model::Timestamp;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How far back is looked where nothing was read yet, or not for long.
const HISTORY: Duration = Duration::from_secs(600);
/// Pause after a failure; the reader itself reconnects, so this is for what it gives up on.
const RETRY: Duration = Duration::from_secs(5);
/// A page that did not ask for so long is gone. Browsers let pages in the background ask once a minute.
const GONE: Duration = Duration::from_secs(150);
/// How much older than what was read last an event of another partition may be that comes later.
const OVERLAP: Duration = Duration::from_secs(5);

/// When a page asked last. A busy hub's telemetry is not read for nobody.
pub(crate) struct Viewers(watch::Sender<Option<Instant>>);

impl Default for Viewers {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Viewers {
    /// A page asked.
    pub(crate) fn asked(&self) {
        self.0.send_replace(Some(Instant::now()));
    }

    /// Waits until there is a page.
    async fn some(&self) {
        let is_there = |asked: &Option<Instant>| asked.is_some_and(|at| at.elapsed() < GONE);
        // The sender lives as long as this.
        let _ = self.0.subscribe().wait_for(is_there).await;
    }

    /// Waits until all pages are gone.
    async fn none(&self) {
        loop {
            let asked = *self.0.borrow();
            match asked {
                Some(at) if at.elapsed() < GONE => sleep_until(at + GONE).await,
                _ => return,
            }
        }
    }
}

/// What was read, so that reading on repeats nothing.
#[derive(Default)]
struct Seen {
    /// By partition: sequence number and time of the last event.
    last: HashMap<String, (i64, Timestamp)>,
}

impl Seen {
    /// Whether an event is new.
    fn take(&mut self, event: &Event) -> bool {
        let new = (event.sequence_number, event.enqueued_time);
        match self.last.get_mut(&event.partition) {
            Some(last) if new.0 <= last.0 => return false,
            Some(last) => *last = new,
            None => _ = self.last.insert(event.partition.clone(), new),
        }
        true
    }

    /// Where to read on.
    fn position(&self, now: Timestamp) -> Timestamp {
        let oldest = self.last.values().map(|(_, time)| before(*time, OVERLAP)).min();
        let history = before(now, HISTORY);
        oldest.map_or(history, |oldest| oldest.max(history))
    }
}

/// Follows telemetry until cancelled.
pub(crate) async fn run(config: &Config, feed: &Feed, viewers: &Viewers, cancel: &CancellationToken) {
    let mut seen = Seen::default();
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = viewers.some() => {}
        }
        let failed = tokio::select! {
            () = cancel.cancelled() => return,
            () = viewers.none() => continue,
            result = follow(config, feed, &mut seen) => result,
        };
        if let Err(error) = failed {
            tracing::warn!(%error, "the portal cannot read telemetry; trying again");
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

async fn follow(config: &Config, feed: &Feed, seen: &mut Seen) -> Result<(), Error> {
    let mut client = EventsClient::builder(&config.events)?.ca_file(&config.ca_file)?;
    if let Some(address) = config.events_address {
        client = client.address(address);
    }
    let client = client.build()?;
    let mut events = client.read(Position::EnqueuedAfter(seen.position(now()))).await?;
    while let Some(event) = events.next().await {
        let event = event?;
        if seen.take(&event)
            && let Some((source, reading)) = read(&event)
        {
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

fn before(time: Timestamp, duration: Duration) -> Timestamp {
    let millis = i64::try_from(duration.as_millis()).unwrap_or_default();
    Timestamp::from_millis(time.as_millis().saturating_sub(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(partition: &str, sequence_number: i64, secs: i64) -> Event {
        Event {
            partition: partition.into(),
            sequence_number,
            offset: String::new(),
            enqueued_time: Timestamp::from_secs(secs),
            source: None,
            message: ironbrook_model::Message::default(),
        }
    }

    #[test]
    fn reading_on_repeats_nothing_and_leaves_no_partition_behind() {
        let (mut seen, now) = (Seen::default(), Timestamp::from_secs(2000));
        assert_eq!(seen.position(now), Timestamp::from_secs(1400));
        assert!(seen.take(&event("0", 7, 1900)) && seen.take(&event("1", 3, 1950)));
        assert!(!seen.take(&event("0", 7, 1900)) && !seen.take(&event("1", 2, 1940)));
        assert_eq!(seen.position(now), Timestamp::from_secs(1895));
        assert_eq!(seen.position(Timestamp::from_secs(9000)), Timestamp::from_secs(8400), "not for long");
        assert!(seen.take(&event("0", 8, 1900)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_is_there_until_it_has_not_asked_for_long() {
        let viewers = Viewers::default();
        viewers.none().await;
        let asking = async {
            for _ in 0..3 {
                viewers.asked();
                tokio::time::sleep(GONE / 2).await;
            }
        };
        let began = Instant::now();
        tokio::join!(viewers.some(), asking);
        viewers.some().await;
        viewers.none().await;
        assert_eq!(began.elapsed(), GONE * 2);
        let waiting = tokio::time::timeout(GONE, viewers.some()).await;
        assert!(waiting.is_err(), "nobody asked since");
    }
}
