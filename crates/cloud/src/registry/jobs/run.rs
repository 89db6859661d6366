//! Doing jobs.

use super::super::error::Error;
use super::super::identities::get;
use super::super::scan::{Plan, visit};
use super::super::store::Changes;
use super::super::{IfMatch, Inner, Registry, TwinChange, tables, twins};
use super::row::{DeviceJob, DeviceStatus, Job, Search, Status};
use super::wish::{MethodWish, TwinWish, Work};
use super::{KEPT, events, find, save};
use futures_util::stream::{self, FuturesUnordered, StreamExt as _, TryStreamExt as _};
use ironbrook_hub::Hub;
use ironbrook_hub::throttle::Throttle;
use ironbrook_model::{ErrorCode, Identity, Refusal, Timestamp};
use ironbrook_query::twin::TargetCondition;
use redb::{ReadTransaction, ReadableTable};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Devices of a job that are worked on at a time.
const CONCURRENT_MAX: usize = 32;
/// Devices found, or looked up, at a time.
const GROUP_MAX: usize = 256;
/// How long to wait where the database refuses.
const RETRY: Duration = Duration::from_secs(1);
/// How often old jobs are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// Records of an old job removed in one change.
const PRUNED_MAX: usize = 1000;
/// Above every key of an identity.
const LAST_KEY: &str = "\u{10ffff}";

/// What is to be done with jobs now.
#[derive(Default)]
struct Due {
    /// Ids, those that already began first.
    jobs: Vec<String>,
    /// When the next one begins.
    next: Option<Timestamp>,
}

impl Registry {
    /// Does jobs whose time has come, until cancelled. What is under way then goes on after the next start.
    pub async fn run_jobs(&self, hub: Hub, cancel: CancellationToken) {
        let mut running = FuturesUnordered::new();
        let mut pruned = Timestamp::from_millis(0);
        loop {
            let now = self.inner.clock.now();
            if now.since(pruned) >= PRUNE_EVERY {
                pruned = now;
                self.prune().await.unwrap_or_else(|refusal| {
                    tracing::warn!(%refusal, "old jobs could not be removed");
                });
            }
            let due = self.due().await.unwrap_or_else(|refusal| {
                tracing::warn!(%refusal, "jobs could not be read; trying again");
                Due { jobs: Vec::new(), next: Some(now.plus(RETRY)) }
            });
            for id in due.jobs {
                if running.len() >= self.inner.config.jobs_at_once {
                    break;
                }
                let token = CancellationToken::new();
                self.inner.jobs.running().insert(id.clone(), token.clone());
                running.push(self.do_job(hub.clone(), id, token));
            }
            let next = due.next.unwrap_or(now.plus(PRUNE_EVERY)).min(now.plus(PRUNE_EVERY));
            tokio::select! {
                () = cancel.cancelled() => return,
                Some(()) = running.next() => {}
                () = self.inner.jobs.changed.notified() => {}
                () = self.inner.clock.sleep_until(next) => {}
            }
        }
    }

    async fn due(&self) -> Result<Due, Refusal> {
        let inner = self.inner.clone();
        let read = move |tx: &ReadTransaction| {
            let now = inner.clock.now();
            let (mut found, mut next) = (Vec::new(), None::<Timestamp>);
            for row in tx.open_table(tables::JOBS)?.iter()? {
                let (id, bytes) = row?;
                let job: Job = tables::decode("job", bytes.value())?;
                let is_over = job.status.is_final() && job.untold.is_none();
                if is_over || inner.jobs.running().contains_key(id.value()) {
                    continue;
                }
                if job.start > now {
                    next = Some(next.map_or(job.start, |next| next.min(job.start)));
                } else {
                    found.push((job.status != Status::Running, job.start, id.value().to_owned()));
                }
            }
            found.sort();
            Ok(Due { jobs: found.into_iter().map(|(_, _, id)| id).collect(), next })
        };
        self.inner.store.read(read).await
    }

    async fn do_job(&self, hub: Hub, id: String, token: CancellationToken) {
        if let Err(refusal) = self.try_job(&hub, &id, &token).await {
            tracing::warn!(job = id, %refusal, "a job could not go on; trying again");
            self.inner.clock.sleep(RETRY).await;
        }
        self.inner.jobs.running().remove(&id);
    }

