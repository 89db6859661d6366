//! Any packet of MQTT 5.0.

use super::generate_v4::{binary, packet_id, qos, text, topic_filter, topic_name};
use ironbrook_wire::mqtt::PacketType;
use ironbrook_wire::mqtt::v5::*;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use std::num::{NonZeroU16, NonZeroU32};

fn reason(packet_type: PacketType) -> impl Strategy<Value = ReasonCode> {
    let allowed: Vec<_> =
        ReasonCode::ALL.iter().copied().filter(|code| code.is_allowed_in(packet_type)).collect();
    select(allowed)
}

fn user() -> impl Strategy<Value = UserProperties> {
    vec((text(0), text(0)), 0..4).prop_map(|pairs| UserProperties::from_pairs(pairs).unwrap())
}

fn non_zero_u16() -> impl Strategy<Value = NonZeroU16> {
    (1..=u16::MAX).prop_map(|number| NonZeroU16::new(number).unwrap())
}

fn non_zero_u32() -> impl Strategy<Value = NonZeroU32> {
    (1..=u32::MAX).prop_map(|number| NonZeroU32::new(number).unwrap())
}

fn subscription_id() -> impl Strategy<Value = SubscriptionId> {
    prop_oneof![1_u32..300, 1_u32..=268_435_455].prop_map(|number| SubscriptionId::new(number).unwrap())
}

fn auth_data() -> impl Strategy<Value = AuthData> {
    binary().prop_map(AuthData)
}

fn will() -> impl Strategy<Value = Will> {
    let properties = (
        (of(any::<u32>()), of(any::<bool>()), of(any::<u32>())),
        (of(text(0)), of(topic_name()), of(binary()), user()),
    )
        .prop_map(|((delay, utf8, expiry), (content_type, response_topic, correlation_data, user))| {
            WillProperties {
                will_delay_interval: delay,
                payload_format_indicator: utf8,
                message_expiry_interval: expiry,
                content_type,
                response_topic,
                correlation_data,
                user,
            }
        });
    (topic_name(), binary(), qos(), any::<bool>(), properties).prop_map(
        |(topic, payload, qos, retain, properties)| Will { topic, payload, qos, retain, properties },
    )
}

fn connect() -> impl Strategy<Value = Packet> {
    let properties = (
        (of(any::<u32>()), of(non_zero_u16()), of(non_zero_u32()), of(any::<u16>())),
        (of(any::<bool>()), of(any::<bool>()), of((text(0), of(auth_data()))), user()),
    )
        .prop_map(
            |((session_expiry_interval, receive_maximum, maximum_packet_size, topic_alias_maximum), rest)| {
                let (request_response_information, request_problem_information, auth, user) = rest;
                let (authentication_method, authentication_data) =
                    auth.map_or((None, None), |(m, d)| (Some(m), d));
                ConnectProperties {
                    session_expiry_interval,
                    receive_maximum,
                    maximum_packet_size,
                    topic_alias_maximum,
                    request_response_information,
                    request_problem_information,
                    authentication_method,
                    authentication_data,
                    user,
                }
            },
        );
    (text(0), any::<u16>(), any::<bool>(), of(will()), of(text(0)), of(binary()), properties).prop_map(
        |(client_id, keep_alive, clean_start, will, username, password, properties)| {
            Packet::Connect(Box::new(Connect {
                client_id,
                keep_alive,
                clean_start,
                will,
                username,
                password,
                properties,
            }))
        },
    )
}

fn conn_ack() -> impl Strategy<Value = Packet> {
    let properties = (
        (
            of(any::<u32>()),
            of(non_zero_u16()),
            of(0_u8..2),
            of(any::<bool>()),
            of(non_zero_u32()),
            of(text(1)),
        ),
        (
            of(any::<u16>()),
            of(text(0)),
            of(any::<bool>()),
            of(any::<bool>()),
            of(any::<bool>()),
            of(any::<u16>()),
        ),
        (of(text(0)), of(text(0)), of((text(0), of(auth_data()))), user()),
    )
        .prop_map(|(a, b, c)| {
            let (authentication_method, authentication_data) =
                c.2.map_or((None, None), |(m, d)| (Some(m), d));
            ConnAckProperties {
                session_expiry_interval: a.0,
                receive_maximum: a.1,
                maximum_qos: a.2.and_then(QoS::from_number),
                retain_available: a.3,
                maximum_packet_size: a.4,
                assigned_client_identifier: a.5,
                topic_alias_maximum: b.0,
                reason_string: b.1,
                wildcard_subscription_available: b.2,
                subscription_identifiers_available: b.3,
                shared_subscription_available: b.4,
                server_keep_alive: b.5,
                response_information: c.0,
                server_reference: c.1,
                authentication_method,
                authentication_data,
                user: c.3,
            }
        });
    (any::<bool>(), reason(PacketType::ConnAck), properties).prop_map(|(present, reason, properties)| {
        let session_present = present && reason == ReasonCode::Success;
        Packet::ConnAck(Box::new(ConnAck { session_present, reason, properties }))
    })
}

