//! A hub of one module in memory: keeps messages until they are completed, repeats them on each new connection, and can kill the module
//! at any step it takes.

use crate::stream_analytics::link::{Link, Received};
use ironbrook_client::{ConnectionState, DesiredUpdate, Message, Result, SystemProperty};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// As many as a hub has under way.
const UNSETTLED_MAX: usize = 64;

pub(super) struct FakeHub {
    state: Mutex<State>,
    changed: Notify,
    /// Who may run: modules of earlier processes are dead.
    process: watch::Sender<u64>,
    /// How long anything may take.
    patience: Duration,
}

#[derive(Default)]
struct State {
    next: u64,
    waiting: BTreeMap<u64, (String, Message)>,
    completed: u64,
    outputs: Vec<(String, Message)>,
    desired: Vec<DesiredUpdate>,
    reported: Value,
    reports: usize,
    connection: u64,
    steps: usize,
    kill_at: Option<usize>,
}

impl FakeHub {
    pub(super) fn new(patience: Duration) -> Arc<Self> {
        let (state, process) = (Mutex::default(), watch::Sender::new(0));
        Arc::new(Self { state, changed: Notify::new(), process, patience })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A message for an input.
    pub(super) fn put(&self, input: &str, message: Message) {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.waiting.insert(number, (input.to_owned(), message));
        self.changed.notify_waiters();
    }

    pub(super) fn desire(&self, properties: Value) {
        let mut state = self.state();
        let version = state.desired.len() as u64 + 1;
        let complete = version == 1;
        let Value::Object(properties) = properties else { panic!("no object") };
        state.desired.push(DesiredUpdate { version, properties, complete });
        self.changed.notify_waiters();
    }

    pub(super) fn kill_at(&self, step: Option<usize>) {
        self.state().kill_at = step;
    }

    pub(super) fn steps(&self) -> usize {
        self.state().steps
    }

    pub(super) fn outputs(&self) -> Vec<(String, Message)> {
        self.state().outputs.clone()
    }

    pub(super) fn reported(&self) -> Value {
        self.state().reported.clone()
    }

    pub(super) fn reports(&self) -> usize {
        self.state().reports
    }

    pub(super) fn report_before(&self, reported: Value) {
        self.state().reported = reported;
    }

    /// Messages that came and were not completed.
    pub(super) fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    pub(super) fn completed(&self) -> u64 {
        self.state().completed
    }

    /// Waits until something holds; fails after a long while.
    pub(super) async fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if holds(self) {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(self.patience, wait).await.is_err() {
            panic!("waited in vain for {what}; reported: {:#}", self.reported());
        }
    }

    /// Ends the connection; a new one follows at once, and everything that was not completed comes again. What the client had
    /// received by then it still hands out first.
    pub(super) fn reconnect(&self, link: &FakeLink) {
        {
            let mut state = self.state();
            let mut position = link.position.lock().unwrap();
            let (from, connection) = (position.next, position.connection);
            let received = state.waiting.range(from..).map(|(number, (input, message))| FakeReceived {
                number: *number,
                input: input.clone(),
                message: message.clone(),
                connection,
                hub: link.hub.clone(),
                process: link.process,
            });
            position.received.extend(received);
            state.connection += 1;
        }
        link.begin();
    }

    /// Loses patience: everything that was not completed comes again on the same connection.
    pub(super) fn repeat(&self, link: &FakeLink) {
        link.position.lock().unwrap().next = 0;
        self.changed.notify_waiters();
    }

    /// A new process of the module; the one before has no effect any more.
    pub(super) fn start(self: &Arc<Self>) -> Arc<FakeLink> {
        self.state().connection += 1;
        let mut process = 0;
        self.process.send_modify(|last| {
            *last += 1;
            process = *last;
        });
        let (connected, _) = watch::channel(ConnectionState::Connecting);
        let link = FakeLink { hub: self.clone(), process, connected, position: Mutex::default() };
        link.begin();
        Arc::new(link)
    }

    /// One step of a process of the module; it may be its last.
    async fn step(&self, process: u64) {
        let is_killed = {
            let mut state = self.state();
            state.steps += 1;
            state.kill_at == Some(state.steps)
        };
        if is_killed {
            self.process.send_modify(|last| *last += 1);
        }
        if *self.process.borrow() != process {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the module's process is killed.
    pub(super) async fn killed(&self, process: u64) {
        let mut processes = self.process.subscribe();
        processes.wait_for(|now| *now != process).await.unwrap();
    }
}

#[derive(Default)]
struct Position {
    connection: u64,
    next: u64,
    desired: usize,
    received: VecDeque<FakeReceived>,
}

pub(super) struct FakeLink {
    hub: Arc<FakeHub>,
    pub(super) process: u64,
    connected: watch::Sender<ConnectionState>,
    position: Mutex<Position>,
}

impl FakeLink {
    fn begin(&self) {
        let connection = self.hub.state().connection;
        let mut position = self.position.lock().unwrap();
        (position.connection, position.next) = (connection, 0);
        self.connected.send_replace(ConnectionState::Connected);
        self.hub.changed.notify_waiters();
    }

    async fn next<T>(&self, mut find: impl FnMut(&State, &mut Position) -> Option<T>) -> T {
        loop {
            let changed = self.hub.changed.notified();
            if let Some(found) = find(&self.hub.state(), &mut self.position.lock().unwrap()) {
                return found;
            }
            changed.await;
        }
    }
}

pub(super) struct FakeReceived {
    number: u64,
    input: String,
    message: Message,
    connection: u64,
    hub: Arc<FakeHub>,
    process: u64,
}

impl Link for FakeLink {
    type Received = FakeReceived;
    type Receipt = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

    fn state(&self) -> watch::Receiver<ConnectionState> {
        self.connected.subscribe()
    }

    async fn desired(&self) -> Result<Option<DesiredUpdate>> {
        let find = |state: &State, position: &mut Position| {
            let mut update = state.desired.get(position.desired)?.clone();
            if position.desired == 0 {
                // The first is the whole.
                for later in &state.desired[1..] {
                    update.properties.extend(later.properties.clone());
                    update.version = later.version;
                }
                position.desired = state.desired.len();
                update.properties.retain(|_, value| !value.is_null());
            } else {
                position.desired += 1;
            }
            Some(update)
        };
        Ok(Some(self.next(find).await))
    }

    async fn message(&self) -> Result<Option<FakeReceived>> {
        let find = |state: &State, position: &mut Position| {
            if let Some(received) = position.received.pop_front() {
                return Some(received);
            }
            let under_way = state.waiting.range(..position.next).count();
            let (number, (input, message)) = state.waiting.range(position.next..).next()?;
            (under_way < UNSETTLED_MAX).then(|| {
                position.next = number + 1;
                let (number, input, message) = (*number, input.clone(), message.clone());
                let (hub, process) = (self.hub.clone(), self.process);
                FakeReceived { number, input, message, connection: position.connection, hub, process }
            })
        };
        Ok(Some(self.next(find).await))
    }

    async fn send(&self, output: &str, message: Message) -> Result<Self::Receipt> {
        self.hub.step(self.process).await;
        let is_small = message.metered_len() <= 256 * 1024;
        assert!(is_small && message.system.get(SystemProperty::MessageId).is_some());
        self.hub.state().outputs.push((output.to_owned(), message));
        self.hub.changed.notify_waiters();
        self.hub.step(self.process).await;
        Ok(Box::pin(std::future::ready(Ok(()))))
    }

    async fn reported(&self) -> Result<Map<String, Value>> {
        Ok(self.hub.reported().as_object().cloned().unwrap_or_default())
    }

    async fn report(&self, patch: &Value) -> Result<()> {
        let mut state = self.hub.state();
        state.reports += 1;
        merge(&mut state.reported, patch);
        drop(state);
        self.hub.changed.notify_waiters();
        Ok(())
    }
}

impl Received for FakeReceived {
    fn input(&self) -> Option<&str> {
        Some(&self.input)
    }

    fn message(&self) -> &Message {
        &self.message
    }

    fn is_current(&self) -> bool {
        self.hub.state().connection == self.connection
    }

    async fn complete(self) -> Result<()> {
        self.hub.step(self.process).await;
        {
            let mut state = self.hub.state();
            if state.connection == self.connection && state.waiting.remove(&self.number).is_some() {
                state.completed += 1;
            }
        }
        self.hub.changed.notify_waiters();
        self.hub.step(self.process).await;
        Ok(())
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let target = target.as_object_mut().unwrap();
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}
