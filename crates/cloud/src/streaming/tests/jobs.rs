use super::*;

#[tokio::test]
async fn rows_of_all_partitions_come_to_blobs_with_what_the_hub_knows_rule_asa_03() {
    let node = Node::start(&Memory::new()).await;
    let query = "SELECT i.n, i.IoTHub.ConnectionDeviceId AS device, i.PartitionId AS p,
                        GetMetadataPropertyValue(i, '[User].[site]') AS site
                 INTO o FROM i WHERE IoTHub.ConnectionDeviceId <> 'd2'";
    assert!(node.send("d0", &json!({ "n": -1 })).await);
    node.job("first", query, blob("box")).await;
    for n in 0..30 {
        assert!(node.send(&format!("d{}", n % 3), &json!({ "n": n })).await);
    }
    let lines = node.wait_lines("box", 20).await;
    let mut numbers: Vec<i64> = lines.iter().map(|line| line["n"].as_i64().unwrap()).collect();
    numbers.sort_unstable();
    let expected: Vec<i64> = (0..30).filter(|n| n % 3 != 2).collect();
    assert_eq!(numbers, expected);
    for line in &lines {
        let device = format!("d{}", line["n"].as_i64().unwrap() % 3);
        let partition =
            node.cloud.hub().partition_of(&Identity::device(DeviceId::new(device.clone()).unwrap()));
        let told = json!({ "n": line["n"], "device": device, "p": partition.0, "site": "north" });
        assert_eq!(*line, told);
    }
    let report = node.report("first", "its counts", |report| report.input_events == 30).await;
    assert_eq!((report.data_errors, report.lost_messages), (0, 0));
    assert_eq!(report.outputs["o"].delivered_rows, 20);
    node.stop().await;
}

#[tokio::test]
async fn a_window_closes_by_the_clock_where_no_more_events_come() {
    let node = Node::start(&Memory::new()).await;
    let query = "SELECT COUNT(*) AS n INTO o FROM i GROUP BY TumblingWindow(millisecond, 100)";
    node.job("still", query, blob("box")).await;
    assert!(node.send("d0", &json!({})).await);
    assert_eq!(node.wait_lines("box", 1).await, [json!({ "n": 1 })]);
    node.stop().await;
}

#[tokio::test]
async fn a_job_goes_on_where_it_stopped_and_begins_where_it_is_told() {
    let storage = Memory::new();
    let node = Node::start(&storage).await;
    node.job("one", "SELECT n INTO o FROM i", blob("box")).await;
    node.send("d0", &json!({ "n": 1 })).await;
    node.wait_lines("box", 1).await;
    let stopped = node.streaming.stop("one").await.unwrap();
    assert_eq!((stopped.report.state, stopped.is_wanted), (State::Stopped, false));
    node.send("d0", &json!({ "n": 2 })).await;
    node.streaming.start("one", StartMode::LastOutputEventTime).await.unwrap();
    assert_eq!(node.wait_lines("box", 2).await, [json!({ "n": 1 }), json!({ "n": 2 })]);
    let refused = node.streaming.start("one", StartMode::JobStartTime).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::OperationNotAllowedInCurrentState);
    // The hub stops and starts: the job is still wanted.
    let node = node.again(&storage).await;
    node.send("d0", &json!({ "n": 3 })).await;
    node.wait_lines("box", 3).await;
    node.streaming.stop("one").await.unwrap();
    node.send("d0", &json!({ "n": 4 })).await;
    node.streaming.start("one", StartMode::JobStartTime).await.unwrap();
    node.send("d0", &json!({ "n": 5 })).await;
    let after_skip = node.wait_lines("box", 4).await;
    assert!(after_skip.contains(&json!({ "n": 5 })) && !after_skip.contains(&json!({ "n": 4 })));
    node.streaming.stop("one").await.unwrap();
    node.streaming.start("one", StartMode::CustomTime(Timestamp::from_secs(0))).await.unwrap();
    let all = node.wait_lines("box", 9).await;
    assert_eq!(all.iter().filter(|line| line["n"] == 4).count(), 1, "{all:?}");
    // Each start that throws its state away writes blobs of its own.
    assert_eq!(node.blobs("box").await.len(), 3);
    node.streaming.delete("one").await.unwrap();
    assert_eq!(node.streaming.get("one").unwrap_err().code, ErrorCode::JobNotFound);
    node.stop().await;
}

