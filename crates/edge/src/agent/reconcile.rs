//! One turn of the agent: look at what runs, plan, carry the plan out, look again.

use super::members::Members;
use super::metrics::Metrics;
use super::plan::{Command, Plan, Present, Step, StepKind, TURN, Wanted, plan};
use super::records::{Deployment, Records};
use super::retry::Retries;
use super::seams::{Identities, Store};
use super::settings::Settings;
use super::view::View;
use crate::manifest::ModuleDesired;
use crate::runtime::{ModuleInfo, ModuleRuntime, ModuleSpec, ModuleState, RuntimeError};
use ironbrook_hub::seams::Clock;
use ironbrook_model::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a module may take to end before it is ended by force.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(10);
/// How long one command may take; fetching an image is the longest.
const COMMAND_TIME: Duration = Duration::from_secs(600);
/// Set for modules unless the deployment says otherwise.
const LOG_LEVEL: &str = "RuntimeLogLevel";

/// What one turn found and did.
#[derive(Debug)]
pub(super) struct Turned {
    pub(super) view: View,
    /// When to turn again if nothing happens.
    pub(super) wake: Option<Timestamp>,
}

/// Carries deployments out.
pub(super) struct Engine {
    pub(super) runtime: Arc<dyn ModuleRuntime>,
    pub(super) identities: Arc<dyn Identities>,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
    pub(super) records: Records,
    settings: Settings,
    members: Members,
    retries: Retries,
    /// Modules that ran since this agent began.
    ran: BTreeSet<String>,
    /// The deployment of the last turn, and whether the hub has confirmed it since this agent began.
    last: Option<(Deployment, bool)>,
    /// The version that was last carried out, also before this agent began.
    version: u64,
    /// What failed and was not done since, by module.
    errors: BTreeMap<String, String>,
}

impl Engine {
    pub(super) async fn new(
        runtime: Arc<dyn ModuleRuntime>,
        identities: Arc<dyn Identities>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        stored_version: u64,
    ) -> Self {
        let records = Records::load(&*store).await;
        Self {
            runtime,
            identities,
            store,
            clock,
            metrics,
            records,
            settings: Settings::default(),
            members: Members::default(),
            retries: Retries::default(),
            ran: BTreeSet::new(),
            last: None,
            version: stored_version,
            errors: BTreeMap::new(),
        }
    }

    /// One turn. Without a deployment it only looks. Ends early, with the command under way, when cancelled.
    pub(super) async fn turn(
        &mut self,
        deployment: Option<&Deployment>,
        confirmed: bool,
        cancel: &CancellationToken,
    ) -> Result<Turned, RuntimeError> {
        let Some(deployment) = deployment else {
            let present = self.look().await?;
            return Ok(Turned {
                view: View::new(&BTreeMap::new(), &present, &self.errors, &self.settings),
                wake: None,
            });
        };
        self.note_deployment(deployment, confirmed);
        let names = deployment.desired.modules.keys().cloned().collect();
        self.members.update(&*self.identities, &names, self.clock.now()).await;
        let present = self.look().await?;
        let wanted = self.wanted(deployment, &present);
        self.adopt(&wanted, &present);
        let plan = plan(&wanted, &self.with_records(&present), &self.settings, self.clock.now());
        self.execute(&plan, &wanted, cancel).await;
        let present = if plan.steps.is_empty() { present } else { self.look().await? };
        self.adopt(&wanted, &present);
        self.records.by_name.retain(|name, _| wanted.contains_key(name) || present.contains_key(name));
        self.records.save_if_changed(&*self.store).await;
        let left = super::plan::plan(&wanted, &self.with_records(&present), &self.settings, self.clock.now());
        let again = (!left.steps.is_empty()).then(|| self.clock.now().plus(TURN));
        let wake = [again, left.wake, self.members.wake()].into_iter().flatten().min();
        let view = View::new(&wanted, &self.with_records(&present), &self.errors, &self.settings);
        Ok(Turned { view, wake })
    }

