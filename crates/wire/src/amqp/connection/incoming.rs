//! What the peer's frames do.

use super::super::{
    AmqpError, Attach, Begin, Detach, Disposition, Flow, Frame, Open, Performative, Role, SenderSettleMode,
    Transfer,
};
use super::handshake::Phase;
use super::link::{Link, LinkState, Partial};
use super::session::Session;
use super::{Connection, Delivery, Event, LinkId, SessionId, Violation};
use bytes::{Bytes, BytesMut};
use std::time::Duration;

/// The longest delivery tag (specification part 2, 2.8.7).
const TAG_LEN_MAX: usize = 32;

impl Connection {
    pub(super) fn on_frame(&mut self, frame: &Frame) -> Result<(), Violation> {
        let (performative, payload) = Performative::decode(&frame.body)?;
        match performative {
            Performative::Open(open) => return self.on_open(open),
            Performative::Close(error) => {
                self.on_close(error);
                return Ok(());
            }
            _ if !self.open_received => return Err(Violation::State("a frame before open")),
            // After our close only the peer's counts.
            _ if self.close_sent => return Ok(()),
            Performative::Begin(begin) => return self.on_begin(frame.channel, &begin),
            _ => {}
        }
        let channel = self.channels.get(&frame.channel).copied();
        let session = channel.and_then(|c| self.sessions.get(usize::from(c))?.as_ref());
        let Some(session) = session else {
            return match performative {
                Performative::Attach(_) | Performative::Transfer(_) => {
                    Err(Violation::State("a frame on a channel without a session"))
                }
                // rule AMQP-17: azure-eventhub ends a session and then detaches its links; that hurts nobody.
                _ => Ok(()),
            };
        };
        let (id, ended) = (session.id, session.ended);
        match performative {
            Performative::End(error) => {
                self.on_end(frame.channel, id, error);
                Ok(())
            }
            _ if ended => Ok(()),
            Performative::Attach(attach) => self.on_attach(id, attach),
            Performative::Flow(flow) => self.on_flow(id, &flow),
            Performative::Transfer(transfer) => self.on_transfer(id, *transfer, payload),
            Performative::Disposition(disposition) => {
                self.on_disposition(id, *disposition);
                Ok(())
            }
            Performative::Detach(detach) => self.on_detach(id, detach),
            Performative::Open(_) | Performative::Begin(_) | Performative::Close(_) => Ok(()),
        }
    }

    fn on_open(&mut self, open: Box<Open>) -> Result<(), Violation> {
        if self.open_received {
            return Err(Violation::State("a second open"));
        }
        self.open_received = true;
        let theirs = open.max_frame_size.unwrap_or(u32::MAX).max(super::FRAME_SIZE_MIN as u32);
        self.max_frame_out = theirs.min(self.config.max_frame_size) as usize;
        self.remote_channel_max = open.channel_max.unwrap_or(u16::MAX);
        self.remote_idle =
            open.idle_timeout.filter(|ms| *ms > 0).map(|ms| Duration::from_millis(u64::from(ms)));
        if !self.open_sent {
            self.write_open();
        }
        self.events.push_back(Event::Opened(open));
        Ok(())
    }

    fn on_close(&mut self, error: Option<AmqpError>) {
        if !self.close_sent {
            if !self.open_sent {
                self.write_open();
            }
            self.writer.frame(0, &Performative::Close(None));
            self.close_sent = true;
        }
        self.phase = Phase::Closed;
        self.events.push_back(Event::Closed(error));
    }

    fn on_begin(&mut self, channel: u16, begin: &Begin) -> Result<(), Violation> {
        if self.channels.contains_key(&channel) {
            return Err(Violation::State("a begin on a channel that is in use"));
        }
        if let Some(ours) = begin.remote_channel {
            let answered = self.sessions.get_mut(usize::from(ours)).and_then(Option::as_mut);
            let Some(session) = answered.filter(|s| s.remote_channel.is_none()) else {
                return Err(Violation::State("a begin that answers none of ours"));
            };
            session.begun(channel, begin);
            self.channels.insert(channel, ours);
            return Ok(());
        }
        let id = self.add_session().ok_or(Violation::Limit("sessions"))?;
        self.channels.insert(channel, id.channel);
        let max_links = self.config.max_links;
        if let Some(session) = self.sessions.get_mut(usize::from(id.channel)).and_then(Option::as_mut) {
            session.begun(channel, begin);
            let answer = Performative::Begin(Box::new(session.begin(max_links)));
            self.writer.frame(id.channel, &answer);
        }
        self.events.push_back(Event::SessionBegun(id));
        Ok(())
    }

