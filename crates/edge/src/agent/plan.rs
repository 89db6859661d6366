//! What has to be done so that what runs is what is deployed: a pure function of both and of the time.
//!
//! Groups by `startupOrder`, ascending; in each: removals first, then what is added, what changed, what is not in the state it
//! should be in. A change of `status`, `restartPolicy`, `version`, `startupOrder` or `imagePullPolicy` alone makes no step that
//! ends a process. The runtime's own modules are never part of a plan.

use super::records::Record;
use super::restart::{RuntimeStatus, judged, observed};
use super::settings::Settings;
use crate::manifest::{DesiredStatus, ModuleDesired, RestartPolicy};
use crate::runtime::{ModuleInfo, ModuleSpec, ModuleState};
use ironbrook_model::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// The least time between the end of a module and its next start without back-off: one turn of a stock agent's loop.
pub(super) const TURN: Duration = Duration::from_secs(5);

/// A module that is deployed.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) desired: ModuleDesired,
    /// `None` while the module has no identity.
    pub(super) spec: Option<ModuleSpec>,
    /// Restarts that are remembered of it, also while it is not there.
    pub(super) restarts: u32,
}

/// A module that is there.
#[derive(Debug, Clone)]
pub(super) struct Present {
    pub(super) info: ModuleInfo,
    pub(super) record: Record,
    /// Whether it ran since this agent began. What ended before ended with the agent, and not by a fault of its own.
    pub(super) ran: bool,
}

/// One thing done to a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Prepare,
    Create,
    /// Stop, and make as the new spec says; what the module keeps for itself stays.
    Replace,
    Start,
    Stop,
    Remove,
    /// Stop and start, counted.
    Restart,
    /// Forget the restarts of a module that stays up.
    ClearRestarts,
}

/// Why a step is there, in the order of steps in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum StepKind {
    StopRemoved,
    Remove,
    RemoveDead,
    Add,
    Update,
    /// Its state is not as wanted.
    Start,
    Stop,
    Restart,
    /// The deployment changed its mind about `status`.
    StatusChange,
    ClearRestarts,
}

/// Commands for one module; after one that fails the others are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) module: String,
    pub(super) kind: StepKind,
    pub(super) commands: Vec<Command>,
}

/// What to do now, and when to look again if nothing happens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// In order, with the group each belongs to.
    pub(super) steps: Vec<(u32, Step)>,
    pub(super) wake: Option<Timestamp>,
}

impl Plan {
    fn wake_at(&mut self, time: Timestamp) {
        self.wake = Some(self.wake.map_or(time, |wake| wake.min(time)));
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepare => "prepareUpdate",
            Self::Create => "create",
            Self::Replace => "update",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Remove => "remove",
            Self::Restart => "restart",
            Self::ClearRestarts => "clearRestarts",
        })
    }
}

