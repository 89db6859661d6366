//! Drives an engine between a source and a sink, with checkpoints. A module, a job and a command run the same.
//!
//! ```text
//! Source ── batch ──▶ Engine ── rows ──▶ Sink, then Checkpoint (state and position together), then Source::done
//! ```
//!
//! After a kill the runner goes on from the last checkpoint: the source repeats what came behind its position, and the
//! engine gives the same rows again. So every row comes at least once, and a repeated one is equal to the first, as long as
//! the source repeats the same messages with the same arrivals. Time without messages ([`Batch::now`]) needs no record: an
//! event that arrives later is moved up to the tolerance for late ones anyway, so it decides only *when* a row comes.
//!
//! Nothing here knows a runtime: the traits are futures, and waiting is up to the source.

use crate::engine::{Decoder, Engine, EngineError, OutputRow, Policies, SnapshotError};
use crate::format::InputFormat;
use crate::query::{Input, Query};
use crate::value::DateTime;
use std::future::Future;
use std::sync::Arc;

/// Why a part outside the engine failed; it says cause and cure itself.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A place in a source's messages, which only the source understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position(pub Vec<u8>);

/// A message on its way in.
#[derive(Debug, Clone)]
pub struct Message<B> {
    /// The input, by name in any case. Messages of inputs that the query does not read are passed over.
    pub input: Arc<str>,
    /// When it came in. A repeated message has the arrival it had before.
    pub arrival: DateTime,
    /// In the format of the input: JSON, unless [`Runner::with_formats`] says otherwise.
    pub body: B,
}

/// What a source has.
#[derive(Debug, Clone)]
pub struct Batch<B> {
    /// In the order of their arrivals; may be none.
    pub messages: Vec<Message<B>>,
    /// The place behind them; `None` with messages that have no place, which are not repeated after a kill.
    pub position: Option<Position>,
    /// What the clock of the arrivals shows behind them: everything that arrives later has a greater arrival. `None` where
    /// the source does not follow a clock, as with stored messages.
    pub now: Option<DateTime>,
}

/// Where messages come from.
pub trait Source: Send {
    /// The bytes of a message.
    type Body: AsRef<[u8]> + Send;

    /// Goes to a place given by an earlier batch, or to the beginning. Called once, before anything else.
    fn seek(&mut self, position: Option<&Position>) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// The next messages, or after a while without any an empty batch with the time, so that windows can close; `None` at
    /// the end of all input. May be dropped while it waits, and must lose nothing then.
    fn next(&mut self) -> impl Future<Output = Result<Option<Batch<Self::Body>>, BoxError>> + Send;

    /// All messages up to this place are in a checkpoint and need not be repeated ever again.
    fn done(&mut self, position: &Position) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// Where rows go.
pub trait Sink: Send {
    /// Takes rows, in order; when it returns they are as safe as the sink can make them. Rows may come again after a kill.
    fn write(
        &mut self,
        query: &Query,
        rows: Vec<OutputRow>,
    ) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// State and place that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// [`Engine::snapshot`].
    pub snapshot: Vec<u8>,
    /// The place in the source behind the last message in it.
    pub position: Option<Position>,
}

/// Where state is kept.
pub trait Checkpoint: Send {
    /// What was saved last, if anything was.
    fn load(&mut self) -> impl Future<Output = Result<Option<Saved>, BoxError>> + Send;

