//! Jobs through the service API, on a hub that does them.

use super::tests::{ANY, Hub, LATER, Reply, hub_with};
use crate::assembly::Throttles;
use crate::registry::tests::{HandClock, clock};
use crate::testing::{moment, within};
use http::StatusCode;
use ironbrook_hub::{
    ConnectRequest, Credential, Delivery, MethodAnswer, Operation, Route, Session, Subscription, Tier, Units,
};
use ironbrook_log::Memory;
use ironbrook_model::{DeviceId, Identity, SasToken, SharedAccessKey};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A hub on a clock that stands still, and what ends its jobs.
pub(super) struct Site {
    pub(super) hub: Hub,
    storage: Arc<Memory>,
    clock: Arc<HandClock>,
    cancel: CancellationToken,
}

impl Site {
    async fn new() -> Self {
        Self::on(Arc::new(Memory::new()), clock()).await
    }

    async fn on(storage: Arc<Memory>, clock: Arc<HandClock>) -> Self {
        Self::with(storage, clock, Vec::new()).await
    }

    pub(super) async fn with(storage: Arc<Memory>, clock: Arc<HandClock>, routes: Vec<Route>) -> Self {
        Self::throttled(storage, clock, routes, Throttles::default()).await
    }

    async fn throttled(
        storage: Arc<Memory>,
        clock: Arc<HandClock>,
        routes: Vec<Route>,
        throttles: Throttles,
    ) -> Self {
        let hub = hub_with(storage.clone(), clock.clone(), routes, throttles).await;
        let cancel = CancellationToken::new();
        let (registry, core, stop) = (hub.cloud.registry().clone(), hub.cloud.hub().clone(), cancel.clone());
        tokio::spawn(async move { registry.run_jobs(core, stop).await });
        Self { hub, storage, clock, cancel }
    }

    pub(super) async fn devices(&self, count: usize) {
        for n in 0..count {
            let path = format!("d{n:03}");
            self.hub.ask("PUT", &format!("/devices/{path}"), &[], json!({})).await;
            self.hub
                .ask("PATCH", &format!("/twins/{path}"), &[], json!({"tags": {"n": n, "in": true}}))
                .await;
        }
    }

    pub(super) async fn put(&self, id: &str, body: Value) -> Reply {
        self.hub.ask("PUT", &format!("/jobs/v2/{id}"), &[], body).await
    }

    async fn job(&self, id: &str) -> Value {
        self.hub.ask("GET", &format!("/jobs/v2/{id}"), &[], Value::Null).await.body
    }

    /// The job when it is in a status.
    pub(super) async fn when(&self, id: &str, status: &str) -> Value {
        let wait = async {
            loop {
                let job = self.job(id).await;
                if job["status"] == status {
                    return job;
                }
                moment().await;
            }
        };
        within(&format!("the job {id} {status}"), wait).await
    }

    pub(super) async fn records(&self, condition: &str) -> Vec<Value> {
        let query = json!({"query": format!("SELECT * FROM devices.jobs WHERE {condition}")});
        let found = self.hub.ask("POST", "/devices/query", &[], query).await;
        assert_eq!(
            (found.status, &found.headers["x-ms-item-type"]),
            (StatusCode::OK, &"deviceJob".parse().unwrap())
        );
        found.body.as_array().unwrap().clone()
    }

    /// A device that takes methods.
    pub(super) async fn connect(&self, device: &str) -> Session {
        let path = format!("/devices/{device}");
        let got = self.hub.ask("GET", &path, &[], Value::Null).await.body;
        let key = got["authentication"]["symmetricKey"]["primaryKey"].as_str().unwrap().to_owned();
        let token =
            SharedAccessKey::from_base64(&key).unwrap().sign(&format!("localhost{path}"), LATER, None);
        let request = ConnectRequest {
            identity: Identity::device(DeviceId::new(device).unwrap()),
            credential: Credential::Sas(SasToken::parse(&token).unwrap()),
            model_id: None,
            clean_session: true,
            lasting: true,
        };
        let core = self.hub.cloud.hub();
        let session = core.connect(request).await.unwrap();
        core.perform(&session, Operation::Subscribe(Subscription::Methods)).await.unwrap();
        session
    }
}

