//! Jobs and their devices as stored and as shown.

use super::wish::{Checked, Work};
use ironbrook_model::{Identity, Refusal, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Status {
    /// Its time has not come.
    Scheduled,
    /// Its time has come, and others are before it.
    Queued,
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl Status {
    /// The wire's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// How many devices are how far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub all: u64,
    pub pending: u64,
    pub running: u64,
    pub succeeded: u64,
    pub failed: u64,
}

/// How far the search for a job's devices has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Search {
    /// After the twin of this key; from the first on where there is none.
    After(Option<String>),
    Done,
}

/// A job as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Job {
    pub work: Work,
    pub condition: String,
    pub created: Timestamp,
    pub start: Timestamp,
    pub execution: Duration,
    pub status: Status,
    /// When it began to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    pub search: Search,
    pub counts: Counts,
    /// How far the telling of devices has come that the job ended without: after this key; nothing once all are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untold: Option<String>,
}

impl Job {
    /// A new one.
    pub fn new(wish: Checked, now: Timestamp) -> Self {
        let start = wish.start.filter(|start| *start > now).unwrap_or(now);
        Self {
            work: wish.work,
            condition: wish.condition,
            created: now,
            start,
            execution: wish.execution,
            status: if start > now { Status::Scheduled } else { Status::Queued },
            began: None,
            ended: None,
            failure: None,
            search: Search::After(None),
            counts: Counts::default(),
            untold: None,
        }
    }

    /// It ended, be it with devices that it was not begun on.
    pub fn end(&mut self, status: Status, failure: Option<String>, now: Timestamp) {
        (self.status, self.failure, self.ended) = (status, failure, Some(now));
        self.untold = (self.counts.pending + self.counts.running > 0).then(String::new);
    }

    /// The job as the service API shows it.
    pub fn view(&self, id: &str) -> Value {
        let (method, twin) = match &self.work {
            Work::Method(method) => (Some(method), None),
            Work::Twin(twin) => (None, Some(twin)),
        };
        json!({
            "jobId": id,
            "queryCondition": self.condition,
            "createdTime": self.created.to_string(),
            "startTime": self.start.to_string(),
            "endTime": self.ended.map(|time| time.to_string()),
            "maxExecutionTimeInSeconds": self.execution.as_secs(),
            "type": self.work.name(),
            "cloudToDeviceMethod": method,
            "updateTwin": twin,
            "status": self.status.name(),
            "failureReason": self.failure,
            "statusMessage": Value::Null,
            "deviceJobStatistics": {
                "deviceCount": self.counts.all,
                "failedCount": self.counts.failed,
                "succeededCount": self.counts.succeeded,
                "runningCount": self.counts.running,
                "pendingCount": self.counts.pending,
            },
        })
    }
}

/// Where a job is with one of its devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum DeviceStatus {
    Pending,
    /// A method is out.
    Running,
    Completed,
    Failed,
}

/// What a job did to one of its devices, as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct DeviceJob {
    pub status: DeviceStatus,
    pub created: Timestamp,
    pub updated: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// What the device answered to a method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Value>,
    /// Code and words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<(String, String)>,
}

impl DeviceJob {
    /// One that is still to be done.
    pub fn new(now: Timestamp) -> Self {
        Self {
            status: DeviceStatus::Pending,
            created: now,
            updated: now,
            started: None,
            ended: None,
            answer: None,
            error: None,
        }
    }

    /// It ended.
    pub fn end(&mut self, result: Result<Option<Value>, Refusal>, now: Timestamp) {
        self.started.get_or_insert(now);
        (self.ended, self.updated) = (Some(now), now);
        match result {
            Ok(answer) => (self.status, self.answer) = (DeviceStatus::Completed, answer),
            Err(refusal) => {
                self.status = DeviceStatus::Failed;
                self.error = Some((refusal.code.name().to_owned(), refusal.message.into_owned()));
            }
        }
    }

    /// The record as `devices.jobs` has it. What is pending when its job ends stays undone, which is not written down for each.
    pub fn document(&self, id: &str, job: &Job, identity: &Identity) -> Value {
        let status = match (self.status, job.status) {
            (DeviceStatus::Pending, Status::Cancelled) => "canceled",
            (DeviceStatus::Pending, Status::Failed) | (DeviceStatus::Failed, _) => "failed",
            (DeviceStatus::Pending, Status::Scheduled) => "scheduled",
            (DeviceStatus::Pending, _) => "pending",
            (DeviceStatus::Running, _) => "running",
            (DeviceStatus::Completed, _) => "completed",
        };
        let mut document = Map::from_iter([("deviceId".to_owned(), identity.device.as_str().into())]);
        let mut put = |name: &str, value: Value| _ = document.insert(name.to_owned(), value);
        if let Some(module) = &identity.module {
            put("moduleId", module.as_str().into());
        }
        put("jobId", id.into());
        put("jobType", job.work.name().into());
        put("status", status.into());
        put("startTimeUtc", self.started.unwrap_or(job.start).to_string().into());
        if let Some(ended) = self.ended {
            put("endTimeUtc", ended.to_string().into());
        }
        put("createdDateTimeUtc", self.created.to_string().into());
        put("lastUpdatedDateTimeUtc", self.updated.to_string().into());
        if let Some(answer) = &self.answer {
            put("outcome", json!({ "deviceMethodResponse": answer }));
        }
        if let Some((code, description)) = &self.error {
            put("error", json!({ "code": code, "description": description }));
        }
        Value::Object(document)
    }
}
