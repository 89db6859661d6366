//! Bytes in and out: uploads go to disk as they come, downloads are read as they are taken. Memory per request is a few buffers.

use super::blobs::OpenBlob;
use super::content::{Draft, Pin, Stored};
use super::error::{Code, Error};
use super::record::Part;
use super::{Account, Inner};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use ironbrook_log::File;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of one disk call.
const CHUNK_BYTES: usize = 256 * 1024;
/// How long the next bytes of an upload may take.
const UPLOAD_IDLE_MAX: Duration = Duration::from_secs(60);

impl Account {
    /// Writes a body of a known length to a durable file.
    ///
    /// # Errors
    /// [`Code::InvalidInput`] if the body is shorter or longer, [`Code::OperationTimedOut`] if it stops coming.
    pub(super) async fn store<E>(
        &self,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin,
        len: u64,
    ) -> Result<Stored, Error> {
        let mut draft = self.blocking(|inner| inner.contents.create()).await?;
        let mut body = body;
        let mut gathered = BytesMut::new();
        loop {
            let next = tokio::time::timeout(UPLOAD_IDLE_MAX, body.next()).await;
            let chunk =
                next.map_err(|_| Code::OperationTimedOut)?.transpose().map_err(|_| Code::InvalidInput)?;
            let is_last = chunk.is_none();
            gathered.extend_from_slice(&chunk.unwrap_or_default());
            if draft.len() + gathered.len() as u64 > len {
                return Err(Code::InvalidInput.into());
            }
            if gathered.len() >= CHUNK_BYTES || (is_last && !gathered.is_empty()) {
                draft = self.append(draft, gathered.split().freeze()).await?;
            }
            if is_last {
                break;
            }
        }
        if draft.len() != len {
            return Err(Code::InvalidInput.into());
        }
        self.blocking(move |_| draft.finish()).await
    }

    async fn append(&self, mut draft: Draft, bytes: Bytes) -> Result<Draft, Error> {
        self.blocking(move |_| draft.write(&bytes).map(|()| draft)).await
    }

    /// The bytes of a blob from `range.start` to before `range.end`, read as they are taken.
    pub(super) fn read(
        &self,
        open: OpenBlob,
        range: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, Error>> + Send + use<> {
        let reader = Reader {
            account: self.clone(),
            parts: cut(open.parts, &range),
            file: None,
            left: range.end.saturating_sub(range.start),
            _pin: open.pin,
        };
        stream::try_unfold(reader, Reader::next)
    }

    /// A whole blob in memory, for callers who know that it is small.
    pub async fn get(&self, container: &str, name: &str) -> Result<Bytes, Error> {
        let open = self.open_blob(container, name).await?;
        let len = open.blob.len;
        let bytes = self.read(open, 0..len);
        bytes
            .try_fold(BytesMut::new(), |mut all, chunk| async move {
                all.extend_from_slice(&chunk);
                Ok(all)
            })
            .await
            .map(BytesMut::freeze)
    }
}

/// A piece of a file still to be read.
struct Piece {
    part: Part,
    from: u64,
    len: u64,
}

/// The pieces of parts that lie in a range of the whole.
fn cut(parts: Vec<Part>, range: &Range<u64>) -> VecDeque<Piece> {
    let mut pieces = VecDeque::new();
    let mut position = 0_u64;
    for part in parts {
        let end = position + part.len;
        let (from, to) = (range.start.max(position), range.end.min(end));
        if from < to {
            pieces.push_back(Piece { from: from - position, len: to - from, part });
        }
        position = end;
    }
    pieces
}

struct Reader {
    account: Account,
    parts: VecDeque<Piece>,
    file: Option<Arc<dyn File>>,
    left: u64,
    _pin: Pin,
}

impl Reader {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, Error> {
        let Some(piece) = self.parts.front_mut() else {
            // Parts shorter than the blob would be damage: the client must not take it for the end.
            return if self.left == 0 { Ok(None) } else { Err(Error::Record("parts")) };
        };
        let (id, position) = (piece.part.content, piece.from);
        let wanted = piece.len.min(CHUNK_BYTES as u64);
        let file = self.file.take();
        let read = move |inner: &Inner| {
            let file = file.map_or_else(|| inner.contents.read(id), Ok)?;
            let bytes = read_exactly(&*file, position, wanted)?;
            Ok((file, bytes))
        };
        let (file, bytes) = self.account.blocking(read).await?;
        piece.from += wanted;
        piece.len -= wanted;
        self.left -= wanted;
        if piece.len == 0 {
            self.parts.pop_front();
        } else {
            self.file = Some(file);
        }
        Ok(Some((bytes, self)))
    }
}

fn read_exactly(file: &dyn File, position: u64, len: u64) -> std::io::Result<Bytes> {
    let mut bytes = BytesMut::zeroed(usize::try_from(len).unwrap_or(CHUNK_BYTES));
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], position + done as u64)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => done += n,
        }
    }
    Ok(bytes.freeze())
}
