//! What the deployment sets of the agent itself: variables in the `env` of `edgeAgent` in `systemModules`.
//!
//! They hold from the next turn on, without a restart. A value that cannot be used is told once and counts as not set.

use super::restart::WAIT_MAX;
use crate::manifest::{AgentDesired, EnvironmentMap};
use std::ops::RangeInclusive;
use std::time::Duration;

/// The settings of an agent, with their stock names and defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// `MaxRestartCount`: restarts of a module that does not stay up; then it is `failed` until a new deployment.
    pub(super) restarts_max: u32,
    /// `CoolOffTimeUnitInSeconds`: the unit of waiting.
    pub(super) cool_off: Duration,
    /// `IntensiveCareTimeInMinutes`: after running so long a module counts as healthy, and its restarts are forgotten.
    pub(super) intensive_care: Duration,
    /// `ConfigRefreshFrequencySecs`: how often the whole twin is read.
    pub(super) refresh: Duration,
    /// `RuntimeLogLevel`: handed to modules that have none of their own.
    pub(super) log_level: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            restarts_max: 20,
            cool_off: Duration::from_secs(10),
            intensive_care: Duration::from_secs(600),
            refresh: Duration::from_secs(3600),
            log_level: "info".to_owned(),
        }
    }
}

impl Settings {
    /// The settings of a deployment.
    // rule AGENT-11
    pub(super) fn of(desired: &AgentDesired) -> Self {
        let mut settings = Self::default();
        let Some(agent) = &desired.system.agent else { return settings };
        let number = |name, range| number(&agent.env, name, range);
        let seconds = |name, range| number(name, range).map(Duration::from_secs);
        if let Some(count) = number("MaxRestartCount", 0..=u64::from(u32::MAX)) {
            settings.restarts_max = u32::try_from(count).unwrap_or(u32::MAX);
        }
        if let Some(unit) = seconds("CoolOffTimeUnitInSeconds", 1..=86_400) {
            settings.cool_off = unit;
        }
        if let Some(minutes) = number("IntensiveCareTimeInMinutes", 1..=525_600) {
            settings.intensive_care = Duration::from_secs(minutes * 60);
        }
        if let Some(refresh) = seconds("ConfigRefreshFrequencySecs", 1..=31_536_000) {
            settings.refresh = refresh;
        }
        if let Some(level) = text(&agent.env, "RuntimeLogLevel") {
            settings.log_level = level.to_owned();
        }
        settings
    }

    /// How long after its end a module is started again, when it was so often already; `None`: never.
    pub(super) fn wait(&self, restarts: u32) -> Option<Duration> {
        // rule AGENT-05
        let wait = self.cool_off.saturating_mul(2_u32.saturating_pow(restarts)).min(WAIT_MAX);
        (restarts < self.restarts_max).then_some(wait)
    }
}

/// Names of settings are read in any case, as stock agents do.
fn text<'a>(env: &'a EnvironmentMap, name: &str) -> Option<&'a str> {
    let found = env.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
}

fn number(env: &EnvironmentMap, name: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
    let text = text(env, name)?;
    let number = text.parse().ok().filter(|number| range.contains(number));
    if number.is_none() {
        let (least, most) = (range.start(), range.end());
        tracing::warn!(
            name,
            least,
            most,
            "a setting of edgeAgent is no number in its bounds; the default holds"
        );
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn settings(env: &Value) -> Settings {
        let mut desired = super::super::tests::agent_desired(&json!({}));
        desired["systemModules"]["edgeAgent"]["env"] = env.clone();
        Settings::of(&AgentDesired::parse(&desired).unwrap())
    }

    #[test]
    fn waits_double_up_to_five_minutes_and_end_after_twenty_rule_agent_05() {
        let settings = Settings::default();
        let waits: Vec<Option<u64>> = (0..22).map(|n| settings.wait(n).map(|wait| wait.as_secs())).collect();
        assert_eq!(waits[..6], [Some(10), Some(20), Some(40), Some(80), Some(160), Some(300)]);
        assert!(waits[6..20].iter().all(|wait| *wait == Some(300)));
        assert_eq!(waits[20..], [None, None]);
    }

    #[test]
    fn settings_of_the_agent_come_from_its_environment_rule_agent_11() {
        assert_eq!(settings(&json!({})), Settings::default());
        let all = json!({
            "MaxRestartCount": {"value": 3}, "coolofftimeunitinseconds": {"value": "2"},
            "IntensiveCareTimeInMinutes": {"value": "5"}, "ConfigRefreshFrequencySecs": {"value": " 60 "},
            "RuntimeLogLevel": {"value": "debug"}, "Other": {"value": "x"},
        });
        let expected = Settings {
            restarts_max: 3,
            cool_off: Duration::from_secs(2),
            intensive_care: Duration::from_secs(300),
            refresh: Duration::from_secs(60),
            log_level: "debug".to_owned(),
        };
        let read = settings(&all);
        assert_eq!(read, expected);
        let waits: Vec<Option<u64>> = (0..4).map(|n| read.wait(n).map(|wait| wait.as_secs())).collect();
        assert_eq!(waits, [Some(2), Some(4), Some(8), None]);
    }

    #[test]
    fn values_that_cannot_be_used_count_as_not_set() {
        for wrong in ["-1", "x", "1.5", "", "99999999999999999999"] {
            let env = json!({
                "MaxRestartCount": {"value": wrong}, "CoolOffTimeUnitInSeconds": {"value": wrong},
                "IntensiveCareTimeInMinutes": {"value": wrong}, "ConfigRefreshFrequencySecs": {"value": wrong},
            });
            assert_eq!(settings(&env), Settings::default(), "{wrong}");
        }
        // Nothing turns without a pause.
        let zero =
            json!({"CoolOffTimeUnitInSeconds": {"value": 0}, "ConfigRefreshFrequencySecs": {"value": 0}});
        assert_eq!(settings(&zero), Settings::default());
        assert_eq!(settings(&json!({"MaxRestartCount": {"value": 0}})).wait(0), None);
    }
}
