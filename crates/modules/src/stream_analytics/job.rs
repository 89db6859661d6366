//! A query at work: messages in, messages out, and its state as bytes. No clock, no connection, no files.
//!
//! Rows are not sent from here: [`Job::checkpoint`] puts them into the outbox, which is part of the state, and what was kept is sent.
//! So a row that left once comes again as the same message, or not at all.

use super::identity::{Contained, MessageKey};
use super::outgoing::{Outgoing, Packer};
use super::program::Program;
use super::timeline::Timeline;
use ironbrook_analytics::engine::{DataError, Decoder, Engine, EngineError, OutputRow};
use ironbrook_analytics::value::DateTime;
use ironbrook_analytics::value::snapshot::{Reader, SnapshotError, Writer};
use ironbrook_client::{Message, SystemProperty};
use std::collections::HashMap;
use std::sync::Arc;

/// Grows when old programs could not read what new ones write, or the other way round.
const VERSION: u8 = 1;
/// An application property that may carry the time at which the hub took a message.
const ENQUEUED: &str = "iothub-enqueuedtime";

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is in the state now.
    Counted,
    /// It was in the state before.
    Repeated,
    /// The query does not read this input.
    NotRead,
}

/// Counts of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct InputCounts {
    pub(super) events: u64,
    pub(super) data_errors: u64,
}

#[derive(Debug, Default)]
struct Input {
    contained: Contained,
    counts: InputCounts,
}

#[derive(Debug, Clone, Copy, Default)]
struct Output {
    rows: u64,
    messages: u64,
}

/// A query at work.
#[derive(Debug)]
pub(super) struct Job {
    program: Program,
    engine: Engine,
    /// Of each input.
    decoders: Vec<Decoder>,
    timeline: Timeline,
    /// As the query's.
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    /// Rows since the last checkpoint.
    rows: Vec<OutputRow>,
    outbox: Vec<Outgoing>,
    /// Rows that no message can hold, since last asked.
    too_large: u64,
}

impl Job {
    /// Begins a query.
    pub(super) fn new(program: Program) -> Self {
        let engine = Engine::new(program.query.clone(), program.engine_policies());
        Self::with(program, engine, DateTime::MIN, &mut Kept::default())
    }

    /// Goes on from a checkpoint, which may be another query's: windows that are the same in both keep what they hold.
    pub(super) fn restore(program: Program, checkpoint: &[u8]) -> Result<Self, SnapshotError> {
        let mut kept = Kept::read(checkpoint)?;
        let engine = Engine::restore(program.query.clone(), program.engine_policies(), &kept.engine)?;
        let floor = kept.floor;
        Ok(Self::with(program, engine, floor, &mut kept))
    }

    fn with(program: Program, mut engine: Engine, floor: DateTime, kept: &mut Kept) -> Self {
        let query = &program.query;
        for table in &program.tables {
            // They were read for the inputs that this query has.
            let loaded = engine.load_reference(table.input, DateTime::MIN, &table.rows);
            debug_assert!(loaded.is_ok());
        }
        let tolerance = i64::try_from(program.policies.late_arrival_seconds).unwrap_or(i64::MAX);
        let second = ironbrook_analytics::value::datetime::SECOND;
        Self {
            decoders: (0..query.inputs().len())
                .map(|input| {
                    let format = program.formats.of(&query.inputs()[input].name);
                    Decoder::of(query, input, engine.policies(), format)
                })
                .collect(),
            timeline: Timeline::new(floor, tolerance.saturating_mul(second)),
            inputs: query
                .inputs()
                .iter()
                .map(|i| kept.inputs.remove(&folded(&i.name)).unwrap_or_default())
                .collect(),
            outputs: query
                .outputs()
                .iter()
                .map(|o| kept.outputs.remove(&folded(o)).unwrap_or_default())
                .collect(),
            rows: Vec::new(),
            outbox: std::mem::take(&mut kept.outbox),
            too_large: 0,
            engine,
            program,
        }
    }

    pub(super) fn program(&self) -> &Program {
        &self.program
    }

    /// Messages that waited in the hub, or were under way when something broke, may come now.
    pub(super) fn resume(&mut self, now: DateTime) {
        self.timeline.catch_up(now);
        self.expect_repetitions();
    }

    /// The hub may have lost patience and repeat messages on the same connection.
    pub(super) fn expect_repetitions(&mut self) {
        self.inputs.iter_mut().for_each(|input| input.contained.expect_repetitions());
    }

    /// Takes a message in.
    ///
    /// An error means that the query has stopped; go on from the last checkpoint, which does not contain the message.
    pub(super) fn take(
        &mut self,
        now: DateTime,
        input: &str,
        message: &Message,
    ) -> Result<Taken, EngineError> {
        let query = self.program.query.clone();
        // Reference data comes from a file, whatever a route says.
        let stream = query.input(input).filter(|index| !query.inputs()[*index].reference);
        let Some(index) = stream else { return Ok(Taken::NotRead) };
        if self.inputs[index].contained.is_repeated(MessageKey::of(message)) {
            return Ok(Taken::Repeated);
        }
        let mut events = Vec::new();
        self.decoders[index].read(&message.body, &mut |event| events.push(event));
        let latest = || events.iter().flatten().filter_map(|event| query.event_time(index, event)).max();
        let arrival = self.timeline.arrival(now, stamp(message), latest);
        let errors = self.data_errors();
        self.inputs[index].counts.events += events.len() as u64;
        for event in events {
            match event {
                Ok(event) => self.engine.push(index, arrival, event)?,
                Err(error) => self.engine.refuse(index, arrival, &error),
            }
        }
        self.inputs[index].counts.data_errors += self.data_errors() - errors;
        self.rows.extend(self.engine.rows());
        Ok(Taken::Counted)
    }

