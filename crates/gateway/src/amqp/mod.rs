//! The AMQP door.

use crate::{Peer, Services};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

/// Serves one connection to its end.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send>(
    _stream: S,
    _services: Arc<Services>,
    _peer: Peer,
    _cancel: CancellationToken,
) {
}
