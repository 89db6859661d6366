//! A stream that reads and writes at once and holds no buffer of its own.

use bytes::{Buf, BytesMut};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes taken by one read.
const READ_LEN: usize = 64 * 1024;

thread_local! {
    /// Shared by the connections of a thread, so that an idle connection holds no read buffer.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_LEN].into_boxed_slice());
}

/// What happened on the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// Bytes arrived.
    Read,
    /// The peer sends no more.
    End,
    /// Bytes went out.
    Wrote,
}

pub(super) struct Io<S> {
    stream: S,
    /// Bytes the stream has taken but may still hold back.
    unflushed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Io<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, unflushed: false }
    }

    /// Writes `output` and, where wanted, reads into `input`; returns at the first progress of either. Cancel-safe.
    pub(super) async fn drive(
        &mut self,
        mut input: Option<&mut BytesMut>,
        output: &mut BytesMut,
    ) -> io::Result<Moved> {
        poll_fn(|cx| {
            if let Poll::Ready(wrote) = self.poll_write(cx, output) {
                return Poll::Ready(wrote.map(|()| Moved::Wrote));
            }
            match input.as_deref_mut() {
                Some(input) => self.poll_read(cx, input),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Ready when something was written or flushed; pending also where there is nothing to write.
    fn poll_write(&mut self, cx: &mut Context<'_>, output: &mut BytesMut) -> Poll<io::Result<()>> {
        let mut wrote = false;
        while !output.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, output) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => {
                    output.advance(n);
                    self.unflushed = true;
                    wrote = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
        }
        if output.is_empty() && self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => {
                    self.unflushed = false;
                    wrote = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
        }
        if wrote { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<Moved>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => Poll::Ready(Ok(Moved::End)),
                Poll::Ready(Ok(())) => {
                    input.extend_from_slice(buffer.filled());
                    Poll::Ready(Ok(Moved::Read))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            }
        })
    }

    /// Whether everything the stream took is on its way.
    pub(super) fn is_flushed(&self) -> bool {
        !self.unflushed
    }

    /// Ends the stream, as far as the peer lets us without waiting for it.
    pub(super) async fn shutdown(&mut self) {
        let _ = poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await;
    }
}
