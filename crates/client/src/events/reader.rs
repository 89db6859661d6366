//! The task behind a stream of events: one connection, a link per partition, credit as the user takes events.

use super::position::SELECTOR;
use super::{Door, Event, Position, Shared};
use crate::amqp::detached;
use crate::device::Backoff;
use crate::error::{Error, Result};
use futures_util::Stream;
use ironbrook_wire::amqp::{self, Delivery, DeliveryState, LinkId, LinkOptions};
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Events of a partition under way at once.
const CREDIT: u32 = 256;
/// Events that wait for the user in the channel.
const READY_MAX: usize = 64;
/// Events that wait in the task above which no more credit is given. With the credit already given, this bounds memory.
const WAITING_MAX: usize = 256;

/// Events of all partitions as they come; the order within a partition is kept.
///
/// An error is the last item: it is one that trying again does not cure. Also a [`Stream`].
#[derive(Debug)]
pub struct EventStream(mpsc::Receiver<Result<Event>>);

impl EventStream {
    /// Waits for the next event; `None` after an error. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Event>> {
        self.0.recv().await
    }
}

impl Stream for EventStream {
    type Item = Result<Event>;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

/// Connects and starts the task.
pub(super) async fn start(shared: Arc<Shared>, from: Position) -> Result<EventStream> {
    let mut door = Door::open(&shared).await?;
    let partitions = door.partitions(&shared).await?;
    let positions = partitions.into_iter().map(|info| {
        // rule CLIENT-07, fixed to a number now: a reconnect before the first event must not skip what came meanwhile.
        let position = match &from {
            Position::Latest => Position::AfterSequence(info.last_sequence),
            other => other.clone(),
        };
        (info.id, position)
    });
    let (events, ready) = mpsc::channel(READY_MAX);
    let reader = Reader { shared, positions: positions.collect(), waiting: VecDeque::new(), events };
    let links = reader.attach(&mut door).await?;
    tokio::spawn(reader.run(door, links));
    Ok(EventStream(ready))
}

struct Reader {
    shared: Arc<Shared>,
    /// Where to go on, by partition.
    positions: Vec<(String, Position)>,
    waiting: VecDeque<Event>,
    events: mpsc::Sender<Result<Event>>,
}

/// What a reader waits for.
enum Step {
    /// The user has room, or is gone.
    Room(bool),
    Event(amqp::Event),
    /// The token has to be renewed.
    Renew,
}

/// Links by id, with the index of their partition.
type Links = HashMap<LinkId, usize>;

impl Reader {
    /// Attaches a link for each partition where it left off.
    async fn attach(&self, door: &mut Door) -> Result<Links> {
        let mut links = Links::new();
        for (index, (partition, position)) in self.positions.iter().enumerate() {
            let Shared { entity, consumer_group, .. } = &*self.shared;
            let address = format!("{entity}/ConsumerGroups/{consumer_group}/Partitions/{partition}");
            let mut options = LinkOptions::receiver(format!("events-{partition}"), address);
            options.source.filter.push((SELECTOR.into(), position.filter()));
            options.credit = CREDIT;
            links.insert(door.port.attach(door.session, options).await?, index);
        }
        Ok(links)
    }

    /// Reads until the user is gone or an error is final.
    async fn run(mut self, mut door: Door, mut links: Links) {
        let mut backoff = Backoff::new(self.shared.retry);
        loop {
            let error = match self.read(&mut door, &links, &mut backoff).await {
                Ok(()) => return door.port.close().await,
                Err(error) => error,
            };
            match self.reconnect(error, &mut backoff).await {
                Ok(Some((next_door, next_links))) => (door, links) = (next_door, next_links),
                Ok(None) => return,
                Err(error) => {
                    // What was read before is still good and comes first.
                    for event in self.waiting.drain(..) {
                        if self.events.send(Ok(event)).await.is_err() {
                            return;
                        }
                    }
                    let _ = self.events.send(Err(error)).await;
                    return;
                }
            }
        }
    }

