//! The property bag: `key=value&key=value`, percent-encoded, at the end of a topic.

use crate::PROPERTIES_MAX;
use bytestring::ByteString;
use ironbrook_model::{
    ErrorCode, Message, Refusal, SystemProperty, Timestamp, percent_decode, percent_encode,
};

/// Longest key of a system property, `$` included.
const SYSTEM_KEY_MAX: usize = 24;
/// Values nearly every message has, so that reading them allocates nothing.
const COMMON: [(&str, &str); 3] = [
    ("application%2Fjson", "application/json"),
    ("application%2fjson", "application/json"),
    ("utf-8", "utf-8"),
];

/// Reads a bag into a message's properties. The values share the topic's memory where nothing is escaped.
///
/// rule MQTT-02: keys with `$.` and `%24.` mean the same; a plus stays a plus; a key without `=` has an empty value; an unknown
/// `$.` key is kept as an application property.
pub(super) fn read(bag: &ByteString, message: &mut Message) -> Result<(), Refusal> {
    for pair in bag.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(bag, value);
        if let Some(property) = system_property(key) {
            message.system.set(property, value);
            continue;
        }
        if message.properties.len() == PROPERTIES_MAX {
            return Err(Refusal::new(
                ErrorCode::ArgumentInvalid,
                format!("a message may have {PROPERTIES_MAX} application properties at most"),
            ));
        }
        message.properties.set(decode(bag, key), value);
    }
    Ok(())
}

fn system_property(key: &str) -> Option<SystemProperty> {
    let Some(rest) = key.strip_prefix("%24").or_else(|| key.strip_prefix('$')) else {
        // The two without a dollar.
        return SystemProperty::from_mqtt_key(key);
    };
    let mut plain = [0_u8; SYSTEM_KEY_MAX];
    let plain = plain.get_mut(..=rest.len())?;
    plain[0] = b'$';
    plain[1..].copy_from_slice(rest.as_bytes());
    SystemProperty::from_mqtt_key(std::str::from_utf8(plain).ok()?)
}

fn decode(bag: &ByteString, piece: &str) -> ByteString {
    if !piece.contains('%') {
        return bag.slice_ref(piece);
    }
    if let Some((_, plain)) = COMMON.iter().find(|(escaped, _)| *escaped == piece) {
        return ByteString::from_static(plain);
    }
    match percent_decode(piece) {
        Some(text) => ByteString::from(text.into_owned()),
        // Escapes that are not UTF-8: the sender's text is better than no message.
        None => bag.slice_ref(piece),
    }
}

/// Appends the bag of a message for a device: system properties, `$.to` always among them, application properties last.
///
/// rule MQTT-03: keys go out as `%24.`; .NET needs at least one character after `devicebound/`, which `$.to` gives.
pub(super) fn write(message: &Message, default_to: &str, out: &mut String) {
    write_all(message, Some(default_to), |_| true, out);
}

/// Appends the bag of a message for an input of a module.
///
/// rule MQTT-29: the output it left by and its interface are its sender's own and not told; `$.to` only where the sender set it.
pub(super) fn write_input(message: &Message, out: &mut String) {
    let is_told = |p| !matches!(p, SystemProperty::OutputName | SystemProperty::InterfaceId);
    write_all(message, None, is_told, out);
}

