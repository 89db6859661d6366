//! Telling routes what became of the devices of jobs.
//!
//! rule EVENT-03: one event for each device, when the job ends there. Those that a job ends without are told afterwards, some at a
//! time; how far that has come stands in the job, so a restart goes on with it.

use super::super::error::Error;
use super::super::identities::get;
use super::super::store::Changes;
use super::super::{Inner, Registry, outbox, tables};
use super::row::{DeviceJob, DeviceStatus, Job};
use super::save;
use ironbrook_model::{Identity, MessageSource, Refusal};
use redb::ReadableTable as _;
use std::sync::Arc;

/// Records looked at in one change.
const GROUP_MAX: usize = 256;
/// Above every key of an identity.
const LAST_KEY: &str = "\u{10ffff}";

/// Tells that a job has ended at a device.
pub(super) fn ended(
    inner: &Arc<Inner>,
    changes: &Changes<'_>,
    id: &str,
    job: &Job,
    about: &Identity,
    record: &DeviceJob,
) -> Result<(), Error> {
    let operation = match record.status {
        DeviceStatus::Completed => "completeDeviceJob",
        DeviceStatus::Failed => "failDeviceJob",
        DeviceStatus::Pending => "cancelDeviceJob",
        DeviceStatus::Running => return Ok(()),
    };
    outbox::device_job(inner, changes, about, operation, record.document(id, job, about))
}

impl Registry {
    /// Tells of the devices that a job ended without, where that is still to be done.
    pub(super) async fn tell_undone(&self, id: &str) -> Result<(), Refusal> {
        loop {
            let (inner, id) = (self.inner.clone(), id.to_owned());
            let step = move |changes: &Changes<'_>| tell_some(&inner, changes, &id);
            if self.inner.store.write(step).await? {
                return Ok(());
            }
        }
    }
}

/// True once all are told.
fn tell_some(inner: &Arc<Inner>, changes: &Changes<'_>, id: &str) -> Result<bool, Error> {
    let Some(mut job) = get::<Job>(&changes.tx.open_table(tables::JOBS)?, "job", id)? else {
        return Ok(true);
    };
    let Some(after) = job.untold.take() else { return Ok(true) };
    if inner.wants(MessageSource::DeviceJobLifecycleEvents) {
        let table = changes.tx.open_table(tables::JOB_DEVICES)?;
        let from = format!("{after}\0");
        let mut looked_at = 0;
        for row in table.range((id, from.as_str())..(id, LAST_KEY))?.take(GROUP_MAX) {
            let (key, bytes) = row?;
            let key = key.value().1;
            let record: DeviceJob = tables::decode("job record", bytes.value())?;
            if record.status == DeviceStatus::Pending {
                ended(inner, changes, id, &job, &tables::identity(key)?, &record)?;
            }
            looked_at += 1;
            job.untold = (looked_at == GROUP_MAX).then(|| key.to_owned());
        }
    }
    save(changes, id, &job)?;
    Ok(job.untold.is_none())
}
