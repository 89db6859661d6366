//! Import and export of all identities and twins, from and to a blob container.
//!
//! Start with [`Registry::create_transfer`]; the work is done by [`Registry::run_transfers`], one at a time. What is stored of a
//! transfer holds no signature of a container, so one that was interrupted by a restart is noted as failed and made again by
//! whoever has it. Source: Azure docs "Import and export IoT Hub device identities in bulk".

mod container;
mod export;
mod import;
mod row;

pub use row::TransferWish;

use super::error::Error;
use super::identities::get;
use super::store::Changes;
use super::{Registry, tables};
use ironbrook_model::{ErrorCode, Refusal};
use redb::{ReadTransaction, ReadableTable};
use row::{Request, Status, Transfer};
use serde_json::Value;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Transfers that are kept; the oldest ended one makes room.
const KEPT_MAX: usize = 1000;

/// Why a transfer ended early.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Failure {
    /// What was asked for cannot be.
    #[error("{0}")]
    Wish(String),
    /// The container.
    #[error("{0}")]
    Container(String),
    /// The registry.
    #[error("{0}")]
    Registry(#[from] Refusal),
}

/// The transfer that is to be done or is being done.
struct Current {
    id: String,
    /// Taken by who does it.
    request: Option<Request>,
    cancel: CancellationToken,
}

/// What of transfers is in memory.
#[derive(Default)]
pub(super) struct State {
    current: Mutex<Option<Current>>,
    changed: Notify,
}

