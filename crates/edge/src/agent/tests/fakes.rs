//! A runtime, identities, a store and logs in memory.

use super::super::records::Deployment;
use super::super::seams::{Identities, IdentityError, Store};
use crate::manifest::AgentDesired;
use crate::runtime::{
    LogLine, LogQuery, ModuleInfo, ModuleLogs, ModuleRuntime, ModuleSpec, ModuleState, RuntimeError,
};
use async_trait::async_trait;
use ironbrook_hub::seams::Clock as _;
use ironbrook_model::twin::Object;
use ironbrook_testkit::TestClock;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// A module's entry in a deployment; `more` is merged over it.
pub(in super::super) fn module(image: &str, more: Value) -> Value {
    let mut entry = json!({"type": "docker", "status": "running", "restartPolicy": "always",
        "settings": {"image": image, "createOptions": "{}"}});
    super::super::patch::merge(entry.as_object_mut().unwrap(), more.as_object().unwrap());
    entry
}

/// The desired properties of the agent with these modules.
pub(in super::super) fn agent_desired(modules: &Value) -> Object {
    let desired = json!({
        "schemaVersion": "1.1",
        "runtime": {"type": "docker", "settings": {"minDockerVersion": "v1.25", "loggingOptions": "",
            "registryCredentials": {"r": {"username": "u", "password": "canary-secret", "address": "r.example"}}}},
        "systemModules": {
            "edgeAgent": {"type": "docker", "settings": {"image": "r/azureiotedge-agent:1.5", "createOptions": "{}"}},
            "edgeHub": {"type": "docker", "status": "running", "restartPolicy": "always",
                "settings": {"image": "r/azureiotedge-hub:1.5", "createOptions": "{}"}},
        },
        "modules": modules,
    });
    desired.as_object().unwrap().clone()
}

/// A deployment of these modules.
pub(in super::super) fn deployment(version: u64, modules: &Value) -> Deployment {
    Deployment { version, desired: AgentDesired::parse(&agent_desired(modules)).unwrap() }
}

#[derive(Default)]
struct Modules {
    by_name: BTreeMap<String, ModuleInfo>,
    calls: Vec<String>,
    /// How many more times a call fails: `start m`.
    failing: HashMap<String, u32>,
    starts: BTreeMap<String, u32>,
}

/// Modules that run in the mind only.
pub(in super::super) struct FakeRuntime {
    clock: TestClock,
    modules: Mutex<Modules>,
    /// Those that ended by themselves.
    ended: Mutex<BTreeSet<String>>,
    changed: Notify,
}

impl FakeRuntime {
    pub(super) fn new(clock: TestClock) -> Self {
        Self { clock, modules: Mutex::default(), ended: Mutex::default(), changed: Notify::new() }
    }

    fn call(&self, verb: &str, name: &str) -> Result<(), RuntimeError> {
        let mut modules = self.modules.lock().unwrap();
        let call = format!("{verb} {name}");
        modules.calls.push(call.clone());
        match modules.failing.get_mut(&call) {
            Some(left) if *left > 0 => {
                *left -= 1;
                let (module, image) = (name.to_owned(), "i".to_owned());
                Err(RuntimeError::NoImage {
                    module,
                    image,
                    cure: format!("{verb} fails by order of the test"),
                })
            }
            _ => Ok(()),
        }
    }

    fn with<T>(&self, name: &str, act: impl FnOnce(&mut ModuleInfo) -> T) -> Result<T, RuntimeError> {
        let mut modules = self.modules.lock().unwrap();
        modules.by_name.get_mut(name).map(act).ok_or_else(|| RuntimeError::NotFound(name.to_owned()))
    }

    /// What was asked since the last time; stops of what does not run and the like included.
    pub(in super::super) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.modules.lock().unwrap().calls)
    }

    pub(in super::super) fn fail(&self, call: &str, times: u32) {
        self.modules.lock().unwrap().failing.insert(call.to_owned(), times);
    }

    /// A module ends by itself.
    pub(in super::super) fn exit(&self, name: &str, code: i64) {
        let now = self.clock.now();
        self.ended.lock().unwrap().insert(name.to_owned());
        self.with(name, |info| (info.state, info.exited) = (ModuleState::Exited { code }, Some(now)))
            .unwrap();
        self.changed.notify_one();
    }

    pub(in super::super) fn kill(&self, name: &str) {
        self.with(name, |info| info.state = ModuleState::Dead).unwrap();
    }

    pub(in super::super) fn starts(&self, name: &str) -> u32 {
        self.modules.lock().unwrap().starts.get(name).copied().unwrap_or(0)
    }

    pub(in super::super) fn state(&self, name: &str) -> Option<ModuleState> {
        self.modules.lock().unwrap().by_name.get(name).map(|info| info.state)
    }

    pub(in super::super) fn info(&self, name: &str) -> ModuleInfo {
        self.modules.lock().unwrap().by_name[name].clone()
    }

    /// The process of the runtime itself ended: nothing runs; how modules were made is kept, and which ended by themselves.
    pub(in super::super) fn reopen(&self) {
        let ended = self.ended.lock().unwrap();
        let mut modules = self.modules.lock().unwrap();
        for info in modules.by_name.values_mut().filter(|info| !ended.contains(&info.spec.name)) {
            (info.state, info.started, info.exited) = (ModuleState::Created, None, None);
        }
    }
}

#[async_trait]
impl ModuleRuntime for FakeRuntime {
    async fn prepare(&self, spec: &ModuleSpec) -> Result<(), RuntimeError> {
        self.call("prepare", &spec.name)
    }

