//! Events from files and standard input, in the order of their arrivals.

use super::Named;
use anyhow::Context as _;
use indicatif::ProgressBar;
use ironbrook_analytics::Query;
use ironbrook_analytics::engine::Decoder;
use ironbrook_analytics::value::json::MAX_BYTES;
use ironbrook_analytics::value::{DateTime, Record};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, stdin};
use std::sync::Arc;

/// Events of one input.
pub(super) struct Events {
    pub(super) input: usize,
    from: Box<dyn BufRead>,
    decoder: Decoder,
    /// Whether every line is a payload; else all is one.
    lines: Option<bool>,
    /// Events that were read but not taken, or why one could not be read.
    next: VecDeque<Result<Arc<Record>, String>>,
    buffer: Vec<u8>,
    arrival: DateTime,
    bar: ProgressBar,
}

/// An event, or why it could not be read, with its arrival.
pub(super) type Arrived = (DateTime, Result<Arc<Record>, String>);

impl Events {
    /// Events of a file; `-` is standard input.
    pub(super) fn open(
        decoder: Decoder,
        input: usize,
        file: &Named,
        bar: ProgressBar,
    ) -> anyhow::Result<Self> {
        let from: Box<dyn BufRead> = match file.file.as_os_str().as_encoded_bytes() {
            b"-" => Box::new(BufReader::new(stdin())),
            _ => Box::new(BufReader::with_capacity(
                BLOCK,
                File::open(&file.file).with_context(|| file.file.display().to_string())?,
            )),
        };
        Ok(Self {
            input,
            from,
            decoder,
            lines: None,
            next: VecDeque::new(),
            buffer: Vec::new(),
            arrival: DateTime::MIN,
            bar,
        })
    }

    /// The arrival of the next event: its own time, but not before those ahead of it, or `now` where it has none.
    pub(super) fn peek(&mut self, query: &Query, now: DateTime) -> anyhow::Result<Option<DateTime>> {
        while self.next.is_empty() {
            if !self.fill()? {
                return Ok(None);
            }
        }
        let Some(Ok(event)) = self.next.front() else { return Ok(Some(self.arrival.max(DateTime::MIN))) };
        let arrival = match query.event_time(self.input, event) {
            Some(time) => time,
            None if query.is_timed(self.input) => self.arrival,
            None => now,
        };
        Ok(Some(arrival.max(self.arrival)))
    }

    /// Takes the event that was looked at.
    pub(super) fn take(&mut self, arrival: DateTime) -> Option<Arrived> {
        self.arrival = arrival;
        self.next.pop_front().map(|event| (arrival, event))
    }

    /// Reads the next payload; `false` at the end.
    fn fill(&mut self) -> anyhow::Result<bool> {
        self.buffer.clear();
        let limit = MAX_BYTES as u64 + 1;
        let by_lines = self.lines != Some(false);
        let mut read = if by_lines {
            self.from.by_ref().take(limit).read_until(b'\n', &mut self.buffer)?
        } else {
            self.from.by_ref().take(limit).read_to_end(&mut self.buffer)?
        };
        if self.lines.is_none() && !self.buffer.trim_ascii().is_empty() {
            // A first line that is no JSON of its own is the beginning of something longer.
            let whole = serde_json::from_slice::<serde::de::IgnoredAny>(&self.buffer).is_ok();
            self.lines = Some(whole);
            if !whole {
                read += self.from.by_ref().take(limit).read_to_end(&mut self.buffer)?;
            }
        }
        self.bar.inc(read as u64);
        let next = &mut self.next;
        self.decoder.read(&self.buffer, &mut |event| {
            next.push_back(event.map_err(|error| error.to_string()));
        });
        Ok(read > 0)
    }
}

/// Files are read in pieces of this size.
const BLOCK: usize = 256 << 10;
