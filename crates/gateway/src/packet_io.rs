//! A stream with the buffers of an MQTT connection, of whatever version: the codec is handed in with each call.
//!
//! An idle connection holds no buffer: reads go through one scratch buffer per thread. Who reads may take packets off there at
//! once; the rest is copied into memory of just its size, which the messages of the read then share.

use bytes::{Buf, BytesMut};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes taken by one read.
const READ_LEN: usize = 64 * 1024;
/// Of what is left of earlier reads so much is put before the next one, to be looked at together.
const REJOINED_MAX: usize = 8 * 1024;
/// Capacity an empty output buffer may keep.
const OUT_KEPT: usize = 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_LEN].into_boxed_slice());
}

/// What happened on the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// That many bytes arrived; zero is the end.
    Read(usize),
    /// Output went out.
    Wrote,
}

/// See the module.
pub(crate) struct Io<S> {
    stream: S,
    input: BytesMut,
    output: BytesMut,
    /// Bytes the stream has taken but may still hold back.
    unflushed: bool,
    /// Bytes ever put into the output buffer.
    queued: u64,
    /// Bytes that left the output buffer and are flushed.
    flushed: u64,
    packet_max: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Io<S> {
    pub(crate) fn new(stream: S, packet_max: usize) -> Self {
        let (input, output) = (BytesMut::new(), BytesMut::new());
        Self { stream, input, output, unflushed: false, queued: 0, flushed: 0, packet_max }
    }

    /// Bounds the packets from now on.
    pub(crate) fn set_packet_max(&mut self, packet_max: usize) {
        self.packet_max = packet_max;
    }

    /// What `decode` takes off the front of what was read; it is also told how long a packet may be.
    pub(crate) fn take<T, E>(
        &mut self,
        decode: impl FnOnce(&mut BytesMut, usize) -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        if self.input.is_empty() {
            return Ok(None);
        }
        let taken = decode(&mut self.input, self.packet_max)?;
        if self.input.is_empty() {
            // Gives the memory back as soon as the messages in it are gone.
            self.input = BytesMut::new();
        }
        Ok(taken)
    }

    /// Appends what `encode` writes to the output buffer; [`drive`](Self::drive) writes it.
    pub(crate) fn put_with<E>(
        &mut self,
        encode: impl FnOnce(&mut BytesMut) -> Result<(), E>,
    ) -> Result<(), E> {
        let before = self.output.len();
        encode(&mut self.output)?;
        self.queued += (self.output.len() - before) as u64;
        Ok(())
    }

    /// Makes room in the output buffer.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        self.output.reserve(bytes);
    }

    /// The first byte that was read and not taken.
    pub(crate) fn first_byte(&self) -> Option<u8> {
        self.input.first().copied()
    }

    /// Bytes waiting to be written.
    pub(crate) fn pending(&self) -> usize {
        self.output.len()
    }

    /// Whether all output is on its way.
    pub(crate) fn is_flushed(&self) -> bool {
        self.output.is_empty() && !self.unflushed
    }

    /// The position behind the last byte put.
    pub(crate) fn queued(&self) -> u64 {
        self.queued
    }

    /// The position up to which bytes are on their way to the peer.
    pub(crate) fn flushed(&self) -> u64 {
        self.flushed
    }

    /// Writes what there is and, with `read`, reads. Returns when something happened. Cancel-safe.
    pub(crate) async fn drive(&mut self, read: bool) -> io::Result<Event> {
        poll_fn(|cx| self.poll_drive(cx, read)).await
    }

    /// As [`drive`](Self::drive).
    pub(crate) fn poll_drive(&mut self, cx: &mut Context<'_>, read: bool) -> Poll<io::Result<Event>> {
        self.poll_drive_past(cx, read, |_, _| 0)
    }

    /// As [`drive`](Self::drive). What was read goes past `first` before it is kept: told as well how long a packet may be, it says
    /// how many bytes it took off the front, whole packets only.
    pub(crate) fn poll_drive_past(
        &mut self,
        cx: &mut Context<'_>,
        read: bool,
        first: impl FnOnce(&[u8], usize) -> usize,
    ) -> Poll<io::Result<Event>> {
        let wrote = self.poll_output(cx)?;
        if read {
            match self.poll_input(cx, first) {
                Poll::Ready(len) => return Poll::Ready(Ok(Event::Read(len?))),
                Poll::Pending => {}
            }
        }
        if wrote { Poll::Ready(Ok(Event::Wrote)) } else { Poll::Pending }
    }

