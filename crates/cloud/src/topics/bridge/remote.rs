//! A bridge to another MQTT broker.
//!
//! Out: a persistent session of our broker is emptied into the other one, and a message is forgotten here when the other broker
//! has acknowledged it. In: a persistent session of the other broker is emptied into ours, and acknowledged there when the message
//! is on disk here. So whatever breaks, messages of QoS 1 arrive at least once. QoS 2 is passed on as such inside either half,
//! but a bridge that restarts may pass a message on twice.
//!
//! No message comes back: our session and that on the other side leave out what the bridge itself published, by no-local of MQTT
//! 5.0, or by the bridge's bit in CONNECT, which mosquitto knows, in 3.1.1.

use super::local::{Local, Needs};
use super::{Error, Figures, Ground, convert};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use ironbrook_client::topics::{
    Builder, Client, ConnectionState, Error as ClientError, Messages, QoS as ClientQoS, ReasonCode, Receipt,
    Received, Subscription as ClientSubscription, Version,
};
use ironbrook_pubsub::{
    OutgoingPublish, Publish, QoS, Reason, RetainHandling, Subscription, SubscriptionOptions, Wakes, topic,
};
use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::DropGuard;

/// Messages under way to the other broker.
const WINDOW: u16 = 256;
/// Messages of the other broker that share one wait for the disk.
const BATCH: usize = 256;
/// Where the state of bridges is told, as mosquitto does.
const STATE: &str = "$SYS/broker/connection/";

/// A bridge to another broker.
#[derive(Debug, Clone)]
pub struct RemoteBridge {
    /// Its name: part of client ids and of the topic that tells its state. Unique among all bridges.
    pub name: String,
    /// How the other broker is reached: address, password, authorities, client id.
    pub client: Builder,
    /// The version it speaks.
    pub version: Version,
    /// What comes from there.
    pub inbound: Vec<Mapping>,
    /// What goes there.
    pub outbound: Vec<Mapping>,
    /// Whether messages keep their retain flag.
    pub retain: bool,
}

/// Topics that are passed on, and what they are called on either side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// A topic filter, behind the prefixes.
    pub filter: String,
    /// The highest QoS.
    pub qos: QoS,
    /// What stands before it here.
    pub local_prefix: String,
    /// What stands before it there.
    pub remote_prefix: String,
}

impl Mapping {
    /// What is wrong with it, if anything.
    pub fn check(&self) -> Result<(), String> {
        for (side, filter) in [("local", self.local_filter()), ("remote", self.remote_filter())] {
            match topic::Filter::parse(filter.as_str().into()) {
                Ok(parsed) if parsed.group().is_none() => {}
                Ok(_) => return Err(format!("{filter:?}: a bridge takes all messages, not a share")),
                Err(error) => return Err(format!("the {side} filter {filter:?} is not valid: {error}")),
            }
        }
        let prefixes = [&self.local_prefix, &self.remote_prefix];
        if prefixes.iter().any(|prefix| prefix.contains(['+', '#'])) {
            return Err("a prefix holds no wildcard".to_owned());
        }
        Ok(())
    }

    fn local_filter(&self) -> String {
        format!("{}{}", self.local_prefix, self.filter)
    }

    fn remote_filter(&self) -> String {
        format!("{}{}", self.remote_prefix, self.filter)
    }

    /// The name there of a topic here.
    fn to_remote(&self, name: &str) -> Option<String> {
        translated(name, &self.local_filter(), &self.local_prefix, &self.remote_prefix)
    }

    /// The name here of a topic there.
    fn to_local(&self, name: &str) -> Option<String> {
        translated(name, &self.remote_filter(), &self.remote_prefix, &self.local_prefix)
    }
}

fn translated(name: &str, filter: &str, from: &str, to: &str) -> Option<String> {
    let rest = name.strip_prefix(from).filter(|_| topic::matches(filter, name))?;
    Some(format!("{to}{rest}"))
}

/// A message on its way to the other broker.
type Sending = BoxFuture<'static, (Option<NonZeroU16>, String, Result<Receipt, ClientError>)>;

/// One run of a bridge.
struct Run {
    bridge: Arc<RemoteBridge>,
    ground: Ground,
    figures: Figures,
    local: Local,
    client: Client,
    messages: Messages,
    state: watch::Receiver<ConnectionState>,
    sending: Option<Sending>,
    /// In the order they were sent.
    under_way: VecDeque<(NonZeroU16, String, Receipt)>,
    _driver: DropGuard,
}

/// Passes messages on until cancelled.
pub(super) async fn run(bridge: Arc<RemoteBridge>, ground: Ground, figures: Figures) -> Result<(), Error> {
    let builder = bridge.client.clone().version(bridge.version).session_expiry(Duration::MAX);
    let builder = builder.acknowledge_by_hand(true).bridge(true).retry_always(true).in_flight(WINDOW.into());
    let (client, messages, driver) = builder.build()?;
    let local = Local::open(&ground, &needs(&bridge)).await?;
    let stop = ground.cancel.child_token();
    tokio::spawn(driver.run(stop.clone()));
    let state = client.state();
    let (sending, under_way) = (None, VecDeque::new());
    let _driver = stop.drop_guard();
    let mut run =
        Run { bridge, ground, figures, local, client, messages, state, sending, under_way, _driver };
    run.tell(false);
    let outcome = run.serve().await;
    run.tell(false);
    outcome
}

