//! The direct methods, over the agent's own seam.

use super::super::tests::Bench;
use super::logs::Parsed;
use crate::runtime::LogLine;
use base64::Engine as _;
use flate2::read::GzDecoder;
use ironbrook_hub::seams::Clock as _;
use ironbrook_model::Timestamp;
use serde_json::{Value, json};
use std::io::Read as _;
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};

/// An agent without modules, and logs as of a minute ago, a line a second.
fn agent(logs: &[(&str, &[&str])]) -> (Bench, DropGuard) {
    let bench = Bench::new();
    let start = Timestamp::from_secs(bench.clock.now().as_secs() - 60);
    for (name, lines) in logs {
        let lines = lines.iter().enumerate().map(|(n, text)| LogLine {
            time: start.plus(Duration::from_secs(n as u64)),
            position: n as u64,
            text: (*text).to_owned(),
        });
        bench.logs.0.lock().unwrap().insert((*name).to_owned(), lines.collect());
    }
    let cancel = CancellationToken::new();
    let run = bench.agent().run(cancel.clone());
    tokio::spawn(run);
    (bench, cancel.drop_guard())
}

/// An agent whose modules `a` and `b` run.
async fn with_modules(logs: &[(&str, &[&str])]) -> (Bench, DropGuard) {
    use super::super::tests::{agent_desired, module};
    let (bench, guard) = agent(logs);
    let modules = json!({"a": module("i", json!({})), "b": module("i", json!({}))});
    bench.twin.deploy(agent_desired(&modules)).await;
    bench.until("both run", || bench.twin.reported()["modules"]["b"]["runtimeStatus"] == "running").await;
    (bench, guard)
}