    /// A new version gives everything another chance.
    fn note_deployment(&mut self, deployment: &Deployment, confirmed: bool) {
        let same = self.last.as_ref().is_some_and(|(last, known)| last == deployment && *known == confirmed);
        if same {
            return;
        }
        self.members.deployed(confirmed);
        let before = std::mem::replace(&mut self.settings, Settings::of(&deployment.desired));
        if self.version != deployment.version {
            self.version = deployment.version;
            self.retries.reset();
            let most = before.restarts_max.min(self.settings.restarts_max);
            for record in self.records.by_name.values_mut().filter(|record| record.restarts >= most) {
                record.clear_restarts();
            }
        }
        self.last = Some((deployment.clone(), confirmed));
    }

    fn wanted(
        &mut self,
        deployment: &Deployment,
        present: &BTreeMap<String, Present>,
    ) -> BTreeMap<String, Wanted> {
        let modules = &deployment.desired.modules;
        self.errors.retain(|name, _| modules.contains_key(name));
        let mut wanted = BTreeMap::new();
        for (name, desired) in modules {
            let level = self.log_level(desired, present.get(name));
            let spec =
                self.members.environment(name).map(|environment| spec(name, desired, environment, level));
            if let Some(error) = self.members.error(name) {
                self.errors.insert(name.clone(), error.to_owned());
            }
            let restarts = self.records.by_name.get(name).map_or(0, |record| record.restarts);
            wanted.insert(name.clone(), Wanted { desired: desired.clone(), spec, restarts });
        }
        wanted
    }

    /// The log level of a module that has none of its own. One that is there keeps what it was made with: a new level of the
    /// agent's is no change of the module, and restarts nothing.
    fn log_level<'a>(&'a self, desired: &ModuleDesired, present: Option<&'a Present>) -> &'a str {
        let made_with = present.filter(|present| {
            let applied = present.record.applied.as_ref();
            applied.is_some_and(|applied| applied.image == desired.image && applied.env == desired.env)
        });
        let level = made_with.and_then(|present| present.info.spec.env.get(LOG_LEVEL));
        level.unwrap_or(&self.settings.log_level)
    }

    async fn look(&mut self) -> Result<BTreeMap<String, Present>, RuntimeError> {
        let mut present = BTreeMap::new();
        for info in self.runtime.list().await? {
            if info.state == ModuleState::Running {
                self.ran.insert(info.spec.name.clone());
            }
            let entry = Present { record: <_>::default(), ran: false, info };
            present.insert(entry.info.spec.name.clone(), entry);
        }
        Ok(self.with_records(&present))
    }

    fn with_records(&self, present: &BTreeMap<String, Present>) -> BTreeMap<String, Present> {
        let with_record = |(name, entry): (&String, &Present)| {
            let record = self.records.by_name.get(name).cloned().unwrap_or_default();
            let ran = self.ran.contains(name);
            (name.clone(), Present { info: entry.info.clone(), record, ran })
        };
        present.iter().map(with_record).collect()
    }

    /// What is already as wanted, process and status, takes over the rest of its entry without a step.
    fn adopt(&mut self, wanted: &BTreeMap<String, Wanted>, present: &BTreeMap<String, Present>) {
        for (name, wanted) in wanted {
            let Some(present) = present.get(name) else { continue };
            if wanted.spec.as_ref() != Some(&present.info.spec) {
                continue;
            }
            let record = self.records.by_name.entry(name.clone()).or_default();
            // A change of status is taken over by its step, which tells it from a state that came by itself.
            let status = record.applied.as_ref().map_or(wanted.desired.status, |applied| applied.status);
            let reached = status_reached(&wanted.desired, &present.info);
            let status = if reached { wanted.desired.status } else { status };
            record.applied = Some(ModuleDesired { status, ..wanted.desired.clone() });
        }
    }

    /// Carries out all steps whose turn it is; the command under way when cancelled is the last.
    async fn execute(&mut self, plan: &Plan, wanted: &BTreeMap<String, Wanted>, cancel: &CancellationToken) {
        let concerned: BTreeSet<&String> = plan.steps.iter().map(|(_, step)| &step.module).collect();
        self.errors.retain(|name, _| concerned.contains(name) || self.members.error(name).is_some());
        for (_, step) in &plan.steps {
            if cancel.is_cancelled() {
                return;
            }
            if self.retries.may_run(&step.module, step.kind, self.clock.now()) {
                self.run_step(step, wanted.get(&step.module)).await;
            }
        }
    }

