//! Links that the assembly answers: each has a task of its own, so that a slow reader holds up nobody else.

use super::device::settlement;
use super::door::Door;
use super::failure;
use super::link::Kind;
use crate::{ServiceSink, ServiceSource};
use bytes::Bytes;
use ironbrook_hub::Settlement;
use ironbrook_model::{ErrorCode, Refusal};
use ironbrook_wire::amqp::{self, DeliveryState, LinkId, Message};
use tokio::sync::mpsc;

/// Messages of a source that may be under way to the peer beyond what it has settled.
const SOURCE_WINDOW: u32 = 512;
/// Messages asked of a source at once.
const SOURCE_BATCH: u32 = 128;
/// Messages of a sink that may wait for it.
const SINK_WINDOW: u32 = 100;

/// The door's end of a source.
pub(super) struct Source {
    control: mpsc::Sender<Control>,
    /// Messages the source may still send.
    permits: u32,
    /// Sent settled, whatever the client asked for.
    pub(super) presettled: bool,
}

/// The door's end of a sink.
pub(super) struct Sink {
    messages: mpsc::Sender<(u32, usize, bool, Message)>,
}

/// What a source is told.
enum Control {
    Permits(u32),
    Settle(Bytes, Settlement),
}

/// What a service link's task tells its door.
pub(super) enum Report {
    /// Messages of a source, or why there are no more.
    Source(LinkId, Result<Vec<(Bytes, Message)>, Refusal>),
    /// A sink took a message or did not: number, length, whether it was settled.
    Sunk(LinkId, u32, usize, bool, Result<(), Refusal>),
}

impl Door {
    pub(super) fn on_source(&mut self, link: LinkId, result: Result<Box<dyn ServiceSource>, Refusal>) {
        if !self.links.contains_key(&link) {
            return;
        }
        let source = match result {
            Ok(source) => source,
            Err(refusal) => return self.refuse_service(link, &refusal),
        };
        let presettled = source.presettled();
        // Every message may be settled once, and permits come in portions.
        let (control, inbox) = mpsc::channel(2 * SOURCE_WINDOW as usize);
        tokio::spawn(pump(link, source, inbox, self.reports.clone()));
        self.accept(link, Kind::Source(Source { control, permits: 0, presettled }), 0);
        self.give_permits(link);
    }

    /// A token that lacks a right is logged where it is checked.
    pub(super) fn refuse_service(&mut self, link: LinkId, why: &Refusal) {
        if why.code.http_status() == 401 {
            self.refuse_quietly(link, why);
        } else {
            self.refuse(link, why);
        }
    }

    /// Lets a source send as much as the peer has credit for.
    pub(super) fn give_permits(&mut self, link: LinkId) {
        let room = self.conn.sendable(link).min(SOURCE_WINDOW);
        let Some(Kind::Source(source)) = self.links.get_mut(&link).map(|l| &mut l.kind) else { return };
        // In portions, so that not every message costs a wake-up.
        let more = room.saturating_sub(source.permits);
        if more > 0 && (source.permits == 0 || more >= SOURCE_BATCH / 2) {
            match source.control.try_send(Control::Permits(more)) {
                Ok(()) => source.permits += more,
                Err(_) => self.overrun(link),
            }
        }
    }

    fn overrun(&mut self, link: LinkId) {
        let text = "more settlements came than messages are under way";
        self.close_link(link, &Refusal::new(ErrorCode::ServerBusy, text));
    }

    pub(super) fn on_source_settled(
        &mut self,
        link: LinkId,
        id: u32,
        tag: &[u8],
        state: Option<DeliveryState>,
        settled: bool,
    ) {
        let Some(Kind::Source(source)) = self.links.get(&link).map(|l| &l.kind) else { return };
        let sent = source.presettled
            || source
                .control
                .try_send(Control::Settle(Bytes::copy_from_slice(tag), settlement(state.as_ref())))
                .is_ok();
        if !settled {
            self.conn.settle_sent(link, id, state.unwrap_or(DeliveryState::Accepted));
        }
        if !sent {
            return self.overrun(link);
        }
        // Room for unsettled deliveries is shared by the links of a session, and may be what another one misses.
        let session = link.session();
        let starved = |(id, l): (&LinkId, &super::link::Link)| match &l.kind {
            Kind::Source(source) if id.session() == session && source.permits == 0 => Some(*id),
            _ => None,
        };
        let links: Vec<_> = self.links.iter().filter_map(starved).collect();
        for link in links {
            self.give_permits(link);
        }
    }

