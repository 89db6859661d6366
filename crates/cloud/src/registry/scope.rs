//! The identities that belong to an edge device: its modules, the devices below it, and theirs.

use super::error::Error;
use super::identities::not_found;
use super::{Registry, Stored, tables};
use ironbrook_model::{DeviceId, Identity, Parent, Refusal};
use redb::ReadTransaction;
use std::ops::Bound;

/// Rows looked at for one page, so that a page of a large registry does not hold a thread for long.
const ROWS_MAX: usize = 20_000;

/// Edge devices between a device and the one at the top; the documented limit of nested layers.
const LAYERS_MAX: usize = 5;
/// Edge devices of one layer that are looked at.
const PARENTS_MAX: usize = 32;

/// A part of a scope.
#[derive(Debug, Default, PartialEq)]
pub struct ScopePage {
    /// Devices, the edge device itself first of all pages.
    pub devices: Vec<(Identity, Stored)>,
    /// Modules of these devices.
    pub modules: Vec<(Identity, Stored)>,
    /// Where the next page begins; `None` at the end. May be set though this page is not full, or empty.
    pub next: Option<String>,
}

/// The device that opened a scope: `ms-azure-iot-edge://{device}-{generation}`.
pub(super) fn scope_owner(scope: &str) -> Option<Parent> {
    let (device, generation_id) = scope.strip_prefix("ms-azure-iot-edge://")?.rsplit_once('-')?;
    let device = DeviceId::new(device.to_owned()).ok()?;
    Some(Parent { device, generation_id: generation_id.to_owned() })
}

/// Whether a device is below an edge device. `deviceScope` of a leaf is the older way to say it.
fn is_below(stored: &Stored, scope: &str) -> bool {
    stored.parent_scopes.iter().any(|parent| parent == scope)
        || (!stored.iot_edge && stored.device_scope.as_deref() == Some(scope))
}

impl Registry {
    /// Up to `devices` devices of an edge device's scope after a place, with all their modules. 404001.
    pub async fn scope(
        &self,
        edge: DeviceId,
        devices: usize,
        after: Option<String>,
    ) -> Result<ScopePage, Refusal> {
        self.inner.store.read(move |tx| page(tx, &edge, devices.max(1), after)).await
    }

    /// Whether a device is an edge device's own or below it, directly or through edge devices between.
    ///
    /// rule REG-20: up to five layers; an edge device made anew has nobody below it.
    pub async fn is_within(&self, edge: DeviceId, device: DeviceId) -> Result<bool, Refusal> {
        self.inner.store.read(move |tx| is_within(tx, &edge, &device)).await
    }

    /// The same, of one device or one module only; empty where it is not in the scope.
    pub async fn in_scope(&self, edge: DeviceId, target: Identity) -> Result<ScopePage, Refusal> {
        let read = move |tx: &ReadTransaction| {
            let scope = scope_of(tx, &edge)?;
            let device = Identity::device(target.device.clone());
            let mut page = ScopePage::default();
            let Some(stored) = load(tx, &device)? else { return Ok(page) };
            if target.device != edge && !is_below(&stored, &scope) && !is_within(tx, &edge, &target.device)? {
                return Ok(page);
            }
            match target.module {
                None => page.devices.push((device, stored)),
                Some(_) => page.modules.extend(load(tx, &target)?.map(|stored| (target, stored))),
            }
            Ok(page)
        };
        self.inner.store.read(read).await
    }
}

fn load(tx: &ReadTransaction, identity: &Identity) -> Result<Option<Stored>, Error> {
    super::identities::get(&tx.open_table(tables::IDENTITIES)?, "identity", &tables::key(identity))
}

fn is_within(tx: &ReadTransaction, edge: &DeviceId, device: &DeviceId) -> Result<bool, Error> {
    let mut layer = vec![device.clone()];
    for _ in 0..=LAYERS_MAX {
        if layer.contains(edge) {
            return Ok(true);
        }
        let mut above = Vec::new();
        for device in layer {
            let identity = Identity::device(device);
            let Some(stored) = load(tx, &identity)? else { continue };
            for parent in stored.record(&identity).parents {
                let found = load(tx, &Identity::device(parent.device.clone()))?;
                let stands = found.is_some_and(|f| f.iot_edge && f.generation_id == parent.generation_id);
                if stands && !above.contains(&parent.device) && above.len() < PARENTS_MAX {
                    above.push(parent.device);
                }
            }
        }
        layer = above;
    }
    Ok(false)
}

fn scope_of(tx: &ReadTransaction, edge: &DeviceId) -> Result<String, Error> {
    let edge = Identity::device(edge.clone());
    load(tx, &edge)?.and_then(|stored| stored.device_scope).ok_or_else(|| not_found(&edge))
}

fn page(
    tx: &ReadTransaction,
    edge: &DeviceId,
    most: usize,
    after: Option<String>,
) -> Result<ScopePage, Error> {
    let scope = scope_of(tx, edge)?;
    let table = tx.open_table(tables::IDENTITIES)?;
    let mut page = ScopePage::default();
    if after.is_none() {
        let (from, to) = tables::device_range(edge);
        for row in table.range(from.as_str()..to.as_str())? {
            let (key, value) = row?;
            take(&mut page, tables::identity(key.value())?, tables::decode("identity", value.value())?);
        }
    }
    let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let (mut below, mut last) = (false, None);
    for (rows, row) in table.range::<&str>((from, Bound::Unbounded))?.enumerate() {
        let (key, value) = row?;
        let identity = tables::identity(key.value())?;
        // A page ends between devices, so that it holds all modules of each.
        if identity.module.is_none() && (page.devices.len() >= most || rows >= ROWS_MAX) {
            page.next = last;
            break;
        }
        last = Some(key.value().to_owned());
        if identity.device == *edge {
            continue;
        }
        let stored: Stored = tables::decode("identity", value.value())?;
        if identity.module.is_none() {
            below = is_below(&stored, &scope);
        }
        if below {
            take(&mut page, identity, stored);
        }
    }
    Ok(page)
}

fn take(page: &mut ScopePage, identity: Identity, stored: Stored) {
    match identity.module {
        None => page.devices.push((identity, stored)),
        Some(_) => page.modules.push((identity, stored)),
    }
}
