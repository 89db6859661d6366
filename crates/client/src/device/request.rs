//! Twin requests that wait for their answer; sent again on the next connection, since both kinds may be repeated.

use super::{Reply, topic};
use crate::device::twin::Twin;
use crate::error::{Error, excerpt};
use bytes::{Bytes, BytesMut};
use ironbrook_wire::mqtt::v4::{self, Packet, Publish, QoS};
use std::collections::BTreeMap;

/// Most requests that may wait at once.
const REQUESTS_MAX: usize = 64;

/// Who wants the answer.
#[derive(Debug)]
pub(crate) enum Asker {
    /// The user wants the twin.
    Get(Reply<Twin>),
    /// The user reports properties.
    Patch(Reply<u64>),
    /// The client itself reads the desired properties.
    Refresh,
}

impl Asker {
    fn has_left(&self) -> bool {
        match self {
            Self::Get(reply) => reply.is_closed(),
            Self::Patch(reply) => reply.is_closed(),
            Self::Refresh => false,
        }
    }

    fn fail(self, error: Error) {
        match self {
            Self::Get(reply) => drop(reply.send(Err(error))),
            Self::Patch(reply) => drop(reply.send(Err(error))),
            Self::Refresh => {}
        }
    }
}

#[derive(Debug)]
struct Request {
    asker: Asker,
    body: Bytes,
    sent: bool,
}

/// Requests by id; ids grow, so the map's order is the order they were made in.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    waiting: BTreeMap<u64, Request>,
    last: u64,
}

impl Requests {
    /// Takes a request; it goes out with the next [`send`](Self::send).
    pub(crate) fn add(&mut self, asker: Asker, body: Bytes) {
        if self.waiting.len() >= REQUESTS_MAX {
            self.waiting.retain(|_, request| !request.asker.has_left());
        }
        if self.waiting.len() >= REQUESTS_MAX {
            let message = format!("{REQUESTS_MAX} twin requests are waiting already");
            return asker.fail(Error::Refused { status: 429, message });
        }
        self.last += 1;
        self.waiting.insert(self.last, Request { asker, body, sent: false });
    }

    /// The connection ended: all go out again on the next. The client's own reading starts anew there.
    pub(crate) fn disconnected(&mut self) {
        self.waiting
            .retain(|_, request| !matches!(request.asker, Asker::Refresh) && !request.asker.has_left());
        for request in self.waiting.values_mut() {
            request.sent = false;
        }
    }

    pub(crate) fn has_unsent(&self) -> bool {
        self.waiting.values().any(|request| !request.sent)
    }

    /// Writes all that were not sent on this connection.
    pub(crate) fn send(&mut self, out: &mut BytesMut) {
        for (rid, request) in self.waiting.iter_mut().filter(|(_, request)| !request.sent) {
            let topic = match request.asker {
                Asker::Patch(_) => topic::twin_patch(*rid),
                _ => topic::twin_get(*rid),
            };
            let publish = Publish {
                dup: false,
                qos: QoS::AtMostOnce,
                retain: false,
                topic: topic.into(),
                packet_id: None,
                payload: request.body.clone(),
            };
            // Topics are short and bodies checked before they come here.
            let _ = v4::encode(&Packet::Publish(publish), out);
            request.sent = true;
        }
    }

    /// An answer came. Gives the outcome of the client's own reading, if it is that.
    pub(crate) fn answered(
        &mut self,
        rid: u64,
        status: u16,
        version: Option<u64>,
        body: &[u8],
    ) -> Option<Result<Twin, Error>> {
        let request = self.waiting.remove(&rid)?;
        let refused = || Error::Refused { status, message: excerpt(body) };
        let ok = (200..300).contains(&status);
        match request.asker {
            Asker::Patch(reply) => {
                drop(reply.send(if ok { Ok(version.unwrap_or(0)) } else { Err(refused()) }))
            }
            Asker::Get(reply) => drop(reply.send(if ok { Twin::parse(body) } else { Err(refused()) })),
            Asker::Refresh => return Some(if ok { Twin::parse(body) } else { Err(refused()) }),
        }
        None
    }

    pub(crate) fn fail(&mut self, error: &Error) {
        for (_, request) in std::mem::take(&mut self.waiting) {
            request.asker.fail(error.clone());
        }
    }
}
