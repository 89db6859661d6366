//! Jobs: one change of many twins, or one method on many devices, now or later, over a condition.
//!
//! Start with [`Registry::create_job`]; the work is done by [`Registry::run_jobs`]. A job, the search for its devices and what
//! was done to each of them are rows, so a job goes on after a restart. A twin is changed in the transaction that notes it, so
//! never twice; a method that was out when the hub ended is noted as failed, since nobody knows whether the device did it.
//! Source: Azure docs "Schedule jobs on multiple devices".

mod documents;
mod events;
mod row;
mod run;
mod wish;

pub use wish::{JobWish, MethodWish, PropertiesWish, TwinWish};

pub(super) use documents::documents;

use super::error::Error;
use super::scan::{Page, Place};
use super::store::Changes;
use super::{Registry, tables};
use ironbrook_model::{ErrorCode, Refusal};
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};
use row::{Job, Status};
use serde_json::Value;
use std::collections::HashMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Jobs that are kept, finished ones among them.
const JOBS_MAX: u64 = 10_000;
/// How long a finished job is kept.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// What of jobs is in memory.
#[derive(Default)]
pub(super) struct State {
    /// A job was made.
    changed: Notify,
    /// Ends the work on a job; as many as may run at once.
    running: Mutex<HashMap<String, CancellationToken>>,
}

impl State {
    fn running(&self) -> MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// Makes a job. 400004 where a member is wrong, 403003 too many jobs, 409104 if there is one of this id.
    pub async fn create_job(&self, id: String, wish: JobWish) -> Result<Value, Refusal> {
        let wish = wish.check(&id)?;
        let inner = self.inner.clone();
        let change = move |changes: &Changes<'_>| {
            {
                let table = changes.tx.open_table(tables::JOBS)?;
                if table.get(id.as_str())?.is_some() {
                    let text = format!("there is a job '{id}' already");
                    return Err(Error::refuse(ErrorCode::JobAlreadyExists, text));
                }
                if table.len()? >= JOBS_MAX {
                    let text = format!("{JOBS_MAX} jobs are kept; the oldest goes 30 days after its end");
                    return Err(Error::refuse(ErrorCode::JobQuotaExceeded, text));
                }
            }
            let job = Job::new(wish, inner.clock.now());
            save(changes, &id, &job)?;
            changes.after(move || inner.jobs.changed.notify_one());
            Ok(job.view(&id))
        };
        self.inner.store.write(change).await
    }

    /// A job. 404002.
    pub async fn job(&self, id: String) -> Result<Value, Refusal> {
        let read = move |tx: &ReadTransaction| Ok(find(&tx.open_table(tables::JOBS)?, &id)?.view(&id));
        self.inner.store.read(read).await
    }

    /// Ends a job: what it has not begun stays undone. 404002; 405102 where it has ended.
    pub async fn cancel_job(&self, id: String) -> Result<Value, Refusal> {
        let inner = self.inner.clone();
        let change = move |changes: &Changes<'_>| {
            let mut job = find(&changes.tx.open_table(tables::JOBS)?, &id)?;
            if job.status.is_final() {
                let text = format!("the job '{id}' is {} already", job.status.name());
                return Err(Error::refuse(ErrorCode::OperationNotAllowedInCurrentState, text));
            }
            job.end(Status::Cancelled, None, inner.clock.now());
            save(changes, &id, &job)?;
            let view = job.view(&id);
            changes.after(move || {
                if let Some(token) = inner.jobs.running().get(&id) {
                    token.cancel();
                }
                // What it has not begun is told.
                inner.jobs.changed.notify_one();
            });
            Ok(view)
        };
        self.inner.store.write(change).await
    }

    /// Up to `page` jobs of a type and status, by id.
    pub async fn list_jobs(
        &self,
        kind: Option<String>,
        status: Option<String>,
        from: Place,
        page: usize,
    ) -> Result<Page, Refusal> {
        let read = move |tx: &ReadTransaction| {
            let table = tx.open_table(tables::JOBS)?;
            let after = from.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let is = |wanted: &Option<String>, name: &str| {
                wanted.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(name))
            };
            let (mut items, mut last) = (Vec::new(), None);
            for row in table.range::<&str>((after, Bound::Unbounded))? {
                let (id, bytes) = row?;
                let job: Job = tables::decode("job", bytes.value())?;
                if !is(&kind, job.work.name()) || !is(&status, job.status.name()) {
                    continue;
                }
                if items.len() == page {
                    let given = from.given + items.len();
                    return Ok(Page { items, next: Some(Place { after: last, given }) });
                }
                items.push(job.view(id.value()));
                last = Some(id.value().to_owned());
            }
            Ok(Page { items, next: None })
        };
        self.inner.store.read(read).await
    }
}

fn find(table: &impl ReadableTable<&'static str, &'static [u8]>, id: &str) -> Result<Job, Error> {
    super::identities::get(table, "job", id)?
        .ok_or_else(|| Error::refuse(ErrorCode::JobNotFound, format!("there is no job '{id}'")))
}

fn save(changes: &Changes<'_>, id: &str, job: &Job) -> Result<(), Error> {
    changes.tx.open_table(tables::JOBS)?.insert(id, tables::encode("job", job)?.as_slice())?;
    Ok(())
}
