//! The handle a program holds; cheap to clone.

use super::driver::{Config, Driver, Ports};
use super::received::{DesiredUpdates, Messages, MethodCall, MethodCalls};
use super::session::Outlets;
use super::subscription::Feed;
use super::topic::Topics;
use super::twin::Twin;
use super::window::Outgoing;
use super::{Builder, Control, Reply};
use crate::error::{Error, Result};
use crate::transport::Dial;
use bytes::Bytes;
use ironbrook_model::{Identity, Message, SystemProperty};
use serde::Serialize;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Messages handed over and not yet in the window; `send` waits beyond.
const OUTGOING_MAX: usize = 64;
/// Wishes of handles that wait for the driver.
const CONTROL_MAX: usize = 64;
/// Messages of the hub that wait for the user. The hub itself has ten (C2D) or some dozens (inputs) under way at most.
const MESSAGES_MAX: usize = 256;
/// Method calls that wait for the user; more are answered with 503.
const METHODS_MAX: usize = 16;
/// Changes of desired properties that wait for the user; beyond, one full reading replaces them.
const UPDATES_MAX: usize = 16;
/// The limit of a message: body, system property values, application property names and values
/// (Azure docs, "IoT Hub quotas and throttling").
const MESSAGE_LEN_MAX: usize = 256 * 1024;
/// The limit of an MQTT topic, which holds the property bag.
const TOPIC_LEN_MAX: usize = 65_535;

/// What the connection is doing.
#[derive(Debug, Clone)]
pub enum ConnectionState {
    /// Dialling, or waiting for the hub's welcome.
    Connecting,
    /// The hub has accepted the client.
    Connected,
    /// The connection failed; the next attempt follows.
    Waiting {
        /// Why it failed.
        error: Error,
        /// How long until the next attempt.
        retry_in: Duration,
    },
    /// The end: closed by the user (`None`) or failed for good.
    Closed(Option<Error>),
}

/// A device or module connected to a hub. Clones share the connection; when the last one is dropped, it ends gracefully.
///
/// The three feeds ([`messages`](Self::messages), [`methods`](Self::methods), [`desired_updates`](Self::desired_updates)) can each be
/// taken once; an error of the subscription takes nothing.
#[derive(Debug, Clone)]
pub struct DeviceClient(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    identity: Identity,
    topics: Topics,
    outgoing: mpsc::Sender<Outgoing>,
    control: mpsc::Sender<Control>,
    state: watch::Receiver<ConnectionState>,
    messages: Mutex<Option<Messages>>,
    methods: Mutex<Option<MethodCalls>>,
    desired: Mutex<Option<DesiredUpdates>>,
}

/// Makes a handle and its driver.
pub(crate) fn pair(config: Config, dial: Arc<dyn Dial>) -> (DeviceClient, Driver) {
    let (outgoing, outgoing_feed) = mpsc::channel(OUTGOING_MAX);
    let (control, control_feed) = mpsc::channel(CONTROL_MAX);
    let (messages, messages_feed) = mpsc::channel(MESSAGES_MAX);
    let (methods, methods_feed) = mpsc::channel(METHODS_MAX);
    let (desired, desired_feed) = mpsc::channel(UPDATES_MAX);
    let (state_sender, state) = watch::channel(ConnectionState::Connecting);
    let outlets = Outlets { messages, methods, desired, control: control.downgrade() };
    let shared = Shared {
        identity: config.identity.clone(),
        topics: Topics::new(&config.identity),
        outgoing,
        control,
        state,
        messages: Mutex::new(Some(Messages(messages_feed))),
        methods: Mutex::new(Some(MethodCalls(methods_feed))),
        desired: Mutex::new(Some(DesiredUpdates(desired_feed))),
    };
    let ports = Ports { outgoing: outgoing_feed, control: control_feed, state: state_sender };
    (DeviceClient(Arc::new(shared)), Driver::new(config, dial, outlets, ports))
}

impl DeviceClient {
    /// Sets up a client from a device or module connection string.
    pub fn builder(connection_string: &str) -> Result<Builder> {
        Builder::new(connection_string)
    }

