//! The byte stream in the binary frames of a WebSocket.

use super::frame::{self, Decoder, End, FRAME_HEAD_LEN, FRAME_LEN, Short};
use bytes::{Buf, BytesMut};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes in frames that wait to be written.
const OUT_MAX: usize = 4 * (FRAME_LEN + FRAME_HEAD_LEN);
/// Status code of a close frame that has no other reason.
const NORMAL: u16 = 1000;

/// The server's side of a WebSocket as a stream of bytes.
///
/// One task reads and writes: answers to pings go out with either.
pub(crate) struct WebSocketIo<S = TokioIo<Upgraded>> {
    stream: S,
    decoder: Decoder,
    /// Whole frames, written in part.
    out: BytesMut,
    /// The answer to the newest ping; it goes out between frames.
    pong: Option<Short>,
    /// An answer to a ping may still be on its way, and nobody but the reader cares.
    answering: bool,
    /// The status code of the close frame that is to be sent.
    close: Option<Option<u16>>,
    /// The close frame was made: nothing may follow it.
    closed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocketIo<S> {
    /// For a stream on which the handshake is done.
    pub(crate) fn server(stream: S) -> Self {
        let (decoder, out) = (Decoder::new(), BytesMut::new());
        Self { stream, decoder, out, pong: None, answering: false, close: None, closed: false }
    }

    /// Writes all that waits. An empty buffer gives its memory back.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while !self.out.is_empty() {
                match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    len => self.out.advance(len),
                }
            }
            if let Some(pong) = self.pong.take().filter(|_| !self.closed) {
                frame::put_pong(&mut self.out, &pong);
            } else if let Some(code) = self.close.take().filter(|_| !self.closed) {
                frame::put_close(&mut self.out, code);
                self.closed = true;
            } else {
                self.out = BytesMut::new();
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// What to read after the peer's end, once everything before it was read.
    fn ended(&mut self, end: End) -> io::Result<()> {
        let (code, result) = match end {
            End::Closed(code) => (code, Ok(())),
            End::Violated(violation) => {
                (Some(violation.code()), Err(io::Error::new(io::ErrorKind::InvalidData, violation)))
            }
        };
        if !self.closed {
            self.close = Some(code);
        }
        result
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocketIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while buf.remaining() > 0 {
            if let Some(end) = this.decoder.end() {
                let result = this.ended(end);
                return match this.poll_drain(cx) {
                    Poll::Ready(Err(error)) if result.is_ok() => Poll::Ready(Err(error)),
                    _ => Poll::Ready(result),
                };
            }
            // Frames are read to where their payload is wanted, and the heads in between are squeezed out there.
            let mut space = ReadBuf::new(buf.initialize_unfilled());
            let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(cx, &mut space) else {
                if this.answering && Pin::new(&mut *this).poll_flush(cx)?.is_ready() {
                    this.answering = false;
                }
                return Poll::Pending;
            };
            read?;
            let bytes = space.filled_mut();
            if bytes.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let len = this.decoder.decode(bytes);
            buf.advance(len);
            if let Some(ping) = this.decoder.take_ping() {
                this.pong = Some(ping);
                this.answering = true;
            }
            if len > 0 {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocketIo<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let len = buf.len().min(FRAME_LEN);
        if this.out.len() + FRAME_HEAD_LEN + len > OUT_MAX {
            ready!(this.poll_drain(cx))?;
        }
        if this.closed || this.close.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        frame::put_binary(&mut this.out, &buf[..len]);
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.closed {
            this.close.get_or_insert(Some(NORMAL));
        }
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
