//! Inputs: partitions whose devices' clocks differ, formats of bodies, reference data of every kind.

use super::*;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use ironbrook_analytics::format::{InputFormat, OutputFormat};
use std::io::Write as _;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A container file with the rows of a JSON text.
fn avro(json: &str) -> Vec<u8> {
    let mut writer = OutputFormat::Avro.writer();
    InputFormat::default().reader(Default::default()).read(json.as_bytes(), &mut |row| {
        writer.write(&row.unwrap()).unwrap();
    });
    writer.finish().unwrap()
}

impl Node {
    async fn send_bytes(&self, device: &str, body: Vec<u8>) {
        let about = Identity::device(DeviceId::new(device.to_owned()).unwrap());
        let message = Message::new(body);
        let hub = self.cloud.hub();
        let ticket = hub.publish(MessageSource::DeviceMessages, &about, &message).unwrap().unwrap();
        hub.durable(ticket).await.unwrap();
    }

    async fn start_job(&self, definition: Value) {
        self.streaming.put("one", serde_json::from_value(definition).unwrap()).await.unwrap();
        self.streaming.start("one", StartMode::default()).await.unwrap();
    }
}

#[tokio::test]
async fn a_device_whose_clock_is_ahead_makes_no_event_of_another_partition_late_rule_sql_13() {
    let storage = Memory::new();
    let node = Node::start(&storage).await;
    let (ahead, behind) = apart(&node);
    let now = SystemClock.now().as_secs();
    // Well in the past, so that the clock closes nothing: only events do.
    let base = now - now % 60 - 3600;
    let at = |second: i64| json!({ "t": Timestamp::from_secs(base + second).to_string() });
    let query = "SELECT IoTHub.ConnectionDeviceId AS d, COUNT(*) AS n INTO o FROM i TIMESTAMP BY t
                 GROUP BY IoTHub.ConnectionDeviceId, TumblingWindow(second, 10)";
    node.start_job(json!({
        "query": query, "inputs": { "i": { "type": "events" } }, "outputs": blob("box"),
        "eventsLateArrivalMaxDelayInSeconds": 100_000, "eventsOutOfOrderPolicy": "Drop",
    }))
    .await;
    for second in [35, 36, 41] {
        assert!(node.send(ahead, &at(second)).await);
    }
    for second in [5, 6] {
        assert!(node.send(behind, &at(second)).await);
    }
    node.report("one", "the first events", |report| report.input_events == 5).await;
    // Both watermarks are part of what is kept.
    let node = node.again(&storage).await;
    for second in [7, 16, 42] {
        assert!(node.send(behind, &at(second)).await);
    }
    let mut lines: Vec<_> =
        node.wait_lines("box", 3).await.iter().map(|line| (line["d"].clone(), line["n"].clone())).collect();
    lines.sort_by_key(|line| format!("{line:?}"));
    let mut expected = vec![(json!(behind), json!(3)), (json!(behind), json!(1)), (json!(ahead), json!(2))];
    expected.sort_by_key(|line| format!("{line:?}"));
    assert_eq!(lines, expected);
    let report = node.report("one", "its counts", |report| report.input_events == 8).await;
    assert_eq!(report.data_errors, 0);
    node.stop().await;
}

#[tokio::test]
async fn bodies_are_csv_and_compressed_where_the_input_says_so() {
    let node = Node::start(&Memory::new()).await;
    node.start_job(json!({
        "query": "CREATE TABLE i (n bigint, k nvarchar(max)); SELECT n, k INTO o FROM i WHERE n > 0",
        "inputs": { "i": {
            "type": "events", "compression": { "type": "GZip" },
            "serialization": { "type": "Csv", "properties": { "fieldDelimiter": ";", "encoding": "UTF8" } },
        } },
        "outputs": blob("box"),
    }))
    .await;
    node.send_bytes("d0", b"n;k\n1;bare\n".to_vec()).await;
    node.send_bytes("d0", gzip(b"n;k\n1;a\nx;b\n2;\"c;d\"\n")).await;
    assert_eq!(node.wait_lines("box", 2).await, [json!({ "n": 1, "k": "a" }), json!({ "n": 2, "k": "c;d" })]);
    let report = node.report("one", "the samples", |report| report.samples.len() == 2).await;
    let kinds: Vec<&str> = report.samples.iter().map(|sample| &*sample.kind).collect();
    assert_eq!(
        kinds,
        ["InputDeserializerError.InvalidCompressionType", "InputDeserializerError.TypeConversionError"]
    );
    assert_eq!(report.data_errors, 2);
    node.stop().await;
}