    fn on_end(&mut self, channel: u16, id: SessionId, error: Option<AmqpError>) {
        self.channels.remove(&channel);
        let Some(session) = self.sessions.get_mut(usize::from(id.channel)).and_then(Option::take) else {
            return;
        };
        for handle in 0..session.links.len() as u32 {
            let Some(link) = session.links[handle as usize].as_ref() else { continue };
            self.partial -= link.partial.as_ref().map_or(0, |p| p.payload.len());
            if link.state != LinkState::Detaching
                && !session.ended
                && let Some(link) = session.link_id(handle)
            {
                self.events.push_back(Event::Detached(link, error.clone()));
            }
        }
        if !session.ended {
            self.writer.frame(id.channel, &Performative::End(None));
            self.events.push_back(Event::SessionEnded(id, error));
        }
    }

    fn on_attach(&mut self, id: SessionId, attach: Box<Attach>) -> Result<(), Violation> {
        let max_links = self.config.max_links;
        let Some(session) = self.session_mut(id) else { return Ok(()) };
        if session.handles.contains_key(&attach.handle) {
            return Err(Violation::State("an attach on a handle that is in use"));
        }
        let role = attach.role.other();
        let ours = session.links.iter().position(|l| {
            l.as_ref()
                .is_some_and(|l| l.state == LinkState::Attaching && l.role == role && l.name == attach.name)
        });
        if let Some(handle) = ours {
            return self.on_attached(id, handle as u32, attach);
        }
        if attach.handle >= max_links {
            return Err(Violation::Limit("links"));
        }
        let mut link = Link::new(0, &attach.name, role, LinkState::Requested);
        link.remote_handle = Some(attach.handle);
        link.snd_settle_mode = attach.snd_settle_mode;
        link.delivery_count = attach.initial_delivery_count.unwrap_or(0);
        if role == Role::Sender {
            link.delivery_count = 0;
            link.max_message_size = attach.max_message_size.filter(|n| *n > 0).unwrap_or(u64::MAX);
        }
        link.request = Some(attach.clone());
        let remote = attach.handle;
        let link = session.add(link, max_links).ok_or(Violation::Limit("links"))?;
        session.handles.insert(remote, link.handle);
        self.events.push_back(Event::AttachRequested(link, attach));
        Ok(())
    }

    /// The peer answered our attach.
    fn on_attached(&mut self, id: SessionId, handle: u32, attach: Box<Attach>) -> Result<(), Violation> {
        let Some(session) = self.session_mut(id) else { return Ok(()) };
        session.handles.insert(attach.handle, handle);
        let Some(Some(link)) = session.links.get_mut(handle as usize) else { return Ok(()) };
        link.remote_handle = Some(attach.handle);
        link.state = LinkState::Attached;
        link.snd_settle_mode = attach.snd_settle_mode;
        let credit = match link.role {
            Role::Receiver => {
                link.delivery_count = attach.initial_delivery_count.unwrap_or(0);
                link.credit
            }
            Role::Sender => {
                link.max_message_size = attach.max_message_size.filter(|n| *n > 0).unwrap_or(u64::MAX);
                0
            }
        };
        let link = LinkId { session: id, handle, serial: link.serial };
        self.events.push_back(Event::Attached(link, attach));
        if credit > 0
            && let Some(Some(session)) = self.sessions.get(usize::from(id.channel))
        {
            // Credit granted before the answer could not name a delivery count.
            session.write_link_flow(handle, &mut self.writer);
        }
        Ok(())
    }

