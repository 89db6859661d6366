//! Blobs: put whole, read, changed, deleted.

use super::conditions::Conditions;
use super::content::{Pin, Stored};
use super::error::{Code, Error};
use super::index::Write;
use super::record::{Blob, ContentHeaders, ContentId, Metadata, Part};
use super::{Account, name};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ironbrook_model::Timestamp;

/// What a blob is to be, besides its content.
#[derive(Debug, Clone, Default)]
pub struct NewBlob {
    /// The headers it will be served with.
    pub headers: ContentHeaders,
    /// Names and values made up by users.
    pub metadata: Metadata,
    /// Whether it may be written.
    pub conditions: Conditions,
    /// Who publishes it and how far it has come, stored in the same transaction.
    pub published: Option<(String, Mark)>,
}

/// How far a publisher has come: the last message it stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// Offset of that message in its partition.
    pub offset: u64,
    /// When it was enqueued.
    pub enqueued: Timestamp,
}

/// A blob found for reading. While it lives, its content stays, whatever is done to the blob.
pub struct OpenBlob {
    /// What is known of it.
    pub blob: Blob,
    pub(super) parts: Vec<Part>,
    pub(super) pin: Pin,
}

impl Account {
    /// Puts a blob that is in memory; durable when this returns. Replaces an earlier one.
    pub async fn put(
        &self,
        container: &str,
        name: &str,
        bytes: impl Into<Bytes>,
        content_type: &str,
    ) -> Result<Blob, Error> {
        let headers = ContentHeaders { content_type: Some(content_type.to_owned()), ..Default::default() };
        self.put_new(container, name, bytes.into(), NewBlob { headers, ..NewBlob::default() }).await
    }

    /// Puts a blob that is in memory, with all that can be said about it; durable when this returns.
    pub async fn put_new(
        &self,
        container: &str,
        name: &str,
        bytes: Bytes,
        new: NewBlob,
    ) -> Result<Blob, Error> {
        let stored = self
            .blocking(move |inner| {
                let mut draft = inner.contents.create()?;
                draft.write(&bytes)?;
                draft.finish()
            })
            .await?;
        self.put_stored(container, name, stored, new).await
    }

    /// Makes a stored file a blob. Uncommitted blocks of that name are dropped, as Put Blob does.
    pub(super) async fn put_stored(
        &self,
        container: &str,
        name: &str,
        stored: Stored,
        mut new: NewBlob,
    ) -> Result<Blob, Error> {
        name::check_blob(name)?;
        name::check_metadata(&new.metadata)?;
        new.headers.content_md5.get_or_insert_with(|| STANDARD.encode(stored.md5));
        let (container, name, now) = (container.to_owned(), name.to_owned(), self.inner.now());
        self.blocking(move |inner| {
            let part = Part { content: stored.id, len: stored.len, block: None };
            let result = inner.change(|write, unused| {
                for (id, block) in write.blocks(&container, &name)? {
                    write.remove_block(&container, &name, &id)?;
                    unused.push(block.content);
                }
                write.put_content(part.content)?;
                replace_blob(write, (&container, &name), &[part], new, now, unused)
            });
            settle(stored, result)
        })
        .await
    }

    /// Finds a blob for reading.
    pub async fn open_blob(&self, container: &str, name: &str) -> Result<OpenBlob, Error> {
        let (container, name) = (container.to_owned(), name.to_owned());
        self.blocking(move |inner| {
            let look_up = || {
                inner.index.read(|read| {
                    let Some(blob) = read.blob(&container, &name)? else {
                        let known = read.container(&container)?.is_some();
                        return Err(if known { Code::BlobNotFound } else { Code::ContainerNotFound }.into());
                    };
                    let parts = read.parts(&container, &name)?;
                    let ids = parts.iter().map(|part| part.content).collect();
                    Ok(((blob, parts), ids))
                })
            };
            let ((blob, parts), pin) = inner.contents.pin_found(look_up)?;
            Ok(OpenBlob { blob, parts, pin })
        })
        .await
    }