pub(super) fn update(value: i64) -> Value {
    json!({"type": "scheduleUpdateTwin", "queryCondition": "tags.in = true", "maxExecutionTimeInSeconds": 60,
        "updateTwin": {"etag": "*", "tags": {"mark": value}, "properties": {"desired": {"x": value}}}})
}

pub(super) fn method(condition: &str) -> Value {
    json!({"type": "scheduleDeviceMethod", "queryCondition": condition, "maxExecutionTimeInSeconds": 60,
        "cloudToDeviceMethod": {"methodName": "reboot", "payload": {"a": 1}, "responseTimeoutInSeconds": 300}})
}

// JOB-01
#[tokio::test]
async fn job_01_a_twin_job_changes_every_twin_once_and_tells_of_each() {
    let site = Site::new().await;
    site.devices(300).await;
    let made = site.put("twins", update(7)).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.body);
    assert_eq!((&made.body["jobId"], &made.body["type"]), (&json!("twins"), &json!("scheduleUpdateTwin")));
    let done = site.when("twins", "completed").await;
    let wanted = json!({"deviceCount": 300, "failedCount": 0, "succeededCount": 300, "runningCount": 0, "pendingCount": 0});
    assert_eq!(done["deviceJobStatistics"], wanted);
    assert!(done["endTime"].is_string() && done["failureReason"].is_null());
    let twin = site.hub.ask("GET", "/twins/d299", &[], Value::Null).await.body;
    assert_eq!((&twin["tags"]["mark"], &twin["properties"]["desired"]["x"]), (&json!(7), &json!(7)));
    assert_eq!(twin["properties"]["desired"]["$version"], 2);
    let records = site.records("devices.jobs.jobId = 'twins' AND devices.jobs.deviceId = 'd007'").await;
    assert_eq!(records.len(), 1);
    assert_eq!(
        (&records[0]["status"], &records[0]["jobType"]),
        (&json!("completed"), &json!("scheduleUpdateTwin"))
    );
    // Pages of records, and none twice.
    let (mut seen, mut next) = (Vec::new(), String::new());
    loop {
        let query = json!({"query": "SELECT * FROM devices.jobs WHERE devices.jobs.jobId = 'twins'"});
        let headers = [("x-ms-max-item-count", "90"), ("x-ms-continuation", next.as_str())];
        let page = site.hub.ask("POST", "/devices/query", &headers, query).await;
        seen.extend(page.body.as_array().unwrap().iter().map(|r| r["deviceId"].as_str().unwrap().to_owned()));
        match page.headers.get("x-ms-continuation") {
            Some(token) => next = token.to_str().unwrap().to_owned(),
            None => break,
        }
    }
    assert!(seen.len() == 300 && seen.is_sorted_by(|a, b| a < b), "{}", seen.len());
}

// JOB-02
#[tokio::test]
async fn job_02_a_method_job_keeps_each_answer_and_each_failure() {
    let site = Site::new().await;
    site.devices(2).await;
    let session = site.connect("d001").await;
    site.put("methods", method("deviceId IN ['d000', 'd001']")).await;
    let request = match within("a method", session.next()).await {
        Delivery::Method { request, .. } => request,
        other => panic!("not a method: {other:?}"),
    };
    let payload = RawValue::from_string("{\"ok\":true}".to_owned()).unwrap();
    let answer = Operation::AnswerMethod { request, answer: MethodAnswer { status: 201, payload } };
    site.hub.cloud.hub().perform(&session, answer).await.unwrap();
    let done = site.when("methods", "completed").await["deviceJobStatistics"].clone();
    assert_eq!((&done["succeededCount"], &done["failedCount"]), (&json!(1), &json!(1)));
    let records = site.records("jobId = 'methods'").await;
    assert_eq!(records[0]["error"]["code"], "DeviceNotOnline");
    assert_eq!(records[0]["status"], "failed");
    assert_eq!(
        records[1]["outcome"]["deviceMethodResponse"],
        json!({"status": 201, "payload": {"ok": true}})
    );
}