#[tokio::test]
async fn bodies_and_reference_data_are_avro_where_the_input_says_so() {
    let node = Node::start(&Memory::new()).await;
    let account = node.cloud.account();
    account.ensure_container("lists").await.unwrap();
    let names = gzip(&avro(r#"[{"k":1,"name":"one"},{"k":2,"name":"two"}]"#));
    account.put("lists", "names", names, "application/avro").await.unwrap();
    let avro_type = json!({ "type": "Avro" });
    node.start_job(json!({
        // The filter looks at what the hub knows, so events are read whole.
        "query": "SELECT i.n, r.name INTO o FROM i JOIN r ON r.k = i.n WHERE i.IoTHub.ConnectionDeviceId = 'd0'",
        "inputs": {
            "i": { "type": "events", "serialization": avro_type },
            "r": { "type": "reference", "container": "lists", "blob": "names", "serialization": avro_type,
                   "compression": { "type": "GZip" } },
        },
        "outputs": blob("box"),
    }))
    .await;
    node.send_bytes("d0", avro(r#"[{"n":1},{"n":2},{"n":3}]"#)).await;
    let told = [json!({ "n": 1, "name": "one" }), json!({ "n": 2, "name": "two" })];
    assert_eq!(node.wait_lines("box", 2).await, told);
    node.stop().await;
}

#[tokio::test]
async fn of_a_series_of_reference_data_each_blob_is_valid_from_the_time_in_its_name() {
    let storage = Memory::new();
    let node = Node::start(&storage).await;
    let account = node.cloud.account();
    account.ensure_container("lists").await.unwrap();
    let now = SystemClock.now();
    let day = |days: i64| Timestamp::from_secs(now.as_secs() + days * 86_400);
    let put = async |node: &Node, days: i64, text: &str| {
        let date = day(days).to_string()[..10].to_owned();
        let account = node.cloud.account();
        account
            .put("lists", &format!("x/{date}/00-00/names.csv"), text.to_owned(), "text/csv")
            .await
            .unwrap();
    };
    account.put("lists", "x/other/00-00/names.csv", "no,csv,of\nthis", "text/csv").await.unwrap();
    put(&node, -9, "no rows\n").await;
    put(&node, -1, "k,name\n1,yesterday\n").await;
    node.start_job(json!({
        "query": "CREATE TABLE r (k bigint, name nvarchar(max)); SELECT i.n, r.name INTO o FROM i JOIN r ON r.k = i.k",
        "inputs": {
            "i": { "type": "events" },
            "r": { "type": "reference", "container": "lists", "pathPattern": "x/{date}/{time}/names.csv",
                   "dateFormat": "yyyy-MM-dd", "timeFormat": "HH-mm", "serialization": { "type": "Csv" } },
        },
        "outputs": blob("box"),
    }))
    .await;
    assert!(node.send("d0", &json!({ "k": 1, "n": 0 })).await);
    assert_eq!(node.wait_lines("box", 1).await, [json!({ "n": 0, "name": "yesterday" })]);
    // One that is valid later changes nothing yet; a newer one that is valid already does.
    put(&node, 1, "k,name\n1,tomorrow\n").await;
    put(&node, 0, "k,name\n1,today\n").await;
    let look = async |node: &Node, first: usize| {
        for n in first.. {
            assert!(node.send("d0", &json!({ "k": 1, "n": n })).await);
            let lines = node.wait_lines("box", n + 1).await;
            assert!(lines.iter().all(|line| line["name"] != "tomorrow"), "{lines:?}");
            if lines.iter().any(|line| line["n"] == n && line["name"] == "today") {
                return n;
            }
        }
        0
    };
    let n = within("today's names", look(&node, 1)).await;
    let node = node.again(&storage).await;
    let again = within("today's names after a start", look(&node, n + 1)).await;
    assert_eq!(again, n + 1, "the first event after the start is looked up in the right one");
    node.stop().await;
}
