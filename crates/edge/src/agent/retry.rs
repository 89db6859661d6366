//! When a step of a plan that failed is tried again.

use super::plan::StepKind;
use super::restart::WAIT_MAX;
use ironbrook_model::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often a step is run for one version of the deployment.
const RUNS_MAX: u32 = 20;
/// The unit of waiting; not that of modules, which a deployment may set.
const COOL_OFF: Duration = Duration::from_secs(10);

/// The steps that failed, by module and kind. A step that fails waits 20, 40, 80, 160 seconds, then 300 each time.
#[derive(Debug, Default)]
pub(super) struct Retries(BTreeMap<(String, StepKind), Runs>);

#[derive(Debug)]
struct Runs {
    count: u32,
    last: Timestamp,
}

impl Retries {
    /// Whether it is a step's turn.
    pub(super) fn may_run(&self, module: &str, kind: StepKind, now: Timestamp) -> bool {
        let Some(runs) = self.0.get(&(module.to_owned(), kind)) else { return true };
        let wait = COOL_OFF.saturating_mul(2_u32.saturating_pow(runs.count)).min(WAIT_MAX);
        runs.count < RUNS_MAX && runs.last.plus(wait) <= now
    }

    pub(super) fn failed(&mut self, module: &str, kind: StepKind, now: Timestamp) {
        let runs = self.0.entry((module.to_owned(), kind)).or_insert(Runs { count: 0, last: now });
        runs.count += 1;
        runs.last = now;
    }

    pub(super) fn succeeded(&mut self, module: &str, kind: StepKind) {
        self.0.remove(&(module.to_owned(), kind));
    }

    /// A new version of the deployment: everything may be tried at once.
    pub(super) fn reset(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_steps_wait_longer_each_time_and_end_after_twenty() {
        let mut retries = Retries::default();
        let second = std::time::Duration::from_secs(1);
        let mut now = Timestamp::from_secs(0);
        let mut waits = Vec::new();
        for _ in 0..RUNS_MAX {
            let failed = now;
            retries.failed("m", StepKind::Add, now);
            while !retries.may_run("m", StepKind::Add, now) && now.since(failed).as_secs() < 1000 {
                now = now.plus(second);
            }
            waits.push(now.since(failed).as_secs());
        }
        assert_eq!(waits[..5], [20, 40, 80, 160, 300]);
        assert_eq!(waits[18..], [300, 1000], "no more after twenty runs");
        assert!(retries.may_run("m", StepKind::Start, now));
        retries.reset();
        assert!(retries.may_run("m", StepKind::Add, now));
    }
}
