//! The client's end of a stream.

use super::packet::{self, Got, Packet, V, disconnect, frame, publish, read_varint, short, subscribe};
use super::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// A stream, read packet by packet.
pub(super) struct Wire {
    stream: DuplexStream,
    input: Vec<u8>,
}

impl Wire {
    pub(super) fn new(stream: DuplexStream) -> Self {
        Self { stream, input: Vec::new() }
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // A server that closed already is no error here: what it said before is what counts.
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    fn parsed(&mut self) -> Option<Packet> {
        let (first, mut rest) = self.input.split_first()?;
        if rest.iter().take(4).all(|byte| byte & 0x80 != 0) {
            return None;
        }
        let length = read_varint(&mut rest);
        let body = rest.get(..length)?.to_vec();
        let packet = Packet { first: *first, body };
        let used = self.input.len() - rest.len() + length;
        self.input.drain(..used);
        Some(packet)
    }

    /// The next packet; `None` at the end of the stream.
    pub(super) async fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.parsed() {
                return Some(packet);
            }
            let mut piece = vec![0; 16 * 1024];
            match within("a packet", self.stream.read(&mut piece)).await {
                Ok(0) | Err(_) => {
                    assert!(self.input.is_empty(), "half a packet: {:?}", self.input);
                    return None;
                }
                Ok(length) => self.input.extend(&piece[..length]),
            }
        }
    }

    pub(super) async fn packet(&mut self) -> Packet {
        self.next().await.expect("the connection was closed")
    }

    pub(super) async fn expect(&mut self, bytes: impl AsRef<[u8]>) {
        let Packet { first, body } = self.packet().await;
        assert_eq!(frame(first, &body), bytes.as_ref());
    }

    /// All there is before the connection is closed.
    pub(super) async fn rest(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        while let Some(packet) = self.next().await {
            packets.push(packet);
        }
        packets
    }

    /// What comes before the answer to two PINGREQ: all that the server has for this client now.
    pub(super) async fn pending(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        for _ in 0..2 {
            self.send([0xc0, 0]).await;
            loop {
                match self.packet().await {
                    Packet { first: 0xd0, .. } => break,
                    packet => packets.push(packet),
                }
            }
        }
        packets
    }
}

/// A client that was let in.
pub(super) struct Client {
    pub(super) wire: Wire,
    pub(super) v: V,
    next_id: u16,
}

impl Client {
    pub(super) fn new(wire: Wire, v: V) -> Self {
        Self { wire, v, next_id: 1000 }
    }

    pub(super) fn id(&mut self) -> u16 {
        self.next_id += 1;
        self.next_id
    }

    /// Subscribes with one filter; gives the answer's code.
    pub(super) async fn subscribe(&mut self, filter: &str, options: u8) -> u8 {
        self.subscribe_with(&[], &[(filter, options)]).await[0]
    }

    pub(super) async fn subscribe_with(&mut self, properties: &[u8], filters: &[(&str, u8)]) -> Vec<u8> {
        let id = self.id();
        self.wire.send(subscribe(self.v, id, properties, filters)).await;
        let ack = self.answer(0x90).await;
        assert_eq!(ack.body[..2], id.to_be_bytes());
        self.codes(&ack)
    }

    /// The codes behind the properties of a SUBACK or UNSUBACK.
    pub(super) fn codes(&self, ack: &Packet) -> Vec<u8> {
        let mut rest = &ack.body[2..];
        if self.v == V::V5 {
            packet::take_properties(&mut rest);
        }
        rest.to_vec()
    }

    /// The next packet, which is of this kind.
    pub(super) async fn answer(&mut self, first: u8) -> Packet {
        let packet = self.wire.packet().await;
        assert_eq!(packet.first, first, "{packet:?}");
        packet
    }

    /// Publishes to the end of the handshake; gives the reason of the first answer.
    pub(super) async fn publish(&mut self, qos: u8, retain: bool, topic: &str, payload: &str) -> u8 {
        self.publish_with(qos << 1 | u8::from(retain), topic, &[], payload).await
    }

    pub(super) async fn publish_with(
        &mut self,
        flags: u8,
        topic: &str,
        properties: &[u8],
        payload: &str,
    ) -> u8 {
        let id = self.id();
        self.wire.send(publish(self.v, flags, topic, id, properties, payload)).await;
        let reason = |packet: &Packet| packet.body.get(2).copied().unwrap_or(0);
        match flags >> 1 & 3 {
            0 => {
                assert_eq!(self.wire.pending().await, []);
                0
            }
            1 => {
                let ack = self.answer(0x40).await;
                assert_eq!(ack.body[..2], id.to_be_bytes());
                reason(&ack)
            }
            _ => {
                let ack = self.answer(0x50).await;
                assert_eq!(ack.body[..2], id.to_be_bytes());
                if reason(&ack) < 0x80 {
                    self.wire.send(short(0x62, id)).await;
                    self.wire.expect(short(0x70, id)).await;
                }
                reason(&ack)
            }
        }
    }

    /// The next message, unanswered.
    pub(super) async fn message(&mut self) -> Got {
        self.wire.packet().await.message(self.v)
    }

    /// All messages there are, answered in full.
    pub(super) async fn messages(&mut self) -> Vec<Got> {
        let mut messages: Vec<Got> = Vec::new();
        loop {
            let packets = self.wire.pending().await;
            if packets.is_empty() {
                return messages;
            }
            for packet in packets {
                match packet.first >> 4 {
                    3 => {
                        let got = packet.message(self.v);
                        match got.qos {
                            1 => self.wire.send(short(0x40, got.id)).await,
                            2 => self.wire.send(short(0x50, got.id)).await,
                            _ => {}
                        }
                        messages.push(got);
                    }
                    6 => self.wire.send(frame(0x70, &packet.body[..2])).await,
                    _ => panic!("not asked for: {packet:?}"),
                }
            }
        }
    }

    /// The payloads of all messages there are.
    pub(super) async fn payloads(&mut self) -> Vec<String> {
        self.messages().await.into_iter().map(|got| got.payload).collect()
    }

    /// Says goodbye, and waits for the server to close.
    pub(super) async fn leave(mut self) {
        self.wire.send(disconnect(self.v, 0, &[])).await;
        assert_eq!(self.wire.rest().await, []);
    }

    /// Sends something that may not be; gives the code of DISCONNECT, which 3.1.1 does not have.
    pub(super) async fn violates(mut self, bytes: impl AsRef<[u8]>) -> u8 {
        self.wire.send(bytes).await;
        let mut last = self.wire.rest().await;
        match self.v {
            V::V4 => {
                assert_eq!(last, []);
                0x80
            }
            V::V5 => {
                let packet = last.pop().expect("no DISCONNECT");
                assert_eq!((packet.first, last.len()), (0xe0, 0));
                packet.code()
            }
        }
    }
}