impl State {
    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// Begins an import or export. 400004 where a member is wrong, 400008 where the container's URI is, 403003 while another one
    /// is under way.
    pub async fn create_transfer(&self, wish: TransferWish) -> Result<Value, Refusal> {
        let (transfer, request) = wish.check(self.inner.clock.now())?;
        let id = uuid::Uuid::new_v4().to_string();
        {
            let mut current = self.inner.transfers.current();
            if let Some(current) = &*current {
                let text = format!(
                    "the import or export {} is under way; wait for its end, or cancel it",
                    current.id
                );
                return Err(Refusal::new(ErrorCode::JobQuotaExceeded, text));
            }
            let cancel = CancellationToken::new();
            *current = Some(Current { id: id.clone(), request: Some(request), cancel });
        }
        let (inner, at, view) = (self.inner.clone(), id.clone(), transfer.view(&id));
        let change = move |changes: &Changes<'_>| {
            make_room(changes)?;
            save(changes, &at, &transfer)?;
            changes.after(move || inner.transfers.changed.notify_one());
            Ok(())
        };
        match self.inner.store.write(change).await {
            Ok(()) => Ok(view),
            Err(refusal) => {
                *self.inner.transfers.current() = None;
                Err(refusal)
            }
        }
    }

    /// An import or export. 404002.
    pub async fn transfer(&self, id: String) -> Result<Value, Refusal> {
        let read = move |tx: &ReadTransaction| {
            let table = tx.open_table(tables::TRANSFERS)?;
            let found: Option<Transfer> = get(&table, "transfer", &id)?;
            Ok(found.ok_or_else(|| not_found(&id))?.view(&id))
        };
        self.inner.store.read(read).await
    }

    /// All imports and exports that are kept.
    pub async fn list_transfers(&self) -> Result<Vec<Value>, Refusal> {
        let read = |tx: &ReadTransaction| {
            let mut all = Vec::new();
            for row in tx.open_table(tables::TRANSFERS)?.iter()? {
                let (id, bytes) = row?;
                let transfer: Transfer = tables::decode("transfer", bytes.value())?;
                all.push((transfer.started, transfer.view(id.value())));
            }
            all.sort_by_key(|(started, _)| *started);
            Ok(all.into_iter().map(|(_, view)| view).collect())
        };
        self.inner.store.read(read).await
    }

    /// Ends an import or export; what it has done stays. 404002.
    pub async fn cancel_transfer(&self, id: String) -> Result<(), Refusal> {
        if let Some(current) = &*self.inner.transfers.current()
            && current.id == id
        {
            current.cancel.cancel();
            return Ok(());
        }
        self.transfer(id).await.map(drop)
    }

    /// Does imports and exports until cancelled.
    pub async fn run_transfers(&self, cancel: CancellationToken) {
        let why = "the hub was restarted while it was under way; make it again".to_owned();
        if let Err(refusal) = self.end_interrupted(why).await {
            tracing::warn!(%refusal, "imports and exports cannot be looked at");
        }
        loop {
            let next = self.inner.transfers.current().as_mut().and_then(|current| {
                Some((current.id.clone(), current.request.take()?, current.cancel.clone()))
            });
            tokio::select! {
                () = cancel.cancelled() => return,
                () = self.do_next(next) => {}
            }
        }
    }

    /// Does one, or waits for one.
    async fn do_next(&self, next: Option<(String, Request, CancellationToken)>) {
        let Some((id, request, cancel)) = next else { return self.inner.transfers.changed.notified().await };
        let work = async {
            self.note(&id, |transfer| transfer.status = Status::Running).await?;
            match &request {
                Request::Import(import) => self.import(&id, import).await,
                Request::Export(export) => self.export(&id, export).await,
            }
        };
        let outcome = tokio::select! {
            done = work => done.map_or_else(|failure| (Status::Failed, Some(failure.to_string())), |()| (Status::Completed, None)),
            () = cancel.cancelled() => (Status::Cancelled, None),
        };
        // Before anybody hears of the end: the next one may come at once.
        *self.inner.transfers.current() = None;
        let now = self.inner.clock.now();
        let end = move |transfer: &mut Transfer| transfer.end(outcome.0, outcome.1.clone(), now);
        if let Err(refusal) = self.note(&id, end).await {
            tracing::warn!(transfer = id, %refusal, "the end of an import or export could not be noted");
        }
    }

    /// Changes what is stored of a transfer.
    async fn note(&self, id: &str, change: impl Fn(&mut Transfer) + Send + 'static) -> Result<(), Refusal> {
        let id = id.to_owned();
        let change = move |changes: &Changes<'_>| {
            let found: Option<Transfer> = get(&changes.tx.open_table(tables::TRANSFERS)?, "transfer", &id)?;
            let mut transfer = found.ok_or_else(|| not_found(&id))?;
            change(&mut transfer);
            save(changes, &id, &transfer)
        };
        self.inner.store.write(change).await
    }

    async fn end_interrupted(&self, why: String) -> Result<(), Refusal> {
        let under_way = self.inner.transfers.current().as_ref().map(|current| current.id.clone());
        let inner = self.inner.clone();
        let change = move |changes: &Changes<'_>| {
            for (id, mut transfer) in all(changes)? {
                if !transfer.status.is_final() && under_way.as_ref() != Some(&id) {
                    transfer.end(Status::Failed, Some(why.clone()), inner.clock.now());
                    save(changes, &id, &transfer)?;
                }
            }
            Ok(())
        };
        self.inner.store.write(change).await
    }
}

fn not_found(id: &str) -> Error {
    Error::refuse(ErrorCode::JobNotFound, format!("there is no import or export '{id}'"))
}

fn all(changes: &Changes<'_>) -> Result<Vec<(String, Transfer)>, Error> {
    let table = changes.tx.open_table(tables::TRANSFERS)?;
    let mut all = Vec::new();
    for row in table.iter()? {
        let (id, bytes) = row?;
        all.push((id.value().to_owned(), tables::decode("transfer", bytes.value())?));
    }
    Ok(all)
}

fn save(changes: &Changes<'_>, id: &str, transfer: &Transfer) -> Result<(), Error> {
    let mut table = changes.tx.open_table(tables::TRANSFERS)?;
    table.insert(id, tables::encode("transfer", transfer)?.as_slice())?;
    Ok(())
}

fn make_room(changes: &Changes<'_>) -> Result<(), Error> {
    let all = all(changes)?;
    if all.len() < KEPT_MAX {
        return Ok(());
    }
    let ended = all.iter().filter(|(_, transfer)| transfer.status.is_final());
    let oldest = ended.min_by_key(|(_, transfer)| transfer.started).map(|(id, _)| id);
    if let Some(oldest) = oldest {
        changes.tx.open_table(tables::TRANSFERS)?.remove(oldest.as_str())?;
    }
    Ok(())
}
