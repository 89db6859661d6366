//! Bounds on waiting for clients: for the next bytes of a request's body, and for room to write an answer.
//!
//! Heads of requests have a bound in the HTTP library itself. A handler may take its time: while it works nobody is waited for.

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// The wait for one step; begins anew with the next.
struct Wait {
    patience: Duration,
    end: Option<Pin<Box<Sleep>>>,
}

impl Wait {
    fn new(patience: Duration) -> Self {
        Self { patience, end: None }
    }

    /// The step, or an error if it was pending for too long.
    fn or_late<T>(&mut self, cx: &mut Context<'_>, step: Poll<T>) -> Poll<io::Result<T>> {
        if let Poll::Ready(done) = step {
            self.end = None;
            return Poll::Ready(Ok(done));
        }
        let patience = self.patience;
        let end = self.end.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(end.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client was waited for too long")))
    }
}

/// A body that fails where the client does not send on.
pub(super) struct Timely<B = Incoming> {
    body: B,
    wait: Wait,
}

impl<B> Timely<B> {
    pub(super) fn new(body: B, patience: Duration) -> Self {
        Self { body, wait: Wait::new(patience) }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Timely<B>
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let step = Pin::new(&mut self.body).poll_frame(cx);
        match ready!(self.wait.or_late(cx, step)) {
            Ok(frame) => Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
            Err(late) => Poll::Ready(Some(Err(late.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that fails where the client does not take what is written.
pub(super) struct Taken<S> {
    stream: S,
    wait: Wait,
}

impl<S> Taken<S> {
    pub(super) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, wait: Wait::new(patience) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Taken<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Taken<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let step = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wait.or_late(cx, step).map(Result::flatten)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let step = Pin::new(&mut self.stream).poll_flush(cx);
        self.wait.or_late(cx, step).map(Result::flatten)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let step = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.wait.or_late(cx, step).map(Result::flatten)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let step = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wait.or_late(cx, step).map(Result::flatten)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, StreamBody};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::Instant;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_body_may_be_long_but_not_stop() {
        let started = Instant::now();
        let slow = async_stream(4, Duration::from_secs(50));
        let error = Timely::new(StreamBody::new(slow), PATIENCE).collect().await.err().unwrap();
        assert!(error.to_string().contains("too long"), "{error}");
        // Four parts that came in time, and the wait for the fifth.
        assert_eq!(started.elapsed().as_secs(), 4 * 50 + 60);
    }

    /// So many parts, each after a pause, then nothing more and no end.
    fn async_stream(
        parts: u32,
        pause: Duration,
    ) -> impl futures_util::Stream<Item = io::Result<Frame<Bytes>>> + Unpin {
        Box::pin(futures_util::stream::unfold(0, move |n| async move {
            if n == parts {
                std::future::pending::<()>().await;
            }
            sleep(pause).await;
            Some((Ok(Frame::data(Bytes::from_static(b"x"))), n + 1))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_not_waited_for_without_end() {
        let (mut client, server) = tokio::io::duplex(8);
        let mut server = Taken::new(server, PATIENCE);
        let started = Instant::now();
        server.write_all(b"12345678").await.unwrap();
        let error = server.write_all(b"9").await.unwrap_err();
        assert_eq!((error.kind(), started.elapsed().as_secs()), (io::ErrorKind::TimedOut, 60));
        // One that takes it late, but in time, is served on.
        let (mut slow, server) = tokio::io::duplex(8);
        let mut server = Taken::new(server, PATIENCE);
        server.write_all(b"12345678").await.unwrap();
        let taking = async {
            sleep(Duration::from_secs(59)).await;
            slow.read_exact(&mut [0; 8]).await.unwrap();
        };
        let (written, ()) = tokio::join!(server.write_all(b"9"), taking);
        written.unwrap();
        client.shutdown().await.unwrap();
    }
}
