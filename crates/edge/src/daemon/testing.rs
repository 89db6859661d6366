//! What the tests of the daemon share: a hub's registry in memory, a daemon in a folder of its own, requests on sockets.

use super::{Config, Daemon, ModuleRegistry, RegistryError};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use ironbrook_client::ModuleRecord;
use ironbrook_model::{DeviceId, ModuleId, SharedAccessKey, Timestamp};
use ironbrook_testkit::TestClock;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

pub(super) const DEVICE: &str = "edge-1";
pub(super) const CANARY: &str = "Y2FuYXJ5LWRldmljZS1rZXk=";

pub(super) fn now() -> Timestamp {
    Timestamp::from_secs(1_790_000_000)
}

/// A hub's registry as far as a device sees it. Lists what it was asked.
#[derive(Default)]
pub(super) struct FakeRegistry {
    pub modules: Mutex<BTreeMap<String, Value>>,
    pub calls: Mutex<Vec<String>>,
    pub failure: Mutex<Option<RegistryError>>,
    generations: Mutex<u32>,
}

impl FakeRegistry {
    /// What an edge device has from its creation: system modules without keys.
    pub fn of_new_device() -> Arc<Self> {
        let registry = Self::default();
        for module in ["$edgeAgent", "$edgeHub"] {
            registry.create(module, "IotEdge");
        }
        Arc::new(registry)
    }

    pub fn create(&self, module: &str, managed_by: &str) -> Value {
        let mut generations = self.generations.lock().unwrap();
        *generations += 1;
        let record = json!({
            "moduleId": module, "deviceId": DEVICE, "generationId": format!("g{generations}"),
            "managedBy": managed_by, "authentication": {"type": "none"},
        });
        self.modules.lock().unwrap().insert(module.to_owned(), record.clone());
        record
    }

    pub fn fail(&self, failure: Option<RegistryError>) {
        *self.failure.lock().unwrap() = failure;
    }

    pub fn away(&self) {
        self.fail(Some(RegistryError::Away("no route".to_owned())));
    }

    /// The calls since the last time this was asked.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    pub fn keys(&self, module: &str) -> Value {
        self.modules.lock().unwrap()[module]["authentication"]["symmetricKey"].clone()
    }

    fn called(&self, call: String) -> Result<(), RegistryError> {
        self.calls.lock().unwrap().push(call);
        self.failure.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

fn record(value: Value) -> ModuleRecord {
    serde_json::from_value(value).unwrap()
}

#[async_trait]
impl ModuleRegistry for FakeRegistry {
    async fn module(&self, module: &ModuleId) -> Result<Option<ModuleRecord>, RegistryError> {
        self.called(format!("get {module}"))?;
        Ok(self.modules.lock().unwrap().get(module.as_str()).cloned().map(record))
    }

    async fn modules(&self) -> Result<Vec<ModuleRecord>, RegistryError> {
        self.called("list".to_owned())?;
        Ok(self.modules.lock().unwrap().values().cloned().map(record).collect())
    }

    async fn put_module(
        &self,
        module: &ModuleId,
        body: &Value,
        update: bool,
    ) -> Result<ModuleRecord, RegistryError> {
        self.called(format!("put {module} {}", if update { "*" } else { "new" }))?;
        let known = self.modules.lock().unwrap().get(module.as_str()).cloned();
        match (known, update) {
            (Some(mut known), true) => {
                known["authentication"] = body["authentication"].clone();
                known["managedBy"] = body["managedBy"].clone();
                self.modules.lock().unwrap().insert(module.to_string(), known.clone());
                Ok(record(known))
            }
            (None, false) => Ok(record(self.create(module.as_str(), body["managedBy"].as_str().unwrap()))),
            (known, _) => {
                let status = if known.is_some() { 409 } else { 404 };
                Err(RegistryError::Refused { status, message: String::new() })
            }
        }
    }

    async fn delete_module(&self, module: &ModuleId) -> Result<(), RegistryError> {
        self.called(format!("delete {module}"))?;
        self.modules.lock().unwrap().remove(module.as_str());
        Ok(())
    }
}

/// A daemon in a folder of its own.
pub(super) struct World {
    pub daemon: Daemon,
    pub registry: Arc<FakeRegistry>,
    pub clock: TestClock,
    pub folder: TempDir,
}

pub(super) fn config(folder: &Path) -> Config {
    Config {
        hub_host: "hub.example.test".to_owned(),
        device: DeviceId::new(DEVICE).unwrap(),
        device_key: SharedAccessKey::from_base64(CANARY).unwrap(),
        gateway_host: "gateway.example.test".to_owned(),
        names: vec!["127.0.0.2".to_owned()],
        extra_trust: None,
        data_dir: folder.to_owned(),
        runtime_dir: Some(folder.to_owned()),
    }
}

impl World {
    pub fn new() -> Self {
        Self::in_folder(tempfile::tempdir_in("/tmp").unwrap(), FakeRegistry::of_new_device())
    }

    pub fn in_folder(folder: TempDir, registry: Arc<FakeRegistry>) -> Self {
        let clock = TestClock::new(now());
        let daemon = Daemon::open(config(folder.path()), registry.clone(), Arc::new(clock.clone())).unwrap();
        Self { daemon, registry, clock, folder }
    }
}

/// Asks a socket; the version is appended.
pub(super) async fn ask(socket: &Path, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    ask_raw(socket, method, &format!("{path}?api-version=2018-06-28"), body).await
}

pub(super) async fn ask_raw(
    socket: &Path,
    method: Method,
    path: &str,
    body: impl Into<Bytes>,
) -> (StatusCode, Value) {
    let stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .body(Full::new(body.into()))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}
