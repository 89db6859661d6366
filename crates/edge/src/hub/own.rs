//! `$edgeHub` itself: its twin brings the routes and tells who is connected, its methods, and where all that comes down goes.

use super::inbox::PassThrough;
use super::routing::{Routing, Status};
use super::scope::Scope;
use super::sessions::Watcher;
use super::twins::{TwinProxy, TwinWatcher};
use super::upstream::{Down, Links, Wants};
use async_trait::async_trait;
use bytestring::ByteString;
use ironbrook_client::{DesiredUpdate, MethodCall, ReceivedMessage};
use ironbrook_hub::seams::Section;
use ironbrook_hub::{Hub, MethodAnswer};
use ironbrook_model::twin::{Object, replacement_patch};
use ironbrook_model::{
    DeviceId, Identity, Message, MessageSource, SystemProperty, Timestamp, percent_encode,
};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Bytes of `clients`, keys and values: a twin's section has 32 KB.
const CLIENTS_BYTES_MAX: usize = 20 * 1024;
/// Bytes of a client besides its name.
const CLIENT_BYTES: usize = 110;
/// The shortest time between two reports.
const REPORT_PAUSE: Duration = Duration::from_secs(1);
/// How long a report may take, and the pause after one that failed.
const REPORT_TIME: Duration = Duration::from_secs(20);
/// The pause before routes are tried again that could not be stored: the hub does not tell them twice.
const APPLY_AGAIN: Duration = Duration::from_secs(2);
/// How long a method may take here; the caller has its own limit at the hub.
const METHOD_TIME: Duration = Duration::from_secs(300);

/// A client as it is reported.
#[derive(Debug, Clone, Default)]
struct Client {
    is_connected: bool,
    connected: Option<Timestamp>,
    disconnected: Option<Timestamp>,
}

#[derive(Default)]
struct State {
    clients: BTreeMap<Identity, Client>,
    bytes: usize,
    is_full: bool,
    /// The desired properties as they are at the hub.
    desired: Object,
    version: u64,
    /// Whether they still have to be applied.
    is_new: bool,
    /// How those of a version were taken.
    status: Option<(u64, Status)>,
}

/// `$edgeHub`.
pub(super) struct Own {
    identity: Identity,
    hub: OnceLock<Hub>,
    links: Links,
    scope: Scope,
    twins: TwinProxy,
    inbox: PassThrough,
    state: Mutex<State>,
    /// New desired properties.
    wanted: Notify,
    /// Something to report.
    changed: Notify,
}

impl Own {
    pub(super) fn new(
        device: DeviceId,
        links: Links,
        scope: Scope,
        twins: TwinProxy,
        inbox: PassThrough,
    ) -> Self {
        Self {
            identity: Identity::gateway(device),
            hub: OnceLock::new(),
            links,
            scope,
            twins,
            inbox,
            state: Mutex::default(),
            wanted: Notify::new(),
            changed: Notify::new(),
        }
    }

