//! The handle a program holds; cheap to clone.

use super::driver::{Config, Driver, Ports};
use super::flow::Flow;
use super::outbound::Outgoing;
use super::subscriptions::{FILTERS_MAX, Request};
use super::{
    Builder, Control, Error, Filter, Message, Messages, Properties, QoS, ReasonCode, Reply, Result,
    Subscription, Version, check_name,
};
use crate::transport::Dial;
use bytestring::ByteString;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Messages handed over and not yet in the window; `publish` waits beyond.
const OUTGOING_MAX: usize = 256;
/// Wishes of handles that wait for the driver.
const CONTROL_MAX: usize = 64;
/// Messages that wait for the program; beyond, nothing more is read. There is a bound of bytes as well.
const MESSAGES_MAX: usize = 1024;

/// What the connection is doing.
#[derive(Debug, Clone)]
pub enum ConnectionState {
    /// Dialling, or waiting for the server's welcome.
    Connecting,
    /// The server has accepted the client.
    Connected {
        /// Whether it went on with a session it had.
        session_present: bool,
    },
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

/// A client of ordinary topics. Clones share the connection; when the last one is dropped, it ends gracefully.
#[derive(Debug, Clone)]
pub struct Client(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    version: Version,
    outgoing: mpsc::Sender<Outgoing>,
    control: mpsc::Sender<Control>,
    state: watch::Receiver<ConnectionState>,
}

/// Makes a handle, its messages and its driver.
pub(super) fn pair(config: Config, dial: Arc<dyn Dial>) -> (Client, Messages, Driver) {
    let (outgoing, outgoing_feed) = mpsc::channel(OUTGOING_MAX);
    let (control, control_feed) = mpsc::channel(CONTROL_MAX);
    let (messages, messages_feed) = mpsc::channel(MESSAGES_MAX);
    let (state_sender, state) = watch::channel(ConnectionState::Connecting);
    let flow = Arc::new(Flow::default());
    let shared = Shared { version: config.codec.version, outgoing, control, state };
    let feed = Messages { feed: messages_feed, flow: flow.clone(), by_hand: config.by_hand };
    let ports = Ports { outgoing: outgoing_feed, control: control_feed, state: state_sender };
    (Client(Arc::new(shared)), feed, Driver::new(config, dial, messages, flow, ports))
}

impl Client {
    /// Sets up a client of the server at `mqtt://[user@]host[:port]` or `mqtts://`.
    pub fn builder(url: &str) -> Result<Builder> {
        Builder::new(url)
    }

    /// What the connection is doing, now and later.
    pub fn state(&self) -> watch::Receiver<ConnectionState> {
        self.0.state.clone()
    }

    /// Publishes a message and waits until it is acknowledged; with QoS 0, until it is on its way.
    ///
    /// Gives [`ReasonCode::Success`], or [`ReasonCode::NoMatchingSubscribers`] from a server of MQTT 5.0 that says so. Order is
    /// kept among messages of one client and QoS. Through broken connections a message of QoS 1 is sent again, so it may arrive
    /// twice; it is lost only when this returns an error.
    ///
    /// # Errors
    /// [`Error::Configuration`] for what this connection cannot carry, [`Error::Refused`] by a server of MQTT 5.0,
    /// [`Error::SessionLost`], or why the client ended.
    pub async fn publish(&self, message: Message) -> Result<ReasonCode> {
        self.enqueue(message).await?.await
    }

    /// Hands a message over and gives a receipt to wait for: for many messages under way at once. Waits while too many are.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn enqueue(&self, message: Message) -> Result<Receipt> {
        check_name(&message.topic)
            .map_err(|e| Error::Configuration(format!("{:?} is not a topic name: {e}", message.topic)))?;
        if self.0.version == Version::V4 && message.properties != Properties::default() {
            let text = "the message has properties, which only MQTT 5.0 has";
            return Err(Error::Configuration(text.to_owned()));
        }
        let (done, receipt) = oneshot::channel();
        self.0.outgoing.send(Outgoing { message, done }).await.map_err(|_| self.ended())?;
        Ok(Receipt(receipt))
    }