    fn on_flow(&mut self, id: SessionId, flow: &Flow) -> Result<(), Violation> {
        let max_frame = self.max_frame_out;
        let Some(Some(session)) = self.sessions.get_mut(usize::from(id.channel)) else { return Ok(()) };
        let held_up = session.held_up();
        session.on_flow(flow);
        if held_up {
            // rule AMQP-19: a window that opens is credit for every link; rhea's holds 2048 transfers.
            self.events.extend(session.senders().map(Event::Credit));
        }
        let Some(remote) = flow.handle else {
            session.flush(max_frame, &mut self.writer);
            if flow.echo {
                session.write_flow(&mut self.writer);
            }
            return Ok(());
        };
        let handle =
            *session.handles.get(&remote).ok_or(Violation::State("a flow on a handle without a link"))?;
        let Some(Some(link)) = session.links.get_mut(handle as usize) else { return Ok(()) };
        if link.state == LinkState::Detaching {
            return Ok(());
        }
        match link.role {
            Role::Sender => {
                let base = flow.delivery_count.unwrap_or(0);
                let credit = flow.link_credit.unwrap_or(0);
                let left = base.wrapping_add(credit).wrapping_sub(link.delivery_count);
                // Credit taken back below what is used already reads as a huge number.
                link.credit = if left > u32::MAX / 2 && credit < u32::MAX / 2 { 0 } else { left };
                link.drain = flow.drain;
                let serial = link.serial;
                session.flush(max_frame, &mut self.writer);
                self.events.push_back(Event::Credit(LinkId { session: id, handle, serial }));
            }
            Role::Receiver => {
                // A sender that drained tells how far it counted.
                if let Some(count) = flow.delivery_count {
                    let used = count.wrapping_sub(link.delivery_count).min(link.credit);
                    link.credit -= used;
                    link.delivery_count = count;
                }
                session.flush(max_frame, &mut self.writer);
            }
        }
        if flow.echo
            && let Some(Some(session)) = self.sessions.get(usize::from(id.channel))
        {
            session.write_link_flow(handle, &mut self.writer);
        }
        Ok(())
    }

    fn on_transfer(&mut self, id: SessionId, transfer: Transfer, payload: Bytes) -> Result<(), Violation> {
        let Some(Some(session)) = self.sessions.get_mut(usize::from(id.channel)) else { return Ok(()) };
        if !session.count_incoming(&mut self.writer) {
            return Err(Violation::Limit("transfers in the session's window"));
        }
        let handle = *session
            .handles
            .get(&transfer.handle)
            .ok_or(Violation::State("a transfer on a handle without a link"))?;
        let Some(Some(link)) = session.links.get_mut(handle as usize) else { return Ok(()) };
        match link.state {
            LinkState::Detaching => return Ok(()),
            LinkState::Attached if link.role == Role::Receiver => {}
            _ => return Err(Violation::State("a transfer on a link that takes none")),
        }
        let link_id = LinkId { session: id, handle, serial: link.serial };
        let partial = match link.partial.take() {
            Some(partial) => partial,
            None => match begin_delivery(link, &transfer)? {
                Some(begun) => begun,
                None => {
                    let error = AmqpError::new("amqp:link:transfer-limit-exceeded", "no credit was left");
                    self.detach_by_us(link_id, error);
                    return Ok(());
                }
            },
        };
        self.partial -= partial.payload.len();
        if transfer.aborted {
            return Ok(());
        }
        if (partial.payload.len() + payload.len()) as u64 > link.max_message_size {
            self.too_large(link_id);
            return Ok(());
        }
        self.go_on(link_id, partial, &transfer, payload)
    }

    /// Adds a frame to a delivery; tells of it when it was the last.
    fn go_on(
        &mut self,
        link_id: LinkId,
        mut partial: Partial,
        transfer: &Transfer,
        payload: Bytes,
    ) -> Result<(), Violation> {
        let settled = transfer.settled.unwrap_or(partial.settled);
        if !transfer.more {
            // The common case is one frame, one message, no copy.
            let payload = if partial.payload.is_empty() {
                payload
            } else {
                partial.payload.extend_from_slice(&payload);
                partial.payload.freeze()
            };
            let Partial { id, tag, format, .. } = partial;
            let delivery = Delivery { link: link_id, id, tag, format, settled, payload };
            self.events.push_back(Event::Delivery(delivery));
            return Ok(());
        }
        if partial.payload.is_empty() {
            // Copied: a shared slice would keep the read buffer alive until the delivery ends.
            partial.tag = Bytes::copy_from_slice(&partial.tag);
        }
        partial.settled = settled;
        partial.payload.extend_from_slice(&payload);
        self.partial += partial.payload.len();
        if let Some(link) = self.session_mut(link_id.session).and_then(|s| s.link_mut(link_id)) {
            link.partial = Some(partial);
        }
        if self.partial > self.config.max_partial {
            return Err(Violation::Limit("bytes in unfinished deliveries"));
        }
        Ok(())
    }

