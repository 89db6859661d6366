//! Blocks: put one by one, then committed as a blob. Committing moves no bytes: a blob is a list of files.

use super::blobs::{NewBlob, replace_blob, settle};
use super::content::Stored;
use super::error::{Code, Error};
use super::index::Write;
use super::record::{Blob, Block, Part};
use super::{Account, name};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use std::collections::{HashMap, HashSet};

/// Longest block id, decoded.
const BLOCK_ID_BYTES_MAX: usize = 64;
/// Most blocks of a blob. Source: Azure docs "Scalability and performance targets for Blob Storage".
const COMMITTED_BLOCKS_MAX: usize = 50_000;
/// Most uncommitted blocks of a blob.
const UNCOMMITTED_BLOCKS_MAX: u64 = 100_000;

/// Where a block of a list is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockSource {
    /// In the blob as it is.
    Committed,
    /// Among those put since.
    Uncommitted,
    /// First among those put since, then in the blob.
    Latest,
}

/// An entry of a block list: its base64 id and where to look for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockChoice {
    /// Base64 text.
    pub id: String,
    /// Where to look.
    pub source: BlockSource,
}

/// The blocks of a blob: base64 id and length in bytes.
#[derive(Debug, Clone, Default)]
pub struct BlockList {
    /// The blob as it is, if there is one.
    pub blob: Option<Blob>,
    /// Its blocks in order; none for a blob put whole.
    pub committed: Vec<(String, u64)>,
    /// Blocks put since, by id.
    pub uncommitted: Vec<(String, u64)>,
}

/// Base64 of 1 to 64 bytes.
pub(super) fn check_block_id(id: &str) -> Result<(), Code> {
    let bytes = STANDARD.decode(id).map_err(|_| Code::InvalidQueryParameterValue)?;
    if (1..=BLOCK_ID_BYTES_MAX).contains(&bytes.len()) {
        Ok(())
    } else {
        Err(Code::OutOfRangeQueryParameterValue)
    }
}

impl Account {
    /// Keeps bytes that are in memory as an uncommitted block, replacing one of the same id; durable when this returns.
    pub async fn stage(&self, container: &str, blob: &str, id: &str, bytes: Bytes) -> Result<(), Error> {
        let stored = self
            .blocking(move |inner| {
                let mut draft = inner.contents.create()?;
                draft.write(&bytes)?;
                draft.finish()
            })
            .await?;
        self.put_block(container, blob, id, stored).await
    }

    /// Keeps a stored file as an uncommitted block, replacing one of the same id.
    pub(super) async fn put_block(
        &self,
        container: &str,
        blob: &str,
        id: &str,
        stored: Stored,
    ) -> Result<(), Error> {
        name::check_blob(blob)?;
        check_block_id(id)?;
        let (container, blob, id) = (container.to_owned(), blob.to_owned(), id.to_owned());
        let block = Block { content: stored.id, len: stored.len, staged: self.inner.now() };
        self.blocking(move |inner| {
            let result = inner.change(|write, unused| {
                if write.container(&container)?.is_none() {
                    return Err(Code::ContainerNotFound.into());
                }
                if let Some(before) = write.block(&container, &blob, &id)? {
                    unused.push(before.content);
                } else {
                    check_room(write, &container, &blob, &id)?;
                }
                write.put_content(block.content)?;
                write.put_block(&container, &blob, &id, &block)
            });
            settle(stored, result)
        })
        .await
    }

    /// Makes a blob of blocks; all its uncommitted blocks are gone afterwards.
    pub async fn commit_blocks(
        &self,
        container: &str,
        blob: &str,
        list: Vec<BlockChoice>,
        new: NewBlob,
    ) -> Result<Blob, Error> {
        name::check_blob(blob)?;
        name::check_metadata(&new.metadata)?;
        if list.len() > COMMITTED_BLOCKS_MAX {
            return Err(Code::BlockListTooLong.into());
        }
        let (container, blob, now) = (container.to_owned(), blob.to_owned(), self.inner.now());
        self.change(move |write, unused| {
            let uncommitted: HashMap<_, _> = write.blocks(&container, &blob)?.into_iter().collect();
            let committed: HashMap<_, _> = write
                .parts(&container, &blob)?
                .into_iter()
                .filter_map(|part| Some((part.block.clone()?, part)))
                .collect();
            let parts = list
                .into_iter()
                .map(|choice| choose(&choice, &uncommitted, &committed))
                .collect::<Result<Vec<_>, _>>()?;
            let used: HashSet<_> = parts.iter().map(|part| part.content).collect();
            for (id, block) in &uncommitted {
                write.remove_block(&container, &blob, id)?;
                if !used.contains(&block.content) {
                    unused.push(block.content);
                }
            }
            replace_blob(write, (&container, &blob), &parts, new, now, unused)
        })
        .await
    }

    /// The blocks of a blob; [`Code::BlobNotFound`] if there is neither a blob nor a block of that name.
    pub async fn blocks(&self, container: &str, blob: &str) -> Result<BlockList, Error> {
        let (container, name) = (container.to_owned(), blob.to_owned());
        self.blocking(move |inner| {
            inner.index.read(|read| {
                if read.container(&container)?.is_none() {
                    return Err(Code::ContainerNotFound.into());
                }
                let blob = read.blob(&container, &name)?;
                let parts = read.parts(&container, &name)?.into_iter();
                let committed = parts.filter_map(|part| Some((part.block?, part.len))).collect();
                let blocks = read.blocks(&container, &name)?.into_iter();
                let uncommitted: Vec<_> = blocks.map(|(id, block)| (id, block.len)).collect();
                if blob.is_none() && uncommitted.is_empty() {
                    return Err(Code::BlobNotFound.into());
                }
                Ok(BlockList { blob, committed, uncommitted })
            })
        })
        .await
    }
}

fn choose(
    choice: &BlockChoice,
    uncommitted: &HashMap<String, Block>,
    committed: &HashMap<String, Part>,
) -> Result<Part, Code> {
    let new = || {
        let block = uncommitted.get(&choice.id)?;
        Some(Part { content: block.content, len: block.len, block: Some(choice.id.clone()) })
    };
    let old = || committed.get(&choice.id).cloned();
    match choice.source {
        BlockSource::Committed => old(),
        BlockSource::Uncommitted => new(),
        BlockSource::Latest => new().or_else(old),
    }
    .ok_or(Code::InvalidBlockList)
}

/// A blob's ids all have one length, and there is a limit to them.
fn check_room(write: &Write, container: &str, blob: &str, id: &str) -> Result<(), Error> {
    if write.block_count(container, blob)? >= UNCOMMITTED_BLOCKS_MAX {
        return Err(Code::BlockCountExceedsLimit.into());
    }
    match write.first_block_id(container, blob)? {
        Some(first) if first.len() != id.len() => Err(Code::InvalidBlobOrBlock.into()),
        _ => Ok(()),
    }
}
