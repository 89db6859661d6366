//! One module: what is known of it, what is kept of it on disk, and its process while it runs.

use super::bound::EXEC_COMMAND;
use super::launch::Launch;
use super::log::{self, ModuleLog};
use super::{Inner, ModuleInfo, ModuleSpec, ModuleState, files};
use ironbrook_model::Timestamp;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Weak};
use tokio::process::Child;
use tokio::sync::watch;

const SPEC_FILE: &str = "spec.json";
const STATE_FOLDER: &str = "state";

/// A module of the runtime.
pub(super) struct Module {
    pub spec: ModuleSpec,
    pub folder: PathBuf,
    pub log: Arc<ModuleLog>,
    pub run: Option<Run>,
    /// Whether its last end stands on disk.
    pub has_kept_end: bool,
    state: ModuleState,
    started: Option<Timestamp>,
    exited: Option<Timestamp>,
}

/// How a run went that ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    code: i64,
    started: Option<Timestamp>,
    exited: Timestamp,
}

/// The file that is kept of a module. One file: a new spec can never be found with the end of an old one.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    spec: ModuleSpec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<End>,
}

/// Writes a module's file; blocks until it is on disk.
pub(super) fn keep(folder: &Path, spec: ModuleSpec, end: Option<End>) -> io::Result<()> {
    let kept = serde_json::to_vec_pretty(&Kept { spec, end })?;
    files::write(&folder.join(SPEC_FILE), &kept, 0o600)
}

/// A module's process.
pub(super) struct Run {
    /// Also the id of its process group.
    pub pid: u32,
    /// Becomes true when it has ended.
    pub ended: watch::Receiver<bool>,
    /// Then its end is not the module's own doing.
    pub is_asked_to_end: bool,
    /// Until it is entered.
    parts: Option<(Child, watch::Sender<bool>)>,
}

/// Reads the modules that are kept in a folder.
pub(super) fn load_all(folder: &Path) -> io::Result<BTreeMap<String, Module>> {
    let mut modules = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let folder = entry?.path();
        let Some(bytes) = files::read(&folder.join(SPEC_FILE)).ok().flatten() else { continue };
        match serde_json::from_slice::<Kept>(&bytes) {
            Ok(Kept { spec, end }) => {
                modules.insert(spec.name.clone(), Module::open(spec, end, folder)?);
            }
            // It is made again when it is deployed; the module's own state stays.
            Err(error) => tracing::warn!(folder = %folder.display(), %error, "a module on disk is damaged"),
        }
    }
    Ok(modules)
}

impl Module {
    /// Makes a module's folder. State that is there already is kept.
    pub fn make(parent: &Path, spec: ModuleSpec) -> io::Result<Self> {
        let folder = parent.join(folder_name(&spec.name));
        files::make_folder(&folder.join(STATE_FOLDER))?;
        keep(&folder, spec.clone(), None)?;
        Self::open(spec, None, folder)
    }

    fn open(spec: ModuleSpec, end: Option<End>, folder: PathBuf) -> io::Result<Self> {
        files::make_folder(&folder.join(STATE_FOLDER))?;
        let log = Arc::new(ModuleLog::open(&folder)?);
        let state = end.map_or(ModuleState::Created, |end| ModuleState::Exited { code: end.code });
        let (started, exited) = (end.and_then(|end| end.started), end.map(|end| end.exited));
        Ok(Self { spec, folder, log, run: None, has_kept_end: end.is_some(), state, started, exited })
    }

    /// Takes the spec that was kept for it; to be called while it does not run.
    pub fn replace(&mut self, spec: ModuleSpec) {
        (self.spec, self.state) = (spec, ModuleState::Created);
        (self.started, self.exited, self.has_kept_end) = (None, None, false);
    }

    /// Removes all of it from disk.
    pub fn delete(self) -> io::Result<()> {
        self.log.close();
        // Without its spec it is no module any more, should the rest fail.
        for removed in [fs::remove_file(self.folder.join(SPEC_FILE)), fs::remove_dir_all(&self.folder)] {
            removed
                .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
        }
        Ok(())
    }

    pub fn info(&self) -> ModuleInfo {
        ModuleInfo {
            spec: self.spec.clone(),
            image_hash: String::new(),
            state: self.state,
            started: self.started,
            exited: self.exited,
            pid: self.run.as_ref().map(|run| run.pid),
        }
    }