    /// Who this client is.
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// What the connection is doing, now and later.
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.0.state.clone()
    }

    /// Sends telemetry and waits until the hub has stored it.
    ///
    /// Order is kept among messages of one client. Through broken connections the message is sent again, so the hub may store it
    /// twice; it is lost only when this returns an error.
    pub async fn send(&self, message: Message) -> Result<()> {
        self.enqueue(message).await?.await
    }

    /// As [`send`](Self::send), by an output of the module, which routes know it by.
    pub async fn send_output(&self, output: &str, message: Message) -> Result<()> {
        self.enqueue_output(output, message).await?.await
    }

    /// As [`enqueue`](Self::enqueue), by an output of the module.
    pub async fn enqueue_output(&self, output: &str, mut message: Message) -> Result<Receipt> {
        message.system.set(SystemProperty::OutputName, output);
        self.enqueue(message).await
    }

    /// Hands telemetry over and gives a receipt to wait for: for many messages under way at once. Waits while too many are.
    pub async fn enqueue(&self, message: Message) -> Result<Receipt> {
        let len = message.metered_len();
        if len > MESSAGE_LEN_MAX {
            return Err(Error::TooLarge { len, limit: MESSAGE_LEN_MAX });
        }
        let topic = self.0.topics.telemetry(&message);
        if topic.len() > TOPIC_LEN_MAX {
            return Err(Error::TooLarge { len: topic.len(), limit: TOPIC_LEN_MAX });
        }
        let (done, receipt) = oneshot::channel();
        let outgoing = Outgoing { topic: topic.into(), payload: message.body, done };
        self.0.outgoing.send(outgoing).await.map_err(|_| self.ended())?;
        Ok(Receipt(receipt))
    }

    /// Subscribes to messages from the hub (C2D; for a module, its inputs).
    pub async fn messages(&self) -> Result<Messages> {
        self.feed(&self.0.messages, "messages", Feed::Messages).await
    }

    /// Subscribes to direct methods.
    pub async fn methods(&self) -> Result<MethodCalls> {
        self.feed(&self.0.methods, "methods", Feed::Methods).await
    }

    /// Subscribes to direct methods and answers them with what `handler` gives, one after the other, until the client is closed.
    pub async fn serve_methods<F, R>(&self, mut handler: F) -> Result<()>
    where
        F: FnMut(String, serde_json::Value) -> R,
        R: Future<Output = (i32, serde_json::Value)>,
    {
        let mut calls = self.methods().await?;
        while let Some(mut call) = calls.next().await {
            let name = std::mem::take(&mut call.name);
            let (status, answer) = handler(name, call.payload.take()).await;
            Self::answer(call, status, &answer).await?;
        }
        Ok(())
    }

    async fn answer(call: MethodCall, status: i32, answer: &serde_json::Value) -> Result<()> {
        match call.respond(status, answer).await {
            Err(Error::Closed) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Subscribes to the desired properties. The first item is the whole section, later ones are changes, and after a gap in
    /// the connection in which something changed comes the whole section again.
    pub async fn desired_updates(&self) -> Result<DesiredUpdates> {
        self.feed(&self.0.desired, "desired updates", Feed::Desired).await
    }

    /// Reads the twin.
    pub async fn twin(&self) -> Result<Twin> {
        self.ask(Control::TwinGet).await
    }

    /// Merges a JSON object into the reported properties (`null` removes a member); gives their new version.
    pub async fn report(&self, patch: &(impl Serialize + ?Sized)) -> Result<u64> {
        let body = serde_json::to_vec(patch)
            .map_err(|e| Error::Configuration(format!("the reported properties are not JSON: {e}")))?;
        let len = body.len();
        if len > MESSAGE_LEN_MAX {
            return Err(Error::TooLarge { len, limit: MESSAGE_LEN_MAX });
        }
        let body = Bytes::from(body);
        self.ask(|reply| Control::TwinPatch(body, reply)).await
    }

    /// Hands over what is still under way, says goodbye, and ends all clones and feeds. Waits up to ten seconds for
    /// acknowledgements; an error means that messages may be lost, and their receipts say which.
    pub async fn close(&self) -> Result<()> {
        match self.ask(Control::Close).await {
            Err(Error::Closed) => Ok(()),
            other => other,
        }
    }

    /// Waits for the first welcome, or the first failure.
    pub(crate) async fn first_connection(&self) -> Result<()> {
        let mut state = self.state();
        loop {
            match &*state.borrow_and_update() {
                ConnectionState::Connecting => {}
                ConnectionState::Connected => return Ok(()),
                ConnectionState::Waiting { error, .. } => return Err(error.clone()),
                ConnectionState::Closed(error) => return Err(error.clone().unwrap_or(Error::Closed)),
            }
            state.changed().await.map_err(|_| Error::Closed)?;
        }
    }

    /// Takes a feed and subscribes to it; after an error it can be asked for again.
    async fn feed<T>(&self, slot: &Mutex<Option<T>>, what: &str, feed: Feed) -> Result<T> {
        let taken = take(slot, what)?;
        let subscribed = self.ask(|reply| Control::Subscribe(feed, reply)).await;
        if let Err(error) = subscribed {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken);
            return Err(error);
        }
        Ok(taken)
    }

    async fn ask<T>(&self, wish: impl FnOnce(Reply<T>) -> Control) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.0.control.send(wish(reply)).await.map_err(|_| self.ended())?;
        answer.await.map_err(|_| self.ended())?
    }

    /// Why the client is at its end.
    fn ended(&self) -> Error {
        match &*self.0.state.borrow() {
            ConnectionState::Closed(Some(error)) => error.clone(),
            _ => Error::Closed,
        }
    }
}

fn take<T>(slot: &Mutex<Option<T>>, what: &str) -> Result<T> {
    slot.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
        .ok_or_else(|| Error::Configuration(format!("the feed of {what} was taken already")))
}

/// Resolves when the hub has stored a message. Dropping it changes nothing for the message.
#[derive(Debug)]
#[must_use = "the message may be lost until the receipt has come"]
pub struct Receipt(oneshot::Receiver<Result<()>>);

impl Future for Receipt {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(cx)).unwrap_or(Err(Error::Closed)))
    }
}
