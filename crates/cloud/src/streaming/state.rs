//! What a job keeps: the engine's state, its place in the events, rows that wait and deliveries under way, in one record.

use super::output::{Delivery, KeptOutput, Output};
use ironbrook_analytics::value::DateTime;
use ironbrook_analytics::value::snapshot::{Reader, SnapshotError, Writer};
use ironbrook_log::Offset;

/// Grows when old programs could not read what new ones write, or the other way round.
const VERSION: u8 = 1;

/// What was counted since the job was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Messages read.
    pub(super) messages: u64,
    /// Events in them.
    pub(super) events: u64,
    /// Events that were left out or moved, and rows that could not be computed.
    pub(super) data_errors: u64,
    /// Messages that the log had dropped before they were read.
    pub(super) lost: u64,
}

/// A job's state, read back.
#[derive(Debug)]
pub(super) struct Saved {
    /// Which start of the job it is of.
    pub(super) run: String,
    /// No event arrives before this any more.
    pub(super) floor: DateTime,
    /// Where each partition goes on.
    pub(super) places: Vec<Offset>,
    /// [`Engine::snapshot`](ironbrook_analytics::engine::Engine::snapshot).
    pub(super) engine: Vec<u8>,
    pub(super) outputs: Vec<KeptOutput>,
    /// Deliveries that may not have come to their receivers.
    pub(super) outbox: Vec<Delivery>,
    pub(super) counts: Counts,
}

/// A job's state on its way to the disk.
pub(super) struct Saving<'a> {
    pub(super) run: &'a str,
    pub(super) floor: DateTime,
    pub(super) places: &'a [Offset],
    pub(super) engine: &'a [u8],
    pub(super) outputs: &'a [Output],
    pub(super) outbox: &'a [Delivery],
    pub(super) counts: Counts,
}

impl Saving<'_> {
    /// As bytes.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.byte(VERSION);
        out.text(self.run);
        out.time(self.floor);
        out.size(self.places.len());
        self.places.iter().for_each(|place| out.unsigned(place.0));
        out.bytes(self.engine);
        out.size(self.outputs.len());
        self.outputs.iter().for_each(|output| output.write(&mut out));
        out.size(self.outbox.len());
        self.outbox.iter().for_each(|delivery| delivery.write(&mut out));
        let Counts { messages, events, data_errors, lost } = self.counts;
        [messages, events, data_errors, lost].into_iter().for_each(|count| out.unsigned(count));
        out.finish()
    }
}

impl Saved {
    /// Reads what [`Saving`] wrote.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let mut from = Reader::new(bytes);
        if from.byte()? != VERSION {
            return Err(SnapshotError::Damaged("its version"));
        }
        let (run, floor) = (from.text()?.to_owned(), from.time()?);
        let places = (0..from.count()?).map(|_| from.unsigned().map(Offset)).collect::<Result<_, _>>()?;
        let engine = from.bytes()?.to_vec();
        let outputs = (0..from.count()?).map(|_| KeptOutput::read(&mut from)).collect::<Result<_, _>>()?;
        let outbox = (0..from.count()?).map(|_| Delivery::read(&mut from)).collect::<Result<_, _>>()?;
        let counts = Counts {
            messages: from.unsigned()?,
            events: from.unsigned()?,
            data_errors: from.unsigned()?,
            lost: from.unsigned()?,
        };
        if !from.is_at_end() {
            return Err(SnapshotError::Damaged("its end"));
        }
        Ok(Self { run, floor, places, engine, outputs, outbox, counts })
    }
}
