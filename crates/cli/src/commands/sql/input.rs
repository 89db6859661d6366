//! Events from files and standard input, in the order of their arrivals.

use anyhow::Context as _;
use indicatif::ProgressBar;
use ironbrook_analytics::Query;
use ironbrook_analytics::engine::{DataErrorKind, Decoder, Policies};
use ironbrook_analytics::format::{Compression, InputFormat, Located, Pieces};
use ironbrook_analytics::value::{DateTime, Record};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, stdin};
use std::path::PathBuf;
use std::sync::Arc;

/// A file with events or reference data.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// The input, as an index of the query.
    pub(super) input: usize,
    /// `-` is standard input.
    pub(super) file: PathBuf,
    pub(super) format: InputFormat,
    /// Whether each line is an event for sure.
    pub(super) lines: bool,
}

impl Source {
    pub(super) fn is_stdin(&self) -> bool {
        self.file.as_os_str() == "-"
    }

    /// As people call it.
    pub(super) fn name(&self) -> String {
        if self.is_stdin() { "standard input".to_owned() } else { self.file.display().to_string() }
    }

    fn open(&self, bar: &ProgressBar) -> anyhow::Result<Pieces<Box<dyn BufRead>>> {
        let from: Box<dyn BufRead> = if self.is_stdin() {
            Box::new(BufReader::new(bar.wrap_read(stdin())))
        } else {
            let file = File::open(&self.file).with_context(|| self.name())?;
            Box::new(BufReader::with_capacity(BLOCK, bar.wrap_read(file)))
        };
        let from = match self.format.compression {
            Compression::None => from,
            compression => {
                let expanded = compression.reader(from).with_context(|| self.name())?;
                Box::new(BufReader::with_capacity(BLOCK, expanded))
            }
        };
        Ok(Pieces::new(from, self.format.serialization, self.lines))
    }

    /// All rows, as reference data is needed.
    pub(super) fn rows(&self, query: &Query) -> anyhow::Result<Vec<Arc<Record>>> {
        let mut pieces = self.open(&ProgressBar::hidden())?;
        let format = InputFormat { serialization: pieces.serialization(), ..InputFormat::default() };
        let mut reader = format.reader(query.json_options());
        let (mut rows, mut wrong) = (Vec::new(), None);
        while let Some(piece) = pieces.next().with_context(|| self.name())? {
            reader.read(piece.payload, &mut |row| match row {
                Ok(row) => rows.push(row),
                Err(error) => wrong = wrong.take().or_else(|| Some(piece.locate(&error))),
            });
            if let Some(wrong) = wrong {
                anyhow::bail!("{}: {wrong}", self.name());
            }
        }
        Ok(rows)
    }
}

/// Events of one input.
pub(super) struct Events {
    pub(super) source: Source,
    pieces: Pieces<Box<dyn BufRead>>,
    decoder: Decoder,
    /// Events that were read but not taken, or why one could not be read.
    next: VecDeque<Result<Arc<Record>, Bad>>,
    arrival: DateTime,
}

/// Why there is no event.
pub(super) struct Bad {
    pub(super) kind: DataErrorKind,
    pub(super) at: Located,
}

/// An event, or why it could not be read, with its arrival.
pub(super) type Arrived = (DateTime, Result<Arc<Record>, Bad>);

impl Events {
    pub(super) fn open(
        query: &Arc<Query>,
        policies: &Policies,
        source: Source,
        bar: &ProgressBar,
    ) -> anyhow::Result<Self> {
        let pieces = source.open(bar)?;
        let format = InputFormat { serialization: pieces.serialization(), ..InputFormat::default() };
        let decoder = Decoder::of(query, source.input, policies, format);
        Ok(Self { source, pieces, decoder, next: VecDeque::new(), arrival: DateTime::MIN })
    }

    /// The arrival of the next event: its own time, but not before those ahead of it, or `now` where it has none.
    pub(super) fn peek(&mut self, query: &Query, now: DateTime) -> anyhow::Result<Option<DateTime>> {
        while self.next.is_empty() {
            if !self.fill()? {
                return Ok(None);
            }
        }
        let Some(Ok(event)) = self.next.front() else { return Ok(Some(self.arrival)) };
        let input = self.source.input;
        let arrival = match query.event_time(input, event) {
            Some(time) => time,
            None if query.is_timed(input) => self.arrival,
            None => now,
        };
        Ok(Some(arrival.max(self.arrival)))
    }

    /// Takes the event that was looked at.
    pub(super) fn take(&mut self, arrival: DateTime) -> Option<Arrived> {
        self.arrival = arrival;
        self.next.pop_front().map(|event| (arrival, event))
    }

    /// Reads the next part of the file; `false` at the end.
    fn fill(&mut self) -> anyhow::Result<bool> {
        let next = &mut self.next;
        let Some(piece) = self.pieces.next().with_context(|| self.source.name())? else { return Ok(false) };
        self.decoder.read(piece.payload, &mut |event| {
            next.push_back(event.map_err(|error| Bad { kind: error.kind(), at: piece.locate(&error) }));
        });
        Ok(true)
    }
}

/// Files are read in pieces of this size.
const BLOCK: usize = 256 << 10;