// JOB-03
#[tokio::test]
async fn job_03_a_job_waits_for_its_time_can_be_cancelled_and_is_found_by_type_and_status() {
    let site = Site::new().await;
    site.devices(1).await;
    let soon = site.hub.ask("GET", "/twins/d000", &[], Value::Null).await.body;
    assert_eq!(soon["tags"]["mark"], Value::Null);
    let at = "2026-01-31T09:10:00Z";
    let mut later = update(1);
    later["startTime"] = at.into();
    assert_eq!(site.put("later", later.clone()).await.body["status"], "scheduled");
    assert_eq!(site.put("later", later.clone()).await.headers["iothub-errorcode"], "JobAlreadyExists");
    site.put("never", later).await;
    let cancelled = site.hub.ask("POST", "/jobs/v2/never/cancel", &[], Value::Null).await;
    assert_eq!((cancelled.status, &cancelled.body["status"]), (StatusCode::OK, &json!("cancelled")));
    let again = site.hub.ask("POST", "/jobs/v2/never/cancel", &[], Value::Null).await;
    assert_eq!(again.headers["iothub-errorcode"], "OperationNotAllowedInCurrentState");
    for path in ["/jobs/v2/none", "/jobs/v2/none/cancel"] {
        let verb = if path.ends_with("cancel") { "POST" } else { "GET" };
        assert_eq!(
            site.hub.ask(verb, path, &[], Value::Null).await.headers["iothub-errorcode"],
            "JobNotFound"
        );
    }
    site.clock.advance(Duration::from_secs(600));
    assert_eq!(site.when("later", "completed").await["startTime"], "2026-01-31T09:10:00.0000000Z");
    assert_eq!(site.job("never").await["status"], "cancelled");
    site.put("method", method("deviceId = 'nobody'")).await;
    let empty = site.when("method", "completed").await;
    assert_eq!(empty["deviceJobStatistics"]["deviceCount"], 0);
    let listed = site.hub.ask("GET", "/jobs/v2/query", &[("x-ms-max-item-count", "2")], Value::Null).await;
    assert_eq!(listed.headers["x-ms-item-type"], "jobResponse");
    let next = listed.headers["x-ms-continuation"].to_str().unwrap().to_owned();
    let rest = site.hub.ask("GET", "/jobs/v2/query", &[("x-ms-continuation", &next)], Value::Null).await;
    let ids: Vec<_> = listed.body.as_array().unwrap().iter().chain(rest.body.as_array().unwrap()).collect();
    assert_eq!(ids.iter().map(|job| &job["jobId"]).collect::<Vec<_>>(), ["later", "method", "never"]);
    let registry = site.hub.cloud.registry();
    let page = registry.list_jobs(None, Some("Cancelled".to_owned()), Default::default(), 10).await.unwrap();
    assert_eq!((page.items.len(), &page.items[0]["jobId"]), (1, &json!("never")));
    let page =
        registry.list_jobs(Some("scheduleDeviceMethod".into()), None, Default::default(), 10).await.unwrap();
    assert_eq!((page.items.len(), &page.items[0]["jobId"]), (1, &json!("method")));
}

// JOB-04
#[tokio::test]
async fn job_04_a_job_goes_on_after_a_crash_and_changes_no_twin_twice() {
    for seed in 0..6 {
        let site = Site::new().await;
        site.devices(120).await;
        let answering = site.connect("d000").await;
        site.put("out", method("deviceId = 'd000'")).await;
        // The device has the method and never answers.
        within("a method", answering.next()).await;
        site.put("twins", update(1)).await;
        for _ in 0..seed {
            moment().await;
        }
        let after = Site::on(Arc::new(site.storage.power_cut(seed)), site.clock.clone()).await;
        site.cancel.cancel();
        after.when("twins", "completed").await;
        for n in 0..120 {
            let twin = after.hub.ask("GET", &format!("/twins/d{n:03}"), &[], Value::Null).await.body;
            assert_eq!(twin["properties"]["desired"]["$version"], 2, "d{n:03} after cut {seed}");
        }
        after.when("out", "completed").await;
        let records = after.records("jobId = 'out'").await;
        assert_eq!(
            (&records[0]["status"], &records[0]["error"]["code"]),
            (&json!("failed"), &json!("JobCancelled"))
        );
    }
}

