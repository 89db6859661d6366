//! Births of Sparkplug B as certificates (Eclipse Sparkplug 3.0, "Sparkplug Aware MQTT Server").
//!
//! Each NBIRTH and DBIRTH that passes is kept, retained, below `$sparkplug/certificates/`, so that a host that comes later learns
//! what every edge node and device is made of without asking them to be born again. Payloads are not looked at. The standard lets
//! a server also set the time of an NDEATH; this one passes it on as the edge node left it.

use super::local::{Local, Needs};
use super::{Error, Ground};
use ironbrook_pubsub::{
    OutgoingPublish, Publish, QoS, Reason, RetainHandling, Subscription, SubscriptionOptions,
};

/// What it is called among the bridges.
pub(super) const NAME: &str = "sparkplug";
/// Where births are kept.
const CERTIFICATES: &str = "$sparkplug/certificates/";
/// The namespace of Sparkplug B.
const NAMESPACE: &str = "spBv1.0";
/// Births under way at once.
const WINDOW: u16 = 256;

/// Keeps births until cancelled.
pub(super) async fn run(ground: Ground) -> Result<(), Error> {
    let mut local = Local::open(&ground, &needs()).await?;
    loop {
        let birth = tokio::select! {
            () = ground.cancel.cancelled() => return Ok(()),
            birth = local.next() => birth?,
        };
        keep(&ground, &birth).await?;
        local.done(birth.packet_id);
    }
}

/// The session that births are taken from.
pub(super) fn needs() -> Needs {
    let options = SubscriptionOptions {
        // Edge nodes publish births with QoS 0; others come along.
        qos: QoS::AtLeastOnce,
        retain_handling: RetainHandling::DoNotSend,
        ..SubscriptionOptions::default()
    };
    let filters = [format!("{NAMESPACE}/+/NBIRTH/+"), format!("{NAMESPACE}/+/DBIRTH/+/+")];
    let subscriptions = filters.map(|filter| Subscription { filter: filter.into(), options }).into();
    Needs { name: NAME.to_owned(), window: WINDOW, holds_back: true, subscriptions }
}

async fn keep(ground: &Ground, birth: &OutgoingPublish) -> Result<(), Error> {
    if !is_birth(&birth.message.topic) {
        return Ok(());
    }
    let certificate = Publish {
        topic: format!("{CERTIFICATES}{}", birth.message.topic).into(),
        payload: birth.message.payload.clone(),
        qos: QoS::AtLeastOnce,
        retain: true,
        ..Publish::default()
    };
    match ground.publish(certificate).await {
        // The disk is full or broken: the birth stays with the session, and comes again.
        Err(reason @ (Reason::ServerUnavailable | Reason::ServerBusy)) => Err(reason.into()),
        Err(reason) => {
            tracing::warn!(topic = %birth.message.topic, %reason, "a birth of Sparkplug B is not kept");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

/// Whether a topic is that of a birth: `spBv1.0/{group}/NBIRTH/{node}` or `spBv1.0/{group}/DBIRTH/{node}/{device}`.
fn is_birth(topic: &str) -> bool {
    let levels: Vec<_> = topic.split('/').collect();
    let named = |levels: &[&str]| levels.iter().all(|level| !level.is_empty());
    match levels.as_slice() {
        [NAMESPACE, group, "NBIRTH", node] => named(&[group, node]),
        [NAMESPACE, group, "DBIRTH", node, device] => named(&[group, node, device]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn births_are_known_by_their_topics() {
        assert!(is_birth("spBv1.0/plant/NBIRTH/line") && is_birth("spBv1.0/plant/DBIRTH/line/pump"));
        for other in [
            "spBv1.0/plant/NDEATH/line",
            "spBv1.0/plant/NBIRTH/line/pump",
            "spBv1.0/plant/DBIRTH/line",
            "spBv1.0//NBIRTH/line",
            "spAv1.0/plant/NBIRTH/line",
        ] {
            assert!(!is_birth(other), "{other}");
        }
    }
}
