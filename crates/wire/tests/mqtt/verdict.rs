//! Two codecs asked about the same bytes: the same verdict and the same meaning, but for the differences listed here.
//!
//! The fuzz targets ask the same question of bytes that no generator thought of.

use super::MAX;
use bytes::BytesMut;
use ironbrook_wire::mqtt::{Sender, v4, v5};
use std::fmt::Debug;

/// Our verdict. The other codec checks topics while it decodes but does not ask who sent a packet: good is what either side
/// may send.
macro_rules! our_verdict {
    ($version:ident, $bytes:expr) => {
        $version::decode(&mut BytesMut::from(&$bytes[..]), MAX).and_then(|packet| {
            let packet = packet.expect("whole packets only");
            match (packet.check(Sender::Client), packet.check(Sender::Server)) {
                (Ok(()), _) | (_, Ok(())) => Ok(packet),
                (Err($version::Violation::Sender { .. }), Err(violation)) | (Err(violation), Err(_)) => {
                    Err(violation)
                }
            }
        })
    };
}

/// What MQTT 3.1.1 forbids and the other codec takes.
fn only_they_take_v4(violation: v4::Violation) -> bool {
    use v4::Violation::*;
    match violation {
        // It stops at the last field.
        TrailingBytes => true,
        // It looks for null characters in topics only, and lets topic names be empty.
        NullCharacter | EmptyTopic => true,
        // It lets characters follow a `+`.
        TopicFilter(fault) => fault == ironbrook_wire::mqtt::topic::TopicFault::SingleLevelWildcard,
        // It does not compare flags with each other.
        ConnAckFlags | DupWithoutQoS | WillFlags | PasswordWithoutUserName => true,
        _ => false,
    }
}

/// What MQTT 5.0 forbids and the other codec takes.
fn only_they_take_v5(violation: v5::Violation) -> bool {
    use v5::Violation::*;
    match violation {
        // It takes lengths of more bytes than they need.
        VariableByteInteger => true,
        // As in MQTT 3.1.1.
        TrailingBytes | NullCharacter | EmptyTopic | ConnAckFlags | DupWithoutQoS | WillFlags => true,
        TopicName(fault) => fault == ironbrook_wire::mqtt::topic::TopicFault::Empty,
        TopicFilter(fault) => fault == ironbrook_wire::mqtt::topic::TopicFault::SingleLevelWildcard,
        // It does not compare the options of a subscription with its filter.
        NoLocalOnShared => true,
        // It takes answers to no filter at all.
        NoReasonCode => true,
        // It takes zero where numbers begin with one.
        PropertyValue(_) => true,
        // It takes authentication data without a method.
        NoAuthMethod => true,
        // It does not compare a reason code with the properties beside it: neither side may send both.
        ReasonCodeSender { .. } | PropertySender { .. } => true,
        _ => false,
    }
}

/// What we take and the other codec does not.
fn only_we_take_v5(packet: &v5::Packet, error: &mqtt_proto::v5::ErrorV5) -> bool {
    use mqtt_proto::v5::{ErrorV5, PropertyId};
    match (packet, error) {
        // Whether a payload is what it claims to be is for its reader to say (section 3.3.2.3.2: the receiver MAY check).
        (v5::Packet::Publish(_) | v5::Packet::Connect(_), ErrorV5::InvalidPayloadFormat) => true,
        // A message may match several subscriptions (section 3.3.2.3.8).
        (v5::Packet::Publish(_), ErrorV5::DuplicatedProperty(PropertyId::SubscriptionIdentifier)) => true,
        // The standard's tables contradict each other about this one.
        (v5::Packet::Disconnect(end), _) => end.reason == v5::ReasonCode::BadAuthenticationMethod,
        _ => false,
    }
}

/// The other codec writes a failure in a SUBACK of MQTT 3.1.1 as 3.
fn they_write_otherwise(packet: &v4::Packet) -> bool {
    matches!(packet, v4::Packet::SubAck(ack) if ack.codes.contains(&v4::SubAckCode::Failure))
}

/// Whether both codecs agree about one whole packet of MQTT 3.1.1; what they say where they do not.
pub fn agree_v4(bytes: &[u8]) -> Result<(), String> {
    match (our_verdict!(v4, bytes), mqtt_proto::v3::Packet::decode(bytes)) {
        (Ok(ours), Ok(Some(theirs))) => {
            let again =
                theirs.encode().map_err(|error| format!("{theirs:?} cannot be written: {error:?}"))?;
            let same = v4::decode(&mut BytesMut::from(again.as_ref()), MAX) == Ok(Some(ours.clone()));
            judge(same || they_write_otherwise(&ours), &ours, &theirs)
        }
        (Err(violation), Ok(Some(theirs))) => judge(only_they_take_v4(violation), &violation, &theirs),
        (Ok(ours), theirs) => judge(false, &ours, &theirs),
        (Err(_), _) => Ok(()),
    }
}

/// Whether both codecs agree about one whole packet of MQTT 5.0; what they say where they do not.
pub fn agree_v5(bytes: &[u8]) -> Result<(), String> {
    match (our_verdict!(v5, bytes), mqtt_proto::v5::Packet::decode(bytes)) {
        (Ok(ours), Ok(Some(theirs))) => {
            let again =
                theirs.encode().map_err(|error| format!("{theirs:?} cannot be written: {error:?}"))?;
            let same = v5::decode(&mut BytesMut::from(again.as_ref()), MAX) == Ok(Some(ours.clone()));
            judge(same, &ours, &theirs)
        }
        (Err(violation), Ok(Some(theirs))) => judge(only_they_take_v5(violation), &violation, &theirs),
        (Ok(ours), Err(error)) => judge(only_we_take_v5(&ours, &error), &ours, &error),
        (Ok(ours), Ok(None)) => judge(false, &ours, &"an unfinished packet"),
        (Err(_), _) => Ok(()),
    }
}

fn judge(agreed: bool, ours: &dyn Debug, theirs: &dyn Debug) -> Result<(), String> {
    if agreed { Ok(()) } else { Err(format!("ours: {ours:?}; theirs: {theirs:?}")) }
}
