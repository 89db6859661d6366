//! What a user tells a connection to do.

use super::super::{
    AmqpError, Attach, DeliveryState, Detach, Disposition, Performative, ReceiverSettleMode, Role,
    SenderSettleMode, Source, Target, Value,
};
use super::link::{Link, LinkState};
use super::{CommandError, Connection, LinkId, Outgoing, SessionId};
use bytestring::ByteString;

/// How a link of ours is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkOptions {
    /// Unique in the session among links of the same role.
    pub name: ByteString,
    /// Ours.
    pub role: Role,
    /// How the sending end settles.
    pub snd_settle_mode: SenderSettleMode,
    /// How the receiving end settles.
    pub rcv_settle_mode: ReceiverSettleMode,
    /// Where messages come from.
    pub source: Source,
    /// Where messages go to.
    pub target: Target,
    /// Receiver: how many deliveries may come at once.
    pub credit: u32,
    /// What is wished for; symbols.
    pub desired_capabilities: Vec<ByteString>,
    /// Properties; symbol keys.
    pub properties: Vec<(ByteString, Value)>,
}

impl LinkOptions {
    /// A link on which we send to `target`.
    pub fn sender(name: impl Into<ByteString>, target: impl Into<ByteString>) -> Self {
        let name = name.into();
        let (source, target) = (Source::address(name.clone()), Target::address(target));
        Self::new(name, Role::Sender, source, target)
    }

    /// A link on which we receive from `source`.
    pub fn receiver(name: impl Into<ByteString>, source: impl Into<ByteString>) -> Self {
        let name = name.into();
        let (source, target) = (Source::address(source), Target::address(name.clone()));
        Self::new(name, Role::Receiver, source, target)
    }

    fn new(name: ByteString, role: Role, source: Source, target: Target) -> Self {
        Self {
            name,
            role,
            snd_settle_mode: SenderSettleMode::Mixed,
            rcv_settle_mode: ReceiverSettleMode::First,
            source,
            target,
            credit: 0,
            desired_capabilities: Vec::new(),
            properties: Vec::new(),
        }
    }
}

impl Connection {
    fn ready(&self) -> Result<(), CommandError> {
        if self.open_received && !self.close_sent && !self.is_closed() {
            Ok(())
        } else {
            Err(CommandError::NotOpen)
        }
    }

    /// Begins a session; links may be attached to it at once.
    ///
    /// # Errors
    /// Not open, or as many sessions as either end allows.
    pub fn begin(&mut self) -> Result<SessionId, CommandError> {
        self.ready()?;
        let id = self.add_session().ok_or(CommandError::Full)?;
        let max_links = self.config.max_links;
        if let Some(Some(session)) = self.sessions.get(usize::from(id.channel)) {
            let begin = Performative::Begin(Box::new(session.begin(max_links)));
            self.writer.frame(id.channel, &begin);
        }
        Ok(id)
    }

    /// Attaches a link; [`Event::Attached`](super::Event::Attached) tells when the peer answered.
    ///
    /// # Errors
    /// Not open, session gone, or as many links as either end allows.
    pub fn attach(&mut self, session: SessionId, options: LinkOptions) -> Result<LinkId, CommandError> {
        self.ready()?;
        let (max_links, max_message_size) = (self.config.max_links, self.config.max_message_size);
        let session = self.session_mut(session).filter(|s| !s.ended).ok_or(CommandError::Gone)?;
        let mut link = Link::new(0, &options.name, options.role, LinkState::Attaching);
        link.snd_settle_mode = options.snd_settle_mode;
        link.credit = if options.role == Role::Receiver { options.credit } else { 0 };
        if options.role == Role::Receiver {
            link.max_message_size = max_message_size;
        }
        let id = session.add(link, max_links).ok_or(CommandError::Full)?;
        let attach = Attach {
            snd_settle_mode: options.snd_settle_mode,
            rcv_settle_mode: options.rcv_settle_mode,
            source: Some(options.source),
            target: Some(options.target),
            max_message_size: (options.role == Role::Receiver).then_some(max_message_size),
            desired_capabilities: options.desired_capabilities,
            properties: options.properties,
            ..super::link::attach(options.name, id.handle, options.role)
        };
        self.writer.frame(id.session.channel, &Performative::Attach(Box::new(attach)));
        Ok(id)
    }

