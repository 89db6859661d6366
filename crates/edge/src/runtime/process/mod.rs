//! Modules as child processes.
//!
//! **What may run.** A deployment names images, and comes from outside. So an image is only a name here: the built-in modules are
//! known by the end of their repository, whatever registry and tag; every other image runs only where the operator's own
//! configuration maps its repository to a command. A deployment can neither choose a command nor set variables by which loaders
//! and interpreters load code. It may append arguments only where the operator says so ([`ImageCommand::arguments`]).
//!
//! **What it leaves.** Below `edge/modules/{name}/` of the data folder: `spec.json`, how it was made and, if it ended by itself, how
//! that went, so that both are known after a restart; `state/`, the module's own folder (`IRONBROOK_STATE_DIR`), and its log. All of it goes with `remove`.
//!
//! **When it ends.** A module is a process group of its own. It is asked to stop, and ended by force after its time; with the
//! process its children end. When this process ends, in whatever way, nothing of them is left; see [`bound`].
//!
//! Start with [`ProcessRuntime`]; `launch` decides what a spec runs, `log` keeps its lines.

pub mod bound;
mod guard;
mod image;
mod launch;
mod log;
mod module;
mod options;
mod spawner;

pub use bound::{EXEC_COMMAND, exec_bound};

use super::{
    LogLine, LogQuery, ModuleInfo, ModuleLogs, ModuleRuntime, ModuleSpec, ModuleState, RuntimeError, files,
};
use async_trait::async_trait;
use guard::Guard;
use ironbrook_hub::seams::Clock;
use launch::Launch;
use module::{End, Module, Run};
use spawner::Spawner;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// How long a module has to end before it is removed or replaced.
const REMOVE_GRACE: Duration = Duration::from_secs(10);
/// How long the system may take to end a killed process.
const KILL_TIME: Duration = Duration::from_secs(10);

/// How modules are run.
#[derive(Clone)]
pub struct ProcessConfig {
    /// The ironbrook program; it runs the built-in modules and, by [`EXEC_COMMAND`], starts all others.
    pub program: PathBuf,
    /// Repository suffix of each built-in module and the program's arguments that run it.
    pub builtin: Vec<(String, Vec<String>)>,
    /// Further images; looked at before the built-in ones.
    pub images: Vec<ImageCommand>,
    /// The data folder; everything here is below `edge/modules/`.
    pub data_dir: PathBuf,
    /// Stamps states and log lines, and measures the time to stop.
    pub clock: Arc<dyn Clock>,
}

/// What an operator lets run for an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageCommand {
    /// The end of the image's repository by whole segments, without tag: `my-module` or `example.test/team/my-module`.
    pub repository: String,
    /// The program, absolute or found in `PATH`, and its arguments.
    pub command: Vec<String>,
    /// Where it runs; in the module's state folder by default.
    pub working_directory: Option<PathBuf>,
    /// Whether `Entrypoint` and `Cmd` of a deployment are appended. Say yes only if no argument can make the program run what it
    /// is told: with an interpreter as command a deployment could run anything.
    pub arguments: bool,
}

struct Inner {
    config: ProcessConfig,
    modules: Mutex<BTreeMap<String, Module>>,
    changed: Notify,
    spawner: Spawner,
    guard: Guard,
}

/// Runs modules as child processes. When it is dropped they are killed.
pub struct ProcessRuntime {
    inner: Arc<Inner>,
}

