//! Bringing twins to what configurations say.
//!
//! Two lists lead here: devices that were touched (`UNSETTLED`), and a round past all devices after a configuration changed,
//! whose place is stored. Both survive a crash, and settling a device and taking it off the list is one transaction.

use super::super::error::Error;
use super::super::identities::{check_room, create, get};
use super::super::index::Entries;
use super::super::store::Changes;
use super::super::{Inner, Registry, Stored, Wish, activity, tables, twins, view};
use super::content::{Content, Section, composed, stands};
use super::{Compiled, List};
use futures_util::future::join_all;
use ironbrook_model::twin::{ConfigurationStatus as Status, Object, Twin, TwinLimits, difference};
use ironbrook_model::{DeviceId, Identity, ModuleId, Refusal, Timestamp};
use ironbrook_query::twin::Source;
use redb::{ReadTransaction, ReadableTable};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Devices settled at a time, each by a change of its own.
const GROUP_MAX: usize = 64;
/// Rows of a round looked at before others may read.
const ROUND_ROWS_MAX: usize = 1000;
/// How often all twins are looked at where a condition reads what changes by itself, such as the connection state.
const RESTLESS_EVERY: Duration = Duration::from_secs(300);
/// How long to wait where the database refuses.
const RETRY: Duration = Duration::from_secs(1);
/// Who manages the modules of a deployment.
const MANAGED_BY: &str = "IotEdge";
/// The name of the round in `PROGRESS`.
const ROUND: &str = "configurations";
/// The module that tells which deployments a device has.
const AGENT: &str = "$edgeAgent";

/// How far a round has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Round {
    /// Tells rounds apart: one that began anew must not be moved on by the one before.
    number: u64,
    /// Key of the last row looked at.
    after: Option<String>,
}

/// Inside a change of configurations: a new round past all devices.
pub(super) fn begin_round(changes: &Changes<'_>) -> Result<(), Error> {
    let round = Round { number: changes.next_number("configuration rounds")?, after: None };
    let mut progress = changes.tx.open_table(tables::PROGRESS)?;
    progress.insert(ROUND, tables::encode("round", &round)?.as_slice())?;
    Ok(())
}

impl Registry {
    /// Settles what is unsettled and what becomes so, until cancelled.
    pub(in super::super) async fn settle_forever(&self, cancel: &CancellationToken) {
        loop {
            let wait = async {
                match self.settle_some().await {
                    Ok(true) => {}
                    Ok(false) => self.until_unsettled().await,
                    Err(refusal) => {
                        tracing::warn!(%refusal, "configurations could not be brought to twins; trying again");
                        self.inner.clock.sleep(RETRY).await;
                    }
                }
            };
            tokio::select! {
                () = wait => {}
                () = cancel.cancelled() => return,
            }
        }
    }

    async fn until_unsettled(&self) {
        let filled = self.inner.configurations.filled.notified();
        if !self.inner.configurations.list().reads_restless {
            return filled.await;
        }
        tokio::select! {
            () = filled => {}
            () = self.inner.clock.sleep(RESTLESS_EVERY) => {
                // Where it cannot be written down, the next one is.
                if let Err(refusal) = self.inner.store.write(begin_round).await {
                    tracing::warn!(%refusal, "a round of configurations could not begin");
                }
            }
        }
    }

    /// Settles some devices or moves the round on; false where there is nothing to do.
    pub(super) async fn settle_some(&self) -> Result<bool, Refusal> {
        let unsettled = |tx: &ReadTransaction| {
            let table = tx.open_table(tables::UNSETTLED)?;
            let ids = table.iter()?.take(GROUP_MAX).map(|row| Ok(row?.0.value().to_owned()));
            ids.collect::<Result<Vec<_>, Error>>()
        };
        let devices = self.inner.store.read(unsettled).await?;
        if devices.is_empty() {
            return self.move_round_on().await;
        }
        let settle = devices.into_iter().map(|device| {
            let inner = self.inner.clone();
            self.inner.store.write(move |changes| settle(&inner, changes, &device))
        });
        join_all(settle).await.into_iter().collect::<Result<(), _>>()?;
        Ok(true)
    }

