//! `ETag` with its two capitals, for a client that knows header names by their letters.
//!
//! The library writes all names in lower case, as HTTP allows. The C client finds the lock of a message only under `ETag`.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How a head begins, and what stands before the name in it.
const HEAD: &[u8] = b"HTTP/1.1 ";
const IN_HEAD: &[u8] = b"\r\netag: ";
const SPELLED: &[u8; 4] = b"ETag";

/// Whether the next answer of a connection has an `ETag` that is to be spelled so. Answers come one after the other.
#[derive(Debug, Clone, Default)]
pub(super) struct Spelling(Arc<AtomicBool>);

impl Spelling {
    /// Asks for it; to be called before the answer is given.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A stream that spells where it is asked to.
pub(super) struct Spelled<S> {
    stream: S,
    wanted: Spelling,
    /// Bytes until the name's first letter, of a head that is being written.
    ahead: Option<usize>,
    /// Letters of the name that are written.
    letters: usize,
}

impl<S> Spelled<S> {
    pub fn new(stream: S, wanted: Spelling) -> Self {
        Self { stream, wanted, ahead: None, letters: 0 }
    }

    /// Looks for the name where a head begins. The library writes a head as a whole, or as much of it as the stream takes.
    fn look(&mut self, buf: &[u8]) {
        if self.ahead.is_none() && buf.starts_with(HEAD) && self.wanted.0.swap(false, Ordering::Acquire) {
            let end = find(buf, b"\r\n\r\n").unwrap_or(buf.len());
            self.ahead = find(&buf[..end], IN_HEAD).map(|at| at + 2);
            self.letters = 0;
        }
    }

    /// The bytes with the name as it is to be.
    fn spell(&self, buf: &[u8], ahead: usize) -> Vec<u8> {
        let mut bytes = buf.to_vec();
        let left = &SPELLED[self.letters..];
        bytes.iter_mut().skip(ahead).zip(left).for_each(|(byte, letter)| *byte = *letter);
        bytes
    }

    fn wrote(&mut self, n: usize, ahead: usize) {
        self.letters += n.saturating_sub(ahead);
        self.ahead = (self.letters < SPELLED.len()).then_some(ahead.saturating_sub(n));
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

impl<S: AsyncRead + Unpin> AsyncRead for Spelled<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Spelled<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.look(buf);
        let Some(ahead) = self.ahead else { return Pin::new(&mut self.stream).poll_write(cx, buf) };
        let bytes = self.spell(buf, ahead);
        let n = ready!(Pin::new(&mut self.stream).poll_write(cx, &bytes))?;
        self.wrote(n, ahead);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
        self.look(first);
        match self.ahead {
            Some(_) => self.poll_write(cx, first),
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\netag: \"1\"\r\n\r\n\r\netag: body";

    /// What arrives of two answers, where the stream takes so many bytes at once.
    async fn sent(step: usize, ask: bool) -> String {
        let (mut client, server) = tokio::io::duplex(step);
        let spelling = Spelling::default();
        let mut server = Spelled::new(server, spelling.clone());
        let writing = tokio::spawn(async move {
            if ask {
                spelling.ask();
            }
            server.write_all(ANSWER).await.unwrap();
            server.write_all(ANSWER).await.unwrap();
        });
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        writing.await.unwrap();
        text
    }

    // HTTP-15
    #[tokio::test]
    async fn http_15_the_name_is_spelled_in_the_head_of_the_answer_that_asks_for_it() {
        let plain = std::str::from_utf8(ANSWER).unwrap();
        let spelled = plain.replacen("etag", "ETag", 1);
        for step in [1, 2, 17, 18, 19, 20, 21, 22, 23, 1000] {
            assert_eq!(sent(step, true).await, format!("{spelled}{plain}"), "{step}");
        }
        assert_eq!(sent(1000, false).await, format!("{plain}{plain}"));
    }
}
