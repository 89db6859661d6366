//! A device at the door that the client crate does not use: HTTPS, without TLS on the loopback port.

use ironbrook_hub::seams::{Clock as _, SystemClock};
use ironbrook_model::ConnectionString;
use ironbrook_testkit::Node;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A token of a device.
fn token(node: &Node, id: &str) -> String {
    let parts = ConnectionString::parse(node.connection_string(id)).unwrap();
    let expires = SystemClock.now().plus(Duration::from_secs(3600));
    parts.require_key("SharedAccessKey").unwrap().sign(&format!("localhost/devices/{id}"), expires, None)
}

/// Sends a message by HTTPS; gives the status.
pub async fn by_http(address: SocketAddr, id: &str, token: &str, body: &str) -> u16 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /devices/{id}/messages/events?api-version=2021-04-12 HTTP/1.1\r\nhost: localhost\r\nauthorization: {token}\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "no answer");
    }
    let answer = String::from_utf8(answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// What that needs of a hub: its address, and a token of a device.
pub fn place(node: &Node, id: &str) -> (SocketAddr, String) {
    (node.address(), token(node, id))
}
