//! Uploads that devices have begun, and the notices of those that ended well.

use super::super::error::Error;
use super::super::identities::{not_found, stored};
use super::super::store::Changes;
use super::super::{Inner, Registry, tables};
use super::outgoing::{self, Batch, Outgoing, Queue};
use ironbrook_hub::{LockToken, Settlement};
use ironbrook_model::{DeviceId, ErrorCode, Identity, Refusal, Timestamp};
use redb::{ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long an upload that was not ended in time is remembered, so that a late device is told what happened.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// An upload that a device has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upload {
    /// The blob's name in its container, `{device}/{name}`.
    pub blob: String,
    /// Where the blob is, without the signature.
    pub blob_uri: String,
    /// Until when the device may write it.
    pub expires: Timestamp,
}

/// Notice of a file that a device has uploaded, as services read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileNotification {
    /// The device.
    pub device_id: String,
    /// Where the blob is.
    pub blob_uri: String,
    /// Its name in the container.
    pub blob_name: String,
    /// When it was last written.
    pub last_updated_time: Option<String>,
    /// Its length.
    pub blob_size_in_bytes: u64,
    /// When the notice was made.
    pub enqueued_time_utc: String,
}

impl Outgoing for FileNotification {
    const WHAT: &'static str = "file notification";
    const TABLE: TableDefinition<'static, u64, &'static [u8]> = tables::FILE_NOTIFICATIONS;
    const BATCH_MAX: usize = 1;
    const BATCH_DELAY: Duration = Duration::ZERO;
    // rule FILE-04
    const DELIVERIES_MAX: u32 = 100;

    fn queue(inner: &Inner) -> &Queue<Self> {
        &inner.inbox.files
    }

    fn ttl(inner: &Inner) -> Duration {
        inner.config.file_notification_ttl
    }
}

impl Registry {
    /// Remembers that a device begins an upload. 404001, 403006 where it has as many open as it may.
    pub(crate) async fn begin_upload(
        &self,
        device: &DeviceId,
        correlation: String,
        upload: Upload,
    ) -> Result<(), Refusal> {
        let (inner, device) = (self.inner.clone(), device.clone());
        let change = move |changes: &Changes<'_>| {
            let identity = Identity::device(device.clone());
            stored(changes, &identity)?.ok_or_else(|| not_found(&identity))?;
            make_room(changes, &device, inner.clock.now(), inner.config.uploads_open_max)?;
            let bytes = tables::encode("upload", &upload)?;
            let mut table = changes.tx.open_table(tables::UPLOADS)?;
            table.insert((device.as_str(), correlation.as_str()), bytes.as_slice())?;
            Ok(())
        };
        self.inner.store.write(change).await
    }

    /// The upload a device names. 400015 for one that it has not begun, 400016 for one that took too long.
    pub(crate) async fn upload(&self, device: &DeviceId, correlation: &str) -> Result<Upload, Refusal> {
        let (device, correlation) = (device.to_string(), correlation.to_owned());
        let read = move |tx: &redb::ReadTransaction| {
            let table = tx.open_table(tables::UPLOADS)?;
            let found = table.get((device.as_str(), correlation.as_str()))?;
            found.map(|bytes| tables::decode::<Upload>("upload", bytes.value())).transpose()
        };
        in_time(self.inner.store.read(read).await?, self.inner.clock.now())
    }

    /// Ends an upload, with a notice to services where there is one, in one change. 400015, 400016.
    pub(crate) async fn end_upload(
        &self,
        device: &DeviceId,
        correlation: &str,
        notification: Option<FileNotification>,
    ) -> Result<(), Refusal> {
        let inner = self.inner.clone();
        let (device, correlation) = (device.to_string(), correlation.to_owned());
        let change = move |changes: &Changes<'_>| {
            let key = (device.as_str(), correlation.as_str());
            let found = {
                let table = changes.tx.open_table(tables::UPLOADS)?;
                let found = table.get(key)?;
                found.map(|bytes| tables::decode::<Upload>("upload", bytes.value())).transpose()?
            };
            in_time(found, inner.clock.now())?;
            changes.tx.open_table(tables::UPLOADS)?.remove(key)?;
            match notification {
                Some(notification) => outgoing::put(&inner, changes, notification),
                None => Ok(()),
            }
        };
        self.inner.store.write(change).await
    }

    /// Waits for a notice of an upload and locks it. Cancel-safe.
    pub(crate) async fn lock_file_notification(
        &self,
        lock_for: Duration,
    ) -> (LockToken, Timestamp, Vec<FileNotification>) {
        let Batch { lock, enqueued, records } = self.next_outgoing(lock_for).await;
        (lock, enqueued, records)
    }

    /// Settles a notice; 412002 if its lock is not held any more.
    pub(crate) async fn settle_file_notification(
        &self,
        lock: LockToken,
        settlement: Settlement,
    ) -> Result<(), Refusal> {
        self.end_outgoing::<FileNotification>(lock, settlement).await
    }
}

/// rule FILE-02
fn in_time(found: Option<Upload>, now: Timestamp) -> Result<Upload, Refusal> {
    match found {
        None => Err(Refusal::new(
            ErrorCode::InvalidFileUploadCorrelationId,
            "the device has begun no upload with this correlationId, or has ended it already; begin with POST …/files",
        )),
        Some(upload) if upload.expires <= now => Err(Refusal::new(
            ErrorCode::ExpiredFileUploadCorrelationId,
            format!("the upload had to end by {}; begin a new one with POST …/files", upload.expires),
        )),
        Some(upload) => Ok(upload),
    }
}

