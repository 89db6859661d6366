//! The agent's twin in memory.

use super::super::seams::{AgentTwin, DesiredChange, FullTwin, MethodAnswer, MethodRequest, TwinError};
use super::bench::LIMIT;
use async_trait::async_trait;
use ironbrook_model::twin::Object;
use serde_json::Value;
use std::future::pending;
use std::sync::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};

struct HubTwin {
    full: FullTwin,
    away: bool,
    gets: u32,
    reports: Vec<Object>,
}

/// The agent's twin at a hub that can be away.
pub(in super::super) struct FakeTwin {
    hub: Mutex<HubTwin>,
    back: Notify,
    changes_in: mpsc::Sender<DesiredChange>,
    changes: tokio::sync::Mutex<mpsc::Receiver<DesiredChange>>,
    methods_in: mpsc::Sender<MethodRequest>,
    methods: tokio::sync::Mutex<mpsc::Receiver<MethodRequest>>,
}

impl FakeTwin {
    pub(super) fn new() -> Self {
        let (changes_in, changes) = mpsc::channel(16);
        let (methods_in, methods) = mpsc::channel(16);
        let full = FullTwin { desired: Object::new(), desired_version: 1, reported: Object::new() };
        Self {
            hub: Mutex::new(HubTwin { full, away: false, gets: 0, reports: Vec::new() }),
            back: Notify::new(),
            changes_in,
            changes: tokio::sync::Mutex::new(changes),
            methods_in,
            methods: tokio::sync::Mutex::new(methods),
        }
    }

    /// Replaces the desired properties and tells nobody; gives their new version.
    pub(in super::super) fn set(&self, desired: Object) -> u64 {
        let mut hub = self.hub.lock().unwrap();
        hub.full.desired = desired;
        hub.full.desired_version += 1;
        hub.full.desired_version
    }

    /// Replaces the desired properties and notifies the whole.
    pub(in super::super) async fn deploy(&self, desired: Object) -> u64 {
        let version = self.set(desired.clone());
        self.notify(DesiredChange { version, properties: desired, complete: true }).await;
        version
    }

    pub(in super::super) async fn notify(&self, change: DesiredChange) {
        self.changes_in.send(change).await.unwrap();
    }

    pub(in super::super) fn set_away(&self, away: bool) {
        self.hub.lock().unwrap().away = away;
        self.back.notify_waiters();
    }

    pub(in super::super) fn set_reported(&self, reported: Value) {
        self.hub.lock().unwrap().full.reported = reported.as_object().unwrap().clone();
    }

    pub(in super::super) fn reported(&self) -> Value {
        Value::Object(self.hub.lock().unwrap().full.reported.clone())
    }

    pub(in super::super) fn reports(&self) -> Vec<Value> {
        std::mem::take(&mut self.hub.lock().unwrap().reports).into_iter().map(Value::Object).collect()
    }

    pub(in super::super) fn gets(&self) -> u32 {
        self.hub.lock().unwrap().gets
    }

    pub(in super::super) async fn call(&self, name: &str, payload: Value) -> MethodAnswer {
        let (answer, answered) = oneshot::channel();
        self.methods_in.send(MethodRequest { name: name.to_owned(), payload, answer }).await.unwrap();
        tokio::time::timeout(LIMIT, answered).await.unwrap().unwrap()
    }

    async fn present(&self) {
        loop {
            let back = self.back.notified();
            if !self.hub.lock().unwrap().away {
                return;
            }
            back.await;
        }
    }
}

#[async_trait]
impl AgentTwin for FakeTwin {
    async fn get(&self) -> Result<FullTwin, TwinError> {
        self.present().await;
        let mut hub = self.hub.lock().unwrap();
        hub.gets += 1;
        Ok(hub.full.clone())
    }

    async fn changed(&self) -> DesiredChange {
        match self.changes.lock().await.recv().await {
            Some(change) => change,
            None => pending().await,
        }
    }

    async fn report(&self, patch: &Object) -> Result<(), TwinError> {
        self.present().await;
        let mut hub = self.hub.lock().unwrap();
        super::super::patch::merge(&mut hub.full.reported, patch);
        hub.reports.push(patch.clone());
        Ok(())
    }

    async fn method(&self) -> MethodRequest {
        match self.methods.lock().await.recv().await {
            Some(request) => request,
            None => pending().await,
        }
    }
}