/// The session that is emptied into the other broker. That may be away for long, so a full queue does what the settings say.
pub(super) fn needs(bridge: &RemoteBridge) -> Needs {
    let subscription = |mapping: &Mapping| {
        let options = SubscriptionOptions {
            qos: mapping.qos.min(QoS::AtLeastOnce),
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::SendIfNew,
            id: None,
        };
        Subscription { filter: mapping.local_filter().into(), options }
    };
    let subscriptions = bridge.outbound.iter().map(subscription).collect();
    Needs { name: bridge.name.clone(), window: WINDOW, holds_back: false, subscriptions }
}

impl Run {
    async fn serve(&mut self) -> Result<(), Error> {
        let mut subscribing = std::pin::pin!(subscribe(self.client.clone(), self.bridge.clone()).fuse());
        loop {
            let takes = self.sending.is_none() && self.under_way.len() < usize::from(WINDOW);
            tokio::select! {
                () = self.ground.cancel.cancelled() => return Ok(()),
                changed = self.state.changed() => {
                    changed.map_err(|_| Error::Ended)?;
                    self.state_changed()?;
                }
                subscribed = &mut subscribing => subscribed?,
                received = self.messages.next() => self.bring_in(received.ok_or(Error::Ended)?).await?,
                publish = self.local.next(), if takes => self.send_out(&publish?),
                (id, name, receipt) = wait(&mut self.sending) => {
                    self.sending = None;
                    self.sent(id, name, receipt)?;
                }
                outcome = oldest(&mut self.under_way) => {
                    if let Some((id, name, _)) = self.under_way.pop_front() {
                        self.acknowledged(id, &name, outcome)?;
                    }
                }
            }
        }
    }

    fn state_changed(&mut self) -> Result<(), Error> {
        let bridge = &*self.bridge.name;
        let state = self.state.borrow_and_update().clone();
        match &state {
            ConnectionState::Connected { session_present } => {
                tracing::info!(bridge, session_present, "a bridge is connected");
                self.tell_on("error", String::new());
            }
            ConnectionState::Waiting { error, retry_in } => {
                tracing::warn!(bridge, %error, retry_ms = retry_in.as_millis() as u64, "a bridge is not connected");
                self.tell_on("error", error.to_string());
            }
            ConnectionState::Closed(Some(error)) => return Err(error.clone().into()),
            ConnectionState::Closed(None) | ConnectionState::Connecting => {}
        }
        self.tell(matches!(state, ConnectionState::Connected { .. }));
        Ok(())
    }

    /// Tells whether the other broker is there, as a figure and as a retained message.
    fn tell(&self, connected: bool) {
        self.figures.connected.set(i64::from(connected));
        self.tell_on("state", if connected { "1" } else { "0" }.to_owned());
    }

    /// Retains a text about this bridge; an empty one is none.
    fn tell_on(&self, what: &str, text: String) {
        let publish = Publish {
            topic: format!("{STATE}{}/{what}", self.bridge.name).into(),
            payload: text.into(),
            retain: true,
            ..Publish::default()
        };
        let Ground { broker, clock, .. } = &self.ground;
        if let Err(reason) = broker.publish(publish, clock.now(), &mut Wakes::new()) {
            tracing::debug!(bridge = self.bridge.name, %reason, "the state of a bridge is not published");
        }
    }

    /// Hands a message over to the connection.
    fn send_out(&mut self, publish: &OutgoingPublish) {
        let name = &publish.message.topic;
        let found = self.bridge.outbound.iter().find_map(|mapping| Some((mapping, mapping.to_remote(name)?)));
        let Some((mapping, topic)) = found else {
            // Of an earlier configuration.
            return self.local.done(publish.packet_id);
        };
        let mut message = convert::to_client(publish, topic.clone(), self.bridge.version == Version::V5);
        message.qos = convert::to_client_qos(publish.message.qos.min(mapping.qos));
        message.retain &= self.bridge.retain;
        let (client, id) = (self.client.clone(), publish.packet_id);
        self.sending = Some(async move { (id, topic, client.enqueue(message).await) }.boxed());
    }

    fn sent(
        &mut self,
        id: Option<NonZeroU16>,
        name: String,
        receipt: Result<Receipt, ClientError>,
    ) -> Result<(), Error> {
        match (id, receipt) {
            (Some(id), Ok(receipt)) => self.under_way.push_back((id, name, receipt)),
            // Of QoS 0: nobody waits for it.
            (None, Ok(_)) => _ = self.figures.passed_out.inc(),
            (Some(id), Err(error)) => return self.acknowledged(id, &name, Err(error)),
            (None, Err(error)) => self.refused(&name, &error)?,
        }
        Ok(())
    }

