//! The way of a message into the log: limit, routes, stamps, append. No allocation but for conditions that read the body.

use crate::hub::Core;
use crate::record::{self, Stamps};
use crate::router::{Choice, Facts};
use crate::session::Session;
use ironbrook_log::{Append, Error as LogError, PartitionId, Ticket};
use ironbrook_model::{ErrorCode, Identity, Message, MessageSource, Refusal, SystemProperty, Timestamp};
use std::cell::RefCell;

/// A header buffer larger than this is given back after use.
const SCRATCH_KEPT: usize = 64 * 1024;

thread_local! {
    /// Where headers are written before the log copies them.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Takes a message of a session in; `None` if no queue wanted it.
pub(crate) fn accept(core: &Core, session: &Session, message: &Message) -> Result<Option<Ticket>, Refusal> {
    // A session that lost its claim must not write behind the one that has it.
    if let Some(why) = session.closed() {
        return Err(why);
    }
    let now = core.now();
    let result = take(core, session, message, now);
    if result.is_ok() {
        session.active(now);
    }
    result
}

/// Takes a message in without asking whether the session still stands. The hub sends it, so it is no activity.
pub(crate) fn accept_will(
    core: &Core,
    session: &Session,
    message: &Message,
) -> Result<Option<Ticket>, Refusal> {
    take(core, session, message, core.now())
}

fn take(
    core: &Core,
    session: &Session,
    message: &Message,
    now: Timestamp,
) -> Result<Option<Ticket>, Refusal> {
    core.metrics.telemetry_received.inc();
    // Before the check, which counts what the message takes of the throttles.
    let twin = core.router.twin(MessageSource::DeviceMessages, session.identity());
    let result = twin.and_then(|twin| {
        check(core, session, message.metered_len(), now)?;
        let facts = facts(session, message, now).with_twin(twin.as_deref());
        append(core, session.partition(), session.stamps(), &facts)
    });
    if let Ok(Some(_)) = result {
        core.metrics.telemetry_accepted.inc();
    }
    note(core, session, message, &result, now);
    result
}

pub(crate) fn facts<'a>(session: &'a Session, message: &'a Message, now: Timestamp) -> Facts<'a> {
    let source = MessageSource::DeviceMessages;
    Facts::new(session.identity(), session.auth_method(), source, message, now)
}

/// Counts what became of a message that was not accepted.
pub(crate) fn note(
    core: &Core,
    session: &Session,
    message: &Message,
    result: &Result<Option<Ticket>, Refusal>,
    now: Timestamp,
) {
    match result {
        Ok(Some(_)) => {}
        Ok(None) => {
            core.metrics.telemetry_orphaned.inc();
            let output = message.system.get(SystemProperty::OutputName).map(|output| &**output);
            core.orphans.note(session.identity(), output, now);
        }
        // Back-pressure: the same message comes again.
        Err(refusal) if matches!(refusal.code, ErrorCode::ServerBusy | ErrorCode::ThrottlingException) => {}
        Err(_) => _ = core.metrics.telemetry_refused.inc(),
    }
}

/// Takes an event about an identity in.
pub(crate) fn publish(
    core: &Core,
    source: MessageSource,
    about: &Identity,
    message: &Message,
) -> Result<Option<Ticket>, Refusal> {
    let mut stamps = Stamps::default();
    stamp_identity(&mut stamps, about);
    let twin = core.router.twin(source, about)?;
    let facts = Facts::new(about, "", source, message, core.now()).with_twin(twin.as_deref());
    let ticket = append(core, partition_of(about, core.seams.log.partitions()), &stamps, &facts)?;
    if ticket.is_some() {
        core.metrics.events_published.inc();
    }
    Ok(ticket)
}

/// Stamps who sent a message.
pub(crate) fn stamp_identity(stamps: &mut Stamps, identity: &Identity) {
    stamps.push(SystemProperty::ConnectionDeviceId, identity.device.as_str());
    if let Some(module) = &identity.module {
        stamps.push(SystemProperty::ConnectionModuleId, module.as_str());
    }
}

/// rule HUB-05: body, system property values and application property names and values count.
pub(crate) fn check(core: &Core, session: &Session, len: usize, now: Timestamp) -> Result<(), Refusal> {
    let most = core.limits.telemetry_bytes;
    if len > most {
        return Err(Refusal::new(
            ErrorCode::MessageTooLarge,
            format!("a message of {len} bytes; {most} are allowed, body and properties together"),
        ));
    }
    core.throttles.telemetry(session.rate(), now)
}

fn append(
    core: &Core,
    partition: PartitionId,
    stamps: &Stamps,
    facts: &Facts<'_>,
) -> Result<Option<Ticket>, Refusal> {
    let choice = core.router.choose(facts);
    if choice.queues.is_empty() {
        return Ok(None);
    }
    SCRATCH.with_borrow_mut(|header| {
        record::encode(header, facts.source, stamps, facts.message);
        let ticket = put(core, partition, facts, &choice, header);
        if header.capacity() > SCRATCH_KEPT {
            *header = Vec::new();
        }
        ticket
    })
}

/// Appends a message whose header is written, where any queue wants it.
pub(crate) fn put(
    core: &Core,
    partition: PartitionId,
    facts: &Facts<'_>,
    choice: &Choice,
    header: &[u8],
) -> Result<Option<Ticket>, Refusal> {
    if choice.queues.is_empty() {
        return Ok(None);
    }
    if choice.fallback {
        core.metrics.telemetry_fallback.inc();
    }
    let record = Append { enqueued: facts.enqueued, queues: &choice.queues, header, body: facts.body };
    core.seams.log.append(partition, record).map(Some).map_err(log_refusal)
}

/// The partition of a device and its modules: stable over restarts, so that a device keeps its order.
pub(crate) fn partition_of(identity: &Identity, partitions: u16) -> PartitionId {
    let hash = stable_hash(identity.device.as_str()) % u64::from(partitions.max(1));
    // The remainder is below a u16.
    PartitionId(hash as u16)
}

/// FNV-1a with a final mix, because its low bits alone spread names like `device-17` badly. Part of the format: a change
/// would move devices to other partitions and break their order.
pub(crate) fn stable_hash(text: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ (hash >> 32)
}

/// What an error of the log means to a sender.
pub(crate) fn log_refusal(error: LogError) -> Refusal {
    let code = match error {
        LogError::Full => ErrorCode::ServerBusy,
        LogError::TooLarge(_) => ErrorCode::MessageTooLarge,
        LogError::Closed => ErrorCode::ServiceUnavailable,
        LogError::Partition(_) => ErrorCode::PartitionNotFound,
        // Trying again cannot help before a restart, so not a code of back-pressure.
        LogError::Poisoned | LogError::Storage(_) | LogError::Format { .. } => ErrorCode::ServerError,
    };
    Refusal::new(code, error.to_string())
}

impl Core {
    pub(crate) fn now(&self) -> Timestamp {
        self.seams.clock.now()
    }
}

#[cfg(test)]
mod tests;