    /// Agrees to a link the peer asked for: modes and both ends' addresses are echoed. A receiving end grants `credit`.
    pub fn accept(&mut self, link: LinkId, credit: u32) {
        self.accept_with(link, credit, |_| {});
    }

    /// As [`accept`](Self::accept); `change` may alter the answer before it goes out, e.g. lower the longest message.
    pub fn accept_with(&mut self, link: LinkId, credit: u32, change: impl FnOnce(&mut Attach)) {
        if !self.answer(link, change) {
            return;
        }
        if let Some(Some(session)) = self.sessions.get_mut(usize::from(link.session.channel))
            && let Some(l) = session.link_mut(link)
        {
            l.state = LinkState::Attached;
            if l.role == Role::Receiver && credit > 0 {
                l.credit = credit;
                session.write_link_flow(link.handle, &mut self.writer);
            } else {
                // Credit may have come before our answer.
                session.flush_link(link.handle, self.max_frame_out, &mut self.writer);
            }
        }
    }

    /// Refuses a link the peer asked for: an attach, then a detach with the reason.
    ///
    /// The attach names source and target as the peer did. The specification would leave one of them out (part 2, 2.6.3), but
    /// azure-eventhub then raises "Invalid link" and never shows the reason. (rule AMQP-05)
    pub fn refuse(&mut self, link: LinkId, error: AmqpError) {
        if self.answer(link, |_| {}) {
            self.detach(link, Some(error));
        }
    }

    /// Writes the answer to a requested attach; false if there is none to answer.
    fn answer(&mut self, link: LinkId, change: impl FnOnce(&mut Attach)) -> bool {
        let max_message_size = self.config.max_message_size;
        let Some(l) = self.session_mut(link.session).and_then(|s| s.link_mut(link)) else { return false };
        let Some(request) = l.request.take() else { return false };
        let role = l.role;
        let mut attach = Attach {
            snd_settle_mode: request.snd_settle_mode,
            rcv_settle_mode: request.rcv_settle_mode,
            source: request.source,
            target: request.target,
            max_message_size: (role == Role::Receiver).then_some(max_message_size),
            ..super::link::attach(request.name, link.handle, role)
        };
        change(&mut attach);
        l.snd_settle_mode = attach.snd_settle_mode;
        if let (Role::Receiver, Some(max)) = (role, attach.max_message_size) {
            l.max_message_size = max;
        }
        self.writer.frame(link.session.channel, &Performative::Attach(Box::new(attach)));
        true
    }

    /// Grants credit on a receiving link: `credit` deliveries may come from now on.
    pub fn set_credit(&mut self, link: LinkId, credit: u32) {
        let Some(Some(session)) = self.sessions.get_mut(usize::from(link.session.channel)) else { return };
        let Some(l) = session.link_mut(link).filter(|l| l.role == Role::Receiver) else { return };
        l.credit = credit;
        if l.state == LinkState::Attached {
            session.write_link_flow(link.handle, &mut self.writer);
        }
    }

    /// The credit a receiving link has left.
    pub fn credit(&self, link: LinkId) -> u32 {
        self.session(link.session).and_then(|s| s.link(link)).map_or(0, |l| l.credit)
    }

    /// How many more deliveries a sending link could pass on at once.
    pub fn sendable(&self, link: LinkId) -> u32 {
        let Some(session) = self.session(link.session) else { return 0 };
        session
            .link(link)
            .filter(|l| l.role == Role::Sender && l.state == LinkState::Attached)
            .map_or(0, |l| session.sendable(l))
    }

