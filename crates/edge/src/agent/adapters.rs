//! The seams on what really stands behind them: a client connection and the daemon.

use super::seams::{
    AgentTwin, DesiredChange, FullTwin, Identities, IdentityError, MethodAnswer, MethodRequest, TwinError,
};
use crate::daemon::Daemon;
use crate::feed::subscribed;
use async_trait::async_trait;
use ironbrook_client::{DeviceClient, Error, MethodCall};
use ironbrook_model::twin::Object;
use std::collections::BTreeSet;
use std::future::pending;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Changes and calls that wait for the agent.
const WAITING_MAX: usize = 16;
/// How long the agent may take for a method, as stock agents.
const METHOD_TIME: Duration = Duration::from_secs(600);

/// The twin of `$edgeAgent` over a client's connection.
pub struct ClientTwin {
    client: DeviceClient,
    changes: Mutex<mpsc::Receiver<DesiredChange>>,
    methods: Mutex<mpsc::Receiver<MethodRequest>>,
    _stop_with_this: DropGuard,
}

impl ClientTwin {
    /// Subscribes to desired properties and direct methods. The client must be that of `$edgeAgent`, and nobody else may take its
    /// feeds. Must be called inside a tokio runtime.
    pub fn new(client: DeviceClient) -> Self {
        let (changes_in, changes) = mpsc::channel(WAITING_MAX);
        let (methods_in, methods) = mpsc::channel(WAITING_MAX);
        let stop = CancellationToken::new();
        // Taking a feed is not cancel-safe, so that is not done in the agent's own waiting.
        tokio::spawn(stop.clone().run_until_cancelled_owned(pass_changes(client.clone(), changes_in)));
        tokio::spawn(stop.clone().run_until_cancelled_owned(pass_methods(client.clone(), methods_in)));
        Self {
            client,
            changes: Mutex::new(changes),
            methods: Mutex::new(methods),
            _stop_with_this: stop.drop_guard(),
        }
    }
}

async fn pass_changes(client: DeviceClient, changes: mpsc::Sender<DesiredChange>) {
    let subscribe = || client.desired_updates();
    let Some(mut updates) = subscribed("desired properties", subscribe).await else {
        return;
    };
    while let Some(update) = updates.next().await {
        let change = DesiredChange {
            version: update.version,
            properties: update.properties,
            complete: update.complete,
        };
        if changes.send(change).await.is_err() {
            return;
        }
    }
}

async fn pass_methods(client: DeviceClient, methods: mpsc::Sender<MethodRequest>) {
    let Some(mut calls) = subscribed("direct methods", || client.methods()).await else { return };
    while let Some(mut call) = calls.next().await {
        let (answer, answered) = oneshot::channel();
        let name = std::mem::take(&mut call.name);
        let request = MethodRequest { name, payload: call.payload.take(), answer };
        if methods.send(request).await.is_err() {
            return;
        }
        tokio::spawn(respond(call, answered));
    }
}

/// Gives the agent's answer to the hub; ends at the latest when the caller has long gone.
async fn respond(call: MethodCall, answered: oneshot::Receiver<MethodAnswer>) {
    let Ok(Ok(answer)) = tokio::time::timeout(METHOD_TIME, answered).await else { return };
    if let Err(error) = call.respond(answer.status, &answer.payload).await {
        tracing::warn!(%error, "the answer to a direct method did not reach the hub");
    }
}

fn twin_error(error: Error) -> TwinError {
    match error {
        Error::Refused { status, message } => TwinError::Refused { status, message },
        other => TwinError::Away(other.to_string()),
    }
}

#[async_trait]
impl AgentTwin for ClientTwin {
    async fn get(&self) -> Result<FullTwin, TwinError> {
        let twin = self.client.twin().await.map_err(twin_error)?;
        Ok(FullTwin { desired: twin.desired, desired_version: twin.desired_version, reported: twin.reported })
    }

    async fn changed(&self) -> DesiredChange {
        match self.changes.lock().await.recv().await {
            Some(change) => change,
            None => pending().await,
        }
    }

    async fn report(&self, patch: &Object) -> Result<(), TwinError> {
        self.client.report(patch).await.map(drop).map_err(twin_error)
    }

    async fn method(&self) -> MethodRequest {
        match self.methods.lock().await.recv().await {
            Some(request) => request,
            None => pending().await,
        }
    }
}

/// Identities and sockets by the daemon.
pub struct DaemonIdentities(Daemon);

impl DaemonIdentities {
    /// The daemon's, for the agent.
    pub fn new(daemon: Daemon) -> Self {
        Self(daemon)
    }
}

fn identity_error(error: impl std::fmt::Display) -> IdentityError {
    IdentityError(error.to_string())
}

#[async_trait]
impl Identities for DaemonIdentities {
    async fn ensure(&self, module: &str) -> Result<Vec<(String, String)>, IdentityError> {
        self.0.ensure_identity(module).await.map_err(identity_error)?;
        Ok(self.0.add_module(module).await.map_err(identity_error)?.variables)
    }

    async fn managed(&self) -> Result<BTreeSet<String>, IdentityError> {
        let identities = self.0.identities().await.map_err(identity_error)?;
        let modules = identities.into_iter().filter(|identity| identity.is_managed_here());
        Ok(modules.map(|identity| identity.module_id.to_string()).filter(|id| !id.starts_with('$')).collect())
    }

    async fn remove(&self, module: &str) -> Result<(), IdentityError> {
        self.0.remove_identity(module).await.map_err(identity_error)
    }

    async fn release(&self, module: &str) {
        self.0.remove_module(module);
    }
}
