//! The last refusals of each identity, so that whoever looks after a device finds out why it is not let in.
//!
//! Bounded in every direction: so many refusals of an identity, so many identities, and a small place of its own for ids that are
//! not registered, so that strangers push nobody's out. What is kept is what the log says: never a token, a key or a certificate.

use ironbrook_model::{Cause, ErrorCode, Identity, Refusal, Timestamp};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Refusals that are kept of one identity.
pub const REFUSALS_MAX: usize = 10;
/// Registered identities whose refusals are kept; those refused longest ago go first.
pub const IDENTITIES_MAX: usize = 1024;
/// Ids that are not registered, likewise.
pub const STRANGERS_MAX: usize = 64;
/// Characters of a reason.
const REASON_LEN_MAX: usize = 400;

/// Where an attempt came from, as the door knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The door's word for what was spoken, e.g. `mqtt`.
    pub protocol: &'static str,
    /// The peer's address.
    pub address: SocketAddr,
}

tokio::task_local! {
    static ORIGIN: Origin;
}

/// Does something on behalf of a peer: what is refused in it is noted with where it came from.
pub async fn from<F: Future>(origin: Origin, work: F) -> F::Output {
    ORIGIN.scope(origin, work).await
}

/// The peer on whose behalf something is being done, if any.
pub(super) fn origin() -> Option<Origin> {
    ORIGIN.try_with(|origin| *origin).ok()
}

/// A refusal, and how often it came in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// When it came first.
    pub first: Timestamp,
    /// When it came last.
    pub last: Timestamp,
    /// How often.
    pub times: u64,
    /// The Azure code.
    pub code: ErrorCode,
    /// The cause, where a credential was the reason.
    pub cause: Option<Cause>,
    /// Cause and cure, for people.
    pub reason: String,
    /// Where it came from last; `None` where the hub ended a session by itself.
    pub origin: Option<Origin>,
    /// Until when the token held that was shown.
    expires: Option<Timestamp>,
}

impl Refused {
    /// Whether another is the same again: for the same reason, from the same host, over the same door.
    fn is_again(&self, other: &Self) -> bool {
        let place = |origin: &Option<Origin>| -> Option<(&'static str, IpAddr)> {
            origin.map(|origin| (origin.protocol, origin.address.ip()))
        };
        self.code == other.code && self.cause == other.cause && place(&self.origin) == place(&other.origin)
    }
}

/// Refusals by identity, those refused longest ago found without a search.
#[derive(Default)]
struct Shelf {
    of: HashMap<Identity, (u64, VecDeque<Refused>)>,
    by_age: BTreeMap<u64, Identity>,
}

impl Shelf {
    fn note(&mut self, identity: &Identity, mut refused: Refused, number: u64, room: usize) {
        let (old, list) = self.of.entry(identity.clone()).or_default();
        self.by_age.remove(old);
        *old = number;
        self.by_age.insert(number, identity.clone());
        tell_clock_skew(list.front(), &mut refused);
        match list.front_mut().filter(|last| last.is_again(&refused)) {
            Some(last) => {
                let (first, times) = (last.first, last.times + 1);
                *last = Refused { first, times, ..refused };
            }
            None => {
                list.push_front(refused);
                list.truncate(REFUSALS_MAX);
            }
        }
        if self.of.len() > room
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.of.remove(&oldest);
        }
    }

    fn forget(&mut self, identity: &Identity) {
        if let Some((number, _)) = self.of.remove(identity) {
            self.by_age.remove(&number);
        }
    }
}

/// A token that is new and again too old was signed just now by a clock that is behind.
fn tell_clock_skew(last: Option<&Refused>, refused: &mut Refused) {
    let late = |cause| matches!(cause, Some(Cause::Expired | Cause::ClockSkew));
    let Some((before, expires)) =
        last.filter(|last| late(last.cause)).and_then(|l| l.expires).zip(refused.expires)
    else {
        return;
    };
    let again = last.is_some_and(|last| last.cause == Some(Cause::ClockSkew)) && before == expires;
    if refused.cause == Some(Cause::Expired) && (expires > before || again) {
        refused.cause = Some(Cause::ClockSkew);
        let behind = refused.last.since(expires).as_secs();
        refused.reason = format!(
            "the sender signs new tokens and each is too old already: its clock is at least {behind} s behind the hub's; set it. {}",
            refused.reason
        );
    }
}

#[derive(Default)]
struct State {
    number: u64,
    known: Shelf,
    strangers: Shelf,
}

/// The last refusals of each identity.
#[derive(Default)]
pub struct Refusals {
    // Taken where somebody was refused or asks, never on the way of a message.
    state: Mutex<State>,
}

impl Refusals {
    /// Notes a refusal; `registered` tells whether there is such an identity, `expires` until when the token held.
    pub(super) fn note(
        &self,
        identity: &Identity,
        registered: bool,
        refusal: &Refusal,
        expires: Option<Timestamp>,
        now: Timestamp,
    ) {
        let refused = Refused {
            first: now,
            last: now,
            times: 1,
            code: refusal.code,
            cause: refusal.cause,
            reason: refusal.message.chars().take(REASON_LEN_MAX).collect(),
            origin: origin(),
            expires,
        };
        let mut state = self.state();
        state.number += 1;
        let number = state.number;
        if registered {
            state.strangers.forget(identity);
            state.known.note(identity, refused, number, IDENTITIES_MAX);
        } else {
            state.known.forget(identity);
            state.strangers.note(identity, refused, number, STRANGERS_MAX);
        }
    }

    /// Of one identity, newest first.
    pub fn of(&self, identity: &Identity) -> Vec<Refused> {
        let state = self.state();
        let found = state.known.of.get(identity).or_else(|| state.strangers.of.get(identity));
        found.map(|(_, list)| list.iter().cloned().collect()).unwrap_or_default()
    }

    /// Of all identities, those refused last first.
    pub fn all(&self) -> Vec<(Identity, Vec<Refused>)> {
        let state = self.state();
        let both = state.known.of.iter().chain(&state.strangers.of);
        let mut all: Vec<_> = both.map(|(identity, (number, list))| (*number, identity, list)).collect();
        all.sort_by_key(|(number, ..)| std::cmp::Reverse(*number));
        all.into_iter()
            .map(|(_, identity, list)| (identity.clone(), list.iter().cloned().collect()))
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code under this lock can leave the shelves half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Refusals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refusals").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
