//! The state of an engine as bytes, and the way of state from one query into another.
//!
//! ```text
//! "IBSQ" version(1)  complete from  readers: count × fingerprint  nodes: count × fingerprint
//!     timelines: count × (key, of each reader: bytes, of each node: watermark, bytes)  FNV-1a
//! ```
//!
//! Every reader and node is found again by the fingerprint of its definition. What the query has and the snapshot has not
//! begins empty; what only the snapshot has is left behind.

use super::node::NodeState;
use super::reader::KeptReader;
use super::shard::Shard;
use super::window::{read_key, write_key};
use super::{Engine, Policies};
use crate::plan::Fingerprint;
use crate::query::Query;
use crate::value::snapshot::{Reader, SnapshotError, Writer};
use crate::value::{DateTime, GroupKey};
use std::collections::HashMap;
use std::sync::Arc;

const MAGIC: &[u8; 4] = b"IBSQ";
/// Grows when old programs could not read what new ones write, or the other way round.
const VERSION: u8 = 3;
/// The oldest that is still read. The third has the partitions of inputs.
const VERSION_LEAST: u8 = 2;

impl Engine {
    /// All that decides about future rows. Rows not yet handed out are not in it: take them first.
    pub fn snapshot(&self) -> Vec<u8> {
        let plan = self.query.plan();
        let mut out = Writer::new();
        MAGIC.iter().for_each(|byte| out.byte(*byte));
        out.byte(VERSION);
        out.signed(self.timelines.complete_from.0);
        out.size(plan.readers.len());
        plan.readers.iter().for_each(|reader| out.unsigned(reader.fingerprint));
        out.size(plan.nodes.len());
        plan.nodes.iter().for_each(|node| out.unsigned(node.fingerprint));
        out.size(self.timelines.shards.len());
        let mut keys: Vec<&[GroupKey]> = vec![&[]; self.timelines.shards.len()];
        self.timelines.keys.iter().for_each(|(key, shard)| keys[*shard] = key);
        for (shard, key) in self.timelines.shards.iter().zip(keys) {
            write_key(key, &mut out);
            for reader in &shard.readers {
                let mut own = Writer::new();
                reader.write(&mut own);
                out.bytes(&own.finish());
            }
            for node in &shard.nodes {
                let mut own = Writer::new();
                node.write(&mut own);
                out.signed(node.watermark.0);
                out.bytes(&own.finish());
            }
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
        let partitions = policies.partitions;
        let mut engine = Self::new(query.clone(), policies);
        engine.timelines.complete_from = kept.complete_from;
        let plan = query.plan();
        let substreams = plan.substreams();
        let mut shards = Vec::new();
        for old in &kept.shards {
            // A query that had keys and has none any more, or the other way round, begins empty.
            if old.key.is_empty() == substreams {
                engine.timelines.complete_from = engine.timelines.complete_from.max(old.reached()?);
                continue;
            }
            let shard = old.restore(&query, partitions)?;
            if substreams && engine.timelines.keys.insert(old.key.as_slice().into(), shards.len()).is_some() {
                return Err(SnapshotError::Damaged("a key that comes twice"));
            }
            shards.push(shard);
        }
        if plan.nodes.iter().any(|node| !kept.nodes.contains(&node.fingerprint)) {
            for old in &kept.shards {
                engine.timelines.complete_from = engine.timelines.complete_from.max(old.reached()?);
            }
        }
        if !substreams {
            let fresh = |from| Shard::new(&query, partitions, from);
            shards.truncate(1);
            if shards.is_empty() {
                shards.push(fresh(engine.timelines.complete_from));
            }
        }
        engine.timelines.shards = shards;
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
    complete_from: DateTime,
    nodes: Vec<u64>,
    shards: Vec<KeptShard<'a>>,
}

/// A timeline of a snapshot; its readers and nodes by fingerprint.
struct KeptShard<'a> {
    version: u8,
    key: Vec<GroupKey>,
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
        let version = from.byte()?;
        if !(VERSION_LEAST..=VERSION).contains(&version) {
            return Err(SnapshotError::Damaged("the version, which this program does not know"));
        }
        let complete_from = DateTime(from.signed()?);
        let readers = (0..from.size()?).map(|_| from.unsigned()).collect::<Result<Vec<_>, _>>()?;
        let nodes = (0..from.size()?).map(|_| from.unsigned()).collect::<Result<Vec<_>, _>>()?;
        let mut shards = Vec::new();
        for _ in 0..from.size()? {
            let key = read_key(&mut from)?.to_vec();
            let mut shard = KeptShard { version, key, readers: HashMap::new(), nodes: HashMap::new() };
            for reader in &readers {
                shard.readers.insert(*reader, from.bytes()?);
            }
            for node in &nodes {
                let watermark = DateTime(from.signed()?);
                shard.nodes.insert(*node, (watermark, from.bytes()?));
            }
            shards.push(shard);
        }
        at_end(&from)?;
        Ok(Self { complete_from, nodes, shards })
    }
}

impl KeptShard<'_> {
    /// How far its readers were.
    fn reached(&self) -> Result<DateTime, SnapshotError> {
        let mut reached = DateTime::MIN;
        for bytes in self.readers.values() {
            reached = reached.max(KeptReader::read(&mut Reader::new(bytes), self.version)?.reached());
        }
        Ok(reached)
    }

    /// The timeline for a query, with what of its state is still of use.
    fn restore(&self, query: &Query, partitions: usize) -> Result<Shard, SnapshotError> {
        let plan = query.plan();
        let mut shard = Shard::new(query, partitions, DateTime::MIN);
        for (state, reader) in shard.readers.iter_mut().zip(&plan.readers) {
            if let Some(bytes) = self.readers.get(&reader.fingerprint) {
                let mut from = Reader::new(bytes);
                state.restore(KeptReader::read(&mut from, self.version)?);
                at_end(&from)?;
            }
        }
        let reached = self.reached()?;
        for (state, node) in shard.nodes.iter_mut().zip(&plan.nodes) {
            *state = match self.nodes.get(&node.fingerprint) {
                Some((watermark, bytes)) => {
                    let mut from = Reader::new(bytes);
                    let state = NodeState::read(&node.operator, *watermark, &mut from)?;
                    at_end(&from)?;
                    state
                }
                None => NodeState::new(&node.operator, reached),
            };
        }
        Ok(shard)
    }
}

fn at_end(from: &Reader<'_>) -> Result<(), SnapshotError> {
    if from.is_at_end() { Ok(()) } else { Err(SnapshotError::Damaged("the end, behind which there is more")) }
}