    /// Lets the clock close windows. Errors as in [`take`](Self::take).
    pub(super) fn advance(&mut self, now: DateTime) -> Result<(), EngineError> {
        if let Some(now) = self.timeline.advance(now) {
            self.engine.advance(now)?;
            self.rows.extend(self.engine.rows());
        }
        Ok(())
    }

    /// Whether time alone can change anything.
    pub(super) fn waits_for_time(&self) -> bool {
        self.engine.state_bytes() > 0
    }

    /// Whether there are rows that no checkpoint contains, or messages that were not sent.
    pub(super) fn has_output(&self) -> bool {
        !self.rows.is_empty() || !self.outbox.is_empty()
    }

    /// All that decides about the future, with the rows made since the last time as messages in the [`outbox`](Self::outbox).
    pub(super) fn checkpoint(&mut self) -> Vec<u8> {
        self.pack();
        let query = &self.program.query;
        let mut out = Writer::new();
        out.byte(VERSION);
        out.signed(self.timeline.floor().0);
        out.bytes(&self.engine.snapshot());
        out.size(self.inputs.len());
        for (input, name) in self.inputs.iter().zip(query.inputs()) {
            out.text(&name.name);
            out.unsigned(input.counts.events);
            out.unsigned(input.counts.data_errors);
            input.contained.write(&mut out);
        }
        out.size(self.outputs.len());
        for (output, name) in self.outputs.iter().zip(query.outputs()) {
            out.text(name);
            out.unsigned(output.rows);
            out.unsigned(output.messages);
        }
        out.size(self.outbox.len());
        self.outbox.iter().for_each(|message| message.write(&mut out));
        out.finish()
    }

    fn pack(&mut self) {
        if self.rows.is_empty() {
            return;
        }
        let query = self.program.query.clone();
        let packer = |(name, output): (&Arc<str>, &Output)| Packer::new(name.clone(), output.messages);
        let mut packers: Vec<Packer> = query.outputs().iter().zip(&self.outputs).map(packer).collect();
        for row in self.rows.drain(..) {
            self.outputs[row.output].rows += 1;
            if packers[row.output].add(&row, &mut self.outbox).is_err() {
                self.too_large += 1;
            }
        }
        for (packer, output) in packers.iter_mut().zip(&mut self.outputs) {
            self.outbox.extend(packer.flush());
            output.messages = packer.number();
        }
    }

    /// What is to be sent, in order per output.
    pub(super) fn outbox(&self) -> &[Outgoing] {
        &self.outbox
    }

    /// All of the outbox was acknowledged.
    pub(super) fn sent(&mut self) {
        self.outbox.clear();
    }

    /// How many rows were too large for a message, since the last time.
    pub(super) fn take_too_large(&mut self) -> u64 {
        std::mem::take(&mut self.too_large)
    }

    /// Data errors since this job was made, and the last one.
    pub(super) fn data_errors(&self) -> u64 {
        self.engine.data_errors().counts().map(|(_, count)| count).sum()
    }

    /// The last data error.
    pub(super) fn last_data_error(&self) -> Option<&DataError> {
        self.engine.data_errors().samples().last()
    }

    /// Counts by name.
    pub(super) fn input_counts(&self) -> impl Iterator<Item = (&str, InputCounts)> {
        let names = self.program.query.inputs().iter().map(|input| &*input.name);
        names.zip(self.inputs.iter().map(|input| input.counts))
    }

    /// Rows by name of the output.
    pub(super) fn output_counts(&self) -> impl Iterator<Item = (&str, u64)> {
        self.program
            .query
            .outputs()
            .iter()
            .map(|name| &**name)
            .zip(self.outputs.iter().map(|output| output.rows))
    }
}

/// When the hub took a message over, or at least its sender made it, if the message says so.
fn stamp(message: &Message) -> Option<DateTime> {
    let enqueued = message.properties.get(ENQUEUED).and_then(|time| DateTime::parse(time));
    enqueued.or_else(|| DateTime::parse(message.system.get(SystemProperty::CreationTime)?))
}

fn folded(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// A checkpoint taken apart.
#[derive(Debug)]
struct Kept {
    floor: DateTime,
    engine: Vec<u8>,
    inputs: HashMap<String, Input>,
    outputs: HashMap<String, Output>,
    outbox: Vec<Outgoing>,
}

impl Default for Kept {
    fn default() -> Self {
        let (inputs, outputs) = (HashMap::new(), HashMap::new());
        Self { floor: DateTime::MIN, engine: Vec::new(), inputs, outputs, outbox: Vec::new() }
    }
}

impl Kept {
    fn read(checkpoint: &[u8]) -> Result<Self, SnapshotError> {
        let mut from = Reader::new(checkpoint);
        if from.byte()? != VERSION {
            return Err(SnapshotError::Damaged("the version, which this program does not know"));
        }
        let mut kept = Self {
            floor: from.time()?.min(DateTime::MAX),
            engine: from.bytes()?.to_vec(),
            ..Self::default()
        };
        for _ in 0..from.size()? {
            let name = folded(from.text()?);
            let counts = InputCounts { events: from.unsigned()?, data_errors: from.unsigned()? };
            kept.inputs.insert(name, Input { contained: Contained::read(&mut from)?, counts });
        }
        for _ in 0..from.size()? {
            let name = folded(from.text()?);
            kept.outputs.insert(name, Output { rows: from.unsigned()?, messages: from.unsigned()? });
        }
        for _ in 0..from.size()? {
            kept.outbox.push(Outgoing::read(&mut from)?);
        }
        if from.is_at_end() { Ok(kept) } else { Err(SnapshotError::Damaged("the end")) }
    }
}
