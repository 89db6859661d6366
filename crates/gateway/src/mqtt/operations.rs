//! What is rarer than telemetry and takes its time: twin, subscriptions, settlements, method answers.
//!
//! These run beside telemetry and never hold it up. Subscriptions and twin requests of a session run one after the other, so
//! that patches apply in the order sent and a GET sees the PATCH before it; the others are independent.

use bytes::Bytes;
use bytestring::ByteString;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use ironbrook_hub::{Hub, LockToken, MethodAnswer, Operation, Outcome, Session, Settlement, Subscription};
use ironbrook_model::{ErrorCode, Refusal};
use ironbrook_wire::mqtt::v4::{PacketId, SubAck};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Requests of one connection that wait or run; reading pauses there.
const REQUESTS_MAX: usize = 64;

/// A wish that takes its time.
#[derive(Debug)]
pub(super) enum Request {
    Subscribe { add: Vec<Subscription>, answer: SubAck },
    Unsubscribe { remove: Vec<Subscription>, answer: PacketId },
    GetTwin { rid: ByteString },
    PatchReported { rid: ByteString, patch: Bytes },
    AnswerMethod { rid: ByteString, answer: MethodAnswer },
    Settle { lock: LockToken, settlement: Settlement },
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Reply {
    Subscribed(SubAck),
    Unsubscribed(PacketId),
    Twin {
        rid: ByteString,
        result: Result<Bytes, Refusal>,
    },
    Reported {
        rid: ByteString,
        result: Result<u64, Refusal>,
    },
    /// Nothing is to be answered.
    Done,
    /// The exchange has no answer that could say so.
    Failed(Refusal),
}

pub(super) struct Operations {
    hub: Hub,
    session: Arc<Session>,
    /// Wait for their turn.
    ordered: VecDeque<Request>,
    running: Option<BoxFuture<'static, Reply>>,
    independent: FuturesUnordered<BoxFuture<'static, Reply>>,
}

impl Operations {
    pub(super) fn new(hub: Hub, session: Arc<Session>) -> Self {
        Self { hub, session, ordered: VecDeque::new(), running: None, independent: FuturesUnordered::new() }
    }

    pub(super) fn push(&mut self, request: Request) {
        match request {
            Request::AnswerMethod { .. } | Request::Settle { .. } => {
                self.independent.push(self.start(request));
            }
            _ => self.ordered.push_back(request),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.ordered.len() + self.independent.len() >= REQUESTS_MAX
    }

    fn is_empty(&self) -> bool {
        self.running.is_none() && self.ordered.is_empty() && self.independent.is_empty()
    }

    fn start(&self, request: Request) -> BoxFuture<'static, Reply> {
        Box::pin(perform(self.hub.clone(), self.session.clone(), request))
    }

    /// The next reply; waits for ever while there is no request. Cancel-safe.
    pub(super) async fn next(&mut self) -> Reply {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`next`](Self::next).
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Reply> {
        if self.running.is_none()
            && let Some(request) = self.ordered.pop_front()
        {
            self.running = Some(self.start(request));
        }
        if let Some(running) = &mut self.running
            && let Poll::Ready(reply) = running.as_mut().poll(cx)
        {
            self.running = None;
            return Poll::Ready(reply);
        }
        match self.independent.poll_next_unpin(cx) {
            Poll::Ready(Some(reply)) => Poll::Ready(reply),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Runs all to their end; what was taken from the client is done even if it left.
    pub(super) async fn finish(mut self) {
        while !self.is_empty() {
            self.next().await;
        }
    }
}

async fn perform(hub: Hub, session: Arc<Session>, request: Request) -> Reply {
    match request {
        Request::Subscribe { add, answer } => match each(&hub, &session, add, Operation::Subscribe).await {
            Ok(()) => Reply::Subscribed(answer),
            Err(refusal) => Reply::Failed(refusal),
        },
        Request::Unsubscribe { remove, answer } => {
            match each(&hub, &session, remove, Operation::Unsubscribe).await {
                Ok(()) => Reply::Unsubscribed(answer),
                Err(refusal) => Reply::Failed(refusal),
            }
        }
        Request::GetTwin { rid } => {
            let result = match hub.perform(&session, Operation::GetTwin).await {
                Ok(Outcome::Twin(twin)) => Ok(twin),
                Ok(_) => Err(mismatch()),
                Err(refusal) => Err(refusal),
            };
            Reply::Twin { rid, result }
        }
        Request::PatchReported { rid, patch } => {
            let result = match hub.perform(&session, Operation::PatchReported(patch)).await {
                Ok(Outcome::Reported { version }) => Ok(version),
                Ok(_) => Err(mismatch()),
                Err(refusal) => Err(refusal),
            };
            Reply::Reported { rid, result }
        }
        Request::AnswerMethod { rid, answer } => {
            let operation = Operation::AnswerMethod { request: rid, answer };
            log_failure(&session, "method answer", hub.perform(&session, operation).await)
        }
        Request::Settle { lock, settlement } => {
            let operation = Operation::Settle { lock, settlement };
            log_failure(&session, "settlement", hub.perform(&session, operation).await)
        }
    }
}

async fn each(
    hub: &Hub,
    session: &Session,
    subscriptions: Vec<Subscription>,
    operation: fn(Subscription) -> Operation,
) -> Result<(), Refusal> {
    for subscription in subscriptions {
        hub.perform(session, operation(subscription)).await?;
    }
    Ok(())
}

/// A lost lock or a late answer is no reason to end a connection.
fn log_failure(session: &Session, what: &str, result: Result<Outcome, Refusal>) -> Reply {
    if let Err(refusal) = result {
        tracing::debug!(identity = %session.identity(), code = refusal.code.number(), reason = %refusal.message, what,
            "operation had no effect");
    }
    Reply::Done
}

fn mismatch() -> Refusal {
    Refusal::new(ErrorCode::ServerError, "the hub answered something else")
}