    fn acknowledged(
        &mut self,
        id: NonZeroU16,
        name: &str,
        outcome: Result<ReasonCode, ClientError>,
    ) -> Result<(), Error> {
        match outcome {
            Ok(_) => _ = self.figures.passed_out.inc(),
            Err(error) => self.refused(name, &error)?,
        }
        self.local.done(Some(id));
        Ok(())
    }

    /// A message that the other broker does not take is left out: waiting for it would stop all others for ever.
    fn refused(&self, topic: &str, error: &ClientError) -> Result<(), Error> {
        match error {
            ClientError::Refused { .. } | ClientError::Configuration(_) => {
                self.figures.refused.inc();
                tracing::warn!(bridge = self.bridge.name, topic, %error, "the other broker refuses a message");
                Ok(())
            }
            // It stays in our session, and goes out again.
            other => Err(other.clone().into()),
        }
    }

    /// Publishes messages of the other broker here, and acknowledges them when they are on disk.
    async fn bring_in(&mut self, first: Received) -> Result<(), Error> {
        let (mut brought, mut mark, mut next) = (Vec::new(), None, Some(first));
        while let Some(received) = next {
            let name = &received.message.topic;
            let found = self.bridge.inbound.iter().find_map(|mapping| mapping.to_local(name));
            // Subscriptions of an earlier configuration live on over there.
            if let Some(local_name) = found {
                let mut publish = convert::from_client(received.message.clone(), local_name);
                publish.retain &= self.bridge.retain;
                let answer = self.local.publish(publish).await?;
                mark = answer.mark.or(mark);
                match answer.reason.filter(|reason| *reason != Reason::NoMatchingSubscribers) {
                    None => _ = self.figures.passed_in.inc(),
                    Some(reason) => {
                        self.figures.refused.inc();
                        tracing::warn!(bridge = self.bridge.name, topic = %name, %reason, "our broker refuses a message");
                    }
                }
            }
            brought.push(received);
            next = if brought.len() < BATCH { self.messages.try_next() } else { None };
        }
        if let Some(mark) = mark {
            self.ground.broker.durable(mark).await?;
        }
        brought.into_iter().for_each(Received::acknowledge);
        Ok(())
    }
}

/// Subscribes at the other broker, as soon as it is there.
async fn subscribe(client: Client, bridge: Arc<RemoteBridge>) -> Result<(), Error> {
    if bridge.inbound.is_empty() {
        return Ok(());
    }
    let is_v5 = bridge.version == Version::V5;
    let wish = |mapping: &Mapping| {
        let qos: ClientQoS = convert::to_client_qos(mapping.qos);
        let mut wish = ClientSubscription::new(mapping.remote_filter(), qos);
        // In 3.1.1 the bridge's bit says the same.
        (wish.no_local, wish.retain_as_published) = (is_v5, is_v5);
        wish
    };
    let granted = client.subscribe_all(bridge.inbound.iter().map(wish).collect()).await?;
    for (mapping, granted) in bridge.inbound.iter().zip(granted) {
        if let Err(reason) = granted {
            let filter = mapping.remote_filter();
            tracing::warn!(bridge = bridge.name, filter, %reason, "the other broker refuses a subscription");
        }
    }
    Ok(())
}

/// The end of what is being sent, if anything is. Cancel-safe.
async fn wait(sending: &mut Option<Sending>) -> (Option<NonZeroU16>, String, Result<Receipt, ClientError>) {
    match sending {
        Some(sending) => sending.await,
        None => std::future::pending().await,
    }
}

/// The receipt of the oldest message under way. Cancel-safe.
async fn oldest(under_way: &mut VecDeque<(NonZeroU16, String, Receipt)>) -> Result<ReasonCode, ClientError> {
    match under_way.front_mut() {
        Some((_, _, receipt)) => receipt.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(filter: &str, local: &str, remote: &str) -> Mapping {
        let (filter, local_prefix, remote_prefix) = (filter.to_owned(), local.to_owned(), remote.to_owned());
        Mapping { filter, qos: QoS::AtLeastOnce, local_prefix, remote_prefix }
    }

    #[test]
    fn names_change_their_prefix_where_the_filter_is_for_them() {
        let mapping = mapping("+/temperature", "plant/", "sites/7/");
        assert_eq!(mapping.to_remote("plant/a/temperature").as_deref(), Some("sites/7/a/temperature"));
        assert_eq!(mapping.to_local("sites/7/a/temperature").as_deref(), Some("plant/a/temperature"));
        for other in ["plant/a/pressure", "sites/7/a/temperature", "plant/temperature"] {
            assert_eq!(mapping.to_remote(other), None, "{other}");
        }
        assert!(mapping.check().is_ok());
    }

    #[test]
    fn mappings_that_can_carry_nothing_are_told() {
        let cases =
            [("a/#/b", "", ""), ("#", "a/+/", ""), ("#", "", "b#"), ("#", "$share/g/", ""), ("", "", "")];
        for (filter, local, remote) in cases {
            assert!(mapping(filter, local, remote).check().is_err(), "{filter:?} {local:?} {remote:?}");
        }
    }
}