fn publish() -> impl Strategy<Value = Packet> {
    let properties = (
        (of(any::<bool>()), of(any::<u32>()), of(non_zero_u16()), of(topic_name()), of(binary())),
        (vec(subscription_id(), 0..3), of(text(0)), user()),
    )
        .prop_map(|(a, (subscription_identifiers, content_type, user))| PublishProperties {
            payload_format_indicator: a.0,
            message_expiry_interval: a.1,
            topic_alias: a.2,
            response_topic: a.3,
            correlation_data: a.4,
            subscription_identifiers,
            content_type,
            user,
        });
    ((any::<bool>(), any::<bool>(), any::<bool>()), qos(), topic_name(), packet_id(), properties, binary())
        .prop_map(|((dup, retain, aliased), qos, topic, packet_id, properties, payload)| {
            let acknowledged = qos != QoS::AtMostOnce;
            let topic = if aliased && properties.topic_alias.is_some() { "".into() } else { topic };
            let (dup, packet_id) = (dup && acknowledged, acknowledged.then_some(packet_id));
            Packet::Publish(Publish { dup, qos, retain, topic, packet_id, properties, payload })
        })
}

fn ack_properties() -> impl Strategy<Value = AckProperties> {
    (of(text(0)), user()).prop_map(|(reason_string, user)| AckProperties { reason_string, user })
}

fn ack(packet_type: PacketType) -> impl Strategy<Value = Ack> {
    let properties = prop_oneof![Just(AckProperties::default()), ack_properties()];
    (packet_id(), reason(packet_type), properties).prop_map(|(packet_id, reason, properties)| Ack {
        packet_id,
        reason,
        properties,
    })
}

fn subscribe() -> impl Strategy<Value = Packet> {
    let handling = select(vec![RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend]);
    let wish = (topic_filter(), qos(), any::<bool>(), any::<bool>(), handling).prop_map(
        |(filter, qos, no_local, retain_as_published, retain_handling)| SubscribeFilter {
            filter,
            qos,
            no_local,
            retain_as_published,
            retain_handling,
        },
    );
    let properties = (of(subscription_id()), user())
        .prop_map(|(subscription_identifier, user)| SubscribeProperties { subscription_identifier, user });
    (packet_id(), properties, vec(wish, 1..4)).prop_map(|(packet_id, properties, filters)| {
        Packet::Subscribe(Subscribe { packet_id, properties, filters })
    })
}

fn acks_of_filters() -> impl Strategy<Value = Packet> {
    prop_oneof![
        (packet_id(), ack_properties(), vec(reason(PacketType::SubAck), 1..4)).prop_map(
            |(packet_id, properties, reasons)| Packet::SubAck(SubAck { packet_id, properties, reasons })
        ),
        (packet_id(), ack_properties(), vec(reason(PacketType::UnsubAck), 1..4)).prop_map(
            |(packet_id, properties, reasons)| Packet::UnsubAck(UnsubAck { packet_id, properties, reasons })
        ),
    ]
}

fn end() -> impl Strategy<Value = Packet> {
    let properties = (of(any::<u32>()), of(text(0)), of(text(0)), user()).prop_map(
        |(session_expiry_interval, reason_string, server_reference, user)| DisconnectProperties {
            session_expiry_interval,
            reason_string,
            server_reference,
            user,
        },
    );
    let properties = prop_oneof![Just(DisconnectProperties::default()), properties];
    (reason(PacketType::Disconnect), properties)
        .prop_map(|(reason, properties)| Packet::Disconnect(Disconnect { reason, properties }))
}

fn auth() -> impl Strategy<Value = Packet> {
    let named = (text(0), of(auth_data()), of(text(0)), user()).prop_map(
        |(method, authentication_data, reason_string, user)| AuthProperties {
            authentication_method: Some(method),
            authentication_data,
            reason_string,
            user,
        },
    );
    prop_oneof![
        1 => Just(Auth { reason: ReasonCode::Success, properties: AuthProperties::default() }),
        4 => (reason(PacketType::Auth), named).prop_map(|(reason, properties)| Auth { reason, properties }),
    ]
    .prop_map(Packet::Auth)
}

/// Any packet.
pub fn packet() -> impl Strategy<Value = Packet> {
    let unsubscribe =
        (packet_id(), user(), vec(topic_filter(), 1..4)).prop_map(|(packet_id, user, filters)| {
            Packet::Unsubscribe(Unsubscribe {
                packet_id,
                properties: UnsubscribeProperties { user },
                filters,
            })
        });
    prop_oneof![
        2 => connect(),
        2 => conn_ack(),
        3 => publish(),
        1 => ack(PacketType::PubAck).prop_map(Packet::PubAck),
        1 => ack(PacketType::PubRec).prop_map(Packet::PubRec),
        1 => ack(PacketType::PubRel).prop_map(Packet::PubRel),
        1 => ack(PacketType::PubComp).prop_map(Packet::PubComp),
        2 => subscribe(),
        1 => acks_of_filters(),
        1 => unsubscribe,
        1 => Just(Packet::PingReq),
        1 => Just(Packet::PingResp),
        1 => end(),
        1 => auth(),
    ]
}