    async fn create(&self, spec: &ModuleSpec) -> Result<(), RuntimeError> {
        self.call("create", &spec.name)?;
        let info = ModuleInfo {
            spec: spec.clone(),
            image_hash: String::new(),
            state: ModuleState::Created,
            started: None,
            exited: None,
            pid: None,
        };
        let before = self.modules.lock().unwrap().by_name.insert(spec.name.clone(), info);
        assert!(before.is_none(), "{} was there already", spec.name);
        Ok(())
    }

    async fn replace(&self, spec: &ModuleSpec) -> Result<(), RuntimeError> {
        self.call("replace", &spec.name)?;
        self.ended.lock().unwrap().remove(&spec.name);
        self.with(&spec.name, |info| {
            info.spec = spec.clone();
            (info.state, info.started, info.exited) = (ModuleState::Created, None, None);
        })
    }

    async fn start(&self, name: &str) -> Result<(), RuntimeError> {
        self.call("start", name)?;
        self.ended.lock().unwrap().remove(name);
        let now = self.clock.now();
        self.with(name, |info| {
            assert_ne!(info.state, ModuleState::Dead, "{name} is dead");
            if info.state != ModuleState::Running {
                (info.state, info.started) = (ModuleState::Running, Some(now));
            }
        })?;
        *self.modules.lock().unwrap().starts.entry(name.to_owned()).or_default() += 1;
        Ok(())
    }

    async fn stop(&self, name: &str, _grace: Duration) -> Result<(), RuntimeError> {
        self.call("stop", name)?;
        let now = self.clock.now();
        self.with(name, |info| {
            if info.state == ModuleState::Running {
                (info.state, info.exited) = (ModuleState::Exited { code: 0 }, Some(now));
            }
        })
    }

    async fn remove(&self, name: &str) -> Result<(), RuntimeError> {
        self.call("remove", name)?;
        let removed = self.modules.lock().unwrap().by_name.remove(name);
        removed.map(drop).ok_or_else(|| RuntimeError::NotFound(name.to_owned()))
    }

    async fn list(&self) -> Result<Vec<ModuleInfo>, RuntimeError> {
        Ok(self.modules.lock().unwrap().by_name.values().cloned().collect())
    }

    async fn logs(&self, _name: &str, _tail: usize) -> Result<Vec<String>, RuntimeError> {
        Ok(Vec::new())
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Identities of a hub that can be away.
#[derive(Default)]
pub(in super::super) struct FakeIdentities {
    pub(in super::super) away: Mutex<bool>,
    pub(in super::super) managed: Mutex<BTreeSet<String>>,
    pub(in super::super) released: Mutex<Vec<String>>,
}

impl FakeIdentities {
    fn check(&self) -> Result<(), IdentityError> {
        if *self.away.lock().unwrap() { Err(IdentityError("the hub is away".to_owned())) } else { Ok(()) }
    }
}

#[async_trait]
impl Identities for FakeIdentities {
    async fn ensure(&self, module: &str) -> Result<Vec<(String, String)>, IdentityError> {
        if !self.managed.lock().unwrap().contains(module) {
            self.check()?;
        }
        self.managed.lock().unwrap().insert(module.to_owned());
        Ok(vec![("IOTEDGE_MODULEID".to_owned(), module.to_owned())])
    }

    async fn managed(&self) -> Result<BTreeSet<String>, IdentityError> {
        self.check()?;
        Ok(self.managed.lock().unwrap().clone())
    }

    async fn remove(&self, module: &str) -> Result<(), IdentityError> {
        self.check()?;
        self.managed.lock().unwrap().remove(module);
        Ok(())
    }

    async fn release(&self, module: &str) {
        self.released.lock().unwrap().push(module.to_owned());
    }
}

/// Files in memory.
#[derive(Default)]
pub(in super::super) struct FakeStore(Mutex<HashMap<&'static str, Vec<u8>>>, AtomicBool);

impl FakeStore {
    /// Whether the disk is full from now on.
    pub(in super::super) fn set_full(&self, full: bool) {
        self.1.store(full, Ordering::Relaxed);
    }

    /// All that is stored, as one text.
    pub(in super::super) fn text(&self) -> String {
        self.0.lock().unwrap().values().map(|content| String::from_utf8_lossy(content).into_owned()).collect()
    }
}

#[async_trait]
impl Store for FakeStore {
    async fn load(&self, name: &'static str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.lock().unwrap().get(name).cloned())
    }

    async fn save(&self, name: &'static str, content: Vec<u8>) -> io::Result<()> {
        if self.1.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.lock().unwrap().insert(name, content);
        Ok(())
    }
}

/// Lines as a test wrote them.
#[derive(Default)]
pub(in super::super) struct FakeLogs(pub(in super::super) Mutex<BTreeMap<String, Vec<LogLine>>>);

#[async_trait]
impl ModuleLogs for FakeLogs {
    async fn lines(&self, name: &str, query: LogQuery) -> Result<Vec<LogLine>, RuntimeError> {
        let logs = self.0.lock().unwrap();
        let lines = logs.get(name).ok_or_else(|| RuntimeError::NotFound(name.to_owned()))?;
        let wanted = |line: &&LogLine| {
            query.since.is_none_or(|since| line.time >= since)
                && query.until.is_none_or(|until| line.time <= until)
        };
        let lines: Vec<LogLine> = lines.iter().filter(wanted).cloned().collect();
        let from = query.tail.map_or(0, |tail| lines.len().saturating_sub(tail));
        Ok(lines[from..].to_vec())
    }
}
