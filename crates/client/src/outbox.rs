//! What goes out on a connection of MQTT, and the pings that keep it alive; the same in both versions.

use crate::error::{Error, Result};
use bytes::BytesMut;
use ironbrook_wire::mqtt::v4::{self, Packet};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

/// Longest wait for the last bytes to leave.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes on their way out, and when to ping.
pub(crate) struct Outbox {
    pub bytes: BytesMut,
    /// Whether bytes may still be in a layer below.
    pub dirty: bool,
    ping_every: Duration,
    pub ping_at: Instant,
    /// Since when a ping has had no answer of any kind.
    pinged: Option<Instant>,
}

impl Outbox {
    pub(crate) fn new(keep_alive: Duration) -> Self {
        // Twice as often as the hub asks, so that one lost moment does not end the connection.
        let ping_every = keep_alive / 2;
        Self {
            bytes: BytesMut::new(),
            dirty: false,
            ping_every,
            ping_at: Instant::now() + ping_every,
            pinged: None,
        }
    }

    /// Writes a part, or flushes when all is written. Cancel-safe.
    pub(crate) async fn write(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        if self.bytes.is_empty() {
            writer.flush().await?;
            self.dirty = false;
        } else if writer.write_buf(&mut self.bytes).await? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(())
    }

    pub(crate) fn heard(&mut self) {
        self.pinged = None;
    }

    /// Pings if it is time; an error if the last ping was never answered.
    pub(crate) fn ping(&mut self) -> Result<()> {
        let now = Instant::now();
        if now < self.ping_at {
            return Ok(());
        }
        if self.pinged.is_some() {
            return Err(Error::Timeout("PINGREQ"));
        }
        let _ = v4::encode(&Packet::PingReq, &mut self.bytes);
        self.pinged = Some(now);
        self.ping_at = now + self.ping_every;
        Ok(())
    }

    /// Sends what is left, as far as the peer takes it, and ends this side of the stream.
    pub(crate) async fn finish(self, writer: &mut (impl AsyncWrite + Unpin)) {
        let last_words = async {
            writer.write_all(&self.bytes).await?;
            writer.flush().await?;
            writer.shutdown().await
        };
        // The connection ends anyway: whether the peer hears it changes nothing here.
        let _ = timeout(GOODBYE_TIMEOUT, last_words).await;
    }
}