    /// Finds the devices in the next part of a round that are not as they should be.
    async fn move_round_on(&self) -> Result<bool, Refusal> {
        let inner = self.inner.clone();
        let look = move |tx: &ReadTransaction| {
            let round: Option<Round> = get(&tx.open_table(tables::PROGRESS)?, "round", ROUND)?;
            round.map(|round| Ok((unlike(&inner, tx, &round)?, round))).transpose()
        };
        let Some(((devices, after), round)) = self.inner.store.read(look).await? else { return Ok(false) };
        let change = move |changes: &Changes<'_>| {
            for device in &devices {
                changes.tx.open_table(tables::UNSETTLED)?.insert(device.as_str(), ())?;
            }
            let mut progress = changes.tx.open_table(tables::PROGRESS)?;
            if get::<Round>(&progress, "round", ROUND)? != Some(round.clone()) {
                return Ok(());
            }
            match after {
                Some(after) => {
                    let next = Round { after: Some(after), ..round };
                    progress.insert(ROUND, tables::encode("round", &next)?.as_slice())?;
                }
                None => _ = progress.remove(ROUND)?,
            }
            Ok(())
        };
        self.inner.store.write(change).await.map(|()| true)
    }
}

/// Devices of the next rows that are not as configurations say, and the place after them; `None` at the end.
fn unlike(
    inner: &Inner,
    tx: &ReadTransaction,
    round: &Round,
) -> Result<(Vec<String>, Option<String>), Error> {
    let list = inner.configurations.list();
    let identities = tx.open_table(tables::IDENTITIES)?;
    let (twins, activities) = (tx.open_table(tables::TWINS)?, tx.open_table(tables::ACTIVITY)?);
    let from = round.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let (mut devices, mut last) = (Vec::new(), None);
    for (rows, row) in identities.range::<&str>((from, Bound::Unbounded))?.enumerate() {
        let key = row?.0.value().to_owned();
        if rows >= ROUND_ROWS_MAX {
            return Ok((devices, last));
        }
        let identity = tables::identity(&key)?;
        last = Some(key);
        if identity.module.is_some() {
            continue;
        }
        let family = Family::read(inner, &identities, &twins, &activities, &identity.device)?;
        if family.is_some_and(|family| !family.plan(&list, inner.clock.now(), None).is_empty()) {
            devices.push(identity.device.as_str().to_owned());
        }
    }
    Ok((devices, None))
}

/// Brings a device and its modules to what configurations say, and takes the device off the list.
fn settle(inner: &Arc<Inner>, changes: &Changes<'_>, device: &str) -> Result<(), Error> {
    changes.tx.open_table(tables::UNSETTLED)?.remove(device)?;
    let Ok(device) = DeviceId::new(device) else { return Ok(()) };
    let list = inner.configurations.list();
    let family = Family::read(
        inner,
        &changes.tx.open_table(tables::IDENTITIES)?,
        &changes.tx.open_table(tables::TWINS)?,
        &changes.tx.open_table(tables::ACTIVITY)?,
        &device,
    )?;
    let Some(family) = family else { return Ok(()) };
    let mut plan = family.plan(&list, inner.clock.now(), None);
    let new = plan.iter().filter(|change| change.is_new).count();
    if let Err(error) = check_room(inner, changes, &device, &family.device.stored, new) {
        plan = family.plan(&list, inner.clock.now(), Some(&error.to_string()));
    }
    plan.into_iter().try_for_each(|change| write(inner, changes, change))
}

fn write(inner: &Arc<Inner>, changes: &Changes<'_>, change: Change) -> Result<(), Error> {
    let Change { identity, is_new, patch, statuses } = change;
    if is_new {
        let wish = Wish { managed_by: Some(MANAGED_BY.to_owned()), ..Wish::default() };
        create(inner, changes, &identity, wish, Twin::default())?;
    }
    let mut twin = twins::load(changes, &identity)?;
    if let Some(patch) = patch {
        twins::patch(inner, changes, &identity, &mut twin, None, Some(&patch))?;
    }
    if let Some(statuses) = statuses {
        let before = Entries::of(&tables::key(&identity), &twin);
        twin.configurations = statuses;
        twins::save_indexed(inner, changes, &identity, &before, &twin)?;
    }
    Ok(())
}

/// One twin with what conditions look at.
struct Member {
    identity: Identity,
    stored: Stored,
    twin: Twin,
    view: serde_json::Value,
}