    /// Changes headers or metadata of a blob.
    pub(super) async fn update_blob(
        &self,
        container: &str,
        name: &str,
        conditions: Conditions,
        change: impl FnOnce(&mut Blob) + Send + 'static,
    ) -> Result<Blob, Error> {
        let (container, name, now) = (container.to_owned(), name.to_owned(), self.inner.now());
        self.change(move |write, _| {
            let mut blob = existing(write, &container, &name)?;
            conditions.check_write(Some((blob.etag, blob.modified)))?;
            change(&mut blob);
            name::check_metadata(&blob.metadata)?;
            blob.etag = write.next_etag()?;
            blob.modified = now;
            write.put_blob(&container, &name, &blob)?;
            Ok(blob)
        })
        .await
    }

    /// Removes a blob; who is reading it reads on.
    pub async fn delete_blob(
        &self,
        container: &str,
        name: &str,
        conditions: Conditions,
    ) -> Result<(), Error> {
        let (container, name) = (container.to_owned(), name.to_owned());
        self.change(move |write, unused| {
            let blob = existing(write, &container, &name)?;
            conditions.check_write(Some((blob.etag, blob.modified)))?;
            unused.extend(write.parts(&container, &name)?.into_iter().map(|part| part.content));
            write.remove_blob(&container, &name)
        })
        .await
    }

    /// How far a publisher has come, as stored with its last blob.
    pub async fn published(&self, publisher: &str) -> Result<Option<Mark>, Error> {
        let publisher = publisher.to_owned();
        let found = self.blocking(move |inner| inner.index.read(|read| read.published(&publisher))).await?;
        Ok(found.map(|(offset, millis)| Mark { offset, enqueued: Timestamp::from_millis(millis) }))
    }
}

fn existing(write: &Write, container: &str, name: &str) -> Result<Blob, Error> {
    match write.blob(container, name)? {
        Some(blob) => Ok(blob),
        None if write.container(container)?.is_some() => Err(Code::BlobNotFound.into()),
        None => Err(Code::ContainerNotFound.into()),
    }
}

/// Writes a blob with its parts in place of an earlier one, whose files not used again go to `unused`.
pub(super) fn replace_blob(
    write: &Write,
    (container, name): (&str, &str),
    parts: &[Part],
    new: NewBlob,
    now: Timestamp,
    unused: &mut Vec<ContentId>,
) -> Result<Blob, Error> {
    if write.container(container)?.is_none() {
        return Err(Code::ContainerNotFound.into());
    }
    let before = write.blob(container, name)?;
    new.conditions.check_write(before.as_ref().map(|blob| (blob.etag, blob.modified)))?;
    let kept: std::collections::HashSet<_> = parts.iter().map(|part| part.content).collect();
    let old = write.parts(container, name)?.into_iter().map(|part| part.content);
    unused.extend(old.filter(|id| !kept.contains(id)));
    let blob = Blob {
        created: before.map_or(now, |blob| blob.created),
        modified: now,
        etag: write.next_etag()?,
        len: parts.iter().map(|part| part.len).sum(),
        headers: new.headers,
        metadata: new.metadata,
    };
    write.put_blob(container, name, &blob)?;
    write.put_parts(container, name, parts)?;
    if let Some((publisher, mark)) = new.published {
        write.put_published(&publisher, (mark.offset, mark.enqueued.as_millis()))?;
    }
    Ok(blob)
}

/// Keeps a file whose commit succeeded, or may have: after any error but a refusal the index may name it, and a file too many is
/// found by the next sweep, while a file too few would be a lost blob.
pub(super) fn settle<T>(stored: Stored, result: Result<T, Error>) -> Result<T, Error> {
    if !matches!(result, Err(Error::Refused(_))) {
        stored.keep();
    }
    result
}