    /// What has to be kept of the end of a run; `None` where it was asked to end, or is not this module's run any more.
    pub fn end_by_itself(
        &self,
        pid: u32,
        code: i64,
        exited: Timestamp,
    ) -> Option<(PathBuf, ModuleSpec, End)> {
        self.run.as_ref().filter(|run| run.pid == pid && !run.is_asked_to_end)?;
        let end = End { code, started: self.started, exited };
        Some((self.folder.clone(), self.spec.clone(), end))
    }

    /// Takes down the end of a run and what was kept of it; false if it is not this module's run any more.
    pub fn ended(&mut self, pid: u32, code: i64, now: Timestamp, kept: Option<End>) -> bool {
        if self.run.as_ref().is_none_or(|run| run.pid != pid) {
            return false;
        }
        self.run = None;
        self.state = ModuleState::Exited { code };
        self.exited = Some(now);
        self.has_kept_end = kept.is_some();
        true
    }
}

impl Run {
    /// Starts the process, held back until it is under guard.
    pub async fn start(
        inner: &Arc<Inner>,
        name: &str,
        launch: Launch,
        log: Arc<ModuleLog>,
    ) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new(&inner.config.program);
        command
            .args([EXEC_COMMAND, &std::process::id().to_string(), "--"])
            .arg(&launch.program)
            .args(&launch.arguments)
            .env_clear()
            .envs(&launch.env)
            .current_dir(&launch.working_directory)
            .stdin(Stdio::piped())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0);
        let mut child = inner.spawner.spawn(command).await?;
        let pid = child.id().ok_or(io::ErrorKind::NotFound)?;
        let gate = child.stdin.take();
        inner.guard.add(pid, launch.foreign).await?;
        tokio::spawn(log::capture(reader, name.to_owned(), log, inner.config.clock.clone()));
        drop(gate);
        let (sender, ended) = watch::channel(false);
        Ok(Self { pid, ended, is_asked_to_end: false, parts: Some((child, sender)) })
    }

    /// Makes it the module's run and waits for its end in the background.
    pub fn enter(mut self, inner: &Arc<Inner>, name: &str) {
        let (pid, parts) = (self.pid, self.parts.take());
        let now = inner.config.clock.now();
        let entered = inner.with(name, |module| {
            module.run = Some(self);
            module.state = ModuleState::Running;
            module.started = Some(now);
        });
        // Removed meanwhile, against the contract: dropping the child kills it.
        let (Ok(()), Some((child, sender))) = (entered, parts) else { return };
        tokio::spawn(wait(Arc::downgrade(inner), name.to_owned(), pid, child, sender));
        inner.changed.notify_one();
    }
}

async fn wait(inner: Weak<Inner>, name: String, pid: u32, mut child: Child, ended: watch::Sender<bool>) {
    let code = match child.wait().await {
        Ok(status) => exit_code(status),
        Err(error) => {
            tracing::error!(module = name, pid, %error, "the end of a module cannot be seen");
            -1
        }
    };
    // As with a container, what the process started ends with it. While one of them lives the group's id cannot be given anew.
    signal(pid, Signal::KILL);
    if let Some(inner) = inner.upgrade() {
        inner.guard.remove(pid).await;
        inner.ended(&name, pid, code).await;
    }
    let _ = ended.send(true);
}

fn exit_code(status: ExitStatus) -> i64 {
    let signal = status.signal().map_or(-1, |signal| 128 + signal);
    i64::from(status.code().unwrap_or(signal))
}

/// Sends a signal to a process group; one that has ended hears nothing.
pub(super) fn signal(group: u32, signal: Signal) {
    let group = i32::try_from(group).ok().filter(|&group| group > 1).and_then(Pid::from_raw);
    if let Some(group) = group {
        let _ = kill_process_group(group, signal);
    }
}

/// A folder's name for a module's: readable, and never a path.
fn folder_name(module: &str) -> String {
    let mut name = String::new();
    for (at, byte) in module.bytes().enumerate() {
        if byte.is_ascii_alphanumeric() || b"-_".contains(&byte) || (byte == b'.' && at > 0) {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn folder_names_are_one_segment_and_differ(a in "\\PC{1,20}", b in "\\PC{1,20}") {
            let name = folder_name(&a);
            prop_assert!(!name.contains('/') && !name.starts_with('.') && !name.is_empty());
            prop_assert_eq!(a == b, name == folder_name(&b));
        }
    }

    #[test]
    fn usual_names_are_their_folders() {
        assert_eq!(folder_name("Simulated-Sensor_1.x"), "Simulated-Sensor_1.x");
        assert_eq!(folder_name(".."), "%2E.");
    }

    #[test]
    fn the_code_of_a_signal_is_128_and_its_number() {
        assert_eq!(exit_code(ExitStatus::from_raw(9)), 137);
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
    }
}
