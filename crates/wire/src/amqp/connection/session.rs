//! One session: windows, delivery numbers, and its links' sending side.

use super::super::{Begin, Flow, Performative, Role, Transfer};
use super::link::{Link, LinkState, Outgoing};
use super::writer::Writer;
use super::{LinkId, SessionId};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Frames of transfers that the peer may send before it needs a flow.
const INCOMING_WINDOW: u32 = 2048;
/// Room that a transfer's performative needs in a frame besides its tag: eleven fields at their widest.
const TRANSFER_LEN_MAX: usize = 64;

pub(super) struct Session {
    pub id: SessionId,
    pub remote_channel: Option<u16>,
    pub remote_handle_max: u32,
    /// We ended it; what comes is ignored until the peer ends it too.
    pub ended: bool,
    pub links: Vec<Option<Link>>,
    /// The peer's handle → ours.
    pub handles: HashMap<u32, u32>,
    next_link_serial: u32,
    next_outgoing_id: u32,
    remote_incoming_window: u32,
    next_delivery_id: u32,
    next_incoming_id: u32,
    incoming_window: u32,
    /// Our deliveries that the peer has not settled: number → handle, tag, whether an outcome was told.
    pub unsettled: BTreeMap<u32, (u32, Bytes, bool)>,
    max_unsettled: usize,
    /// Frames of a delivery that has begun and waits for the peer's window.
    pending: VecDeque<(Transfer, Bytes)>,
}

impl Session {
    pub(super) fn new(id: SessionId, max_unsettled: usize) -> Self {
        Self {
            id,
            remote_channel: None,
            remote_handle_max: u32::MAX,
            ended: false,
            links: Vec::new(),
            handles: HashMap::new(),
            next_link_serial: 0,
            next_outgoing_id: 0,
            remote_incoming_window: 0,
            next_delivery_id: 0,
            next_incoming_id: 0,
            incoming_window: INCOMING_WINDOW,
            unsettled: BTreeMap::new(),
            max_unsettled,
            pending: VecDeque::new(),
        }
    }

    /// Our begin.
    pub(super) fn begin(&self, max_links: u32) -> Begin {
        Begin {
            remote_channel: self.remote_channel,
            next_outgoing_id: self.next_outgoing_id,
            incoming_window: self.incoming_window,
            outgoing_window: INCOMING_WINDOW,
            handle_max: Some(max_links.saturating_sub(1)),
            ..Begin::default()
        }
    }

    /// The peer's begin.
    pub(super) fn begun(&mut self, channel: u16, begin: &Begin) {
        self.remote_channel = Some(channel);
        self.next_incoming_id = begin.next_outgoing_id;
        self.remote_incoming_window = begin.incoming_window;
        self.remote_handle_max = begin.handle_max.unwrap_or(u32::MAX);
    }

    /// Puts a link on the lowest free handle; `None` where there is none.
    pub(super) fn add(&mut self, mut link: Link, max_links: u32) -> Option<LinkId> {
        let free = self.links.iter().position(Option::is_none).unwrap_or(self.links.len());
        let handle = free as u32;
        if handle >= max_links || handle > self.remote_handle_max {
            return None;
        }
        self.next_link_serial = self.next_link_serial.wrapping_add(1);
        link.serial = self.next_link_serial;
        let id = LinkId { session: self.id, handle, serial: link.serial };
        if free == self.links.len() {
            self.links.push(None);
        }
        self.links[free] = Some(link);
        Some(id)
    }

    /// Takes a link off its handle, and its deliveries with it.
    pub(super) fn remove(&mut self, handle: u32) -> Option<Link> {
        let link = self.links.get_mut(handle as usize)?.take()?;
        if let Some(remote) = link.remote_handle {
            self.handles.remove(&remote);
        }
        self.forget(handle);
        Some(link)
    }

    /// Forgets the deliveries of a link.
    pub(super) fn forget(&mut self, handle: u32) {
        self.unsettled.retain(|_, (owner, ..)| *owner != handle);
        self.pending.retain(|(transfer, _)| transfer.handle != handle);
    }