    /// Gives it the core; the first counts.
    pub(super) fn set_hub(&self, hub: Hub) {
        let _ = self.hub.set(hub);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code under this lock can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_own(&self, identity: &Identity) -> bool {
        *identity == self.identity
    }

    /// Applies deployments and reports, until cancelled.
    pub(super) async fn run(self: Arc<Self>, routing: Arc<Routing>, cancel: CancellationToken) {
        let Some(hub) = self.hub.get() else { return };
        let clock = &hub.seams().clock;
        // Apart from reports, which may have to wait for the hub: modules of the same deployment start meanwhile.
        let apply = async {
            loop {
                let is_left = self.state().is_new;
                tokio::select! {
                    () = self.wanted.notified() => {}
                    () = clock.sleep(APPLY_AGAIN), if is_left => {}
                }
                self.apply(&routing).await;
                self.changed.notify_one();
            }
        };
        let report = async {
            let mut reported: Option<Object> = None;
            loop {
                self.changed.notified().await;
                if let Err(why) = self.report(&mut reported).await {
                    tracing::debug!(why, "the state of the edge hub is not reported yet");
                    clock.sleep(REPORT_TIME).await;
                    self.changed.notify_one();
                } else {
                    clock.sleep(REPORT_PAUSE).await;
                }
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = apply => {}
            () = report => {}
        }
    }

    async fn apply(&self, routing: &Routing) {
        let (desired, version) = {
            let mut state = self.state();
            if !std::mem::take(&mut state.is_new) {
                return;
            }
            (state.desired.clone(), state.version)
        };
        // Nothing deployed yet, or a deployment without the hub's part: what is in force stays.
        if desired.is_empty() {
            return;
        }
        let status = routing.take(&desired).await.err().unwrap_or_else(Status::good);
        let mut state = self.state();
        let told = Some((version, status.clone()));
        // A full disk, say; a newer deployment that came meanwhile is new anyway.
        state.is_new |= status.code == 500;
        if status.code != 200 && state.status != told {
            tracing::error!(
                version,
                code = status.code,
                why = status.description,
                "the deployment's routes are not used; the old ones stay"
            );
        }
        state.status = told;
    }

    /// Brings what is reported up to date; `reported` is what the hub has.
    async fn report(&self, reported: &mut Option<Object>) -> Result<(), String> {
        let lease = self.links.lease(&self.identity, REPORT_TIME).await.map_err(|error| error.to_string())?;
        let within = |what| tokio::time::timeout(REPORT_TIME, what);
        if reported.is_none() {
            let twin = within(lease.twin()).await.map_err(|_| "no answer in time")?;
            *reported = Some(twin.map_err(|error| error.to_string())?.reported);
        }
        let now = self.document();
        let before = reported.clone().unwrap_or_default();
        if now == before {
            return Ok(());
        }
        let patch = changes(&replacement_patch(&before, &now), &before);
        let told = tokio::time::timeout(REPORT_TIME, lease.report(&patch)).await;
        // Not knowing what the hub has, it is read again.
        *reported = None;
        told.map_err(|_| "no answer in time")?.map_err(|error| error.to_string())?;
        *reported = Some(now);
        Ok(())
    }

    /// What is reported.
    fn document(&self) -> Object {
        let state = self.state();
        let mut clients = Object::new();
        for (identity, client) in &state.clients {
            clients.insert(client_key(identity), client.document());
        }
        let mut document = Object::new();
        document.insert("schemaVersion".to_owned(), "1.0".into());
        let version = json!({ "version": env!("CARGO_PKG_VERSION"), "build": "", "commit": "" });
        document.insert("version".to_owned(), version);
        if let Some((version, status)) = &state.status {
            document.insert("lastDesiredVersion".to_owned(), (*version).into());
            let status = json!({ "code": status.code, "description": status.description });
            document.insert("lastDesiredStatus".to_owned(), status);
        }
        document.insert("clients".to_owned(), Value::Object(clients));
        document
    }

    fn note_client(&self, identity: &Identity, is_connected: bool) {
        let now = self.hub.get().map(|hub| hub.seams().clock.now());
        let is_leaf = identity.device != self.identity.device || identity.module.is_none();
        let mut state = self.state();
        let bytes = client_key(identity).len() + CLIENT_BYTES;
        // rule EDGEHUB-08: a leaf's entry goes with its connection, a module's stays.
        if is_leaf && !is_connected {
            if state.clients.remove(identity).is_some() {
                state.bytes -= bytes;
            }
        } else if state.clients.contains_key(identity) || state.bytes + bytes <= CLIENTS_BYTES_MAX {
            let is_new = !state.clients.contains_key(identity);
            state.bytes += if is_new { bytes } else { 0 };
            let client = state.clients.entry(identity.clone()).or_default();
            if client.is_connected == is_connected {
                return;
            }
            client.is_connected = is_connected;
            let time = if is_connected { &mut client.connected } else { &mut client.disconnected };
            *time = now;
        } else if !std::mem::replace(&mut state.is_full, true) {
            tracing::warn!("more clients are connected than a twin can name; the others are not reported");
        }
        drop(state);
        self.changed.notify_one();
    }

    async fn own_method(&self, call: &mut MethodCall) -> (i32, Value) {
        match &*call.name.to_ascii_lowercase() {
            "ping" => (200, Value::Null),
            "refreshdevicescopeidentitycache" => self.refresh_scope(call.payload.take()).await,
            _ => {
                let message = format!(
                    "there is no method {}; supported are ping and RefreshDeviceScopeIdentityCache",
                    call.name
                );
                (400, json!({ "message": message }))
            }
        }
    }

    async fn refresh_scope(&self, payload: Value) -> (i32, Value) {
        let wrong = |message: &str| (400, json!({ "message": message }));
        let Some(ids) = payload.get("deviceIds").and_then(Value::as_array) else {
            return wrong("the payload is {\"deviceIds\": [\"…\"]}");
        };
        if ids.is_empty() {
            self.scope.refresh_all();
        }
        for id in ids {
            let device = id.as_str().and_then(|id| DeviceId::new(id.to_owned()).ok());
            let Some(device) = device else { return wrong("a deviceId is not valid") };
            if let Err(why) = self.scope.refresh(&Identity::device(device)).await {
                return (500, json!({ "message": why }));
            }
        }
        (200, Value::Null)
    }

    /// Calls the method of a client here.
    async fn client_method(&self, identity: &Identity, call: &mut MethodCall) -> (i32, Value) {
        let refused = |status: u16, why: &str| (i32::from(status), json!({ "message": why }));
        let Some(hub) = self.hub.get() else { return refused(503, "the edge hub starts") };
        let payload = match RawValue::from_string(call.payload.take().to_string()) {
            Ok(payload) => payload,
            Err(_) => return refused(400, "the payload is not JSON"),
        };
        let wanted = ironbrook_hub::MethodCall {
            name: ByteString::from(std::mem::take(&mut call.name)),
            payload,
            response_timeout: METHOD_TIME,
            connect_timeout: Duration::ZERO,
        };
        match hub.invoke_method(identity, wanted).await {
            Ok(MethodAnswer { status, payload }) => {
                (status, serde_json::from_str(payload.get()).unwrap_or_default())
            }
            Err(refusal) => refused(refusal.code.http_status(), &refusal.message),
        }
    }
}

impl Client {
    fn document(&self) -> Value {
        let mut told = Object::new();
        told.insert("status".to_owned(), if self.is_connected { "Connected" } else { "Disconnected" }.into());
        for (name, time) in
            [("lastConnectedTimeUtc", self.connected), ("lastDisconnectedTimeUtc", self.disconnected)]
        {
            if let Some(time) = time {
                told.insert(name.to_owned(), time.to_string().into());
            }
        }
        Value::Object(told)
    }
}

/// The key of a client: characters that a twin's key may not hold are escaped.
fn client_key(identity: &Identity) -> String {
    let text = identity.to_string();
    text.chars().map(|c| if matches!(c, '.' | '$' | ' ') { escaped(c) } else { c.to_string() }).collect()
}

fn escaped(c: char) -> String {
    match c {
        // An unreserved character, which the common escape leaves alone.
        '.' => "%2E".to_owned(),
        c => percent_encode(c.encode_utf8(&mut [0; 4])).into_owned(),
    }
}

/// The members of a patch that change something.
fn changes(patch: &Object, before: &Object) -> Object {
    let mut changes = Object::new();
    for (key, value) in patch {
        match (value, before.get(key)) {
            (value, Some(old)) if value == old => {}
            (Value::Object(patch), Some(Value::Object(old))) => {
                let inner = self::changes(patch, old);
                if !inner.is_empty() {
                    changes.insert(key.clone(), Value::Object(inner));
                }
            }
            _ => _ = changes.insert(key.clone(), value.clone()),
        }
    }
    changes
}

#[async_trait]
impl Down for Own {
    fn connected(&self, identity: &Identity) {
        self.inbox.forget(identity);
        if self.is_own(identity) {
            self.changed.notify_one();
        }
    }

    fn refused(&self, identity: &Identity) {
        self.scope.ask_soon(identity);
    }

    async fn desired(&self, identity: &Identity, update: DesiredUpdate) {
        if !self.is_own(identity) {
            return self.twins.desired(identity, update).await;
        }
        let mut state = self.state();
        let DesiredUpdate { version, properties, complete } = update;
        if complete {
            state.desired = properties;
        } else {
            super::twins::merge(&mut state.desired, &properties);
        }
        state.version = version;
        state.is_new = true;
        drop(state);
        self.wanted.notify_one();
    }

    async fn method(&self, identity: &Identity, mut call: MethodCall) {
        let (status, payload) = if self.is_own(identity) {
            self.own_method(&mut call).await
        } else {
            self.client_method(identity, &mut call).await
        };
        if let Err(error) = call.respond(status, &payload).await {
            tracing::debug!(%identity, %error, "the answer to a direct method did not reach the hub");
        }
    }

    async fn command(&self, identity: &Identity, message: ReceivedMessage) {
        self.inbox.take(identity, message).await;
    }
}

impl Watcher for Own {
    fn present(&self, identity: &Identity, takes_methods: bool) {
        self.links.session(identity, Some(Wants { methods: takes_methods, desired: true, commands: false }));
        self.note_client(identity, true);
    }

    fn gone(&self, identity: &Identity) {
        self.links.session(identity, None);
        self.note_client(identity, false);
    }
}

impl TwinWatcher for Own {
    fn changed(&self, identity: &Identity, section: Section, patch: &Object) {
        let Some(hub) = self.hub.get().filter(|hub| hub.router().wants(MessageSource::TwinChangeEvents))
        else {
            return;
        };
        let section = if section == Section::Desired { "desired" } else { "reported" };
        let mut body = Object::new();
        body.insert("properties".to_owned(), json!({ section: patch }));
        let mut message = Message::new(Value::Object(body).to_string());
        message.system.set(SystemProperty::ContentType, "application/json");
        message.system.set(SystemProperty::ContentEncoding, "utf-8");
        message.system.set(SystemProperty::MessageSchema, "twinChangeNotification");
        message.properties.set("deviceId", identity.device.to_shared());
        if let Some(module) = &identity.module {
            message.properties.set("moduleId", module.to_shared());
        }
        // rule EDGEHUB-09: the edge hub is the sender, whoever's twin it is.
        if let Err(refusal) = hub.publish(MessageSource::TwinChangeEvents, &self.identity, &message) {
            tracing::warn!(%identity, error = %refusal, "a twin change is not told to the routes");
        }
    }
}
