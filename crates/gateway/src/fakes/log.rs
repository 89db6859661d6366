//! A log in memory whose disk the test moves.

use async_trait::async_trait;
use ironbrook_hub::record;
use ironbrook_log::{Append, Batch, Bounds, Error, Log, Offset, PartitionId, Record, Seek, Ticket, Wait};
use ironbrook_model::Message;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use tokio::sync::watch;

pub(crate) struct FakeLog {
    records: Mutex<Vec<Record>>,
    /// Records with a lower number are durable.
    durable: watch::Sender<u64>,
    /// Whether a record is durable at once.
    at_once: AtomicBool,
    /// Told of each sync.
    waiting: Mutex<Vec<Waker>>,
    /// Records that still fit.
    room: watch::Sender<usize>,
}

impl Default for FakeLog {
    fn default() -> Self {
        Self {
            records: Mutex::default(),
            durable: watch::Sender::new(0),
            at_once: AtomicBool::new(true),
            waiting: Mutex::default(),
            room: watch::Sender::new(usize::MAX),
        }
    }
}

impl FakeLog {
    /// From now on nothing becomes durable but by [`sync`](Self::sync).
    pub(crate) fn hold(&self) {
        self.at_once.store(false, Ordering::SeqCst);
    }

    /// Makes the first `count` records durable.
    pub(crate) fn sync(&self, count: u64) {
        self.durable.send_replace(count);
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap());
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Takes that many records more, then none.
    pub(crate) fn set_room(&self, room: usize) {
        self.room.send_replace(room);
    }

    pub(crate) fn len(&self) -> usize {
        self.records.lock().unwrap().len()
    }

    /// The messages, decoded.
    pub(crate) fn messages(&self) -> Vec<Message> {
        let records = self.records.lock().unwrap();
        records.iter().map(|r| record::decode(r).unwrap().message).collect()
    }

    /// Waits until that many records were appended.
    pub(crate) async fn appended(&self, count: usize) {
        super::eventually(&format!("{count} records"), || self.len() >= count).await;
    }
}

#[async_trait]
impl Log for FakeLog {
    fn partitions(&self) -> u16 {
        1
    }

    fn append(&self, partition: PartitionId, record: Append<'_>) -> Result<Ticket, Error> {
        let mut full = true;
        self.room.send_if_modified(|room| {
            full = *room == 0;
            *room = room.saturating_sub(1);
            false
        });
        if full {
            return Err(Error::Full);
        }
        let mut records = self.records.lock().unwrap();
        let offset = Offset(records.len() as u64);
        records.push(Record {
            offset,
            event_sequence: None,
            enqueued: record.enqueued,
            queues: record.queues.into(),
            header: bytes::Bytes::copy_from_slice(record.header),
            body: bytes::Bytes::copy_from_slice(record.body),
        });
        if self.at_once.load(Ordering::SeqCst) {
            self.durable.send_replace(records.len() as u64);
        }
        Ok(Ticket { partition, offset })
    }

    async fn room(&self, _: PartitionId) -> Result<(), Error> {
        let _ = self.room.subscribe().wait_for(|room| *room > 0).await;
        Ok(())
    }

    async fn durable(&self, ticket: Ticket) -> Result<(), Error> {
        let _ = self.durable.subscribe().wait_for(|durable| *durable > ticket.offset.0).await;
        Ok(())
    }

    fn poll_durable(
        &self,
        ticket: Ticket,
        _: &mut Wait,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Offset, Error>> {
        let mut waiting = self.waiting.lock().unwrap();
        let durable = *self.durable.borrow();
        if durable > ticket.offset.0 {
            return Poll::Ready(Ok(Offset(durable)));
        }
        waiting.push(cx.waker().clone());
        Poll::Pending
    }

    async fn read(
        &self,
        _: PartitionId,
        _: ironbrook_log::QueueId,
        from: Offset,
        _: usize,
        _: usize,
    ) -> Result<Batch, Error> {
        Ok(Batch { records: Vec::new(), next: from })
    }

    async fn tail(&self, _: PartitionId, _: Offset) -> Result<Offset, Error> {
        std::future::pending().await
    }

    async fn seek(&self, _: PartitionId, _: Seek) -> Result<Offset, Error> {
        Ok(Offset(0))
    }

    fn bounds(&self, _: PartitionId) -> Bounds {
        Bounds::default()
    }

    async fn trim(&self, _: PartitionId, _: Offset) -> Result<(), Error> {
        Ok(())
    }

    async fn close(&self) {}
}
