//! What a device may ask, but for telemetry on the hot path.

use crate::hub::{Core, Hub};
use crate::operation::{LockToken, Operation, Outcome, Settlement, Subscription};
use crate::session::Session;
use crate::throttle::Throttle;
use bytes::Bytes;
use ironbrook_model::{ErrorCode, Message, Refusal};

/// Does one operation to the end.
pub(crate) async fn perform(
    hub: &Hub,
    core: &Core,
    session: &Session,
    operation: Operation,
) -> Result<Outcome, Refusal> {
    // A session that lost its claim must not write behind the one that has it.
    if let Some(why) = session.closed() {
        return Err(why);
    }
    match operation {
        Operation::SendTelemetry(message) => send(hub, session, &message).await,
        Operation::GetTwin => get_twin(core, session).await,
        Operation::PatchReported(patch) => patch_reported(core, session, &patch).await,
        Operation::Subscribe(subscription) => subscribe(core, session, subscription, true).await,
        Operation::Unsubscribe(subscription) => subscribe(core, session, subscription, false).await,
        Operation::AnswerMethod { request, answer } => {
            core.seams.fabric.answer(session.identity(), &request, answer);
            Ok(Outcome::Done)
        }
        Operation::Settle { lock, settlement } => settle(core, session, lock, settlement).await,
    }
}

async fn send(hub: &Hub, session: &Session, message: &Message) -> Result<Outcome, Refusal> {
    loop {
        match hub.telemetry(session, message) {
            Ok(Some(ticket)) => hub.durable(ticket).await?,
            Ok(None) => {}
            Err(refusal)
                if matches!(refusal.code, ErrorCode::ServerBusy | ErrorCode::ThrottlingException) =>
            {
                hub.room(session).await?;
                continue;
            }
            Err(refusal) => return Err(refusal),
        }
        return Ok(Outcome::Done);
    }
}

async fn get_twin(core: &Core, session: &Session) -> Result<Outcome, Refusal> {
    core.throttles.take(Throttle::TwinReads)?;
    let view = core.seams.twins.device_view(session.identity()).await;
    match &view {
        Ok(_) => core.metrics.twin_reads.inc(),
        Err(_) => core.metrics.twin_read_failures.inc(),
    };
    view.map(Outcome::Twin)
}

async fn patch_reported(core: &Core, session: &Session, patch: &Bytes) -> Result<Outcome, Refusal> {
    core.throttles.take(Throttle::TwinUpdates)?;
    let version = core.seams.twins.patch_reported(session.identity(), patch).await;
    match &version {
        Ok(_) => core.metrics.twin_updates.inc(),
        Err(_) => core.metrics.twin_update_failures.inc(),
    };
    version.map(|version| Outcome::Reported { version })
}

async fn subscribe(
    core: &Core,
    session: &Session,
    subscription: Subscription,
    on: bool,
) -> Result<Outcome, Refusal> {
    session.keep(subscription, on).await?;
    match subscription {
        Subscription::CloudToDevice { persistent } => {
            // Stored first: a subscription that is acknowledged survives whatever comes next.
            if persistent {
                core.seams.inbox.set_subscribed(session.identity(), on).await?;
            }
            session.set_takes_commands(on);
        }
        Subscription::Methods => session.set_takes_methods(on),
        Subscription::DesiredProperties => session.set_takes_desired(on),
        // Inputs are fed by an assembly that routes between modules; without one nothing comes.
        Subscription::Inputs => session.set_takes_inputs(on),
        Subscription::TwinAnswers => {}
    }
    Ok(Outcome::Done)
}

async fn settle(
    core: &Core,
    session: &Session,
    lock: LockToken,
    settlement: Settlement,
) -> Result<Outcome, Refusal> {
    if session.settle_input(lock, settlement) {
        match settlement {
            Settlement::Complete => _ = core.metrics.inputs_completed.inc(),
            Settlement::Reject => _ = core.metrics.inputs_rejected.inc(),
            Settlement::Abandon | Settlement::Release => _ = core.metrics.inputs_abandoned.inc(),
        }
        return Ok(Outcome::Done);
    }
    let settled = core.seams.inbox.settle(session.identity(), lock, settlement).await;
    // Even a lost lock no longer counts against the window.
    session.settled(lock);
    settled?;
    match settlement {
        Settlement::Complete => _ = core.metrics.commands_completed.inc(),
        Settlement::Reject => _ = core.metrics.commands_rejected.inc(),
        Settlement::Abandon => _ = core.metrics.commands_abandoned.inc(),
        Settlement::Release => {}
    }
    Ok(Outcome::Done)
}