    /// Connects again until it works; `None` when the user is gone.
    async fn reconnect(&mut self, mut error: Error, backoff: &mut Backoff) -> Result<Option<(Door, Links)>> {
        // A token refused while reading may only have run out; refused again when dialling, it is final.
        let mut is_final = !error.is_transient() && !matches!(error, Error::Unauthorized(_));
        loop {
            if is_final {
                return Err(error);
            }
            let wait = backoff.next_wait();
            tracing::warn!(%error, retry_ms = wait.as_millis() as u64, "events connection lost");
            let attempt = async {
                tokio::time::sleep(wait).await;
                let mut door = Door::open(&self.shared).await?;
                let links = self.attach(&mut door).await?;
                Ok::<_, Error>((door, links))
            };
            tokio::select! {
                () = self.events.closed() => return Ok(None),
                opened = attempt => match opened {
                    Ok(opened) => return Ok(Some(opened)),
                    Err(e) => {
                        is_final = !e.is_transient();
                        error = e;
                    }
                },
            }
        }
    }

    /// Reads on one connection; `Ok` when the user is gone.
    async fn read(&mut self, door: &mut Door, links: &Links, backoff: &mut Backoff) -> Result<()> {
        let mut renew_at = door.renew_after.map(|after| Instant::now() + after);
        loop {
            let renew = renew_at.unwrap_or_else(|| Instant::now() + crate::amqp::TOKEN_LIFETIME);
            let step = tokio::select! {
                biased;
                permit = self.events.reserve(), if !self.waiting.is_empty() => Step::Room(permit.is_ok()),
                () = self.events.closed(), if self.waiting.is_empty() => Step::Room(false),
                event = door.port.event() => Step::Event(event?),
                () = sleep_until(renew), if renew_at.is_some() => Step::Renew,
            };
            match step {
                Step::Room(false) => return Ok(()),
                Step::Room(true) => {
                    // There is room and this is the only sender.
                    if let Some(event) = self.waiting.pop_front() {
                        let _ = self.events.try_send(Ok(event));
                    }
                    self.grant(door, links);
                }
                Step::Event(amqp::Event::Delivery(delivery)) => {
                    self.deliver(door, links, &delivery)?;
                    backoff.reset();
                    self.grant(door, links);
                }
                Step::Event(amqp::Event::Detached(_, error) | amqp::Event::SessionEnded(_, error)) => {
                    return Err(detached(error.as_ref()));
                }
                Step::Event(_) => {}
                Step::Renew => {
                    let Shared { credentials, audience, .. } = &*self.shared;
                    let after = door.port.renew_token(&door.cbs, credentials, audience).await?;
                    renew_at = after.map(|after| Instant::now() + after);
                }
            }
        }
    }

    fn deliver(&mut self, door: &mut Door, links: &Links, delivery: &Delivery) -> Result<()> {
        let Some(&index) = links.get(&delivery.link) else {
            return door.port.token_answer(&door.cbs, delivery).unwrap_or(Ok(()));
        };
        if !delivery.settled {
            door.port.engine().settle(delivery.link, delivery.id, delivery.id, DeliveryState::Accepted);
        }
        let messages = amqp::Message::decode_delivery(delivery.format, &delivery.payload)
            .map_err(|e| Error::Protocol(e.to_string()))?;
        let Some((partition, position)) = self.positions.get_mut(index) else { return Ok(()) };
        for wire in &messages {
            let event = Event::from_amqp(partition, wire)?;
            *position = Position::AfterSequence(event.sequence_number);
            self.waiting.push_back(event);
        }
        Ok(())
    }

    /// Gives credit to links that have used up half of theirs, as long as the user keeps up.
    fn grant(&self, door: &mut Door, links: &Links) {
        if self.waiting.len() >= WAITING_MAX {
            return;
        }
        for &link in links.keys() {
            if door.port.engine().credit(link) < CREDIT / 2 {
                door.port.engine().set_credit(link, CREDIT);
            }
        }
    }
}