    /// Sends a delivery, or keeps it until the peer gives credit.
    ///
    /// # Errors
    /// Link gone or no sender, message longer than the peer takes, or too many deliveries waiting for credit.
    pub fn send(&mut self, link: LinkId, outgoing: Outgoing) -> Result<(), CommandError> {
        let (max_queued, max_frame) = (self.config.max_queued, self.max_frame_out);
        let Some(Some(session)) = self.sessions.get_mut(usize::from(link.session.channel)) else {
            return Err(CommandError::Gone);
        };
        let l = session
            .link_mut(link)
            .filter(|l| l.role == Role::Sender && l.state != LinkState::Detaching)
            .ok_or(CommandError::Gone)?;
        if outgoing.payload.len() as u64 > l.max_message_size {
            return Err(CommandError::TooLarge);
        }
        if l.queue.len() >= max_queued {
            return Err(CommandError::Full);
        }
        l.queue.push_back(outgoing);
        session.flush_link(link.handle, max_frame, &mut self.writer);
        Ok(())
    }

    /// Receiver: settles deliveries `first` to `last` of a link. They must follow each other without another link's between.
    pub fn settle(&mut self, link: LinkId, first: u32, last: u32, state: DeliveryState) {
        self.dispose(link, Role::Receiver, first, last, state);
    }

    /// Sender: settles a delivery whose receiver told an outcome and waits to be told that we know it.
    pub fn settle_sent(&mut self, link: LinkId, id: u32, state: DeliveryState) {
        if let Some(session) = self.session_mut(link.session) {
            session.unsettled.remove(&id);
        }
        self.dispose(link, Role::Sender, id, id, state);
    }

    fn dispose(&mut self, link: LinkId, role: Role, first: u32, last: u32, state: DeliveryState) {
        if self.close_sent || self.session(link.session).is_none_or(|s| s.ended) {
            return;
        }
        let disposition = Disposition {
            role,
            first,
            last: Some(last),
            settled: true,
            state: Some(state),
            batchable: false,
        };
        self.writer.frame(link.session.channel, &Performative::Disposition(Box::new(disposition)));
    }

    /// Detaches a link for good. Nothing more is told of it.
    pub fn detach(&mut self, link: LinkId, error: Option<AmqpError>) {
        let Some(Some(session)) = self.sessions.get_mut(usize::from(link.session.channel)) else { return };
        if self.close_sent || session.ended {
            return;
        }
        let Some(l) = session.link_mut(link).filter(|l| l.state != LinkState::Detaching) else { return };
        l.state = LinkState::Detaching;
        l.queue.clear();
        self.partial -= l.partial.take().map_or(0, |p| p.payload.len());
        session.forget(link.handle);
        let detach = Detach { handle: link.handle, closed: true, error };
        self.writer.frame(link.session.channel, &Performative::Detach(detach));
    }

    /// Ends a session and all its links. Nothing more is told of them.
    pub fn end(&mut self, id: SessionId, error: Option<AmqpError>) {
        let Some(Some(session)) = self.sessions.get_mut(usize::from(id.channel)) else { return };
        if session.id.serial != id.serial || session.ended || self.close_sent {
            return;
        }
        session.ended = true;
        self.writer.frame(id.channel, &Performative::End(error));
    }

    /// Closes the connection; [`Event::Closed`](super::Event::Closed) tells when the peer did too.
    ///
    /// rule AMQP-21: a forced close ends the sessions first, with the condition of links that were forced to go. Stock Node clients
    /// detach their links before they connect again, and on a connection that is closed they wait 45 seconds for the answers; links
    /// of a session that has ended they let go at once. They take this condition, and no other, as a reason to receive messages
    /// again.
    pub fn close(&mut self, error: Option<AmqpError>) {
        if self.close_sent || !self.open_sent {
            return;
        }
        if let Some(error) = error.as_ref().filter(|error| &*error.condition == "amqp:connection:forced") {
            let why = AmqpError { condition: "amqp:link:detach-forced".into(), ..error.clone() };
            let open: Vec<_> = self.sessions.iter().flatten().map(|session| session.id).collect();
            open.into_iter().for_each(|id| self.end(id, Some(why.clone())));
        }
        self.close_sent = true;
        self.writer.frame(0, &Performative::Close(error));
    }
}