#[tokio::test]
async fn a_window_outlives_a_stop_and_a_change_of_another_step() {
    let storage = Memory::new();
    let node = Node::start(&storage).await;
    let window = "WITH w AS (SELECT COUNT(*) AS n FROM i TIMESTAMP BY t GROUP BY TumblingWindow(minute, 1))";
    let at = |second: i64| {
        let now = SystemClock.now().as_secs();
        // Well within the past minute, so that neither early nor late events are dropped.
        json!({ "t": Timestamp::from_secs(now - now % 60 - 3600 + second).to_string() })
    };
    let mut job = json!({
        "query": format!("{window} SELECT n INTO o FROM w"),
        "inputs": { "i": { "type": "events" } },
        "outputs": blob("box"),
        "eventsLateArrivalMaxDelayInSeconds": 100_000,
    });
    let put = async |node: &Node, job: &Value| {
        node.streaming.put("one", serde_json::from_value(job.clone()).unwrap()).await.unwrap()
    };
    put(&node, &job).await;
    node.streaming.start("one", StartMode::default()).await.unwrap();
    node.send("d0", &at(10)).await;
    node.report("one", "the first event", |report| report.input_events == 1).await;
    let node = node.again(&storage).await;
    node.send("d0", &at(20)).await;
    node.report("one", "the second event", |report| report.input_events == 2).await;
    job["query"] = format!("{window} SELECT n, 'changed' AS x INTO o FROM w").into();
    put(&node, &job).await;
    let (first, other) = apart(&node);
    node.send(first, &at(30)).await;
    // The input is as far as the slower of its two partitions.
    node.send(first, &at(90)).await;
    node.send(other, &at(90)).await;
    assert_eq!(node.wait_lines("box", 1).await, [json!({ "n": 3, "x": "changed" })]);
    node.stop().await;
}

#[tokio::test]
async fn reference_data_is_read_and_read_again_when_it_changes() {
    let node = Node::start(&Memory::new()).await;
    let account = node.cloud.account();
    let definition = json!({
        "query": "SELECT i.n, r.name INTO o FROM i JOIN r ON r.k = i.k",
        "inputs": {
            "i": { "type": "events" },
            "R": { "type": "reference", "container": "lists", "blob": "names.json" },
        },
        "outputs": blob("box"),
    });
    node.streaming.put("one", serde_json::from_value(definition).unwrap()).await.unwrap();
    account.ensure_container("lists").await.unwrap();
    let put = async |text: &'static str| {
        account.put("lists", "names.json", text, "application/json").await.unwrap();
    };
    put(r#"[{"k": 1, "name": "old"}]"#).await;
    node.streaming.start("one", StartMode::default()).await.unwrap();
    node.send("d0", &json!({ "k": 1, "n": 0 })).await;
    assert_eq!(node.wait_lines("box", 1).await, [json!({ "n": 0, "name": "old" })]);
    put(r#"{"k": 1, "name": "new"}"#).await;
    let look = async {
        for n in 1.. {
            node.send("d0", &json!({ "k": 1, "n": n })).await;
            let lines = node.wait_lines("box", n + 1).await;
            if lines.iter().any(|line| line["name"] == "new") {
                return;
            }
        }
    };
    within("the new name", look).await;
    node.stop().await;
}

#[tokio::test]
async fn what_stops_a_query_fails_the_job_and_a_change_lets_it_try_again() {
    let node = Node::start(&Memory::new()).await;
    node.job("one", "SELECT CAST(a AS bigint) AS a INTO o FROM i", blob("box")).await;
    node.send("d0", &json!({ "a": "1" })).await;
    node.wait_lines("box", 1).await;
    node.send("d0", &json!({ "a": "x" })).await;
    let report = node.report("one", "the failure", |report| report.state == State::Failed).await;
    assert!(report.error.unwrap().contains("the query stopped"));
    // The state is from before the event: a query that can take it goes on with it.
    node.make("one", "SELECT TRY_CAST(a AS bigint) AS a INTO o FROM i", blob("box")).await.unwrap();
    assert_eq!(node.wait_lines("box", 2).await, [json!({ "a": 1 }), json!({ "a": null })]);
    node.stop().await;
}

#[tokio::test]
async fn bad_events_are_counted_with_samples() {
    let node = Node::start(&Memory::new()).await;
    node.job("one", "SELECT n INTO o FROM i", blob("box")).await;
    node.send("d0", &json!("no object")).await;
    node.send("d0", &json!({ "n": 1 })).await;
    node.wait_lines("box", 1).await;
    let report = node.report("one", "the sample", |report| report.data_errors == 1).await;
    assert_eq!(report.samples[0].kind, "InputDeserializerError.InvalidData");
    node.stop().await;
}