    async fn run_step(&mut self, step: &Step, wanted: Option<&Wanted>) {
        for command in &step.commands {
            if let Err(error) = self.command(*command, &step.module, wanted).await {
                tracing::warn!(module = step.module, %command, %error, "command failed");
                self.errors.insert(step.module.clone(), error);
                self.retries.failed(&step.module, step.kind, self.clock.now());
                return;
            }
            tracing::info!(module = step.module, %command, "command done");
        }
        self.errors.remove(&step.module);
        self.retries.succeeded(&step.module, step.kind);
        self.remember(step, wanted).await;
    }

    /// What the records have to know of a step that is done.
    async fn remember(&mut self, step: &Step, wanted: Option<&Wanted>) {
        match step.kind {
            StepKind::Remove => {
                self.identities.release(&step.module).await;
                self.records.by_name.remove(&step.module);
                self.ran.remove(&step.module);
            }
            StepKind::Add | StepKind::Update | StepKind::StatusChange => {
                let record = self.records.by_name.entry(step.module.clone()).or_default();
                if step.kind != StepKind::Add {
                    record.clear_restarts();
                }
                record.applied = wanted.map(|wanted| wanted.desired.clone());
            }
            _ => {}
        }
    }

    async fn command(
        &mut self,
        command: Command,
        module: &str,
        wanted: Option<&Wanted>,
    ) -> Result<(), String> {
        let runtime = self.runtime.clone();
        let spec = wanted.and_then(|wanted| wanted.spec.as_ref());
        let work = async {
            match (command, spec) {
                (Command::Prepare, Some(spec)) => runtime.prepare(spec).await,
                (Command::Create, Some(spec)) => runtime.create(spec).await,
                (Command::Replace, Some(spec)) => runtime.replace(spec).await,
                (Command::Prepare | Command::Create | Command::Replace, None) => Ok(()),
                (Command::Start, _) => runtime.start(module).await,
                (Command::Stop, _) => gone_is_fine(runtime.stop(module, STOP_GRACE).await),
                (Command::Remove, _) => gone_is_fine(runtime.remove(module).await),
                (Command::Restart, _) => {
                    runtime.stop(module, STOP_GRACE).await?;
                    runtime.start(module).await
                }
                (Command::ClearRestarts, _) => Ok(()),
            }
        };
        tokio::select! {
            result = work => result.map_err(|error| error.to_string())?,
            () = self.clock.sleep(COMMAND_TIME) => {
                return Err(format!("module {module}: {command} did not end within {} s", COMMAND_TIME.as_secs()));
            }
        }
        self.count(command, module, wanted.map(|wanted| &wanted.desired));
        Ok(())
    }

    fn count(&mut self, command: Command, module: &str, desired: Option<&ModuleDesired>) {
        let now = self.clock.now();
        match command {
            Command::Start | Command::Restart => {
                self.ran.insert(module.to_owned());
                self.metrics.started(module, desired);
            }
            Command::Stop | Command::Replace => self.metrics.stopped(module, desired),
            _ => {}
        }
        let record = self.records.by_name.entry(module.to_owned()).or_default();
        match command {
            Command::Restart => {
                record.restarts += 1;
                record.last_restart = Some(now);
            }
            Command::ClearRestarts => record.clear_restarts(),
            _ => {}
        }
    }
}

/// Whether a module's state is what its status asks for.
fn status_reached(desired: &ModuleDesired, info: &ModuleInfo) -> bool {
    let running = info.state == ModuleState::Running;
    running == (desired.status == crate::manifest::DesiredStatus::Running)
}

/// To end what is not there is done already.
fn gone_is_fine(result: Result<(), RuntimeError>) -> Result<(), RuntimeError> {
    match result {
        Err(RuntimeError::NotFound(_)) => Ok(()),
        other => other,
    }
}

/// How a module is made: the deployment's environment first, then what it is told of itself, which nothing overrides.
fn spec(
    name: &str,
    desired: &ModuleDesired,
    environment: &[(String, String)],
    log_level: &str,
) -> ModuleSpec {
    let mut env = desired.env.clone();
    // rule AGENT-08
    env.extend(environment.iter().cloned());
    env.entry(LOG_LEVEL.to_owned()).or_insert_with(|| log_level.to_owned());
    ModuleSpec {
        name: name.to_owned(),
        kind: desired.kind.clone(),
        image: desired.image.clone(),
        create_options: desired.create_options.clone(),
        env,
    }
}
