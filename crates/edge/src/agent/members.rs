//! The identities and environments of the deployed modules.

use super::seams::Identities;
use futures_util::future::join_all;
use ironbrook_model::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// First wait after a failure; doubled each time.
const WAIT_FIRST: Duration = Duration::from_secs(5);
/// Longest wait. There is no last try: the hub may be away for days.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// A thing that is to be done, and waits longer after each failure.
#[derive(Debug, Default)]
struct Chore {
    open: bool,
    failures: u32,
    next: Option<Timestamp>,
}

impl Chore {
    fn due(&self, now: Timestamp) -> bool {
        self.open && self.next.is_none_or(|next| next <= now)
    }

    fn reopen(&mut self) {
        *self = Self { open: true, failures: 0, next: None };
    }

    fn done(&mut self) {
        *self = Self::default();
    }

    fn failed(&mut self, now: Timestamp) {
        let wait = WAIT_FIRST.saturating_mul(2_u32.saturating_pow(self.failures)).min(WAIT_MAX);
        self.failures += 1;
        self.next = Some(now.plus(wait));
    }

    fn wake(&self) -> Option<Timestamp> {
        self.next.filter(|_| self.open)
    }
}

#[derive(Debug, Default)]
struct Member {
    environment: Option<Vec<(String, String)>>,
    chore: Chore,
    error: Option<String>,
}

/// Keeps identities in step with deployments: removals first, then what is missing.
#[derive(Debug, Default)]
pub(super) struct Members {
    by_name: BTreeMap<String, Member>,
    removals: Chore,
}

impl Members {
    /// A new deployment: every identity is looked after again, and where it is the hub's word, surplus ones are removed.
    pub(super) fn deployed(&mut self, confirmed: bool) {
        for member in self.by_name.values_mut() {
            member.chore.reopen();
        }
        if confirmed {
            self.removals.reopen();
        }
    }

    /// Does what is due for the modules deployed now.
    pub(super) async fn update(
        &mut self,
        identities: &dyn Identities,
        deployed: &BTreeSet<String>,
        now: Timestamp,
    ) {
        if self.removals.due(now) {
            match remove_surplus(identities, deployed).await {
                Ok(()) => self.removals.done(),
                Err(error) => {
                    tracing::warn!(%error, "identities of removed modules stay in the hub for now");
                    self.removals.failed(now);
                }
            }
        }
        self.by_name.retain(|name, _| deployed.contains(name));
        for name in deployed {
            self.by_name.entry(name.clone()).or_insert_with(|| {
                let mut member = Member::default();
                member.chore.reopen();
                member
            });
        }
        let due = self.by_name.iter_mut().filter(|(_, member)| member.chore.due(now));
        join_all(due.map(|(name, member)| ensure(identities, name, member, now))).await;
    }

    /// The environment of a module; `None` while it has no identity.
    pub(super) fn environment(&self, name: &str) -> Option<&[(String, String)]> {
        self.by_name.get(name)?.environment.as_deref()
    }

    /// Why a module has no identity.
    pub(super) fn error(&self, name: &str) -> Option<&str> {
        let member = self.by_name.get(name)?;
        member.error.as_deref().filter(|_| member.environment.is_none())
    }

    /// When something is to be tried again.
    pub(super) fn wake(&self) -> Option<Timestamp> {
        self.by_name.values().filter_map(|member| member.chore.wake()).chain(self.removals.wake()).min()
    }
}

async fn ensure(identities: &dyn Identities, name: &str, member: &mut Member, now: Timestamp) {
    match identities.ensure(name).await {
        Ok(environment) => {
            member.environment = Some(environment);
            member.error = None;
            member.chore.done();
        }
        Err(error) => {
            tracing::warn!(module = name, %error, "no identity for a module");
            member.error = Some(error.to_string());
            member.chore.failed(now);
        }
    }
}

async fn remove_surplus(
    identities: &dyn Identities,
    deployed: &BTreeSet<String>,
) -> Result<(), super::seams::IdentityError> {
    for name in identities.managed().await?.difference(deployed) {
        identities.remove(name).await?;
        tracing::info!(module = name, "identity removed");
    }
    Ok(())
}