/// Refuses where a device has as many uploads open as it may, and forgets its oldest ones that took too long. rule FILE-01
fn make_room(changes: &Changes<'_>, device: &DeviceId, now: Timestamp, max: usize) -> Result<(), Error> {
    let (mut open, mut late) = (0, Vec::new());
    let mut table = changes.tx.open_table(tables::UPLOADS)?;
    for row in table.range(tables::uploads_of(device.as_str()))? {
        let (key, bytes) = row?;
        let upload: Upload = tables::decode("upload", bytes.value())?;
        match upload.expires > now {
            true => open += 1,
            false => late.push((upload.expires, key.value().1.to_owned())),
        }
    }
    if open >= max {
        return Err(Error::refuse(
            ErrorCode::DeviceMaximumActiveFileUploadLimitExceeded,
            format!(
                "{open} uploads of '{device}' are under way already; end one with POST …/files/notifications"
            ),
        ));
    }
    late.sort();
    let too_many = late.len().saturating_sub(max);
    for (index, (expired, correlation)) in late.iter().enumerate() {
        if index < too_many || expired.plus(REMEMBERED) <= now {
            table.remove((device.as_str(), correlation.as_str()))?;
        }
    }
    Ok(())
}

/// Forgets the uploads of a deleted device.
pub(super) fn remove_all(changes: &Changes<'_>, device: &DeviceId) -> Result<(), Error> {
    let mut table = changes.tx.open_table(tables::UPLOADS)?;
    table.retain_in(tables::uploads_of(device.as_str()), |_, _| false)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{clock, device, open};
    use super::*;
    use ironbrook_log::Memory;

    const HOUR: Duration = Duration::from_secs(3600);

    fn upload(registry: &Registry) -> Upload {
        let expires = registry.inner.clock.now().plus(HOUR);
        Upload { blob: "d/x".to_owned(), blob_uri: "https://h/c/d/x".to_owned(), expires }
    }

    fn notice() -> FileNotification {
        FileNotification {
            device_id: "d".to_owned(),
            blob_uri: "https://h/c/d/x".to_owned(),
            blob_name: "d/x".to_owned(),
            last_updated_time: None,
            blob_size_in_bytes: 1,
            enqueued_time_utc: String::new(),
        }
    }

    async fn begin(registry: &Registry, correlation: &str) -> Result<(), Refusal> {
        let d = device("d").device;
        registry.begin_upload(&d, correlation.to_owned(), upload(registry)).await
    }

    async fn end(registry: &Registry, correlation: &str) -> Result<(), ErrorCode> {
        let ended = registry.end_upload(&device("d").device, correlation, Some(notice())).await;
        ended.map_err(|refusal| refusal.code)
    }

    async fn with_device(
        memory: &Memory,
    ) -> (Registry, std::sync::Arc<super::super::super::tests::HandClock>) {
        let clock = clock();
        let registry = open(memory, &clock);
        let wish = serde_json::from_value(serde_json::json!({"deviceId": "d"})).unwrap();
        registry.create(device("d"), wish).await.unwrap();
        (registry, clock)
    }

    // FILE-01, FILE-02
    #[tokio::test]
    async fn file_01_ten_uploads_may_be_open_and_file_02_late_ones_are_told_so() {
        let (registry, clock) = with_device(&Memory::new()).await;
        for n in 0..10 {
            begin(&registry, &n.to_string()).await.unwrap();
        }
        let refused = begin(&registry, "a").await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::DeviceMaximumActiveFileUploadLimitExceeded);
        assert_eq!(end(&registry, "none").await, Err(ErrorCode::InvalidFileUploadCorrelationId));
        end(&registry, "0").await.unwrap();
        begin(&registry, "a").await.unwrap();

        clock.advance(HOUR);
        assert_eq!(end(&registry, "1").await, Err(ErrorCode::ExpiredFileUploadCorrelationId));
        assert_eq!(
            registry.upload(&device("d").device, "1").await.unwrap_err().code,
            ErrorCode::ExpiredFileUploadCorrelationId
        );
        // What took too long takes no place, and is remembered for a day.
        begin(&registry, "b").await.unwrap();
        clock.advance(REMEMBERED);
        begin(&registry, "c").await.unwrap();
        assert_eq!(end(&registry, "1").await, Err(ErrorCode::InvalidFileUploadCorrelationId));
    }

    // FILE-04
    #[tokio::test]
    async fn file_04_notices_outlive_a_restart_and_are_locked_until_settled() {
        let memory = Memory::new();
        let (registry, clock) = with_device(&memory).await;
        begin(&registry, "1").await.unwrap();
        end(&registry, "1").await.unwrap();
        registry.close().await;

        let registry = open(&memory, &clock);
        let lock_for = Duration::from_secs(60);
        let (lock, _, notices) = registry.lock_file_notification(lock_for).await;
        assert_eq!(notices, [notice()]);
        registry.settle_file_notification(lock, Settlement::Abandon).await.unwrap();
        let (lock, _, _) = registry.lock_file_notification(lock_for).await;
        registry.settle_file_notification(lock, Settlement::Complete).await.unwrap();
        let late = registry.settle_file_notification(lock, Settlement::Complete).await.unwrap_err();
        assert_eq!(late.code, ErrorCode::DeviceMessageLockLost);
    }
}
