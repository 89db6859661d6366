//! WebSocket: the way into the MQTT and AMQP doors for clients behind proxies.
//!
//! Frames are nothing but a byte stream here: packets may be split over them or share one.

use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream as _};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// Largest frame or message taken, in bytes: Event Hubs clients make AMQP frames of up to 1 MiB.
const MESSAGE_LEN_MAX: usize = 1 << 20;
/// Largest frame made, in bytes.
const FRAME_LEN: usize = 16 * 1024;

/// What a WebSocket carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inner {
    Mqtt,
    Amqp,
}

/// A WebSocket handshake that is for us.
#[derive(Debug)]
pub(crate) struct Handshake {
    /// What the client will speak.
    pub(crate) inner: Inner,
    /// The subprotocol in the client's spelling.
    protocol: HeaderValue,
    accept: HeaderValue,
}

impl Handshake {
    /// Reads the request of a client. `None` if the path is not a WebSocket path of ours; an error says what to answer.
    pub(crate) fn of<B>(request: &Request<B>) -> Option<Result<Self, (StatusCode, &'static str)>> {
        let takes_mqtt = match request.uri().path() {
            // rule WS-01: MQTT and AMQP share the path; only the subprotocol tells. The query is ignored.
            "/$iothub/websocket" | "/$iothub/websocket/" => true,
            // rule WS-02: Event Hubs clients' own path, with and without a trailing slash, AMQP only.
            "/$servicebus/websocket" | "/$servicebus/websocket/" => false,
            _ => return None,
        };
        Some(Self::read(request.headers(), takes_mqtt))
    }

    fn read(headers: &HeaderMap, takes_mqtt: bool) -> Result<Self, (StatusCode, &'static str)> {
        if !has_token(headers, UPGRADE, "websocket") || !has_token(headers, CONNECTION, "upgrade") {
            return Err((StatusCode::UPGRADE_REQUIRED, "this path takes WebSocket handshakes only"));
        }
        if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|v| v != "13") {
            return Err((StatusCode::UPGRADE_REQUIRED, "WebSocket version 13 is needed"));
        }
        let key = headers.get(SEC_WEBSOCKET_KEY).ok_or((StatusCode::BAD_REQUEST, "no Sec-WebSocket-Key"))?;
        let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
            .map_err(|_| (StatusCode::BAD_REQUEST, "bad Sec-WebSocket-Key"))?;
        // rule WS-03: the subprotocol is matched without case and answered in the client's spelling.
        tokens(headers, SEC_WEBSOCKET_PROTOCOL)
            .find_map(|token| {
                let inner = if takes_mqtt && token.eq_ignore_ascii_case("mqtt") {
                    Inner::Mqtt
                } else if token.eq_ignore_ascii_case("AMQPWSB10") {
                    Inner::Amqp
                } else {
                    return None;
                };
                let protocol = HeaderValue::from_str(token).ok()?;
                Some(Self { inner, protocol, accept: accept.clone() })
            })
            .ok_or((StatusCode::BAD_REQUEST, "the subprotocol must be mqtt or AMQPWSB10"))
    }

    /// The answer that lets the client go on.
    pub(crate) fn response(&self) -> axum::response::Response {
        let mut response = axum::response::Response::new(axum::body::Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept.clone());
        headers.insert(SEC_WEBSOCKET_PROTOCOL, self.protocol.clone());
        response
    }
}

fn tokens(headers: &HeaderMap, name: http::HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

fn has_token(headers: &HeaderMap, name: http::HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

/// The byte stream in the binary frames of a WebSocket.
pub(crate) struct WebSocketIo<S = TokioIo<Upgraded>> {
    frames: WebSocketStream<S>,
    /// What is left of the frame read last.
    rest: Bytes,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocketIo<S> {
    /// The server's side of a stream on which the handshake is done.
    pub(crate) async fn server(stream: S) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(8 * 1024)
            .write_buffer_size(FRAME_LEN)
            .max_write_buffer_size(4 * FRAME_LEN)
            .max_message_size(Some(MESSAGE_LEN_MAX))
            .max_frame_size(Some(MESSAGE_LEN_MAX));
        let frames = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
        Self { frames, rest: Bytes::new() }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocketIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.frames).poll_next(cx)) {
                None | Some(Ok(Message::Close(_)) | Err(Error::ConnectionClosed | Error::AlreadyClosed)) => {
                    return Poll::Ready(Ok(()));
                }
                Some(Ok(Message::Binary(bytes))) => self.rest = bytes,
                // Some clients send their bytes as text where they happen to be text.
                Some(Ok(Message::Text(text))) => self.rest = text.into(),
                // Pings are answered by the layer below, with the next read or flush.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
            }
        }
        let len = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest[..len]);
        self.rest.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocketIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(Pin::new(&mut self.frames).poll_ready(cx)).map_err(io_error)?;
        let len = buf.len().min(FRAME_LEN);
        let frame = Message::Binary(Bytes::copy_from_slice(&buf[..len]));
        Pin::new(&mut self.frames).start_send(frame).map_err(io_error)?;
        Poll::Ready(Ok(len))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.frames).poll_flush(cx).map_err(io_error)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.frames).poll_close(cx)) {
            Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(io_error(error))),
        }
    }
}

fn io_error(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn request(path: &str, protocol: &str) -> Request<()> {
        Request::get(path)
            .header("upgrade", "WebSocket")
            .header("connection", "keep-alive, Upgrade")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-protocol", protocol)
            .body(())
            .unwrap()
    }

    #[test]
    fn ws_01_ws_02_ws_03_paths_and_subprotocols() {
        let read = |path, protocol| Handshake::of(&request(path, protocol));
        let good = |path, protocol| read(path, protocol).unwrap().unwrap();
        assert_eq!(good("/$iothub/websocket?iothub-no-client-cert=true", "mqtt").inner, Inner::Mqtt);
        let amqp = good("/$iothub/websocket", "other, amqpwsb10");
        assert_eq!(amqp.inner, Inner::Amqp);
        let response = amqp.response();
        assert_eq!(response.headers()["sec-websocket-protocol"], "amqpwsb10");
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(good("/$servicebus/websocket/", "AMQPWSB10").inner, Inner::Amqp);
        assert!(read("/$servicebus/websocket", "mqtt").unwrap().is_err());
        assert!(read("/$iothub/websocket", "chat").unwrap().is_err());
        assert!(read("/devices", "mqtt").is_none());
    }

    #[tokio::test]
    async fn frames_are_a_byte_stream_and_pings_are_answered() {
        let (client, server) = tokio::io::duplex(1 << 16);
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let mut server = WebSocketIo::server(server).await;
        client.send(Message::Ping(Bytes::from_static(b"?"))).await.unwrap();
        client.send(Message::Binary(Bytes::from_static(b"one "))).await.unwrap();
        client.send(Message::Binary(Bytes::from_static(b"two"))).await.unwrap();
        let mut got = [0; 7];
        server.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"one two");
        let sent = vec![7_u8; FRAME_LEN + 1];
        server.write_all(&sent).await.unwrap();
        server.flush().await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"?")));
        let mut back = Vec::new();
        while back.len() < sent.len() {
            back.extend_from_slice(&client.next().await.unwrap().unwrap().into_data());
        }
        assert_eq!(back, sent);
        client.close(None).await.unwrap();
        assert_eq!(server.read(&mut got).await.unwrap(), 0);
    }
}