    fn too_large(&mut self, link: LinkId) {
        let error =
            AmqpError::new("amqp:link:message-size-exceeded", "the message is longer than the link takes");
        self.detach_by_us(link, error);
    }

    /// Detaches for a fault of the peer and tells our user as if the peer had detached.
    fn detach_by_us(&mut self, link: LinkId, error: AmqpError) {
        self.detach(link, Some(error.clone()));
        self.events.push_back(Event::Detached(link, Some(error)));
    }

    fn on_disposition(&mut self, id: SessionId, disposition: Disposition) {
        // What a sender says about its own deliveries changes nothing: a receiver here settles once and forgets.
        if disposition.role != Role::Receiver {
            return;
        }
        let max_frame = self.max_frame_out;
        let Some(Some(session)) = self.sessions.get_mut(usize::from(id.channel)) else { return };
        let (first, last) = (disposition.first, disposition.last.unwrap_or(disposition.first));
        for number in named(session, first, last) {
            let Some((handle, tag, told)) = session.unsettled.get_mut(&number) else { continue };
            let (handle, tag) = (*handle, tag.clone());
            let outcome = disposition.state.as_ref().is_some_and(|s| s.is_outcome());
            // A repeated state says nothing new; telling it again would multiply a short frame into many events.
            if *told && !disposition.settled {
                continue;
            }
            *told |= outcome;
            if disposition.settled {
                session.unsettled.remove(&number);
            } else if !outcome {
                continue;
            }
            let Some(link) = session.link_id(handle) else { continue };
            self.events.push_back(Event::Disposition {
                link,
                id: number,
                tag,
                state: disposition.state.clone(),
                settled: disposition.settled,
            });
        }
        session.flush(max_frame, &mut self.writer);
    }

    fn on_detach(&mut self, id: SessionId, detach: Detach) -> Result<(), Violation> {
        let Some(Some(session)) = self.sessions.get_mut(usize::from(id.channel)) else { return Ok(()) };
        let handle = *session
            .handles
            .get(&detach.handle)
            .ok_or(Violation::State("a detach on a handle without a link"))?;
        let link_id = session.link_id(handle);
        let (Some(link), Some(link_id)) = (session.remove(handle), link_id) else { return Ok(()) };
        self.partial -= link.partial.as_ref().map_or(0, |p| p.payload.len());
        if link.state == LinkState::Detaching {
            return Ok(());
        }
        if link.state == LinkState::Requested {
            // Never answered: the peer must see an attach before a detach.
            if let Some(request) = &link.request {
                let answer = super::link::attach(request.name.clone(), handle, link.role);
                self.writer.frame(id.channel, &Performative::Attach(Box::new(answer)));
            }
        }
        let answer = Detach { handle, closed: detach.closed, error: None };
        self.writer.frame(id.channel, &Performative::Detach(answer));
        self.events.push_back(Event::Detached(link_id, detach.error));
        Ok(())
    }
}

/// The first frame of a delivery uses credit; `None` where there was none.
fn begin_delivery(link: &mut Link, transfer: &Transfer) -> Result<Option<Partial>, Violation> {
    let id = transfer.delivery_id.ok_or(Violation::State("a transfer without a delivery id"))?;
    let tag = transfer.delivery_tag.clone().unwrap_or_default();
    if tag.len() > TAG_LEN_MAX {
        return Err(Violation::State("a delivery tag of more than 32 bytes"));
    }
    if link.credit == 0 {
        return Ok(None);
    }
    link.credit -= 1;
    link.delivery_count = link.delivery_count.wrapping_add(1);
    let format = transfer.message_format.unwrap_or(0);
    let settled = link.snd_settle_mode == SenderSettleMode::Settled;
    Ok(Some(Partial { id, tag, format, settled, payload: BytesMut::new() }))
}

/// The numbers of unsettled deliveries from `first` to `last`, which may wrap around.
fn named(session: &Session, first: u32, last: u32) -> Vec<u32> {
    let numbers = |range: std::ops::RangeInclusive<u32>| session.unsettled.range(range).map(|(n, _)| *n);
    if first <= last {
        numbers(first..=last).collect()
    } else {
        numbers(first..=u32::MAX).chain(numbers(0..=last)).collect()
    }
}
