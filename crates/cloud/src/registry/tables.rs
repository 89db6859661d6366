//! The tables of the database and their keys.
//!
//! Values are JSON, so that a field can be added without a migration; a message is a JSON head and raw body.

use super::error::Error;
use ironbrook_model::{DeviceId, Identity, ModuleId};
use redb::TableDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ops::RangeInclusive;

/// Identities: [`key`] → [`Stored`](super::Stored).
pub(super) const IDENTITIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("identities");
/// Twins: [`key`] → [`Twin`](ironbrook_model::twin::Twin).
pub(super) const TWINS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("twins");
/// Activity of identities: [`key`] → [`Activity`](ironbrook_hub::seams::Activity).
pub(super) const ACTIVITY: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("activity");
/// Shared access policies: name → policy.
pub(super) const POLICIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("policies");
/// Authorities whose certificates prove devices: name → [`StoredCertificate`](super::StoredCertificate).
pub(super) const CERTIFICATES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("certificates");
/// Enrolments of the provisioning service: registration id → enrolment.
pub(super) const ENROLLMENTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("enrollments");
/// Enrolments of groups: group id → enrolment.
pub(super) const ENROLLMENT_GROUPS: TableDefinition<'_, &str, &[u8]> =
    TableDefinition::new("enrollment groups");
/// What became of devices that registered: registration id → registration.
pub(super) const REGISTRATIONS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("registrations");
/// Queue numbers of endpoints: name → number.
pub(super) const QUEUES: TableDefinition<'_, &str, u16> = TableDefinition::new("queues");
/// Waiting messages: ([`key`], sequence number) → message.
pub(super) const INBOX: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("inbox");
/// Identities with a persistent cloud-to-device subscription.
pub(super) const SUBSCRIBED: TableDefinition<'_, &str, ()> = TableDefinition::new("subscribed");
/// What identities stay subscribed to besides: [`key`] → [`Kept::bits`](ironbrook_hub::seams::Kept::bits).
pub(super) const KEPT: TableDefinition<'_, &str, u8> = TableDefinition::new("kept");
/// Feedback not yet handed to a service: number → record.
pub(super) const FEEDBACK: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("feedback");
/// Uploads under way: (device, correlation id) → [`Upload`](super::Upload).
pub(super) const UPLOADS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("uploads");
/// Notices of uploads not yet handed to a service: number → record.
pub(super) const FILE_NOTIFICATIONS: TableDefinition<'_, u64, &[u8]> =
    TableDefinition::new("file_notifications");
/// Events not yet published: number → event.
pub(super) const OUTBOX: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("outbox");
/// Which twins have a tag, or a configuration, of a value: (kind and path, value, [`key`]); see [`index`](super::index).
pub(super) const INDEX: TableDefinition<'_, IndexKey<'_>, ()> = TableDefinition::new("index");
/// Configurations: id → [`Row`](super::configurations).
pub(super) const CONFIGURATIONS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("configurations");
/// Devices whose configurations are to be looked at again: device id.
pub(super) const UNSETTLED: TableDefinition<'_, &str, ()> = TableDefinition::new("unsettled");
/// Jobs: id → [`Job`](super::jobs).
pub(super) const JOBS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("jobs");
/// What jobs did to their devices: (job, [`key`]) → record.
pub(super) const JOB_DEVICES: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("job devices");
/// Imports and exports: id → [`Transfer`](super::transfers).
pub(super) const TRANSFERS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("transfers");
/// How far long work has come, by its name.
pub(super) const PROGRESS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("progress");
/// Last numbers given out, by name of the series; and the format version.
pub(super) const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");

/// Version of the layout of all tables. 1 had no index.
pub(super) const FORMAT: u64 = 2;

/// Kind and path, value, [`key`] of the twin.
pub(super) type IndexKey<'k> = (&'k str, &'k [u8], &'k str);

