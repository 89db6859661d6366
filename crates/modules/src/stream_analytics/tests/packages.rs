//! Packages by URL, from a server on this machine. The clock runs: sockets know no other.

use super::{Bench, Log};
use crate::stream_analytics::console::Console;
use crate::stream_analytics::package::Package;
use crate::stream_analytics::{Settings, work};
use ironbrook_client::{Message, Trust};
use ironbrook_hub::seams::SystemClock;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const QUERY: &str = "SELECT v INTO o FROM i";

/// Answers that are given one after the other; when there are none left, nobody answers.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    answers: VecDeque<(u16, Vec<u8>)>,
    requests: usize,
}

impl Store {
    async fn open(&self) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/c/EdgeJobs/job.json?sig=canary", listener.local_addr().unwrap());
        let store = self.clone();
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let _ = socket.read(&mut request).await;
                let answer = {
                    let mut script = store.0.lock().unwrap();
                    script.requests += 1;
                    script.answers.pop_front()
                };
                let Some((status, body)) = answer else { continue };
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
                let _ = socket.write_all(&[head.as_bytes(), &body].concat()).await;
            }
        });
        url
    }

    fn answer(&self, status: u16, body: impl Into<Vec<u8>>) {
        self.0.lock().unwrap().answers.push_back((status, body.into()));
    }

    fn requests(&self) -> usize {
        self.0.lock().unwrap().requests
    }
}

/// As [`Bench::start`], with the clock of this machine.
fn start(bench: &Bench) {
    let link = bench.hub.start();
    let settings = Settings { state_dir: bench.folder.clone(), downloads: Trust::System };
    let console = Console::new(Box::new(Log::clone(&bench.log)));
    let work = work(link.clone(), settings, console, Arc::new(SystemClock));
    let (hub, process) = (bench.hub.clone(), link.process);
    tokio::spawn(async move {
        tokio::select! {
            biased;
            () = hub.killed(process) => {}
            ended = work => panic!("the module ended: {ended:?}"),
        }
    });
}

/// The module twin of a published job.
fn published(url: &str, etag: &str) -> Value {
    json!({ "ASAJobInfo": url, "ASAJobResourceId": "/x", "ASAJobEtag": etag, "PublishTimeStamp": etag })
}

#[tokio::test]
async fn a_package_is_fetched_run_and_found_on_disk_after_a_start_without_network() {
    let folder = tempfile::tempdir().unwrap();
    let (bench, store) = (Bench::on_disk(&folder), Store::default());
    let url = store.open().await;
    // The first attempt fails in passing.
    store.answer(503, "busy");
    store.answer(200, Package::new("job", "of the package", QUERY).to_json());
    bench.hub.desire(published(&url, "e1"));
    start(&bench);
    let running = bench.status("running").await;
    assert_eq!((&running["etag"], bench.hub.reported()["ASAJobEtag"].clone()), (&json!("e1"), json!("e1")));
    assert_eq!(running.get("error"), None);
    bench.hub.put("i", Message::new(r#"{"v":1}"#));
    bench.wait_for_rows("o", 1).await;
    assert_eq!(store.requests(), 2);
    assert!(bench.lines().contains("next attempt in 1 s"), "{}", bench.lines());

    // The same job needs no network any more.
    start(&bench);
    bench.hub.put("i", Message::new(r#"{"v":2}"#));
    assert_eq!(bench.wait_for_rows("o", 2).await, [json!({ "v": 1 }), json!({ "v": 2 })]);
    assert_eq!(store.requests(), 2);

    // Another one that cannot be fetched: the old one goes on.
    bench.hub.desire(published(&url, "e2"));
    bench.hub.until("the attempt", |_| bench.lines().matches("cannot be fetched").count() >= 2).await;
    bench.status("waiting").await;
    start(&bench);
    bench.hub.put("i", Message::new(r#"{"v":3}"#));
    bench.wait_for_rows("o", 3).await;
    assert_eq!(bench.hub.reported()["query"]["etag"], "e1");
    let everything = format!("{}{}", bench.lines(), bench.hub.reported());
    assert!(!everything.contains("canary") && everything.contains("/c/EdgeJobs/job.json"), "{everything}");
}

#[tokio::test]
async fn what_is_no_package_of_ours_is_refused_with_the_reason() {
    let (bench, store) = (Bench::in_memory(), Store::default());
    let url = store.open().await;
    start(&bench);
    bench.query(QUERY);
    let digest = bench.status("running").await["digest"].clone();
    let broken = Package::new("job", "e", "SELECT\n  FROM").to_json();
    for (number, (status, body, reason)) in [
        (200, b"PK\x03\x04...".to_vec(), "zip"),
        (200, b"<html>".to_vec(), "ironbrook-stream-analytics-job"),
        (403, b"no".to_vec(), "403"),
        (200, broken, "missing"),
    ]
    .into_iter()
    .enumerate()
    {
        store.answer(status, body);
        let mut twin = published(&url, &number.to_string());
        twin["query"] = Value::Null;
        bench.hub.desire(twin);
        let says = |hub: &super::FakeHub| {
            let query = &hub.reported()["query"];
            query["status"] == "refused" && query["error"]["message"].as_str().unwrap().contains(reason)
        };
        bench.hub.until(reason, says).await;
        assert_eq!(bench.hub.reported()["query"]["digest"], digest);
        assert_eq!(bench.hub.reported().get("ASAJobEtag"), None);
    }
    assert_eq!(store.requests(), 4);
    assert!(bench.hub.reported()["query"]["error"]["line"].is_u64());
    // Our own property wins where both are there.
    bench.query("SELECT v, 1 AS x INTO o FROM i");
    bench.status("running").await;
    assert_eq!(store.requests(), 4);
}