async fn get(bench: &Bench, items: Value, more: Value) -> Result<Value, String> {
    let mut request = json!({"schemaVersion": "1.0", "items": items});
    super::super::patch::merge(request.as_object_mut().unwrap(), more.as_object().unwrap());
    let answer = bench.twin.call("GetModuleLogs", request).await;
    match answer.status {
        200 => Ok(answer.payload),
        400 => Err(answer.payload["message"].as_str().unwrap().to_owned()),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn names_in_any_case_and_arguments_are_checked() {
    let (bench, _guard) = agent(&[]);
    let schema = |more: Value| {
        let mut request = json!({"schemaVersion": "1.0"});
        super::super::patch::merge(request.as_object_mut().unwrap(), more.as_object().unwrap());
        request
    };
    for (name, payload, status) in [
        ("PING", Value::Null, 200),
        ("ping", json!({"any": 1}), 200),
        ("nothing", Value::Null, 400),
        ("RestartModule", Value::Null, 400),
        ("RestartModule", json!({"id": "a"}), 400),
        ("RestartModule", json!({"schemaVersion": "2.0", "id": "a"}), 400),
        ("RestartModule", schema(json!({})), 400),
        ("RestartModule", schema(json!({"id": "nobody"})), 400),
        ("RestartModule", schema(json!({"id": "edgeHub"})), 400),
        ("UploadModuleLogs", schema(json!({})), 400),
        ("UploadSupportBundle", schema(json!({})), 400),
        ("GetTaskStatus", schema(json!({})), 400),
        ("GetModuleLogs", schema(json!({})), 400),
        ("GetModuleLogs", schema(json!({"items": [{}]})), 400),
        ("GetModuleLogs", schema(json!({"items": {"id": "("}})), 400),
        ("GetModuleLogs", schema(json!({"items": {"id": "a".repeat(2000)}})), 400),
        ("GetModuleLogs", schema(json!({"items": {"id": "all", "filter": {"tail": -1}}})), 400),
        ("GetModuleLogs", schema(json!({"items": {"id": "all", "filter": {"since": "soon"}}})), 400),
        ("GetModuleLogs", schema(json!({"items": {"id": "all", "filter": {"loglevel": 8}}})), 400),
        ("GetModuleLogs", schema(json!({"items": {"id": "all"}, "encoding": "br"})), 400),
        ("GetModuleLogs", schema(json!({"items": {"id": "nobody"}})), 200),
    ] {
        let answer = bench.twin.call(name, payload.clone()).await;
        assert_eq!(answer.status, status, "{name} {payload}: {}", answer.payload);
        assert_eq!(answer.payload["message"].is_string(), status != 200, "{}", answer.payload);
    }
}

#[tokio::test]
async fn lines_are_chosen_by_module_number_time_level_and_text() {
    let log = ["zero", "<3> 2026-01-31 08:59:01.000 +00:00 [ERR] - one", "two", "three"];
    let (bench, _guard) = with_modules(&[("a", &log), ("b", &["other"])]).await;
    // Found anywhere in the name and in any case, as by stock agents: `A` would mean edgeAgent too.
    for (filter, expected) in [
        (json!({}), "zero\n<3> 2026-01-31 08:59:01.000 +00:00 [ERR] - one\ntwo\nthree\n"),
        (json!({"tail": 1}), "three\n"),
        (json!({"tail": 0}), ""),
        (json!({"loglevel": 3}), "<3> 2026-01-31 08:59:01.000 +00:00 [ERR] - one\n"),
        (json!({"loglevel": 6, "tail": 2}), "two\nthree\n"),
        (json!({"regex": "^t"}), "two\nthree\n"),
        (json!({"since": "58s"}), "two\nthree\n"),
        (json!({"since": "1d", "until": "1m"}), "zero\n"),
        (json!({"since": "2026-01-31T08:59:03Z"}), "three\n"),
        (json!({"since": 1_769_849_943}), "three\n"),
        (json!({"until": "2025-01-01T00:00:00Z"}), ""),
    ] {
        let answer = get(&bench, json!({"id": "^A$", "filter": filter}), json!({})).await.unwrap();
        assert_eq!(answer, json!([{"id": "a", "payload": expected}]), "{filter}");
    }
    let both = get(&bench, json!([{"id": "^a$", "filter": {"tail": 1}}, {"id": "^[ab]$"}]), json!({}))
        .await
        .unwrap();
    assert_eq!(both, json!([{"id": "a", "payload": "three\n"}, {"id": "b", "payload": "other\n"}]));
    let all = get(&bench, json!({"id": "ALL"}), json!({})).await.unwrap();
    let ids: Vec<&str> = all.as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["a", "b", "edgeAgent", "edgeHub"]);
}

#[tokio::test]
async fn records_and_packed_bytes() {
    let (bench, _guard) =
        with_modules(&[("a", &["<4> 2026-01-31 08:00:00.000 +01:00 [WRN] - hot", "plain"])]).await;
    let answer =
        get(&bench, json!({"id": "a"}), json!({"contentType": "json", "encoding": "gzip"})).await.unwrap();
    let packed =
        base64::engine::general_purpose::STANDARD.decode(answer[0]["payloadBytes"].as_str().unwrap());
    let mut text = String::new();
    GzDecoder::new(&packed.unwrap()[..]).read_to_string(&mut text).unwrap();
    let record = |level: u8, text: &str, timestamp: &str| {
        json!({"iothub": "hub.example", "device": "edge-1", "id": "a", "stream": "stdout",
            "loglevel": level, "text": text, "timestamp": timestamp})
    };
    let expected = json!([
        record(4, "[WRN] - hot", "2026-01-31T07:00:00.0000000Z"),
        record(6, "plain", "2026-01-31T08:59:01.0000000Z"),
    ]);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
}

#[tokio::test]
async fn too_much_is_refused_with_what_helps() {
    let line = "x".repeat(1000);
    let lines: Vec<&str> = std::iter::repeat_n(line.as_str(), 200).collect();
    let (bench, _guard) = with_modules(&[("a", &lines)]).await;
    let error = get(&bench, json!({"id": "a"}), json!({})).await.unwrap_err();
    assert!(error.contains("narrow them"), "{error}");
    get(&bench, json!({"id": "a", "filter": {"tail": 100}}), json!({})).await.unwrap();
    get(&bench, json!({"id": "a"}), json!({"encoding": "gzip"})).await.unwrap();
}

#[test]
fn lines_are_taken_apart_as_far_as_they_go() {
    let time = Timestamp::parse("2026-01-01T00:00:00.5Z");
    for (line, level, time, text) in [
        ("<3> 2026-01-01 00:00:00.500 +00:00 [ERR] - no", 3, time, "[ERR] - no"),
        ("2026-01-01 00:00:00.500 +00:00 [INF] - no", 6, time, "[INF] - no"),
        ("<0>alarm", 0, None, "alarm"),
        ("<8> x", 6, None, "<8> x"),
        ("<", 6, None, "<"),
        ("<3", 6, None, "<3"),
        ("", 6, None, ""),
        ("äöüäöüäöüäöüäöüäöüäöüäöüäöü", 6, None, "äöüäöüäöüäöüäöüäöüäöüäöüäöü"),
        ("2026-99-01 00:00:00.500 +00:00 x", 6, None, "2026-99-01 00:00:00.500 +00:00 x"),
    ] {
        assert_eq!(Parsed::read(line), Parsed { level, time, text }, "{line}");
    }
}