    /// Writes what there is; whether something moved.
    pub(crate) fn poll_output(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut moved = false;
        while !self.output.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.output) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(len)) => {
                    self.output.advance(len);
                    self.unflushed = true;
                    moved = true;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(moved),
            }
        }
        if self.unflushed && Pin::new(&mut self.stream).poll_flush(cx)?.is_ready() {
            self.unflushed = false;
            self.flushed = self.queued;
            moved = true;
            if self.output.capacity() > OUT_KEPT {
                self.output = BytesMut::new();
            }
        }
        Ok(moved)
    }

    fn poll_input(
        &mut self,
        cx: &mut Context<'_>,
        first: impl FnOnce(&[u8], usize) -> usize,
    ) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let rejoined = Some(self.input.len()).filter(|len| *len <= REJOINED_MAX);
            let start = rejoined.unwrap_or(0);
            let mut buf = ReadBuf::new(&mut scratch[start..]);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
            let len = buf.filled().len();
            scratch[..start].copy_from_slice(&self.input[..start]);
            let bytes = &scratch[..start + len];
            match rejoined.map_or(0, |_| first(bytes, self.packet_max)) {
                0 => self.input.extend_from_slice(&bytes[start..]),
                taken => self.input = BytesMut::from(&bytes[taken..]),
            }
            Poll::Ready(Ok(len))
        })
    }

    /// Reads to the end of the stream and keeps nothing.
    pub(crate) async fn discard(&mut self) {
        while matches!(self.drive(true).await, Ok(Event::Read(1..) | Event::Wrote)) {
            self.input = BytesMut::new();
        }
    }

    /// Says goodbye below MQTT (TLS close_notify, WebSocket close).
    pub(crate) async fn shutdown(&mut self) {
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut self.stream).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A packet is three bytes here.
    fn three(input: &mut BytesMut, _: usize) -> Result<Option<BytesMut>, ()> {
        Ok((input.len() >= 3).then(|| input.split_to(3)))
    }

    fn put(io: &mut Io<impl AsyncRead + AsyncWrite + Unpin>, bytes: &[u8]) {
        io.put_with(|output| {
            output.extend_from_slice(bytes);
            Ok::<_, ()>(())
        })
        .unwrap();
    }

    #[tokio::test]
    async fn packets_split_over_reads_come_out_whole_and_leave_no_buffer() {
        let (mut client, server) = tokio::io::duplex(2);
        let mut io = Io::new(server, 100);
        let sending = tokio::spawn(async move { client.write_all(b"abcdef").await });
        let mut packets = Vec::new();
        while packets.len() < 2 {
            assert!(matches!(io.drive(true).await.unwrap(), Event::Read(1..)));
            while let Some(packet) = io.take(three).unwrap() {
                packets.push(packet);
            }
        }
        sending.await.unwrap().unwrap();
        assert_eq!(packets, [&b"abc"[..], b"def"]);
        assert_eq!(io.input.capacity(), 0);
        assert_eq!(io.drive(true).await.unwrap(), Event::Read(0));
    }

    #[tokio::test]
    async fn what_is_taken_at_once_is_not_kept_and_the_rest_comes_before_the_next_read() {
        let (mut client, server) = tokio::io::duplex(100);
        let mut io = Io::new(server, 77);
        let mut drive = async |sent: &[u8], taken: usize| {
            client.write_all(sent).await.unwrap();
            let mut seen = Vec::new();
            let event = poll_fn(|cx| {
                io.poll_drive_past(cx, true, |bytes, packet_max| {
                    assert_eq!(packet_max, 77);
                    seen.extend_from_slice(bytes);
                    taken
                })
            });
            assert_eq!(event.await.unwrap(), Event::Read(sent.len()));
            (seen, io.input.to_vec())
        };
        assert_eq!(drive(b"abcdef", 6).await, (b"abcdef".to_vec(), Vec::new()));
        assert_eq!(drive(b"abcdef", 4).await, (b"abcdef".to_vec(), b"ef".to_vec()));
        assert_eq!(drive(b"ghi", 0).await, (b"efghi".to_vec(), b"efghi".to_vec()));
        assert_eq!(drive(b"j", 5).await, (b"efghij".to_vec(), b"j".to_vec()));
    }

    #[tokio::test]
    async fn flushed_follows_queued() {
        let (mut client, server) = tokio::io::duplex(1);
        let mut io = Io::new(server, 100);
        put(&mut io, &[0xd0, 0]);
        assert_eq!((io.queued(), io.flushed(), io.pending()), (2, 0, 2));
        assert_eq!(io.drive(false).await.unwrap(), Event::Wrote);
        assert_eq!(io.flushed(), 0);
        assert_eq!(client.read_u8().await.unwrap(), 0xd0);
        assert_eq!(io.drive(false).await.unwrap(), Event::Wrote);
        assert_eq!((io.flushed(), io.is_flushed()), (2, true));
    }
}
