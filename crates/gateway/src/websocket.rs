//! WebSocket: the way into the MQTT and AMQP doors for clients behind proxies.
//!
//! Frames are nothing but a byte stream here: packets may be split over them or share one.

mod frame;
mod io;

pub(crate) use io::WebSocketIo;

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{HeaderMap, HeaderValue, Request, StatusCode};

/// What is hashed with the client's key (RFC 6455, 1.3).
const ACCEPT_SALT: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

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
    /// Reads the request of a client. `None` if the path is not a WebSocket path of ours; an error says what to answer. With
    /// `topics` ordinary topics are served as well.
    pub(crate) fn of<B>(
        request: &Request<B>,
        topics: bool,
    ) -> Option<Result<Self, (StatusCode, &'static str)>> {
        let takes_mqtt = match request.uri().path() {
            // rule WS-01: MQTT and AMQP share the path; only the subprotocol tells. The query is ignored.
            "/$iothub/websocket" | "/$iothub/websocket/" => true,
            // rule WS-02: Event Hubs clients' own path, with and without a trailing slash, AMQP only.
            "/$servicebus/websocket" | "/$servicebus/websocket/" => false,
            // rule WS-05: what MQTT clients ask for unless told otherwise; `/` is a web page too, so only with an upgrade.
            "/mqtt" | "/mqtt/" if topics => true,
            "/" if topics && has_token(request.headers(), UPGRADE, "websocket") => true,
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
        let accept = HeaderValue::from_str(&accept_key(key.as_bytes()))
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

/// The proof that the handshake was understood. SHA-1 hides nothing here; the protocol wants it so.
fn accept_key(key: &[u8]) -> String {
    let mut hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(ACCEPT_SALT);
    STANDARD.encode(hash.finish())
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

#[cfg(test)]
mod tests {
    use super::*;

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
        // [MQTT-6.0.0-4]
        let read = |path, protocol| Handshake::of(&request(path, protocol), false);
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

    #[test]
    fn ws_05_paths_of_ordinary_topics() {
        for path in ["/mqtt", "/mqtt/", "/"] {
            let handshake = Handshake::of(&request(path, "mqtt"), true).unwrap().unwrap();
            assert_eq!(handshake.inner, Inner::Mqtt);
            assert!(Handshake::of(&request(path, "mqtt"), false).is_none());
        }
        let page = Request::get("/").body(()).unwrap();
        assert!(Handshake::of(&page, true).is_none());
    }
}
