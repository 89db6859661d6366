//! Queries from the twin: run, swapped, refused, failed; what is reported of them.

use super::{Bench, START};
use crate::temperature_sensor::control::{Command, commands};
use crate::temperature_sensor::{self, Telemetry, model::Machine};
use ironbrook_client::{Message, SystemProperty};
use ironbrook_hub::seams::Clock as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

const RESET: &str = "SELECT 'reset' AS command INTO alert
FROM temperature TIMESTAMP BY timeCreated
GROUP BY TumblingWindow(second, 30)
HAVING AVG(machine.temperature) > 70";
/// The same with FROM first and windows of 3 s.
const RESET_QUICK: &str = "\
FROM temperature TIMESTAMP BY timeCreated
GROUP BY TumblingWindow(second, 3)
HAVING AVG(machine.temperature) > 70
SELECT 'reset' AS command INTO alert";
const COUNT: &str = "SELECT COUNT(*) AS n INTO o FROM i TIMESTAMP BY at GROUP BY TumblingWindow(second, 10)";

#[tokio::test(start_paused = true)]
async fn a_window_closes_5_s_after_its_end_without_further_events() {
    let bench = Bench::in_memory();
    bench.start();
    bench.query(RESET);
    bench.status("running").await;
    bench.sleep(20.0).await;
    for temperature in [60.0, 90.0] {
        let time = bench.clock.now().to_string();
        let event = json!({ "machine": { "temperature": temperature }, "timeCreated": time });
        bench.hub.put("Temperature", Message::new(event.to_string()));
    }
    bench.hub.until("the alert", |hub| !hub.outputs().is_empty()).await;
    let waited = bench.clock.now().since(START).as_secs_f64();
    assert!((35.0..36.0).contains(&waited), "{waited}");
    let (output, message) = bench.hub.outputs().remove(0);
    assert_eq!((&*output, &message.body[..]), ("alert", &br#"[{"command":"reset"}]"#[..]));
    assert!(message.has_json_body());
    let id = message.system.get(SystemProperty::MessageId).unwrap();
    assert_eq!(&**id, "alert:2026-01-31T09:00:30.0000000Z:1");
    bench.hub.until("completion", |hub| hub.completed() == 2).await;
    assert!(bench.lines().contains("accepted"), "{}", bench.lines());
}

#[tokio::test(start_paused = true)]
async fn the_sensor_climbs_and_is_reset_again_and_again() {
    let bench = Bench::in_memory();
    bench.start();
    bench.query(RESET_QUICK);
    let running = bench.status("running").await;
    assert!(running["note"].as_str().unwrap().contains("FROM"), "{running}");
    let settings = temperature_sensor::Settings::default();
    let (mut machine, mut rng) = (Machine::new(&settings), StdRng::seed_from_u64(3));
    let (mut obeyed, mut last, mut resets) = (0, 0.0, Vec::new());
    for number in 1..2000_u32 {
        let outputs = bench.hub.outputs();
        for (_, message) in &outputs[obeyed..] {
            assert_eq!(commands(&message.body), Ok(vec![Command::Reset]));
            machine.reset();
            resets.push(last);
        }
        obeyed = outputs.len();
        if resets.len() == 2 {
            break;
        }
        let reading = machine.step(&mut rng);
        last = reading.temperature;
        let mut message = Message::new(Telemetry::new(reading, bench.clock.now()).to_json());
        message.properties.set("sequenceNumber", number.to_string());
        message.properties.set("batchId", "b");
        bench.hub.put("temperature", message);
        bench.sleep(0.2).await;
    }
    // The mean of 3 s was above, so the last reading is not far from it.
    assert_eq!(resets.len(), 2);
    assert!(resets.iter().all(|temperature| (65.0..90.0).contains(temperature)), "{resets:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_query_messages_stay_with_the_hub_and_are_counted_at_their_own_time() {
    let bench = Bench::in_memory();
    bench.start();
    bench.hub.desire(json!({ "other": 1 }));
    bench.status("waiting").await;
    for _ in 0..30 {
        bench.event("i", json!({}));
        bench.sleep(1.0).await;
    }
    assert_eq!((bench.hub.completed(), bench.hub.waiting()), (0, 30));
    bench.query(COUNT);
    let rows = bench.wait_for_rows("o", 4).await;
    // Windows end with their last moment.
    assert_eq!(rows, [json!({ "n": 1 }), json!({ "n": 10 }), json!({ "n": 10 }), json!({ "n": 9 })]);
    bench.hub.until("completion", |hub| hub.waiting() == 0).await;
    // The query is taken away again.
    bench.hub.desire(json!({ "query": null }));
    bench.status("waiting").await;
    bench.event("i", json!({}));
    bench.sleep(60.0).await;
    assert_eq!(bench.hub.waiting(), 1);
    assert_eq!(bench.hub.reported()["query"].get("digest"), None);
}

#[tokio::test(start_paused = true)]
async fn an_invalid_query_is_refused_with_its_place_and_the_old_one_goes_on() {
    let bench = Bench::in_memory();
    bench.start();
    bench.query("SELECT * INTO o FROM");
    let refused = bench.status("refused").await;
    assert_eq!((&refused["error"]["line"], refused.get("digest")), (&json!(1), None));
    bench.query(COUNT);
    let digest = bench.status("running").await["digest"].clone();
    bench.event("i", json!({}));
    bench.query("SELECT COUNT(*) AS n INTO o\nFROM i TIMESTAMP BY at GROUP BY TumblingWindow(second)");
    let refused = bench.status("refused").await;
    assert_eq!((&refused["digest"], &refused["version"]), (&digest, &json!(3)));
    let error = &refused["error"];
    assert_eq!(error["line"], 2);
    assert!(
        error["column"].as_u64().unwrap() > 20 && !error["message"].as_str().unwrap().is_empty(),
        "{error}"
    );
    assert!(bench.lines().contains("the one before goes on: line 2"), "{}", bench.lines());
    assert_eq!(bench.wait_for_rows("o", 1).await, [json!({ "n": 1 })]);
    // Back to the one that runs.
    bench.query(COUNT);
    let running = bench.status("running").await;
    assert_eq!((&running["digest"], running.get("error")), (&digest, None));
    bench.hub.desire(json!({ "policies": { "lateArrivalSeconds": "x" } }));
    let refused = bench.status("refused").await;
    assert!(refused["error"]["message"].as_str().unwrap().contains("policies"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_swap_keeps_the_windows_that_both_queries_have() {
    let bench = Bench::in_memory();
    bench.start();
    bench.query(COUNT);
    bench.status("running").await;
    for _ in 0..3 {
        bench.event("i", json!({ "v": 1 }));
        bench.sleep(1.0).await;
    }
    bench.query(&format!("{COUNT}\nSELECT v INTO p FROM i TIMESTAMP BY at"));
    bench.hub.until("the swap", |hub| hub.reported()["query"]["version"] == 2).await;
    bench.event("i", json!({ "v": 2 }));
    assert_eq!(bench.wait_for_rows("p", 1).await, [json!({ "v": 2 })]);
    // The first came at the very beginning, which is the end of the window before.
    assert_eq!(bench.wait_for_rows("o", 2).await, [json!({ "n": 1 }), json!({ "n": 3 })]);
}

#[tokio::test(start_paused = true)]
async fn a_query_that_fails_completes_nothing_and_its_successor_gets_the_messages() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::on_disk(&folder);
    bench.start();
    bench.query("SELECT CAST(v AS bigint) AS n INTO o FROM i");
    bench.status("running").await;
    bench.event("i", json!({ "v": "1" }));
    bench.wait_for_rows("o", 1).await;
    for v in ["2", "x", "3"] {
        bench.event("i", json!({ "v": v }));
    }
    let failed = bench.status("failed").await;
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(message.contains("cast") && message.contains("onError"), "{message}");
    bench.sleep(30.0).await;
    assert_eq!((bench.hub.completed(), bench.hub.waiting()), (1, 3));
    // A start changes nothing: the messages come again.
    let link = bench.start();
    bench.hub.until("the second failure", |_| bench.lines().matches("Query failed").count() == 2).await;
    for _ in 0..3 {
        bench.sleep(31.0).await;
        bench.hub.repeat(&link);
    }
    bench.hub.desire(json!({ "policies": { "onError": "skip" } }));
    bench.wait_for_rows("o", 3).await;
    bench.hub.repeat(&link);
    bench.hub.until("completion", |hub| hub.waiting() == 0).await;
    assert_eq!(bench.rows("o"), [json!({ "n": 1 }), json!({ "n": 2 }), json!({ "n": 3 })]);
    bench.hub.until("counts", |hub| hub.reported()["inputs"]["i"]["dataErrors"] == 1).await;
    assert!(bench.lines().contains("1 data errors, the last: EvaluationError"), "{}", bench.lines());
}

#[tokio::test(start_paused = true)]
async fn counts_are_reported_each_minute_and_only_when_they_changed() {
    let bench = Bench::in_memory();
    bench.hub.report_before(json!({ "inputs": { "old": { "events": 1 } }, "ASAJobEtag": "old", "mine": 1 }));
    bench.start();
    bench.query("SELECT v INTO [out.put] FROM i");
    bench.status("running").await;
    let reported = bench.hub.reported();
    assert_eq!(reported["inputs"], json!({ "i": { "events": 0, "dataErrors": 0 } }));
    assert_eq!((reported.get("ASAJobEtag"), &reported["mine"]), (None, &json!(1)));
    let reports = bench.hub.reports();
    for _ in 0..100 {
        bench.event("i", json!({ "v": 1 }));
        bench.hub.put("i", Message::new("no JSON"));
        bench.hub.put("stranger", Message::new("{}"));
        bench.sleep(0.5).await;
    }
    assert_eq!(bench.hub.reports(), reports);
    bench.sleep(30.0).await;
    assert_eq!(bench.hub.reports(), reports + 1);
    let reported = bench.hub.reported();
    assert_eq!(reported["inputs"], json!({ "i": { "events": 200, "dataErrors": 100 } }));
    assert_eq!(reported["outputs"], json!({ "out_put": { "rows": 100 } }));
    bench.sleep(600.0).await;
    assert_eq!(bench.hub.reports(), reports + 1);
    bench.hub.until("completion", |hub| hub.waiting() == 0).await;
    // 300 bad messages in 50 s, and a line in 10 s for each kind of trouble.
    let lines = bench.lines();
    assert!((4..=6).contains(&lines.matches("data errors").count()), "{lines}");
    assert!((4..=6).contains(&lines.matches("does not read").count()), "{lines}");
}

#[tokio::test(start_paused = true)]
async fn bodies_are_objects_arrays_and_lines() {
    let bench = Bench::in_memory();
    bench.start();
    bench.query("SELECT v INTO o FROM i");
    for body in [r#"{"v":1}"#, r#"[{"v":2},{"v":3}]"#, "{\"v\":4}\n{\"v\":5}\n"] {
        bench.hub.put("I", Message::new(body));
    }
    let rows: Vec<Value> = (1..=5).map(|v| json!({ "v": v })).collect();
    assert_eq!(bench.wait_for_rows("o", 5).await, rows);
    // One flush, one message.
    assert_eq!(bench.hub.outputs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn many_messages_and_rows_pass_through_the_window_of_the_hub() {
    let bench = Bench::in_memory();
    bench.start();
    bench.query("SELECT v, p INTO o FROM i");
    let padding = "x".repeat(3000);
    for v in 0..1000 {
        bench.hub.put("i", Message::new(json!({ "v": v, "p": padding }).to_string()));
    }
    bench.hub.until("completion", |hub| hub.waiting() == 0).await;
    let rows = bench.rows("o");
    assert!(rows.iter().map(|row| &row["v"]).eq(&(0..1000).map(|v| json!(v)).collect::<Vec<_>>()));
}

#[tokio::test(start_paused = true)]
async fn functions_and_formats_of_the_twin_are_followed_and_a_change_of_them_is_a_change_of_the_job() {
    let bench = Bench::in_memory();
    bench.start();
    let csv = json!({ "i": { "format": "csv", "delimiter": ";" } });
    bench.hub.desire(json!({
        "query": "SELECT udf.half(CAST(v AS bigint)) AS h INTO o FROM i", "inputs": csv,
        "functions": { "half": "function main(v) { return v / 2; }" },
    }));
    let running = bench.status("running").await;
    assert!(running["note"].as_str().unwrap().contains("not the original"), "{running}");
    bench.hub.put("i", Message::new("k;v\n1;3\n2;4\n2\n"));
    assert_eq!(bench.wait_for_rows("o", 2).await, [json!({ "h": 1.5 }), json!({ "h": 2 })]);
    bench.hub.desire(json!({ "functions": { "half": "function main(v) { return v; }" } }));
    bench.hub.until("the change", |_| bench.lines().matches("accepted").count() == 2).await;
    bench.hub.put("I", Message::new("k;v\n1;8\n"));
    assert_eq!(bench.wait_for_rows("o", 3).await[2], json!({ "h": 8 }));
    bench.hub.desire(json!({ "inputs": { "i": { "format": "xml" } } }));
    let refused = bench.status("refused").await;
    assert!(refused["error"]["message"].as_str().unwrap().starts_with("inputs: "), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn rows_are_looked_up_in_a_file_which_is_read_again_when_the_twin_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("limits.csv");
    std::fs::write(&file, "device,limit\na,10\n").unwrap();
    let bench = Bench::in_memory();
    bench.start();
    let query = "SELECT i.v, l.limit INTO o FROM i JOIN limits l ON i.device = l.device";
    let wish = |version: &str| json!({ "query": query, "reference": { "limits": { "path": file, "format": "csv", "version": version } } });
    bench.hub.desire(wish("1"));
    bench.status("running").await;
    let event = json!({ "device": "a", "v": 7 }).to_string();
    bench.hub.put("i", Message::new(event.clone()));
    // A route that leads to the name of reference data harms nothing.
    bench.hub.put("limits", Message::new(event.clone()));
    assert_eq!(bench.wait_for_rows("o", 1).await, [json!({ "v": 7, "limit": "10" })]);
    std::fs::write(&file, "device,limit\na,20\n").unwrap();
    bench.hub.desire(wish("2"));
    bench.hub.until("the change", |_| bench.lines().matches("accepted").count() == 2).await;
    bench.hub.put("i", Message::new(event));
    assert_eq!(bench.wait_for_rows("o", 2).await[1], json!({ "v": 7, "limit": "20" }));
    std::fs::remove_file(&file).unwrap();
    bench.hub.desire(wish("3"));
    let refused = bench.status("refused").await;
    assert!(refused["error"]["message"].as_str().unwrap().contains("limits.csv"), "{refused}");
}