fn write_all(
    message: &Message,
    default_to: Option<&str>,
    is_told: impl Fn(SystemProperty) -> bool,
    out: &mut String,
) {
    let start = out.len();
    let mut pair = |key: &str, value: &str| {
        if out.len() > start {
            out.push('&');
        }
        out.push_str(&percent_encode(key));
        out.push('=');
        out.push_str(&percent_encode(value));
    };
    for (property, value) in message.system.iter().filter(|(property, _)| is_told(*property)) {
        let Some(key) = property.mqtt_key() else { continue };
        match property {
            SystemProperty::To | SystemProperty::Ack | SystemProperty::Operation => {}
            // rule MQTT-04: .NET reads times with exactly seven fraction digits, and breaks the connection otherwise.
            SystemProperty::Expiry | SystemProperty::CreationTime => {
                if let Some(time) = Timestamp::parse(value) {
                    pair(key, &time.to_string());
                }
            }
            _ => pair(key, value),
        }
    }
    if let Some(to) = message.system.get(SystemProperty::To).map(|to| &**to).or(default_to) {
        pair("$.to", to);
    }
    for property in [SystemProperty::Ack, SystemProperty::Operation] {
        if let (Some(key), Some(value)) = (property.mqtt_key(), message.system.get(property)) {
            pair(key, value);
        }
    }
    for (name, value) in message.properties.iter() {
        // Clients take the last of a key: a sender on another door could pass for somebody else by a property `$.cmid`.
        if SystemProperty::from_mqtt_key(name).is_none() {
            pair(name, value);
        } else {
            tracing::debug!(name = &**name, "property left out: its name is a system property's");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(bag: &str) -> Message {
        let mut message = Message::default();
        read(&ByteString::from(bag), &mut message).unwrap();
        message
    }

    #[test]
    fn mqtt_02_reads_what_stock_clients_send() {
        let bag = "%24.mid=7f&$.cid=a%20b&%24.ct=application%2Fjson&%24.ce=utf-8&$.on=out&temp%20alert=true%2Fx+&empty=&null&$.new=1";
        let message = parse(bag);
        let system = |p| message.system.get(p).map(|v| v.to_string());
        assert_eq!(system(SystemProperty::MessageId).as_deref(), Some("7f"));
        assert_eq!(system(SystemProperty::CorrelationId).as_deref(), Some("a b"));
        assert_eq!(system(SystemProperty::ContentType).as_deref(), Some("application/json"));
        assert_eq!(system(SystemProperty::ContentEncoding).as_deref(), Some("utf-8"));
        assert_eq!(system(SystemProperty::OutputName).as_deref(), Some("out"));
        assert_eq!(message.properties.get("temp alert").unwrap(), "true/x+");
        assert_eq!(message.properties.get("empty").unwrap(), "");
        assert_eq!(message.properties.get("null").unwrap(), "");
        assert_eq!(message.properties.get("$.new").unwrap(), "1");
    }

    #[test]
    fn mqtt_03_to_stands_in_every_bag_and_application_properties_are_last() {
        let mut message = Message::new("x");
        message.properties.set("a b", "1&2");
        message.system.set(SystemProperty::Ack, "full");
        message.system.set(SystemProperty::MessageId, "m1");
        let mut out = String::new();
        write(&message, "/devices/d1/messages/deviceBound", &mut out);
        assert_eq!(
            out,
            "%24.mid=m1&%24.to=%2Fdevices%2Fd1%2Fmessages%2FdeviceBound&iothub-ack=full&a%20b=1%262"
        );
    }

    #[test]
    fn mqtt_29_inputs_hear_who_sent_but_not_by_which_output() {
        let mut message = Message::new("x");
        message.system.set(SystemProperty::OutputName, "out");
        message.system.set(SystemProperty::InterfaceId, "i");
        message.system.set(SystemProperty::ConnectionDeviceId, "d1");
        message.system.set(SystemProperty::ConnectionModuleId, "m1");
        message.properties.set("a", "b");
        let mut out = String::from("inputs/in1/");
        write_input(&message, &mut out);
        assert_eq!(out, "inputs/in1/%24.cdid=d1&%24.cmid=m1&a=b");
    }

    #[test]
    fn an_application_property_cannot_pass_for_what_the_hub_says() {
        let mut message = Message::new("x");
        message.system.set(SystemProperty::ConnectionModuleId, "m1");
        for name in ["$.cmid", "$.cdid", "$.mid", "iothub-ack", "$.own"] {
            message.properties.set(name, "forged");
        }
        let mut out = String::new();
        write_input(&message, &mut out);
        assert_eq!(out, "%24.cmid=m1&%24.own=forged");
    }

    #[test]
    fn mqtt_04_times_have_seven_fraction_digits() {
        let mut message = Message::new("x");
        message.system.set(SystemProperty::Expiry, "2026-01-31T09:00:00Z");
        message.system.set(SystemProperty::CreationTime, "yesterday");
        let mut out = String::new();
        write(&message, "/t", &mut out);
        assert_eq!(out, "%24.exp=2026-01-31T09%3A00%3A00.0000000Z&%24.to=%2Ft");
    }

    #[test]
    fn the_number_of_properties_is_bounded() {
        let bag = (0..=PROPERTIES_MAX).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join("&");
        assert!(read(&ByteString::from(bag), &mut Message::default()).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_written_is_read_back(pairs in proptest::collection::btree_map("[^\0]{1,8}", "[^\0]{0,12}", 0..6)) {
            let mut message = Message::default();
            for (key, value) in pairs {
                if system_property(&percent_encode(&key)).is_none() {
                    message.properties.set(key, value);
                }
            }
            let mut out = String::new();
            write(&message, "/t", &mut out);
            prop_assert_eq!(parse(&out).properties, message.properties);
        }

        #[test]
        fn any_bag_is_read_without_panic(bag in "\\PC{0,200}") {
            let _ = read(&ByteString::from(bag), &mut Message::default());
        }
    }
}