    pub(super) fn link_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.get_mut(id.handle as usize)?.as_mut().filter(|l| l.serial == id.serial)
    }

    pub(super) fn link(&self, id: LinkId) -> Option<&Link> {
        self.links.get(id.handle as usize)?.as_ref().filter(|l| l.serial == id.serial)
    }

    /// The id of the link on a handle.
    pub(super) fn link_id(&self, handle: u32) -> Option<LinkId> {
        let link = self.links.get(handle as usize)?.as_ref()?;
        Some(LinkId { session: self.id, handle, serial: link.serial })
    }

    /// How many more deliveries could go out on a link at once.
    pub(super) fn sendable(&self, link: &Link) -> u32 {
        let room = self.max_unsettled.saturating_sub(self.unsettled.len());
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let window = self.remote_incoming_window.saturating_sub(count(self.pending.len()));
        link.credit.saturating_sub(count(link.queue.len())).min(count(room)).min(window)
    }

    /// Whether the peer's window holds up what its credit would let through.
    pub(super) fn held_up(&self) -> bool {
        self.remote_incoming_window == 0
    }

    /// The attached links that send.
    pub(super) fn senders(&self) -> impl Iterator<Item = LinkId> {
        let attached = |l: &&Link| l.role == Role::Sender && l.state == LinkState::Attached;
        let links = self.links.iter().enumerate();
        links.filter_map(move |(handle, link)| {
            let link = link.as_ref().filter(attached)?;
            Some(LinkId { session: self.id, handle: handle as u32, serial: link.serial })
        })
    }

    /// A flow that tells the peer our windows.
    fn flow(&self) -> Flow {
        Flow {
            next_incoming_id: self.remote_channel.map(|_| self.next_incoming_id),
            incoming_window: self.incoming_window,
            next_outgoing_id: self.next_outgoing_id,
            outgoing_window: INCOMING_WINDOW,
            ..Flow::default()
        }
    }

    pub(super) fn write_flow(&self, writer: &mut Writer) {
        writer.frame(self.id.channel, &Performative::Flow(Box::new(self.flow())));
    }

    /// A flow that tells the peer a link's state.
    pub(super) fn write_link_flow(&self, handle: u32, writer: &mut Writer) {
        let Some(Some(link)) = self.links.get(handle as usize) else { return };
        let mut flow = self.flow();
        flow.handle = Some(handle);
        flow.delivery_count = Some(link.delivery_count);
        flow.link_credit = Some(link.credit);
        flow.drain = link.drain;
        if link.role == Role::Sender {
            flow.available = Some(u32::try_from(link.queue.len()).unwrap_or(u32::MAX));
        }
        writer.frame(self.id.channel, &Performative::Flow(Box::new(flow)));
    }

    /// Counts a transfer frame of the peer and renews its window when half of it is used. False if it had none.
    pub(super) fn count_incoming(&mut self, writer: &mut Writer) -> bool {
        if self.incoming_window == 0 {
            return false;
        }
        self.next_incoming_id = self.next_incoming_id.wrapping_add(1);
        self.incoming_window -= 1;
        if self.incoming_window < INCOMING_WINDOW / 2 {
            self.incoming_window = INCOMING_WINDOW;
            self.write_flow(writer);
        }
        true
    }

    /// The session part of the peer's flow.
    pub(super) fn on_flow(&mut self, flow: &Flow) {
        // Before the peer saw our begin it cannot name our number: it then means the one we began with, which is 0.
        let base = flow.next_incoming_id.unwrap_or(0);
        self.remote_incoming_window =
            base.wrapping_add(flow.incoming_window).wrapping_sub(self.next_outgoing_id);
        // A window that lies behind us reads as a huge one.
        if self.remote_incoming_window > u32::MAX / 2 && flow.incoming_window < u32::MAX / 2 {
            self.remote_incoming_window = 0;
        }
        self.next_incoming_id = flow.next_outgoing_id;
    }

    /// Sends what window and credit allow, on all links.
    pub(super) fn flush(&mut self, max_frame: usize, writer: &mut Writer) {
        self.flush_pending(writer);
        for handle in 0..self.links.len() as u32 {
            self.flush_link(handle, max_frame, writer);
        }
    }

    /// Sends what window and credit allow, on one link.
    pub(super) fn flush_link(&mut self, handle: u32, max_frame: usize, writer: &mut Writer) {
        loop {
            if !self.pending.is_empty() || self.unsettled.len() >= self.max_unsettled {
                return;
            }
            let Some(Some(link)) = self.links.get_mut(handle as usize) else { return };
            if link.role != Role::Sender || link.state != LinkState::Attached {
                return;
            }
            if link.drain && (link.credit == 0 || link.queue.is_empty()) {
                return self.drained(handle, writer);
            }
            if link.credit == 0 {
                return;
            }
            let Some(outgoing) = link.queue.pop_front() else { return };
            link.credit -= 1;
            link.delivery_count = link.delivery_count.wrapping_add(1);
            let settled = link.settles(outgoing.settled);
            self.cut(handle, outgoing, settled, max_frame);
            self.flush_pending(writer);
        }
    }

    /// The peer wants its credit back: it is counted as used.
    fn drained(&mut self, handle: u32, writer: &mut Writer) {
        let Some(Some(link)) = self.links.get_mut(handle as usize) else { return };
        link.delivery_count = link.delivery_count.wrapping_add(link.credit);
        link.credit = 0;
        self.write_link_flow(handle, writer);
        if let Some(Some(link)) = self.links.get_mut(handle as usize) {
            link.drain = false;
        }
    }

    /// Cuts a delivery into frames.
    fn cut(&mut self, handle: u32, outgoing: Outgoing, settled: bool, max_frame: usize) {
        // Numbers belong to the session and rise by one over all its links; a number per connection makes
        // @azure/event-hubs hang. (rule AMQP-03)
        let id = self.next_delivery_id;
        self.next_delivery_id = id.wrapping_add(1);
        if !settled {
            self.unsettled.insert(id, (handle, outgoing.tag.clone(), false));
        }
        let chunk = max_frame.saturating_sub(8 + TRANSFER_LEN_MAX + outgoing.tag.len()).max(64);
        let mut payload = outgoing.payload;
        let mut first = true;
        loop {
            let part = payload.split_to(chunk.min(payload.len()));
            let more = !payload.is_empty();
            let transfer = Transfer {
                handle,
                delivery_id: first.then_some(id),
                delivery_tag: first.then(|| outgoing.tag.clone()),
                message_format: first.then_some(outgoing.format),
                // In every frame: azure-eventhub looks at the last one only.
                settled: Some(settled),
                more,
                ..Transfer::default()
            };
            self.pending.push_back((transfer, part));
            first = false;
            if !more {
                return;
            }
        }
    }

    fn flush_pending(&mut self, writer: &mut Writer) {
        while self.remote_incoming_window > 0 {
            let Some((transfer, part)) = self.pending.pop_front() else { return };
            self.remote_incoming_window -= 1;
            self.next_outgoing_id = self.next_outgoing_id.wrapping_add(1);
            writer.transfer(self.id.channel, &Performative::Transfer(Box::new(transfer)), &part);
        }
    }
}
