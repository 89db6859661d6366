//! A job as callers ask for it.

use bytestring::ByteString;
use ironbrook_hub::MethodCall;
use ironbrook_model::twin::Object;
use ironbrook_model::{ErrorCode, Refusal, Timestamp};
use ironbrook_query::twin::TargetCondition;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::time::Duration;

/// Longest id, in characters.
const ID_LEN_MAX: usize = 64;
/// How long a job may take where its caller does not say, and at most.
const EXECUTION: Duration = Duration::from_secs(3600);
const EXECUTION_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long the answer to a method may take where the caller does not say.
const RESPONSE_SECONDS: u64 = 30;

/// A direct method as callers ask for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MethodWish {
    /// Which method.
    pub method_name: Option<String>,
    /// Any JSON.
    pub payload: Option<Value>,
    /// 5 to 300; 30 where left out.
    pub response_timeout_in_seconds: Option<u64>,
    /// 0 to 300; 0 where left out.
    pub connect_timeout_in_seconds: Option<u64>,
}

impl MethodWish {
    /// The call; the core checks its ranges. 400004 where there is no name.
    pub fn call(&self) -> Result<MethodCall, Refusal> {
        let name = self.method_name.clone().filter(|name| !name.is_empty());
        let payload = self.payload.as_ref().unwrap_or(&Value::Null).to_string();
        let seconds = |given: Option<u64>, otherwise| Duration::from_secs(given.unwrap_or(otherwise));
        Ok(MethodCall {
            name: ByteString::from(name.ok_or_else(|| invalid("methodName is missing"))?),
            payload: RawValue::from_string(payload).map_err(|_| invalid("the payload is not JSON"))?,
            response_timeout: seconds(self.response_timeout_in_seconds, RESPONSE_SECONDS),
            connect_timeout: seconds(self.connect_timeout_in_seconds, 0),
        })
    }
}

/// The change of a twin as callers ask for it; other members of a twin are not read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TwinWish {
    /// The twins must have this etag, where one is given that is no star.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Merged into the tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Object>,
    /// Holds what is merged into the desired properties.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<PropertiesWish>,
}

/// `properties` of a [`TwinWish`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PropertiesWish {
    /// Merged into the desired properties.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<Object>,
}

/// What a job does to each of its devices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Work {
    Method(MethodWish),
    Twin(TwinWish),
}

impl Work {
    /// The type in the wire's words.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Method(_) => "scheduleDeviceMethod",
            Self::Twin(_) => "scheduleUpdateTwin",
        }
    }
}

/// A job as callers ask for it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobWish {
    /// Must be the id of the path, where given.
    pub job_id: Option<String>,
    /// `scheduleDeviceMethod` or `scheduleUpdateTwin`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Of `scheduleDeviceMethod`.
    pub cloud_to_device_method: Option<MethodWish>,
    /// Of `scheduleUpdateTwin`.
    pub update_twin: Option<TwinWish>,
    /// Which devices, or with `FROM devices.modules WHERE` which modules.
    pub query_condition: Option<String>,
    /// ISO 8601; at once where left out or past.
    pub start_time: Option<String>,
    /// How long it may take; an hour where left out or 0.
    pub max_execution_time_in_seconds: Option<u64>,
}

/// A wish whose rules were checked.
pub(super) struct Checked {
    pub work: Work,
    pub condition: String,
    pub start: Option<Timestamp>,
    pub execution: Duration,
}

impl JobWish {
    /// Checks all of it. 400004 with the member that is wrong.
    pub(super) fn check(self, id: &str) -> Result<Checked, Refusal> {
        check_id(id)?;
        if self.job_id.as_deref().is_some_and(|given| given != id) {
            return Err(invalid("jobId in the body is not the one in the path"));
        }
        let kind = self.kind.unwrap_or_default();
        let work = match (kind.to_ascii_lowercase().as_str(), self.cloud_to_device_method, self.update_twin) {
            ("scheduledevicemethod", Some(method), _) => {
                method.call()?;
                Work::Method(method)
            }
            ("scheduledevicemethod", None, _) => return Err(invalid("cloudToDeviceMethod is missing")),
            ("scheduleupdatetwin", _, Some(twin)) => Work::Twin(twin),
            ("scheduleupdatetwin", _, None) => return Err(invalid("updateTwin is missing")),
            _ => {
                return Err(invalid(format!(
                    "type '{kind}' is not known; there are scheduleDeviceMethod and scheduleUpdateTwin"
                )));
            }
        };
        let condition = self.query_condition.filter(|text| !text.trim().is_empty());
        let condition = condition.ok_or_else(|| invalid("queryCondition is missing; * is all devices"))?;
        TargetCondition::parse(&condition)
            .map_err(|e| invalid(format!("queryCondition cannot be read: {e}")))?;
        let start = match self.start_time.filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => Some(
                Timestamp::parse(&text)
                    .ok_or_else(|| invalid(format!("startTime '{text}' is no ISO 8601 time")))?,
            ),
        };
        let execution = match self.max_execution_time_in_seconds {
            None | Some(0) => EXECUTION,
            Some(seconds) => Duration::from_secs(seconds),
        };
        if execution > EXECUTION_MAX {
            let most = EXECUTION_MAX.as_secs();
            return Err(invalid(format!("maxExecutionTimeInSeconds is at most {most}")));
        }
        Ok(Checked { work, condition, start, execution })
    }
}

fn check_id(id: &str) -> Result<(), Refusal> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"-:.+%_#*?!(),=@;$'".contains(&c);
    if id.is_empty() || id.len() > ID_LEN_MAX || !id.bytes().all(plain) {
        let text = format!(
            "the id of a job has 1 to {ID_LEN_MAX} letters, digits and marks of - : . + % _ # * ? ! ( ) , = @ ; $ '"
        );
        return Err(invalid(text));
    }
    Ok(())
}

pub(super) fn invalid(text: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(ErrorCode::ArgumentInvalid, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(value: Value) -> Result<Checked, Refusal> {
        serde_json::from_value::<JobWish>(value).unwrap().check("j")
    }

    #[test]
    fn a_wish_is_read_and_what_is_wrong_is_named() {
        let good = json!({"jobId": "j", "type": "ScheduleUpdateTwin", "queryCondition": "*", "updateTwin": {"tags": {"a": 1}}});
        let checked = check(good.clone()).unwrap();
        assert_eq!(
            (checked.work.name(), checked.execution, checked.start),
            ("scheduleUpdateTwin", EXECUTION, None)
        );
        for (member, value, what) in [
            ("jobId", json!("other"), "jobId"),
            ("type", json!("export"), "type"),
            ("type", json!("scheduleDeviceMethod"), "cloudToDeviceMethod"),
            ("updateTwin", Value::Null, "updateTwin"),
            ("queryCondition", json!("  "), "queryCondition"),
            ("queryCondition", json!("tags.a ="), "line 1"),
            ("startTime", json!("soon"), "startTime"),
            ("maxExecutionTimeInSeconds", json!(10_000_000), "maxExecutionTimeInSeconds"),
        ] {
            let mut wish = good.clone();
            wish[member] = value;
            let Err(refusal) = check(wish) else { panic!("{what} was accepted") };
            assert!(refusal.message.contains(what), "{} does not name {what}", refusal.message);
        }
        assert!(check_id("a/b").is_err() && check_id("").is_err() && check_id(&"x".repeat(65)).is_err());
    }
}
