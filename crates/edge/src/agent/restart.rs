//! Whether a module that ended is started again, and what its status is called until then. How long that takes is in
//! [`settings`](super::settings).

use crate::manifest::{DesiredStatus, RestartPolicy};
use crate::runtime::ModuleState;
use std::time::Duration;

/// The longest wait, whatever its unit is set to.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(300);

/// `runtimeStatus` of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuntimeStatus {
    /// It runs.
    Running,
    /// It ended with exit code 0, was stopped, or never ran.
    Stopped,
    /// It ended otherwise, and is not started again.
    Failed,
    /// It ended, and is started again after a wait.
    Backoff,
    /// It runs and does not do well. Never found here, nor by stock agents.
    Unhealthy,
    /// It can only be removed.
    Dead,
    /// The agent is not there to know.
    Unknown,
}

impl RuntimeStatus {
    /// As the wire spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Backoff => "backoff",
            Self::Unhealthy => "unhealthy",
            Self::Dead => "dead",
            Self::Unknown => "unknown",
        }
    }
}

/// The status as the runtime alone tells it.
pub(super) fn observed(state: ModuleState) -> RuntimeStatus {
    match state {
        ModuleState::Running => RuntimeStatus::Running,
        ModuleState::Created | ModuleState::Exited { code: 0 } => RuntimeStatus::Stopped,
        ModuleState::Exited { .. } => RuntimeStatus::Failed,
        ModuleState::Dead => RuntimeStatus::Dead,
    }
}

/// The status in the light of what is wanted: what the policy will start again is in back-off, or failed for good.
pub(super) fn judged(
    observed: RuntimeStatus,
    desired: DesiredStatus,
    policy: RestartPolicy,
    may_restart: bool,
) -> RuntimeStatus {
    use RuntimeStatus::{Backoff, Dead, Failed, Running, Unhealthy};
    if matches!(observed, Dead | Running) || desired == DesiredStatus::Stopped {
        return observed;
    }
    let covered = policy == RestartPolicy::Always
        || (policy >= RestartPolicy::OnFailure && matches!(observed, Failed | Unhealthy));
    match (covered, may_restart) {
        (true, true) => Backoff,
        (true, false) => Failed,
        (false, _) => observed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_in_the_light_of_the_policy() {
        use DesiredStatus::{Running as Run, Stopped as Stop};
        use ModuleState::{Created, Dead, Exited, Running};
        use RestartPolicy::{Always, Never, OnFailure, OnUnhealthy};
        let (done, broken) = (Exited { code: 0 }, Exited { code: 137 });
        for (state, desired, policy, restarts, expected) in [
            (Running, Run, Always, 0, "running"),
            (Running, Stop, Always, 0, "running"),
            (Dead, Run, Always, 0, "dead"),
            (Created, Stop, Always, 0, "stopped"),
            (Created, Run, Always, 0, "backoff"),
            (done, Run, Always, 3, "backoff"),
            (done, Run, Always, 20, "failed"),
            (broken, Run, Always, 19, "backoff"),
            (done, Run, OnFailure, 0, "stopped"),
            (done, Run, OnUnhealthy, 0, "stopped"),
            (broken, Run, OnFailure, 0, "backoff"),
            (broken, Run, OnUnhealthy, 20, "failed"),
            (broken, Run, Never, 0, "failed"),
            (done, Run, Never, 0, "stopped"),
            (broken, Stop, Always, 0, "failed"),
            (done, Stop, Always, 20, "stopped"),
        ] {
            let status = judged(observed(state), desired, policy, restarts < 20);
            assert_eq!(status.as_str(), expected, "{state:?} {desired:?} {policy:?} {restarts}");
        }
    }
}