/// Makes every table that is not there, so that readers never meet a missing one.
pub(super) fn make_all(tx: &redb::WriteTransaction) -> Result<(), Error> {
    tx.open_table(IDENTITIES)?;
    tx.open_table(TWINS)?;
    tx.open_table(ACTIVITY)?;
    tx.open_table(POLICIES)?;
    tx.open_table(QUEUES)?;
    tx.open_table(INBOX)?;
    tx.open_table(SUBSCRIBED)?;
    tx.open_table(KEPT)?;
    tx.open_table(FEEDBACK)?;
    tx.open_table(UPLOADS)?;
    tx.open_table(FILE_NOTIFICATIONS)?;
    tx.open_table(OUTBOX)?;
    tx.open_table(INDEX)?;
    tx.open_table(CONFIGURATIONS)?;
    tx.open_table(UNSETTLED)?;
    tx.open_table(JOBS)?;
    tx.open_table(JOB_DEVICES)?;
    tx.open_table(TRANSFERS)?;
    tx.open_table(PROGRESS)?;
    tx.open_table(CERTIFICATES)?;
    tx.open_table(ENROLLMENTS)?;
    tx.open_table(ENROLLMENT_GROUPS)?;
    tx.open_table(REGISTRATIONS)?;
    tx.open_table(COUNTERS)?;
    Ok(())
}

/// How many tables [`make_all`] makes.
pub(super) const COUNT: usize = 24;

/// The key of an identity: `device`, NUL, module or nothing. NUL cannot stand in an id, so a device's modules follow it
/// and no other device's key lies between.
pub(super) fn key(identity: &Identity) -> String {
    format!("{}\0{}", identity.device, identity.module.as_ref().map_or("", |m| m.as_str()))
}

/// All keys of a device and its modules, as a half-open range.
pub(super) fn device_range(device: &DeviceId) -> (String, String) {
    (format!("{device}\0"), format!("{device}\u{1}"))
}

/// All keys of a device's uploads.
pub(super) fn uploads_of(device: &str) -> RangeInclusive<(&str, &str)> {
    // Correlation ids are ours: hex digits, which come before this letter.
    (device, "")..=(device, "g")
}

/// The identity of a key.
pub(super) fn identity(key: &str) -> Result<Identity, Error> {
    let damaged = |why: String| Error::Stored { what: "identity key", why };
    let (device, module) = key.split_once('\0').ok_or_else(|| damaged("no separator".to_owned()))?;
    let device = DeviceId::new(device).map_err(|e| damaged(e.to_string()))?;
    let module = match module {
        "" => None,
        text => Some(ModuleId::new(text).map_err(|e| damaged(e.to_string()))?),
    };
    Ok(Identity { device, module })
}

/// JSON bytes of a value.
pub(super) fn encode<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|e| Error::Stored { what, why: e.to_string() })
}

/// A value of JSON bytes.
pub(super) fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, Error> {
    // The parser's text may quote a value, and a value may be a key.
    serde_json::from_slice(bytes)
        .map_err(|e| Error::Stored { what, why: format!("line {} column {}", e.line(), e.column()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_device_and_its_modules_are_neighbours() {
        let device = |d: &str| DeviceId::new(d).unwrap();
        let module = |d: &str, m: &str| Identity::module(device(d), ModuleId::new(m).unwrap());
        let mut keys = vec![
            key(&Identity::device(device("ab"))),
            key(&module("a", "z")),
            key(&Identity::device(device("a!"))),
            key(&Identity::device(device("a"))),
            key(&module("a", "$edgeHub")),
        ];
        keys.sort();
        let (from, to) = device_range(&device("a"));
        let inside: Vec<_> = keys.iter().filter(|k| **k >= from && **k < to).collect();
        assert_eq!(inside, ["a\0", "a\0$edgeHub", "a\0z"]);
        for k in &keys {
            assert_eq!(&key(&identity(k).unwrap()), k);
        }
    }
}