/// A device and its modules.
struct Family {
    device: Member,
    modules: Vec<Member>,
    limits: TwinLimits,
}

/// What is to be written of one twin.
struct Change {
    identity: Identity,
    is_new: bool,
    patch: Option<Object>,
    statuses: Option<BTreeMap<String, Status>>,
}

/// What configurations say of one twin.
#[derive(Default)]
struct Wanted<'l> {
    layers: Vec<&'l [Section]>,
    statuses: BTreeMap<String, Status>,
}

impl Family {
    /// `None` where the device does not exist.
    fn read(
        inner: &Inner,
        identities: &impl ReadableTable<&'static str, &'static [u8]>,
        twins: &impl ReadableTable<&'static str, &'static [u8]>,
        activities: &impl ReadableTable<&'static str, &'static [u8]>,
        device: &DeviceId,
    ) -> Result<Option<Self>, Error> {
        let (from, to) = tables::device_range(device);
        let mut members = Vec::new();
        for row in identities.range(from.as_str()..to.as_str())? {
            let (key, bytes) = row?;
            let identity = tables::identity(key.value())?;
            let mut stored: Stored = tables::decode("identity", bytes.value())?;
            activity::fill(activities, key.value(), &mut stored)?;
            let Some(twin) = get(twins, "twin", key.value())? else { continue };
            let view = view::twin(inner, &identity, &stored, &twin);
            members.push(Member { identity, stored, twin, view });
        }
        if members.first().is_none_or(|first| first.identity.module.is_some()) {
            return Ok(None);
        }
        let device = members.remove(0);
        Ok(Some(Self { device, modules: members, limits: inner.config.twins }))
    }

    /// What is to be written so that all twins are as they should be. `no_room` tells why no module can be made.
    fn plan(&self, list: &List, now: Timestamp, no_room: Option<&str>) -> Vec<Change> {
        let mut wanted: BTreeMap<Identity, Wanted<'_>> = BTreeMap::new();
        self.want_device(list, &mut wanted);
        self.want_modules(list, &mut wanted);
        self.want_edge(list, &mut wanted, now, no_room);
        let mut plan = Vec::new();
        for member in std::iter::once(&self.device).chain(&self.modules) {
            let wanted = wanted.remove(&member.identity).unwrap_or_default();
            plan.extend(change(member.identity.clone(), Some(&member.twin), wanted, now, self.limits));
        }
        plan.extend(
            wanted
                .into_iter()
                .filter_map(|(identity, wanted)| change(identity, None, wanted, now, self.limits)),
        );
        plan
    }