impl fmt::Display for Plan {
    /// One line per step: `order module: command command …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (order, step) in &self.steps {
            write!(f, "{order} {}:", step.module)?;
            for command in &step.commands {
                write!(f, " {command}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Makes the plan.
pub(super) fn plan(
    wanted: &BTreeMap<String, Wanted>,
    present: &BTreeMap<String, Present>,
    settings: &Settings,
    now: Timestamp,
) -> Plan {
    let mut plan = Plan::default();
    let moment = Moment { settings, now };
    let names: BTreeSet<&String> = wanted.keys().chain(present.keys()).collect();
    for name in names {
        let (order, steps) = match (wanted.get(name), present.get(name)) {
            (Some(wanted), None) => (wanted.desired.startup_order, added(wanted, settings)),
            (Some(wanted), Some(present)) => {
                (wanted.desired.startup_order, kept(wanted, present, moment, &mut plan))
            }
            (None, Some(present)) => {
                // rule AGENT-06: a module that nobody knows any more counts as the first.
                (present.record.applied.as_ref().map_or(0, |applied| applied.startup_order), removed())
            }
            (None, None) => continue,
        };
        for (kind, commands) in steps {
            plan.steps.push((order, Step { module: name.clone(), kind, commands }));
        }
    }
    // Stable: within a kind modules stay in the order of their names.
    plan.steps.sort_by_key(|(order, step)| (*order, step.kind));
    plan
}

/// What waiting depends on.
#[derive(Clone, Copy)]
struct Moment<'a> {
    settings: &'a Settings,
    now: Timestamp,
}

type Steps = Vec<(StepKind, Vec<Command>)>;

fn removed() -> Steps {
    vec![(StepKind::StopRemoved, vec![Command::Stop]), (StepKind::Remove, vec![Command::Remove])]
}

fn added(wanted: &Wanted, settings: &Settings) -> Steps {
    if wanted.spec.is_none() {
        return Steps::new();
    }
    let mut commands = vec![Command::Prepare, Command::Create];
    // One that failed for good stays so, also where its runtime has forgotten it meanwhile.
    let may_start = settings.wait(wanted.restarts).is_some();
    commands.extend(start_if_running(&wanted.desired).filter(|_| may_start));
    vec![(StepKind::Add, commands)]
}

fn start_if_running(desired: &ModuleDesired) -> Option<Command> {
    (desired.status == DesiredStatus::Running).then_some(Command::Start)
}

fn kept(wanted: &Wanted, present: &Present, moment: Moment<'_>, plan: &mut Plan) -> Steps {
    if present.info.state == ModuleState::Dead {
        return vec![(StepKind::RemoveDead, vec![Command::Remove])];
    }
    if wanted.spec.as_ref().is_some_and(|spec| *spec != present.info.spec) {
        let mut commands = vec![Command::Prepare, Command::Replace];
        commands.extend(start_if_running(&wanted.desired));
        return vec![(StepKind::Update, commands)];
    }
    let running = present.info.state == ModuleState::Running;
    let before = present.record.applied.as_ref().map(|applied| applied.status);
    let changed_mind = before.is_some_and(|before| before != wanted.desired.status);
    let one = |kind, command| vec![(if changed_mind { StepKind::StatusChange } else { kind }, vec![command])];
    match (wanted.desired.status, running) {
        (DesiredStatus::Stopped, true) => one(StepKind::Stop, Command::Stop),
        (DesiredStatus::Stopped, false) => Steps::new(),
        (DesiredStatus::Running, true) => healthy(present, moment, plan),
        (DesiredStatus::Running, false) if changed_mind => one(StepKind::Start, Command::Start),
        (DesiredStatus::Running, false) => ended(&wanted.desired, present, moment, plan),
    }
}

/// A module that runs as it should: its restarts are forgotten after a while.
fn healthy(present: &Present, Moment { settings, now }: Moment<'_>, plan: &mut Plan) -> Steps {
    let Some(started) = present.info.started.filter(|_| present.record.restarts > 0) else {
        return Steps::new();
    };
    let healthy = started.plus(settings.intensive_care);
    if healthy <= now {
        return vec![(StepKind::ClearRestarts, vec![Command::ClearRestarts])];
    }
    plan.wake_at(healthy);
    Steps::new()
}

/// A module that should run and does not.
fn ended(
    desired: &ModuleDesired,
    present: &Present,
    Moment { settings, now }: Moment<'_>,
    plan: &mut Plan,
) -> Steps {
    let start = vec![(StepKind::Start, vec![Command::Start])];
    let (info, wait) = (&present.info, settings.wait(present.record.restarts));
    if info.state == ModuleState::Created {
        return if wait.is_some() { start } else { Steps::new() };
    }
    let status = judged(observed(info.state), desired.status, desired.restart_policy, wait.is_some());
    let after = match status {
        RuntimeStatus::Backoff if !present.ran => return start,
        RuntimeStatus::Backoff => wait,
        // rule AGENT-07: an end with 0 under a policy for failures is no end to what is wanted, and no restart that counts.
        RuntimeStatus::Stopped if desired.restart_policy > RestartPolicy::Never => Some(TURN),
        _ => None,
    };
    let Some(after) = after else { return Steps::new() };
    match info.exited.map(|exited| exited.plus(after)).filter(|due| *due > now) {
        Some(due) => {
            plan.wake_at(due);
            Steps::new()
        }
        None if status == RuntimeStatus::Stopped => start,
        None => vec![(StepKind::Restart, vec![Command::Restart])],
    }
}