#[tokio::test]
async fn a_job_that_is_cancelled_or_takes_too_long_leaves_the_rest_undone() {
    let site = Site::new().await;
    site.devices(2).await;
    let session = site.connect("d000").await;
    for (id, status) in [("cancelled", "cancelled"), ("late", "failed")] {
        site.put(id, method("deviceId = 'd000'")).await;
        within("a method", session.next()).await;
        if id == "late" {
            site.clock.advance(Duration::from_secs(61));
        } else {
            site.hub.ask("POST", "/jobs/v2/cancelled/cancel", &[], Value::Null).await;
        }
        let job = site.when(id, status).await;
        assert_eq!(job["failureReason"].is_string(), id == "late");
        let ended = async {
            loop {
                let records = site.records(&format!("jobId = '{id}'")).await;
                if records[0]["status"] != "running" {
                    return records[0].clone();
                }
                moment().await;
            }
        };
        let ended = within("the end of the method", ended).await;
        assert_eq!(ended["error"]["code"], "JobCancelled", "{ended}");
    }
}

#[tokio::test]
async fn a_job_for_an_etag_that_is_not_there_fails_for_the_device_and_a_wrong_one_is_refused() {
    let site = Site::new().await;
    site.devices(1).await;
    let mut guarded = update(1);
    guarded["updateTwin"]["etag"] = json!("AAAA");
    site.put("guarded", guarded).await;
    let done = site.when("guarded", "completed").await;
    assert_eq!(done["deviceJobStatistics"]["failedCount"], 1);
    assert_eq!(site.records("jobId = 'guarded'").await[0]["error"]["code"], "PreconditionFailed");
    let mut wrong = update(1);
    wrong["queryCondition"] = json!("tags.in =");
    let refused = site.put("wrong", wrong).await;
    assert_eq!(
        (refused.status, &refused.headers["iothub-errorcode"]),
        (StatusCode::BAD_REQUEST, &"ArgumentInvalid".parse().unwrap())
    );
    let token = site.hub.token("registryReadWrite");
    let refused = site.hub.send(Some(&token), "PUT", "/jobs/v2/x", &[], &update(1)).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    site.hub.ask("DELETE", "/devices/d000", &ANY, Value::Null).await;
}

// HUB-20
#[tokio::test]
async fn hub_20_what_jobs_do_to_devices_waits_for_its_turn() {
    let throttles = Throttles { units: Some(Units { tier: Tier::S1, units: 1 }), ..Throttles::default() };
    let site = Site::throttled(Arc::new(Memory::new()), clock(), Vec::new(), throttles).await;
    site.devices(25).await;
    site.put("twins", update(1)).await;
    // Not through the service API, whose own throttle would be used up by looking.
    let succeeded = async || {
        let job = site.hub.cloud.registry().job("twins".to_owned()).await.unwrap();
        job["deviceJobStatistics"]["succeededCount"].as_u64().unwrap()
    };
    for wanted in [10, 20, 25] {
        let done = async {
            while succeeded().await < wanted {
                moment().await;
            }
        };
        within(&format!("{wanted} devices"), done).await;
        for _ in 0..20 {
            moment().await;
        }
        assert_eq!(succeeded().await, wanted);
        site.clock.advance(Duration::from_secs(1));
    }
}

// JOB-05
#[tokio::test]
async fn job_05_jobs_are_kept_for_thirty_days() {
    let site = Site::new().await;
    site.devices(3).await;
    site.put("old", update(1)).await;
    site.when("old", "completed").await;
    site.clock.advance(Duration::from_secs(30 * 24 * 3600 - 10));
    site.put("new", update(2)).await;
    site.when("new", "completed").await;
    assert_eq!(site.records("jobId = 'old'").await.len(), 3);
    site.clock.advance(Duration::from_secs(3600));
    let gone = async {
        while site.job("old").await["status"] == "completed" {
            moment().await;
        }
    };
    within("the end of the old job", gone).await;
    assert_eq!(site.records("jobId = 'old'").await.len(), 0);
    assert_eq!(site.records("jobId = 'new'").await.len(), 3);
}