    async fn try_job(&self, hub: &Hub, id: &str, token: &CancellationToken) -> Result<(), Refusal> {
        let Some(job) = self.begin(id).await? else { return self.wind_up(id).await };
        let deadline = job.began.unwrap_or(job.start).plus(job.execution);
        let work = async {
            self.end_methods(id, "the hub was restarted before the device answered").await?;
            self.search(id, &job).await?;
            self.work_off(hub, id, &job.work).await?;
            self.finish(id, Status::Completed, None).await
        };
        tokio::select! {
            done = work => return done,
            () = token.cancelled() => {}
            () = self.inner.clock.sleep_until(deadline) => {
                let text = format!("not done within maxExecutionTimeInSeconds, {}", job.execution.as_secs());
                self.finish(id, Status::Failed, Some(text)).await?;
            }
        }
        self.wind_up(id).await
    }

    /// What is left to do for a job that has ended before its devices had.
    async fn wind_up(&self, id: &str) -> Result<(), Refusal> {
        self.end_methods(id, "the job ended before the device answered").await?;
        self.tell_undone(id).await
    }

    /// `None` where the job has ended.
    async fn begin(&self, id: &str) -> Result<Option<Job>, Refusal> {
        let (inner, id) = (self.inner.clone(), id.to_owned());
        let change = move |changes: &Changes<'_>| {
            let mut job = find(&changes.tx.open_table(tables::JOBS)?, &id)?;
            if job.status.is_final() {
                return Ok(None);
            }
            job.status = Status::Running;
            job.began.get_or_insert(inner.clock.now());
            save(changes, &id, &job)?;
            Ok(Some(job))
        };
        self.inner.store.write(change).await
    }

    async fn finish(&self, id: &str, status: Status, failure: Option<String>) -> Result<(), Refusal> {
        let (inner, id) = (self.inner.clone(), id.to_owned());
        let change = move |changes: &Changes<'_>| {
            let mut job = find(&changes.tx.open_table(tables::JOBS)?, &id)?;
            if job.status.is_final() {
                return Ok(());
            }
            job.end(status, failure, inner.clock.now());
            save(changes, &id, &job)
        };
        self.inner.store.write(change).await
    }

    /// Notes all twins the job is for, from where it had come.
    async fn search(&self, id: &str, job: &Job) -> Result<(), Refusal> {
        let target = TargetCondition::parse(&job.condition)
            .map_err(|error| Error::Stored { what: "job", why: error.to_string() })?;
        let target = Arc::new(target);
        let mut search = job.search.clone();
        while let Search::After(after) = search {
            let (inner, wanted) = (self.inner.clone(), target.clone());
            let look = move |tx: &ReadTransaction| {
                let plan = Plan::of(tx, wanted.source(), &wanted.equalities())?;
                let mut keys = Vec::new();
                visit(&inner, tx, wanted.source(), &plan, after.as_deref(), |key, twin| {
                    if wanted.matches(&twin) {
                        keys.push(key.to_owned());
                    }
                    keys.len() < GROUP_MAX
                })?;
                Ok(keys)
            };
            let keys = self.inner.store.read(look).await?;
            let is_last = keys.len() < GROUP_MAX;
            let next = if is_last { Search::Done } else { Search::After(keys.last().cloned()) };
            self.note_found(id, keys, next.clone()).await?;
            search = next;
        }
        Ok(())
    }

    async fn note_found(&self, id: &str, keys: Vec<String>, search: Search) -> Result<(), Refusal> {
        let (inner, id) = (self.inner.clone(), id.to_owned());
        let change = move |changes: &Changes<'_>| {
            let mut job = find(&changes.tx.open_table(tables::JOBS)?, &id)?;
            // What is found after a job was cancelled is none of its devices.
            if job.status.is_final() {
                return Ok(());
            }
            let record = tables::encode("job record", &DeviceJob::new(inner.clock.now()))?;
            let mut table = changes.tx.open_table(tables::JOB_DEVICES)?;
            for key in &keys {
                table.insert((id.as_str(), key.as_str()), record.as_slice())?;
            }
            job.counts.all += keys.len() as u64;
            job.counts.pending += keys.len() as u64;
            job.search = search;
            save(changes, &id, &job)
        };
        self.inner.store.write(change).await
    }

    /// Does what is pending.
    async fn work_off(&self, hub: &Hub, id: &str, work: &Work) -> Result<(), Refusal> {
        let mut after = String::new();
        loop {
            let keys = self.in_status(id, DeviceStatus::Pending, after.clone()).await?;
            let Some(last) = keys.last().cloned() else { return Ok(()) };
            let step = |key: String| async move {
                hub.throttles().wait(Throttle::JobDevices).await;
                match work {
                    Work::Twin(wish) => self.change_twin_for(id, key, wish).await,
                    Work::Method(wish) => self.call_for(hub, id, key, wish).await,
                }
            };
            stream::iter(keys.into_iter().map(Ok)).try_for_each_concurrent(CONCURRENT_MAX, step).await?;
            after = last;
        }
    }

    /// Keys of devices in a status, after a place.
    async fn in_status(&self, id: &str, status: DeviceStatus, after: String) -> Result<Vec<String>, Refusal> {
        let id = id.to_owned();
        let read = move |tx: &ReadTransaction| {
            let table = tx.open_table(tables::JOB_DEVICES)?;
            let from = format!("{after}\0");
            let mut keys = Vec::new();
            for row in table.range((id.as_str(), from.as_str())..(id.as_str(), LAST_KEY))? {
                let (key, bytes) = row?;
                let record: DeviceJob = tables::decode("job record", bytes.value())?;
                if record.status == status {
                    keys.push(key.value().1.to_owned());
                }
                if keys.len() == GROUP_MAX {
                    break;
                }
            }
            Ok(keys)
        };
        self.inner.store.read(read).await
    }

    /// The twin and the note of it in one transaction.
    async fn change_twin_for(&self, id: &str, key: String, wish: &TwinWish) -> Result<(), Refusal> {
        let (inner, id) = (self.inner.clone(), id.to_owned());
        let desired = wish.properties.as_ref().and_then(|properties| properties.desired.clone());
        let patch = TwinChange::Patch { tags: wish.tags.clone(), desired };
        let bare = wish.etag.as_deref().unwrap_or("*").trim_matches('"').to_owned();
        let if_match = if bare == "*" || bare.is_empty() { IfMatch::Any } else { IfMatch::Etag(bare) };
        let change = move |changes: &Changes<'_>| {
            let Some(mut open) = Open::of(changes, &id, &key, DeviceStatus::Pending)? else { return Ok(()) };
            if open.job.status != Status::Running {
                return Ok(());
            }
            let result = match twins::apply(&inner, changes, &open.identity, patch, &if_match) {
                Ok(_) => Ok(None),
                Err(Error::Refused(refusal)) => Err(refusal),
                Err(error) => return Err(error),
            };
            open.record.end(result, inner.clock.now());
            open.save(&inner, changes, DeviceStatus::Pending)
        };
        self.inner.store.write(change).await
    }

    /// Noted before the call goes out and after it came back.
    async fn call_for(&self, hub: &Hub, id: &str, key: String, wish: &MethodWish) -> Result<(), Refusal> {
        let (inner, job, at) = (self.inner.clone(), id.to_owned(), key.clone());
        let begin = move |changes: &Changes<'_>| {
            let Some(mut open) = Open::of(changes, &job, &at, DeviceStatus::Pending)? else {
                return Ok(None);
            };
            if open.job.status != Status::Running {
                return Ok(None);
            }
            let now = inner.clock.now();
            (open.record.status, open.record.started, open.record.updated) =
                (DeviceStatus::Running, Some(now), now);
            let identity = open.identity.clone();
            open.save(&inner, changes, DeviceStatus::Pending).map(|()| Some(identity))
        };
        let Some(identity) = self.inner.store.write(begin).await? else { return Ok(()) };
        let result = match wish.call() {
            Ok(call) => hub.invoke_method(&identity, call).await,
            Err(refusal) => Err(refusal),
        };
        let result = result.map(|answer| {
            let payload: Value = serde_json::from_str(answer.payload.get()).unwrap_or_default();
            Some(json!({ "status": answer.status, "payload": payload }))
        });
        self.end_method(id, &key, result).await
    }

    async fn end_method(
        &self,
        id: &str,
        key: &str,
        result: Result<Option<Value>, Refusal>,
    ) -> Result<(), Refusal> {
        let (inner, id, key) = (self.inner.clone(), id.to_owned(), key.to_owned());
        let end = move |changes: &Changes<'_>| {
            let Some(mut open) = Open::of(changes, &id, &key, DeviceStatus::Running)? else { return Ok(()) };
            open.record.end(result, inner.clock.now());
            open.save(&inner, changes, DeviceStatus::Running)
        };
        self.inner.store.write(end).await
    }

    /// Notes methods that nobody waits for any more as failed.
    async fn end_methods(&self, id: &str, why: &'static str) -> Result<(), Refusal> {
        loop {
            let keys = self.in_status(id, DeviceStatus::Running, String::new()).await?;
            if keys.is_empty() {
                return Ok(());
            }
            for key in keys {
                self.end_method(id, &key, Err(Refusal::new(ErrorCode::JobCancelled, why))).await?;
            }
        }
    }

    /// Removes jobs that ended long ago, with their records.
    async fn prune(&self) -> Result<(), Refusal> {
        let inner = self.inner.clone();
        let old = move |tx: &ReadTransaction| {
            let now = inner.clock.now();
            let mut old = Vec::new();
            for row in tx.open_table(tables::JOBS)?.iter()? {
                let (id, bytes) = row?;
                let job: Job = tables::decode("job", bytes.value())?;
                if job.ended.is_some_and(|ended| ended.plus(KEPT) <= now) {
                    old.push(id.value().to_owned());
                }
            }
            Ok(old)
        };
        for id in self.inner.store.read(old).await? {
            loop {
                let id = id.clone();
                if self.inner.store.write(move |changes| remove_some(changes, &id)).await? {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Removes records of a job, and at the end the job; true at the end.
fn remove_some(changes: &Changes<'_>, id: &str) -> Result<bool, Error> {
    let mut records = changes.tx.open_table(tables::JOB_DEVICES)?;
    let keys = records
        .range((id, "")..(id, LAST_KEY))?
        .take(PRUNED_MAX)
        .map(|row| Ok(row?.0.value().1.to_owned()))
        .collect::<Result<Vec<_>, Error>>()?;
    for key in &keys {
        records.remove((id, key.as_str()))?;
    }
    if keys.len() < PRUNED_MAX {
        changes.tx.open_table(tables::JOBS)?.remove(id)?;
    }
    Ok(keys.len() < PRUNED_MAX)
}

/// A job and one of its devices inside a change.
struct Open {
    id: String,
    key: String,
    identity: Identity,
    job: Job,
    record: DeviceJob,
}

impl Open {
    /// `None` where the device is not in this status.
    fn of(changes: &Changes<'_>, id: &str, key: &str, wanted: DeviceStatus) -> Result<Option<Self>, Error> {
        let Some(job) = get(&changes.tx.open_table(tables::JOBS)?, "job", id)? else { return Ok(None) };
        let table = changes.tx.open_table(tables::JOB_DEVICES)?;
        let Some(bytes) = table.get((id, key))? else { return Ok(None) };
        let record: DeviceJob = tables::decode("job record", bytes.value())?;
        let identity = tables::identity(key)?;
        let open = Self { id: id.to_owned(), key: key.to_owned(), identity, job, record };
        Ok((open.record.status == wanted).then_some(open))
    }

    /// Writes both, and tells who listens; the device was in a status before.
    fn save(mut self, inner: &Arc<Inner>, changes: &Changes<'_>, before: DeviceStatus) -> Result<(), Error> {
        let counts = &mut self.job.counts;
        let mut place = |status: DeviceStatus, by: i64| {
            let count = match status {
                DeviceStatus::Pending => &mut counts.pending,
                DeviceStatus::Running => &mut counts.running,
                DeviceStatus::Completed => &mut counts.succeeded,
                DeviceStatus::Failed => &mut counts.failed,
            };
            *count = count.saturating_add_signed(by);
        };
        place(before, -1);
        place(self.record.status, 1);
        let bytes = tables::encode("job record", &self.record)?;
        let mut table = changes.tx.open_table(tables::JOB_DEVICES)?;
        table.insert((self.id.as_str(), self.key.as_str()), bytes.as_slice())?;
        drop(table);
        events::ended(inner, changes, &self.id, &self.job, &self.identity, &self.record)?;
        save(changes, &self.id, &self.job)
    }
}
