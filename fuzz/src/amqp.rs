//! AMQP 1.0: frames, performatives, messages, and the engine of a connection in both roles.

use bytes::{Bytes, BytesMut};
use ironbrook_wire::amqp::{
    BATCH_FORMAT, ClientSasl, Config, Connection, DeliveryState, Event, Frame, FrameKind, Message,
    Performative, SaslCode, SaslFrame,
};

/// Longest frame that is taken.
const FRAME_MAX: usize = 64 * 1024;
/// Answers longer than this to one input are a flood.
const OUTPUT_MAX: usize = 4 << 20;

/// Any bytes, read as everything that comes as bytes.
pub fn bytes(data: &[u8]) {
    let mut input = BytesMut::from(data);
    while let Ok(Some(frame)) = Frame::decode(&mut input, FRAME_MAX) {
        match frame.kind {
            FrameKind::Amqp => drop(Performative::decode(&frame.body)),
            FrameKind::Sasl => drop(SaslFrame::decode(&frame.body)),
        }
    }
    let shared = Bytes::copy_from_slice(data);
    drop(Performative::decode(&shared));
    drop(SaslFrame::decode(&shared));
    drop(Message::decode_delivery(BATCH_FORMAT, &shared));
    if let Ok(message) = Message::decode(&shared) {
        // Bytes are compared: a number that is none equals nothing.
        let written = message.to_bytes();
        let again = Message::decode(&written).expect("what is written can be read");
        assert_eq!(again.to_bytes(), written);
    }
    talk(Connection::server(Config::default(), &["ANONYMOUS", "PLAIN", "EXTERNAL", "MSSBCBS"]), data);
    talk(Connection::client(Config::default(), ClientSasl::Anonymous), data);
}

/// A connection that hears these bytes, and does what an application does with the events.
fn talk(mut connection: Connection, data: &[u8]) {
    for piece in data.chunks(97) {
        connection.input().extend_from_slice(piece);
        loop {
            match connection.poll() {
                Err(_) => return,
                Ok(None) => break,
                Ok(Some(event)) => answer(&mut connection, event),
            }
        }
        assert!(connection.output().len() < OUTPUT_MAX);
    }
    drop(connection.tick());
}

fn answer(connection: &mut Connection, event: Event) {
    match event {
        Event::Sasl(_) => connection.sasl_outcome(SaslCode::Ok),
        Event::Opened(_) => drop(connection.begin()),
        Event::AttachRequested(link, _) => connection.accept(link, 10),
        Event::Delivery(delivery) => {
            drop(Message::decode_delivery(delivery.format, &delivery.payload));
            connection.settle(delivery.link, delivery.id, delivery.id, DeliveryState::Accepted);
        }
        _ => {}
    }
}
