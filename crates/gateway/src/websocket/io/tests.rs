use super::*;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use std::future::poll_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

/// A client of another make and our side, with so many bytes between them.
async fn pair(room: usize) -> (WebSocketStream<DuplexStream>, WebSocketIo<DuplexStream>) {
    let (client, server) = tokio::io::duplex(room);
    (WebSocketStream::from_raw_socket(client, Role::Client, None).await, WebSocketIo::server(server))
}

fn binary(payload: &'static [u8]) -> Message {
    Message::Binary(Bytes::from_static(payload))
}

#[tokio::test]
async fn frames_are_a_byte_stream_and_pings_are_answered() {
    // [MQTT-6.0.0-2]
    let (mut client, mut server) = pair(1 << 16).await;
    client.send(Message::Ping(Bytes::from_static(b"?"))).await.unwrap();
    client.send(binary(b"one ")).await.unwrap();
    client.send(binary(b"two")).await.unwrap();
    let mut got = [0; 7];
    server.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"one two");
    // A read that waits sends the answer, though nobody writes.
    let answer = tokio::select! {
        answer = client.next() => answer.unwrap().unwrap(),
        _ = server.read_u8() => panic!("nothing was sent"),
    };
    assert_eq!(answer, Message::Pong(Bytes::from_static(b"?")));
}

#[tokio::test]
async fn payload_of_any_length_goes_both_ways() {
    let (mut client, mut server) = pair(1000).await;
    let echo = tokio::spawn(async move {
        let mut piece = vec![0; 70_000];
        loop {
            let len = server.read(&mut piece).await.unwrap();
            if len == 0 {
                return server.shutdown().await.unwrap();
            }
            server.write_all(&piece[..len]).await.unwrap();
            server.flush().await.unwrap();
        }
    });
    for len in [1, 125, 126, FRAME_LEN, FRAME_LEN + 1, 0xffff, 0x1_0000, 300_000] {
        let sent: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        let mut back = Vec::new();
        let (mut sink, mut stream) = client.split();
        let sending = sink.send(Message::Binary(sent.clone().into()));
        let receiving = async {
            while back.len() < len {
                back.extend_from_slice(&stream.next().await.unwrap().unwrap().into_data());
            }
        };
        let (done, ()) = tokio::join!(sending, receiving);
        done.unwrap();
        assert!(back == sent, "{len} bytes came back otherwise");
        client = sink.reunite(stream).unwrap();
    }
    let reason = CloseFrame { code: CloseCode::Library(4001), reason: "done".into() };
    client.close(Some(reason)).await.unwrap();
    let Message::Close(Some(echoed)) = client.next().await.unwrap().unwrap() else { panic!("no farewell") };
    assert_eq!(echoed.code, CloseCode::Library(4001));
    assert!(client.next().await.is_none());
    echo.await.unwrap();
}

#[tokio::test]
async fn ws_04_text_is_refused_with_1003() {
    // [MQTT-6.0.0-1]
    let (mut client, mut server) = pair(1 << 16).await;
    client.send(binary(b"bytes")).await.unwrap();
    client.send(Message::Text("text".into())).await.unwrap();
    let mut got = Vec::new();
    let error = server.read_to_end(&mut got).await.unwrap_err();
    // What came before it counts.
    assert_eq!((got.as_slice(), error.kind()), (&b"bytes"[..], io::ErrorKind::InvalidData));
    assert!(error.to_string().contains("binary frames"), "{error}");
    server.shutdown().await.unwrap();
    let Message::Close(Some(farewell)) = client.next().await.unwrap().unwrap() else { panic!("no reason") };
    assert_eq!(farewell.code, CloseCode::Unsupported);
}

#[tokio::test]
async fn a_shutdown_says_goodbye_and_nothing_follows() {
    let (mut client, mut server) = pair(1 << 16).await;
    server.write_all(b"last words").await.unwrap();
    server.shutdown().await.unwrap();
    assert!(server.write_all(b"more").await.is_err());
    assert_eq!(client.next().await.unwrap().unwrap(), binary(b"last words"));
    let Message::Close(Some(farewell)) = client.next().await.unwrap().unwrap() else { panic!("no farewell") };
    assert_eq!(farewell.code, CloseCode::Normal);
}

#[tokio::test]
async fn a_client_that_only_sends_costs_no_memory() {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let mut server = WebSocketIo::server(server);
    // The head of a frame of 1 MiB, and a good part of it.
    client.write_all(&[0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0]).await.unwrap();
    client.write_all(&vec![0; 600_000]).await.unwrap();
    let mut scratch = vec![0; 4096];
    for _ in 0..146 {
        server.read_exact(&mut scratch).await.unwrap();
    }
    assert_eq!(server.out.capacity(), 0);
    // Nor do pings pile up whose answers it does not take.
    let (mut client, server) = tokio::io::duplex(64);
    let mut server = WebSocketIo::server(server);
    let flood = tokio::spawn(async move {
        for _ in 0..1000 {
            client.write_all(&[[0x89, 0x80 | 125, 0, 0, 0, 0].as_slice(), &[0; 125]].concat()).await.unwrap();
        }
        client.write_all(&[0x82, 0x81, 0, 0, 0, 0, 1]).await.unwrap();
        client
    });
    assert_eq!(server.read_u8().await.unwrap(), 1);
    assert!(server.out.capacity() <= 1024, "{}", server.out.capacity());
    drop(flood.await.unwrap());
}

#[tokio::test]
async fn frames_that_wait_for_the_client_are_bounded() {
    let (client, server) = tokio::io::duplex(64);
    let mut server = WebSocketIo::server(server);
    let mut taken = 0;
    let full = poll_fn(|cx| {
        while let Poll::Ready(len) = Pin::new(&mut server).poll_write(cx, &[0; 5000]) {
            taken += len.unwrap();
            assert!(taken < OUT_MAX, "taken without end");
        }
        Poll::Ready(taken)
    })
    .await;
    assert!(full > FRAME_LEN && server.out.capacity() <= 2 * OUT_MAX);
    drop(client);
}