    /// Subscribes to a filter, and waits until the server has granted it; gives the QoS it granted, which may be lower.
    ///
    /// # Errors
    /// As [`subscribe_all`](Self::subscribe_all), and [`Error::Refused`].
    pub async fn subscribe(&self, filter: impl Into<ByteString>, qos: QoS) -> Result<QoS> {
        let filter = filter.into();
        let granted = self.subscribe_all(vec![Subscription::new(filter.clone(), qos)]).await?;
        match granted.into_iter().next() {
            Some(Ok(qos)) => Ok(qos),
            Some(Err(reason)) => Err(Error::Refused { topic: filter.to_string(), reason, said: None }),
            None => Err(Error::Protocol("no answer to a subscription".to_owned())),
        }
    }

    /// Subscribes to filters; gives for each the QoS that was granted, or why it was refused. What was granted is subscribed to
    /// again whenever the server has lost the session.
    ///
    /// In a session that goes on, messages come before the answer: have somebody take them meanwhile.
    ///
    /// # Errors
    /// [`Error::Configuration`] for what is no filter or needs MQTT 5.0, or why the client ended.
    pub async fn subscribe_all(
        &self,
        subscriptions: Vec<Subscription>,
    ) -> Result<Vec<std::result::Result<QoS, ReasonCode>>> {
        for wish in &subscriptions {
            Filter::parse(&wish.filter)
                .map_err(|e| Error::Configuration(format!("{:?} is not a topic filter: {e}", wish.filter)))?;
            if self.0.version == Version::V4 && wish.needs_v5() {
                let text = format!("the subscription to {:?} has options of MQTT 5.0", wish.filter);
                return Err(Error::Configuration(text));
            }
        }
        let mut granted = Vec::with_capacity(subscriptions.len());
        // One SUBSCRIBE has one id.
        for same_id in subscriptions.chunk_by(|a, b| a.id == b.id) {
            for wishes in same_id.chunks(FILTERS_MAX) {
                let wishes = wishes.to_vec();
                let reasons =
                    self.ask(|reply| Control::Request(Request::Subscribe(wishes, Some(reply)))).await?;
                granted.extend(reasons.into_iter().map(qos_of));
            }
        }
        Ok(granted)
    }

    /// Unsubscribes from filters, and waits until the server has taken note.
    ///
    /// # Errors
    /// [`Error::Refused`], or why the client ended.
    pub async fn unsubscribe(&self, filters: impl IntoIterator<Item = impl Into<ByteString>>) -> Result<()> {
        let filters: Vec<ByteString> = filters.into_iter().map(Into::into).collect();
        for filters in filters.chunks(FILTERS_MAX) {
            let filters = filters.to_vec();
            self.ask(|reply| Control::Request(Request::Unsubscribe(filters, reply))).await?;
        }
        Ok(())
    }

    /// Hands over what is still under way, says goodbye, so that no will is published, and ends all clones. Waits up to ten
    /// seconds for acknowledgements.
    ///
    /// # Errors
    /// Messages may be lost; their receipts say which.
    pub async fn close(&self) -> Result<()> {
        match self.ask(Control::Close).await {
            Err(Error::Closed) => Ok(()),
            other => other,
        }
    }

    /// Waits for the first welcome, or the first failure.
    pub(super) async fn first_connection(&self) -> Result<()> {
        let mut state = self.state();
        loop {
            match &*state.borrow_and_update() {
                ConnectionState::Connecting => {}
                ConnectionState::Connected { .. } => return Ok(()),
                ConnectionState::Waiting { error, .. } => return Err(error.clone()),
                ConnectionState::Closed(error) => return Err(error.clone().unwrap_or(Error::Closed)),
            }
            state.changed().await.map_err(|_| Error::Closed)?;
        }
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

fn qos_of(reason: ReasonCode) -> std::result::Result<QoS, ReasonCode> {
    QoS::from_number(reason.number()).ok_or(reason)
}

/// Resolves when a message is acknowledged; see [`Client::publish`]. Dropping it changes nothing for the message.
#[derive(Debug)]
#[must_use = "the message may be lost until the receipt has come"]
pub struct Receipt(oneshot::Receiver<Result<ReasonCode>>);

impl Future for Receipt {
    type Output = Result<ReasonCode>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(cx)).unwrap_or(Err(Error::Closed)))
    }
}
