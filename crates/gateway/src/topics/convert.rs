//! Between the words of the wire and those of the broker.

use bytestring::ByteString;
use ironbrook_pubsub as broker;
use ironbrook_wire::mqtt::v5::{
    PublishProperties, ReasonCode, RetainHandling, SubscribeFilter, SubscriptionId, UserProperties, Will,
};
use ironbrook_wire::mqtt::{PacketType, QoS, v4, v5};
use std::num::{NonZeroU16, NonZeroU32};

pub(super) fn to_broker_qos(qos: QoS) -> broker::QoS {
    match qos {
        QoS::AtMostOnce => broker::QoS::AtMostOnce,
        QoS::AtLeastOnce => broker::QoS::AtLeastOnce,
        QoS::ExactlyOnce => broker::QoS::ExactlyOnce,
    }
}

pub(super) fn to_wire_qos(qos: broker::QoS) -> QoS {
    match qos {
        broker::QoS::AtMostOnce => QoS::AtMostOnce,
        broker::QoS::AtLeastOnce => QoS::AtLeastOnce,
        broker::QoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}

/// A message of MQTT 3.1.1.
pub(super) fn publish_v4(publish: v4::Publish) -> broker::Publish {
    let v4::Publish { qos, retain, topic, packet_id, payload, .. } = publish;
    let qos = to_broker_qos(qos);
    broker::Publish { topic, alias: None, payload, qos, retain, packet_id, properties: None }
}

/// A message of MQTT 5.0.
pub(super) fn publish_v5(publish: v5::Publish) -> broker::Publish {
    let v5::Publish { qos, retain, topic, packet_id, properties, payload, .. } = publish;
    let alias = properties.topic_alias.map(NonZeroU16::get);
    let PublishProperties {
        payload_format_indicator: is_text,
        message_expiry_interval: expiry,
        response_topic,
        correlation_data,
        content_type,
        user,
        ..
    } = properties;
    let user = pairs(&user);
    let set = broker::Properties { is_text, expiry, content_type, response_topic, correlation_data, user };
    let properties = (set != broker::Properties::default()).then(|| Box::new(set));
    broker::Publish { topic, alias, payload, qos: to_broker_qos(qos), retain, packet_id, properties }
}

pub(super) fn will_v4(will: v4::Will) -> broker::Will {
    let v4::Will { topic, payload, qos, retain } = will;
    broker::Will { topic, payload, qos: to_broker_qos(qos), retain, delay: 0, properties: None }
}

pub(super) fn will_v5(will: Will) -> broker::Will {
    let Will { topic, payload, qos, retain, properties } = will;
    let v5::WillProperties {
        will_delay_interval,
        payload_format_indicator: is_text,
        message_expiry_interval: expiry,
        content_type,
        response_topic,
        correlation_data,
        user,
    } = properties;
    let user = pairs(&user);
    let set = broker::Properties { is_text, expiry, content_type, response_topic, correlation_data, user };
    let properties = (set != broker::Properties::default()).then(|| Box::new(set));
    let (qos, delay) = (to_broker_qos(qos), will_delay_interval.unwrap_or(0));
    broker::Will { topic, payload, qos, retain, delay, properties }
}

fn pairs(user: &UserProperties) -> Vec<(ByteString, ByteString)> {
    user.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

/// The properties a message goes out with.
pub(super) fn properties_v5(publish: &broker::OutgoingPublish) -> Result<PublishProperties, v5::Unencodable> {
    let mut properties = PublishProperties {
        message_expiry_interval: publish.expiry,
        topic_alias: publish.alias.and_then(|(alias, _)| NonZeroU16::new(alias)),
        subscription_identifiers: publish.ids.iter().filter_map(|id| SubscriptionId::new(*id)).collect(),
        ..PublishProperties::default()
    };
    if let Some(set) = publish.message.properties.as_deref() {
        properties.payload_format_indicator = set.is_text;
        properties.response_topic = set.response_topic.clone();
        properties.correlation_data = set.correlation_data.clone();
        properties.content_type = set.content_type.clone();
        if !set.user.is_empty() {
            properties.user = UserProperties::from_pairs(set.user.iter().map(|(k, v)| (&**k, &**v)))?;
        }
    }
    Ok(properties)
}

pub(super) fn subscription_v4(wish: v4::SubscribeFilter) -> broker::Subscription {
    let options = broker::SubscriptionOptions { qos: to_broker_qos(wish.qos), ..Default::default() };
    broker::Subscription { filter: wish.filter, options }
}

pub(super) fn subscription_v5(wish: SubscribeFilter, id: Option<SubscriptionId>) -> broker::Subscription {
    let SubscribeFilter { filter, qos, no_local, retain_as_published, retain_handling } = wish;
    let retain_handling = match retain_handling {
        RetainHandling::Send => broker::RetainHandling::Send,
        RetainHandling::SendIfNew => broker::RetainHandling::SendIfNew,
        RetainHandling::DoNotSend => broker::RetainHandling::DoNotSend,
    };
    let (qos, id) = (to_broker_qos(qos), id.and_then(|id| NonZeroU32::new(id.get())));
    let options = broker::SubscriptionOptions { qos, no_local, retain_as_published, retain_handling, id };
    broker::Subscription { filter, options }
}

/// The reason code that a packet of this type may have: the broker's own, else one that says less.
pub(super) fn reason_code(reason: broker::Reason, packet_type: PacketType) -> ReasonCode {
    let fits = |code: &ReasonCode| code.is_allowed_in(packet_type);
    ReasonCode::from_number(reason.code())
        .filter(fits)
        // CONNACK alone can say that the server is not available.
        .or_else(|| {
            let busy = (reason == broker::Reason::ServerUnavailable).then_some(ReasonCode::ServerBusy);
            busy.filter(fits)
        })
        .unwrap_or(ReasonCode::ImplementationSpecificError)
}

/// The return code of a CONNACK of MQTT 3.1.1; `None` where the connection is closed without one.
pub(super) fn return_code(reason: broker::Reason) -> Option<v4::ConnectReturnCode> {
    use broker::Reason as R;
    match reason {
        R::ClientIdentifierNotValid => Some(v4::ConnectReturnCode::IdentifierRejected),
        R::BadUserNameOrPassword => Some(v4::ConnectReturnCode::BadUserNameOrPassword),
        R::NotAuthorized => Some(v4::ConnectReturnCode::NotAuthorized),
        R::ServerBusy | R::ServerUnavailable | R::QuotaExceeded | R::ImplementationSpecificError => {
            Some(v4::ConnectReturnCode::ServerUnavailable)
        }
        _ => None,
    }
}