impl ProcessRuntime {
    /// Opens the runtime on a data folder: modules made before are known, and which of them had ended; none runs.
    pub fn new(config: ProcessConfig) -> io::Result<Self> {
        let folder = config.data_dir.join(crate::assembly::FOLDER).join("modules");
        files::make_folder(&folder)?;
        let modules = module::load_all(&folder)?;
        let inner = Inner {
            spawner: Spawner::start()?,
            guard: Guard::new(config.program.clone()),
            modules: Mutex::new(modules),
            changed: Notify::new(),
            config,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Stops all modules at the same time.
    pub async fn stop_all(&self, grace: Duration) {
        let names: Vec<String> = self.inner.lock().keys().cloned().collect();
        let stops = names.iter().map(|name| self.stop(name, grace));
        for error in futures_util::future::join_all(stops).await.into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "module was not stopped");
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Module>> {
        self.modules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, name: &str, act: impl FnOnce(&mut Module) -> T) -> Result<T, RuntimeError> {
        self.lock().get_mut(name).map(act).ok_or_else(|| RuntimeError::NotFound(name.to_owned()))
    }

    /// Writes what is to be known of a module after a restart of this process.
    async fn keep(
        &self,
        folder: PathBuf,
        spec: ModuleSpec,
        end: Option<End>,
        doing: &'static str,
    ) -> Result<(), RuntimeError> {
        let name = spec.name.clone();
        let kept = tokio::task::spawn_blocking(move || module::keep(&folder, spec, end));
        flat(kept.await).map_err(|error| io_error(&name, doing, error))
    }

    /// Takes down that a run has ended.
    async fn ended(&self, name: &str, pid: u32, code: i64) {
        let exited = self.config.clock.now();
        let by_itself = self.with(name, |module| module.end_by_itself(pid, code, exited)).ok().flatten();
        let mut kept = None;
        // On disk before it is known here: until then nothing else becomes of the module.
        if let Some((folder, spec, end)) = by_itself {
            match self.keep(folder, spec, Some(end), "keeping its end").await {
                Ok(()) => kept = Some(end),
                Err(error) => tracing::warn!(%error, "after a restart this module starts again"),
            }
        }
        let ended = self.with(name, |module| module.ended(pid, code, exited, kept));
        if ended.unwrap_or(false) {
            tracing::info!(module = name, pid, code, "module ended");
        }
        self.changed.notify_one();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The end of the spawner's thread kills the processes, this their children.
        let modules = self.modules.get_mut().unwrap_or_else(PoisonError::into_inner);
        for run in modules.values().filter_map(|module| module.run.as_ref()) {
            module::signal(run.pid, rustix::process::Signal::KILL);
        }
    }
}

#[async_trait]
impl ModuleRuntime for ProcessRuntime {
    async fn prepare(&self, spec: &ModuleSpec) -> Result<(), RuntimeError> {
        Launch::of(spec, &self.inner.config, &PathBuf::new()).map(drop)
    }

    async fn create(&self, spec: &ModuleSpec) -> Result<(), RuntimeError> {
        self.prepare(spec).await?;
        if self.inner.lock().contains_key(&spec.name) {
            return Err(io_error(&spec.name, "making it", io::ErrorKind::AlreadyExists.into()));
        }
        let parent = self.inner.config.data_dir.join(crate::assembly::FOLDER).join("modules");
        let owned = spec.clone();
        let made = tokio::task::spawn_blocking(move || Module::make(&parent, owned));
        let module = flat(made.await).map_err(|error| io_error(&spec.name, "making its folder", error))?;
        self.inner.lock().insert(spec.name.clone(), module);
        Ok(())
    }

    async fn replace(&self, spec: &ModuleSpec) -> Result<(), RuntimeError> {
        self.prepare(spec).await?;
        let folder = self.inner.with(&spec.name, |module| module.folder.clone())?;
        // Before the stop: where there is no room on the disk, what runs goes on.
        self.inner.keep(folder, spec.clone(), None, "keeping its new spec").await?;
        self.stop(&spec.name, REMOVE_GRACE).await?;
        self.inner.with(&spec.name, |module| module.replace(spec.clone()))?;
        self.inner.changed.notify_one();
        Ok(())
    }

    async fn start(&self, name: &str) -> Result<(), RuntimeError> {
        let (spec, folder, log, running, has_end) = self.inner.with(name, |module| {
            let Module { spec, folder, log, run, has_kept_end, .. } = module;
            (spec.clone(), folder.clone(), log.clone(), run.is_some(), *has_kept_end)
        })?;
        if running {
            return Ok(());
        }
        if has_end {
            // From here on a restart of this process has to start it again.
            self.inner.keep(folder.clone(), spec.clone(), None, "forgetting its last end").await?;
            self.inner.with(name, |module| module.has_kept_end = false)?;
        }
        let launch = Launch::of(&spec, &self.inner.config, &folder)?;
        launch.tell_what_is_ignored(name);
        let run = Run::start(&self.inner, name, launch, log)
            .await
            .map_err(|error| io_error(name, "starting it", error))?;
        tracing::info!(module = name, pid = run.pid, image = spec.image, "module started");
        run.enter(&self.inner, name);
        Ok(())
    }

    async fn stop(&self, name: &str, grace: Duration) -> Result<(), RuntimeError> {
        let running = self.inner.with(name, |module| {
            let run = module.run.as_mut()?;
            run.is_asked_to_end = true;
            Some((run.pid, run.ended.clone()))
        })?;
        let Some((pid, mut ended)) = running else { return Ok(()) };
        module::signal(pid, rustix::process::Signal::TERM);
        tokio::select! {
            // The sender goes when the run is taken down, which is as good.
            _ = ended.wait_for(|ended| *ended) => return Ok(()),
            () = self.inner.config.clock.sleep(grace) => {}
        }
        tracing::warn!(module = name, pid, "module did not end when asked and is killed");
        module::signal(pid, rustix::process::Signal::KILL);
        match tokio::time::timeout(KILL_TIME, ended.wait_for(|ended| *ended)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(io_error(name, "ending it", io::ErrorKind::TimedOut.into())),
        }
    }

    async fn remove(&self, name: &str) -> Result<(), RuntimeError> {
        self.stop(name, REMOVE_GRACE).await?;
        let removed = self.inner.lock().remove(name);
        let Some(module) = removed else { return Err(RuntimeError::NotFound(name.to_owned())) };
        let deleted = tokio::task::spawn_blocking(move || module.delete());
        let deleted = flat(deleted.await).map_err(|error| io_error(name, "removing its folder", error));
        self.inner.changed.notify_one();
        deleted
    }

    async fn list(&self) -> Result<Vec<ModuleInfo>, RuntimeError> {
        Ok(self.inner.lock().values().map(Module::info).collect())
    }

    async fn logs(&self, name: &str, tail: usize) -> Result<Vec<String>, RuntimeError> {
        let lines = self.lines(name, LogQuery { tail: Some(tail), ..LogQuery::default() }).await?;
        Ok(lines.into_iter().map(|line| line.text).collect())
    }

    async fn changed(&self) {
        self.inner.changed.notified().await;
    }
}

#[async_trait]
impl ModuleLogs for ProcessRuntime {
    async fn lines(&self, name: &str, query: LogQuery) -> Result<Vec<LogLine>, RuntimeError> {
        let log = self.inner.with(name, |module| module.log.clone())?;
        let lines = tokio::task::spawn_blocking(move || log.read(query));
        flat(lines.await).map_err(|error| io_error(name, "reading its log", error))
    }
}

fn flat<T>(joined: Result<io::Result<T>, tokio::task::JoinError>) -> io::Result<T> {
    joined.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn io_error(module: &str, doing: &'static str, source: io::Error) -> RuntimeError {
    RuntimeError::Io { module: module.to_owned(), doing, source }
}