    /// Replaces what was saved, all or nothing; safe when it returns.
    fn save(&mut self, saved: Saved) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// Why a runner stopped. Start it again: it goes on from the last checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Messages could not be read.
    #[error("reading the input failed: {0}")]
    Source(#[source] BoxError),
    /// Rows could not be written.
    #[error("writing the output failed: {0}")]
    Sink(#[source] BoxError),
    /// State could not be kept or read.
    #[error("the checkpoint failed: {0}")]
    Checkpoint(#[source] BoxError),
    /// What was kept is no state of an engine. Remove the checkpoint to begin anew, without what windows held.
    #[error("the checkpoint cannot be used: {0}")]
    Snapshot(#[from] SnapshotError),
    /// The query stopped.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// An engine between a source and a sink.
#[derive(Debug)]
pub struct Runner<S, K, C> {
    engine: Engine,
    formats: InputFormats,
    /// Of each input.
    decoders: Vec<Decoder>,
    source: S,
    sink: K,
    checkpoint: C,
    position: Option<Position>,
}

impl<S: Source, K: Sink, C: Checkpoint> Runner<S, K, C> {
    /// Goes on from the last checkpoint, or begins. State of a checkpoint that another query made is used as far as its
    /// steps are the same ([`Engine::restore`]).
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn start(
        query: Arc<Query>,
        policies: Policies,
        mut source: S,
        sink: K,
        mut checkpoint: C,
    ) -> Result<Self, RunError> {
        let formats = InputFormats::default();
        let decoders = formats.decoders(&query, &policies);
        let saved = checkpoint.load().await.map_err(RunError::Checkpoint)?;
        let (engine, position) = match saved {
            Some(saved) => (Engine::restore(query, policies, &saved.snapshot)?, saved.position),
            None => (Engine::new(query, policies), None),
        };
        source.seek(position.as_ref()).await.map_err(RunError::Source)?;
        Ok(Self { engine, formats, decoders, source, sink, checkpoint, position })
    }

    /// Reads inputs in these formats.
    #[must_use]
    pub fn with_formats(mut self, formats: InputFormats) -> Self {
        self.decoders = formats.decoders(self.engine.query(), self.engine.policies());
        self.formats = formats;
        self
    }

    /// The engine, for its counters.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Waits for the source. May be dropped while it waits; what it gives must go to [`take`](Self::take).
    ///
    /// # Errors
    /// [`RunError::Source`].
    pub async fn next(&mut self) -> Result<Option<Batch<S::Body>>, RunError> {
        self.source.next().await.map_err(RunError::Source)
    }

    /// Runs a batch through the engine, writes the rows and keeps the state. Must not be dropped before it is done; after
    /// an error the runner is of no more use.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn take(&mut self, batch: Batch<S::Body>) -> Result<(), RunError> {
        for message in &batch.messages {
            self.push(message)?;
        }
        if let Some(now) = batch.now {
            self.engine.advance(now)?;
        }
        let moved = batch.position.is_some();
        if moved {
            self.position = batch.position;
        }
        let wrote = self.write().await?;
        // Without messages or rows there is nothing that a replay would not find out again.
        if moved || wrote {
            self.save().await?;
        }
        Ok(())
    }

    /// Runs until the end of the source and closes all windows then.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn run(&mut self) -> Result<(), RunError> {
        while let Some(batch) = self.next().await? {
            self.take(batch).await?;
        }
        self.engine.flush()?;
        self.write().await?;
        self.save().await
    }

    /// Runs another query from the next message on. Steps that are unchanged keep their state; others begin with their
    /// next window.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn replace(&mut self, query: Arc<Query>) -> Result<(), RunError> {
        self.write().await?;
        self.decoders = self.formats.decoders(&query, self.engine.policies());
        self.engine.replace(query);
        self.save().await
    }

    fn push(&mut self, message: &Message<S::Body>) -> Result<(), EngineError> {
        let Some(input) = self.engine.query().input(&message.input) else { return Ok(()) };
        let (engine, arrival) = (&mut self.engine, message.arrival);
        let mut result = Ok(());
        self.decoders[input].read(message.body.as_ref(), &mut |event| match event {
            Ok(event) if result.is_ok() => result = engine.push(input, arrival, event),
            Ok(_) => {}
            Err(error) => engine.refuse(input, arrival, &error),
        });
        result
    }

    async fn write(&mut self) -> Result<bool, RunError> {
        let rows: Vec<OutputRow> = self.engine.rows().collect();
        if rows.is_empty() {
            return Ok(false);
        }
        let query = self.engine.query().clone();
        self.sink.write(&query, rows).await.map_err(RunError::Sink)?;
        Ok(true)
    }

    async fn save(&mut self) -> Result<(), RunError> {
        let saved = Saved { snapshot: self.engine.snapshot(), position: self.position.clone() };
        self.checkpoint.save(saved).await.map_err(RunError::Checkpoint)?;
        if let Some(position) = &self.position {
            self.source.done(position).await.map_err(RunError::Source)?;
        }
        Ok(())
    }
}

/// The formats of inputs by name; those that are not named are JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InputFormats(Vec<(Arc<str>, InputFormat)>);

impl InputFormats {
    /// The format of an input, by name in any case.
    pub fn of(&self, input: &str) -> InputFormat {
        let own = self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(input));
        own.map(|(_, format)| *format).unwrap_or_default()
    }

    fn decoders(&self, query: &Arc<Query>, policies: &Policies) -> Vec<Decoder> {
        let of = |(place, input): (usize, &Input)| Decoder::of(query, place, policies, self.of(&input.name));
        query.inputs().iter().enumerate().map(of).collect()
    }
}

impl FromIterator<(Arc<str>, InputFormat)> for InputFormats {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, InputFormat)>>(formats: I) -> Self {
        Self(formats.into_iter().collect())
    }
}

#[cfg(test)]
mod tests;
