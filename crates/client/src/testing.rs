//! A scripted HTTP server for tests: each connection brings one request and takes one answer of a list.

use crate::transport::BoxStream;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;

/// Longer than any loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(120);

/// The requests that came, head and body as text.
pub(crate) struct Requests(mpsc::Receiver<String>);

impl Requests {
    pub(crate) async fn next(&mut self) -> String {
        tokio::time::timeout(PATIENCE, self.0.recv()).await.expect("a request comes").unwrap()
    }
}

/// An answer: status, further header lines, body.
pub(crate) type Scripted = (u16, &'static str, String);

pub(crate) fn json(text: &str) -> Scripted {
    (200, "", text.to_owned())
}

/// Serves on a loopback port; gives the port.
pub(crate) async fn serve_tcp(answers: Vec<Scripted>) -> (u16, Requests) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, requests) = mpsc::channel(answers.len().max(1));
    tokio::spawn(async move {
        for answer in answers {
            let (stream, _) = listener.accept().await.unwrap();
            serve(Box::new(stream), answer, &sender).await;
        }
    });
    (port, Requests(requests))
}

/// Serves on a unix socket.
pub(crate) fn serve_unix(path: &Path, answers: Vec<Scripted>) -> Requests {
    let listener = UnixListener::bind(path).unwrap();
    let (sender, requests) = mpsc::channel(answers.len().max(1));
    tokio::spawn(async move {
        for answer in answers {
            let (stream, _) = listener.accept().await.unwrap();
            serve(Box::new(stream), answer, &sender).await;
        }
    });
    Requests(requests)
}

async fn serve(mut stream: BoxStream, (status, headers, body): Scripted, requests: &mpsc::Sender<String>) {
    let mut request = Vec::new();
    while !is_whole(&request) {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            break;
        }
    }
    let _ = requests.send(String::from_utf8(request).unwrap()).await;
    let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n", body.len());
    // The client may have left: then it has seen enough.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(body.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let lengths = head.to_ascii_lowercase();
    let length = lengths.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    body.len() >= length.unwrap_or(0)
}
