//! Windows: which events are computed together, and when the result is due.
//!
//! Every window takes in events in the order of their times and gives what is [`Closed`] when the watermark passes its end:
//! an event at exactly the end still belongs to it, so "passes" means beyond. Windows contain their end and not their start
//! (reference: "Windowing functions").

mod grid;
mod groups;
mod key;
mod session;
mod sliding;

pub(crate) use groups::{Contribution, Groups, States};
pub(crate) use key::{Key, key_weight, read_key, write_key};
pub(crate) use sliding::Events;

use super::eval::View;
use crate::plan::{AggregateSpec, WindowKind};
use crate::value::snapshot::{Reader, SnapshotError, Writer};
use crate::value::{DateTime, EvalError};
use grid::Grid;
use session::Sessions;
use sliding::Sliding;

/// The open windows of one definition.
#[derive(Debug)]
pub(crate) enum Windows {
    Grid(Grid),
    Sliding(Sliding),
    Sessions(Sessions),
}

/// A window whose result is due.
#[derive(Debug)]
pub(crate) struct Closed {
    /// Its end, the time of the result.
    pub(crate) end: DateTime,
    /// The last instant before it; of a session the first event's.
    pub(crate) start: DateTime,
    pub(crate) groups: Groups,
}

impl Windows {
    pub(crate) fn new(kind: &WindowKind) -> Self {
        match kind {
            WindowKind::Grid { size, hop, offset } => Self::Grid(Grid::new(*size, *hop, *offset)),
            WindowKind::Sliding { size } => Self::Sliding(Sliding::new(*size)),
            WindowKind::Session { timeout, longest, .. } => Self::Sessions(Sessions::new(*timeout, *longest)),
        }
    }

    /// Takes in an event; all that ends before its time must have been closed.
    pub(crate) fn add(
        &mut self,
        kind: &WindowKind,
        view: &View<'_>,
        event: &Contribution,
        aggregates: &[AggregateSpec],
    ) -> Result<(), EvalError> {
        match (self, kind) {
            (Self::Grid(grid), _) => grid.add(view.time, event, aggregates),
            (Self::Sliding(sliding), _) => sliding.add(view.time, event, aggregates),
            (Self::Sessions(sessions), WindowKind::Session { partition, .. }) => {
                sessions.add(view, partition, event, aggregates)
            }
            (Self::Sessions(_), _) => Ok(()),
        }
    }

    /// Gives what ends before the watermark, in the order of the ends.
    pub(crate) fn close(
        &mut self,
        watermark: DateTime,
        aggregates: &[AggregateSpec],
        closed: &mut Vec<Closed>,
    ) -> Result<(), EvalError> {
        match self {
            Self::Grid(grid) => grid.close(watermark, closed),
            Self::Sliding(sliding) => sliding.close(watermark, aggregates, closed),
            Self::Sessions(sessions) => {
                sessions.close(watermark, closed);
                Ok(())
            }
        }
    }

    /// Whether [`close`](Self::close) may have something to do: a cheap look before it.
    pub(crate) fn is_due(&self, watermark: DateTime) -> bool {
        match self {
            Self::Grid(grid) => grid.is_due(watermark),
            Self::Sliding(_) | Self::Sessions(_) => true,
        }
    }

    /// About how many bytes the open windows hold.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Grid(grid) => grid.weight(),
            Self::Sliding(sliding) => sliding.weight(),
            Self::Sessions(sessions) => sessions.weight(),
        }
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        match self {
            Self::Grid(grid) => grid.write(out),
            Self::Sliding(sliding) => sliding.write(out),
            Self::Sessions(sessions) => sessions.write(out),
        }
    }

    /// Reads what [`write`](Self::write) wrote for a window of the same kind.
    pub(crate) fn read(
        kind: &WindowKind,
        from: &mut Reader<'_>,
        aggregates: &[AggregateSpec],
    ) -> Result<Self, SnapshotError> {
        let mut windows = Self::new(kind);
        match &mut windows {
            Self::Grid(grid) => grid.read(from, aggregates)?,
            Self::Sliding(sliding) => sliding.read(from, aggregates)?,
            Self::Sessions(sessions) => sessions.read(from, aggregates)?,
        }
        Ok(windows)
    }
}

/// How far the end of a window may lie beyond the calendar: the longest session is under twice the longest window.
const MAX_REACH: i64 = 4 * crate::plan::MAX_WINDOW;
