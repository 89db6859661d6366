//! The state of an engine as bytes, and the way of state from one query into another.
//!
//! ```text
//! "IBSQ" version(1)  readers: count × (fingerprint, bytes)  nodes: count × (fingerprint, watermark, bytes)  FNV-1a
//! ```
//!
//! Every reader and node is found again by the fingerprint of its definition. What the query has and the snapshot has not
//! begins empty; what only the snapshot has is left behind.

use super::reader::ReaderState;
use super::row::END_OF_TIME;
use super::select::SelectState;
use super::union::UnionState;
use super::{Engine, NodeState, OperatorState, Policies};
use crate::plan::{Fingerprint, Operator};
use crate::query::Query;
use crate::value::DateTime;
use crate::value::snapshot::{Reader, SnapshotError, Writer};
use std::collections::HashMap;
use std::sync::Arc;

const MAGIC: &[u8; 4] = b"IBSQ";
/// Grows when old programs could not read what new ones write, or the other way round.
const VERSION: u8 = 1;

impl Engine {
    /// All that decides about future rows. Rows not yet handed out are not in it: take them first.
    pub fn snapshot(&self) -> Vec<u8> {
        let plan = self.query.plan();
        let mut out = Writer::new();
        MAGIC.iter().for_each(|byte| out.byte(*byte));
        out.byte(VERSION);
        out.size(self.readers.len());
        for (state, reader) in self.readers.iter().zip(&plan.readers) {
            let mut own = Writer::new();
            state.write(&mut own);
            out.unsigned(reader.fingerprint);
            out.bytes(&own.finish());
        }
        out.size(self.nodes.len());
        for (state, node) in self.nodes.iter().zip(&plan.nodes) {
            let mut own = Writer::new();
            match &state.operator {
                OperatorState::Select(state) => state.write(&mut own),
                OperatorState::Union(state) => state.write(&mut own),
            }
            out.unsigned(node.fingerprint);
            out.signed(state.watermark.0);
            out.bytes(&own.finish());
        }
        let mut bytes = out.finish();
        let sum = Fingerprint::new("snapshot").with(&bytes).value();
        bytes.extend(sum.to_le_bytes());
        bytes
    }

    /// An engine that goes on where a snapshot was taken.
    ///
    /// The query may be another one than then: state is kept where a step is unchanged, together with all before it.
    /// Other steps begin empty; their windows that began before the snapshot give no results, since they would be partial.
    ///
    /// # Errors
    /// [`SnapshotError`] for bytes that are no snapshot, damaged, or of another version.
    pub fn restore(query: Arc<Query>, policies: Policies, snapshot: &[u8]) -> Result<Self, SnapshotError> {
        let kept = Kept::read(snapshot)?;
        let mut engine = Self::new(query.clone(), policies);
        let plan = query.plan();
        for (state, reader) in engine.readers.iter_mut().zip(&plan.readers) {
            if let Some(bytes) = kept.readers.get(&reader.fingerprint) {
                let mut from = Reader::new(bytes);
                *state = ReaderState::read(&mut from)?;
                at_end(&from)?;
            }
        }
        let reached = engine.readers.iter().map(ReaderState::watermark).filter(|at| *at != END_OF_TIME).max();
        let reached = reached.unwrap_or(DateTime::MIN);
        for (state, node) in engine.nodes.iter_mut().zip(&plan.nodes) {
            *state = match kept.nodes.get(&node.fingerprint) {
                Some((watermark, bytes)) => NodeState::read(&node.operator, *watermark, bytes)?,
                None => NodeState::new(&node.operator, reached),
            };
        }
        Ok(engine)
    }

    /// Runs another query from now on, as [`restore`](Self::restore) from a snapshot of this moment would. Rows that were
    /// not handed out yet are lost: take them first. Policies and data errors stay.
    pub fn replace(&mut self, query: Arc<Query>) {
        let snapshot = self.snapshot();
        let (policies, errors) = (self.policies.clone(), std::mem::take(&mut self.errors));
        // A snapshot just made is not damaged; were it, an empty engine is what is left.
        let next = Self::restore(query.clone(), policies.clone(), &snapshot);
        *self = next.unwrap_or_else(|_| Self::new(query, policies));
        self.errors = errors;
    }
}

/// A snapshot taken apart.
struct Kept<'a> {
    readers: HashMap<u64, &'a [u8]>,
    nodes: HashMap<u64, (DateTime, &'a [u8])>,
}

impl<'a> Kept<'a> {
    fn read(snapshot: &'a [u8]) -> Result<Self, SnapshotError> {
        let Some((bytes, sum)) = snapshot.split_last_chunk::<8>() else {
            return Err(SnapshotError::Truncated("a snapshot"));
        };
        let Some(rest) = bytes.strip_prefix(MAGIC) else {
            return Err(SnapshotError::Damaged("the beginning"));
        };
        if Fingerprint::new("snapshot").with(bytes).value() != u64::from_le_bytes(*sum) {
            return Err(SnapshotError::Damaged("the checksum"));
        }
        let mut from = Reader::new(rest);
        if from.byte()? != VERSION {
            return Err(SnapshotError::Damaged("the version, which this program does not know"));
        }
        let mut kept = Self { readers: HashMap::new(), nodes: HashMap::new() };
        for _ in 0..from.size()? {
            let fingerprint = from.unsigned()?;
            kept.readers.insert(fingerprint, from.bytes()?);
        }
        for _ in 0..from.size()? {
            let fingerprint = from.unsigned()?;
            let watermark = DateTime(from.signed()?);
            kept.nodes.insert(fingerprint, (watermark, from.bytes()?));
        }
        at_end(&from)?;
        Ok(kept)
    }
}

impl NodeState {
    fn read(operator: &Operator, watermark: DateTime, bytes: &[u8]) -> Result<Self, SnapshotError> {
        let mut from = Reader::new(bytes);
        let operator = match operator {
            Operator::Select(select) => OperatorState::Select(SelectState::read(select, &mut from)?),
            Operator::Union { ports } => OperatorState::Union(UnionState::read(*ports, &mut from)?),
        };
        at_end(&from)?;
        Ok(Self { watermark, operator })
    }
}

fn at_end(from: &Reader<'_>) -> Result<(), SnapshotError> {
    if from.is_at_end() { Ok(()) } else { Err(SnapshotError::Damaged("the end, behind which there is more")) }
}
