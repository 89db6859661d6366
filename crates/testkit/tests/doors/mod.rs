//! A device at the doors that the client crate does not use: AMQP and HTTPS, without TLS on the loopback port.

use ironbrook_hub::seams::{Clock as _, SystemClock};
use ironbrook_model::ConnectionString;
use ironbrook_testkit::Node;
use ironbrook_wire::amqp::{
    ClientSasl, Config, Connection, DeliveryState, Event, LinkOptions, Message, Outgoing,
};
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

/// Sends messages by AMQP, as many at once as there is credit for, and waits until all are accepted.
pub async fn by_amqp(address: SocketAddr, id: String, token: String, bodies: Vec<String>) {
    let sasl = ClientSasl::Plain { user: format!("{id}@sas.localhost"), password: token };
    let mut connection = Connection::client(Config::default(), sasl);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (mut next, mut accepted, mut link) = (0, 0, None);
    while accepted < bodies.len() {
        while let Some(event) = connection.poll().unwrap() {
            match event {
                Event::Opened(_) => {
                    let session = connection.begin().unwrap();
                    let address = format!("/devices/{id}/messages/events");
                    link =
                        Some(connection.attach(session, LinkOptions::sender("telemetry", address)).unwrap());
                }
                Event::Disposition { state, .. } => {
                    assert_eq!(state, Some(DeliveryState::Accepted));
                    accepted += 1;
                }
                Event::Detached(_, error) => panic!("the link ended: {error:?}"),
                _ => {}
            }
        }
        if let Some(link) = link {
            while next < bodies.len() && connection.sendable(link) > 0 {
                let tag = (next as u32).to_be_bytes().to_vec().into();
                let payload = Message::data(bodies[next].clone()).to_bytes();
                connection.send(link, Outgoing { tag, format: 0, settled: false, payload }).unwrap();
                next += 1;
            }
        }
        let out = connection.output().split();
        stream.write_all(&out).await.unwrap();
        if out.is_empty() && accepted < bodies.len() {
            assert!(stream.read_buf(connection.input()).await.unwrap() > 0, "the connection ended");
        }
    }
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

/// What both need of a hub: its address, and a token of a device.
pub fn place(node: &Node, id: &str) -> (SocketAddr, String) {
    (node.address(), token(node, id))
}