    fn want_device<'l>(&self, list: &'l List, wanted: &mut BTreeMap<Identity, Wanted<'l>>) {
        let sections = |one: &'l Compiled| match &one.content {
            Content::Device(sections) if one.target.source() == Source::Devices => Some(sections.as_slice()),
            _ => None,
        };
        want(list, &self.device, &sections, wanted);
    }

    fn want_modules<'l>(&self, list: &'l List, wanted: &mut BTreeMap<Identity, Wanted<'l>>) {
        let sections = |one: &'l Compiled| match &one.content {
            Content::Module(sections) if one.target.source() == Source::Modules => Some(sections.as_slice()),
            _ => None,
        };
        for module in &self.modules {
            want(list, module, &sections, wanted);
        }
    }

    /// rule CONF-04: of whole deployments only the strongest counts, and of layers those above it; without one, none.
    fn want_edge<'l>(
        &self,
        list: &'l List,
        wanted: &mut BTreeMap<Identity, Wanted<'l>>,
        now: Timestamp,
        no_room: Option<&str>,
    ) {
        if !self.device.stored.iot_edge {
            return;
        }
        let matching: Vec<(&Compiled, &BTreeMap<ModuleId, Vec<Section>>)> = list
            .all
            .iter()
            .filter_map(|one| match &one.content {
                Content::Edge(modules) if one.target.matches(&self.device.view) => Some((one, modules)),
                _ => None,
            })
            .collect();
        let Ok(agent) = ModuleId::new(AGENT) else { return };
        if matching.is_empty() {
            return;
        }
        let base = matching.iter().rposition(|(one, _)| one.is_base);
        let in_force = &matching[base.unwrap_or(matching.len())..];
        let mut edge: BTreeMap<Identity, Wanted<'l>> = BTreeMap::new();
        for (_, modules) in in_force {
            for (module, sections) in *modules {
                let identity = Identity::module(self.device.identity.device.clone(), module.clone());
                edge.entry(identity).or_default().layers.push(sections);
            }
        }
        let refused = no_room.map(str::to_owned).or_else(|| self.refusal(&edge, now));
        if let Some(refused) = &refused {
            tracing::warn!(device = %self.device.identity, %refused, "a deployment cannot be applied");
            edge.clear();
        }
        let mut statuses = BTreeMap::new();
        for (at, (one, modules)) in matching.iter().enumerate() {
            let is_in_force = refused.is_none() && base.is_some_and(|base| at >= base);
            let is_applied = is_in_force
                && (one.is_base
                    || modules.iter().any(|(module, sections)| {
                        let above: Vec<&[Section]> = matching[at + 1..]
                            .iter()
                            .filter_map(|(_, others)| others.get(module).map(Vec::as_slice))
                            .collect();
                        stands(sections, &above)
                    }));
            let status = if is_applied { Status::Applied } else { Status::Targeted };
            statuses.insert(one.id.clone(), status);
        }
        for (identity, of_module) in edge {
            wanted.entry(identity).or_default().layers.extend(of_module.layers);
        }
        let agent = Identity::module(self.device.identity.device.clone(), agent);
        wanted.entry(agent).or_default().statuses.extend(statuses);
    }

    /// Why one of these cannot be written: a deployment is applied as a whole or not at all.
    fn refusal(&self, edge: &BTreeMap<Identity, Wanted<'_>>, now: Timestamp) -> Option<String> {
        edge.iter().find_map(|(identity, wanted)| {
            let member = self.modules.iter().find(|member| member.identity == *identity);
            let current = member.map(|member| member.twin.desired.values.clone()).unwrap_or_default();
            let desired = composed(&current, &wanted.layers);
            Twin::default()
                .replace_within(self.limits, &Object::new(), &desired, now)
                .err()
                .map(|e| format!("{identity}: {e}"))
        })
    }
}

/// Adds what configurations of one kind say of a twin.
fn want<'l>(
    list: &'l List,
    member: &Member,
    sections: &dyn Fn(&'l Compiled) -> Option<&'l [Section]>,
    wanted: &mut BTreeMap<Identity, Wanted<'l>>,
) {
    let matching: Vec<(&Compiled, &[Section])> = list
        .all
        .iter()
        .filter_map(|one| Some((one, sections(one)?)))
        .filter(|(one, _)| one.target.matches(&member.view))
        .collect();
    if matching.is_empty() {
        return;
    }
    let layers: Vec<&[Section]> = matching.iter().map(|(_, sections)| *sections).collect();
    let of_twin = wanted.entry(member.identity.clone()).or_default();
    for (at, (one, sections)) in matching.iter().enumerate() {
        let is_applied = stands(sections, &layers[at + 1..]);
        let status = if is_applied { Status::Applied } else { Status::Targeted };
        of_twin.statuses.insert(one.id.clone(), status);
    }
    of_twin.layers.extend(layers);
}

/// What is to be written of a twin, `None` where it is as it should be. `twin` is `None` where the module is still to be made.
fn change(
    identity: Identity,
    twin: Option<&Twin>,
    wanted: Wanted<'_>,
    now: Timestamp,
    limits: TwinLimits,
) -> Option<Change> {
    let Wanted { layers, mut statuses } = wanted;
    let empty = Twin::default();
    let current = twin.unwrap_or(&empty);
    let mut patch = None;
    if !layers.is_empty() {
        // As a twin would hold it: nulls gone, limits kept.
        let mut probe = Twin::default();
        match probe.replace_within(limits, &Object::new(), &composed(&current.desired.values, &layers), now) {
            Ok(()) => patch = Some(difference(&current.desired.values, &probe.desired.values)),
            Err(error) => {
                tracing::warn!(%identity, %error, "a configuration cannot be applied");
                statuses.values_mut().for_each(|status| *status = Status::Targeted);
            }
        }
    }
    let patch = patch.filter(|patch| !patch.is_empty());
    let is_new = twin.is_none();
    let statuses = (statuses != current.configurations).then_some(statuses);
    (is_new || patch.is_some() || statuses.is_some()).then_some(Change { identity, is_new, patch, statuses })
}