    pub(super) fn on_sink_open(&mut self, link: LinkId, result: Result<Box<dyn ServiceSink>, Refusal>) {
        if !self.links.contains_key(&link) {
            return;
        }
        match result {
            Ok(sink) => {
                let (messages, inbox) = mpsc::channel(SINK_WINDOW as usize);
                tokio::spawn(drain(link, sink, inbox, self.reports.clone()));
                self.accept(link, Kind::Sink(Sink { messages }), SINK_WINDOW);
            }
            Err(refusal) => self.refuse_service(link, &refusal),
        }
    }

    pub(super) fn on_sink(&mut self, delivery: amqp::Delivery) {
        let amqp::Delivery { link, id, settled, payload, .. } = delivery;
        let len = payload.len();
        let message = match Message::decode(&payload) {
            Ok(message) => message,
            Err(error) => {
                let refusal = Refusal::new(ErrorCode::IotHubFormatError, error.to_string());
                return self.on_report(Report::Sunk(link, id, len, settled, Err(refusal)));
            }
        };
        self.received.inc();
        let Some(Kind::Sink(sink)) = self.links.get(&link).map(|l| &l.kind) else { return };
        if sink.messages.try_send((id, len, settled, message)).is_err() {
            let refusal = Refusal::new(ErrorCode::ServerBusy, "more messages wait than are kept");
            self.on_report(Report::Sunk(link, id, len, settled, Err(refusal)));
        }
    }

    pub(super) fn on_report(&mut self, report: Report) {
        match report {
            Report::Source(link, Ok(messages)) => {
                let Some(Kind::Source(source)) = self.links.get_mut(&link).map(|l| &mut l.kind) else {
                    return;
                };
                source.permits = source.permits.saturating_sub(messages.len() as u32);
                let presettled = source.presettled;
                let at_most_once = !presettled && self.links.get(&link).is_some_and(|l| l.settled_mode);
                for (tag, message) in messages {
                    if self.send_tagged(link, tag.clone(), presettled, &message).is_err() {
                        return;
                    }
                    if at_most_once {
                        // The client wants to hear no more of it, so it counts as taken.
                        self.on_source_settled(link, 0, &tag, Some(DeliveryState::Accepted), true);
                    }
                }
                self.give_permits(link);
            }
            Report::Source(link, Err(refusal)) => {
                if self.links.contains_key(&link) {
                    tracing::info!(peer = %self.peer.addr, code = %refusal.code, reason = %refusal.message,
                        "link of a service closed");
                    self.close_link(link, &refusal);
                }
            }
            Report::Sunk(link, id, len, settled, result) => {
                if let Err(refusal) = &result {
                    tracing::warn!(peer = %self.peer.addr, code = %refusal.code, reason = %refusal.message,
                        "message of a service refused");
                }
                if !settled {
                    let state = match result {
                        Ok(()) => DeliveryState::Accepted,
                        Err(why) => DeliveryState::Rejected(Some(failure::error(&why, self.now()))),
                    };
                    self.conn.settle(link, id, id, state);
                }
                self.answered(link, len);
            }
        }
    }
}

/// Runs a source until its link is gone.
async fn pump(
    link: LinkId,
    mut source: Box<dyn ServiceSource>,
    mut control: mpsc::Receiver<Control>,
    reports: mpsc::Sender<Report>,
) {
    let mut permits = 0_u32;
    loop {
        tokio::select! {
            biased;
            told = control.recv() => match told {
                Some(Control::Permits(more)) => permits = permits.saturating_add(more),
                Some(Control::Settle(tag, settlement)) => {
                    if let Err(refusal) = source.settle(&tag, settlement).await {
                        tracing::debug!(code = %refusal.code, reason = %refusal.message, "settlement refused");
                    }
                }
                None => return,
            },
            batch = source.next(permits.min(SOURCE_BATCH) as usize), if permits > 0 => {
                let ended = batch.is_err();
                permits = permits.saturating_sub(batch.as_ref().map_or(0, |b| b.len() as u32));
                if reports.send(Report::Source(link, batch)).await.is_err() || ended {
                    return;
                }
            }
        }
    }
}

/// Runs a sink until its link is gone and what was sent before is taken.
async fn drain(
    link: LinkId,
    mut sink: Box<dyn ServiceSink>,
    mut messages: mpsc::Receiver<(u32, usize, bool, Message)>,
    reports: mpsc::Sender<Report>,
) {
    while let Some((id, len, settled, message)) = messages.recv().await {
        let result = sink.send(message).await;
        if reports.send(Report::Sunk(link, id, len, settled, result)).await.is_err() {
            return;
        }
    }
}
