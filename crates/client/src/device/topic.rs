//! MQTT topics and property bags of a device or module, as the hub spells them.
//!
//! Ids stand raw in topics; bag keys and values are percent-encoded (Azure docs, "Communicate with an IoT hub using MQTT").

use bytestring::ByteString;
use ironbrook_model::{Identity, Message, SystemProperty, percent_decode, percent_encode};

/// Filter of answers to twin requests.
pub(crate) const TWIN_ANSWERS: &str = "$iothub/twin/res/#";
/// Filter of changes to desired properties.
pub(crate) const DESIRED: &str = "$iothub/twin/PATCH/properties/desired/#";
/// Filter of direct methods.
pub(crate) const METHODS: &str = "$iothub/methods/POST/#";

/// What a message from the hub is, told by its topic.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming<'a> {
    /// A message to the device, or to an input of the module.
    Message { input: Option<&'a str>, bag: &'a str },
    /// The answer to twin request `rid`.
    TwinAnswer { status: u16, rid: u64, version: Option<u64> },
    /// Desired properties changed.
    Desired { version: Option<u64> },
    /// A direct method is called.
    Method { name: &'a str, rid: &'a str },
    /// Nothing this client asked for.
    Unknown,
}

/// The topics of one identity.
#[derive(Debug, Clone)]
pub(crate) struct Topics {
    telemetry: String,
    messages: String,
    is_module: bool,
}

impl Topics {
    pub(crate) fn new(identity: &Identity) -> Self {
        let base = identity.resource();
        let is_module = identity.module.is_some();
        let messages = if is_module { "inputs/" } else { "messages/devicebound/" };
        Self {
            telemetry: format!("{base}/messages/events/"),
            messages: format!("{base}/{messages}"),
            is_module,
        }
    }

    /// Where a message is published: telemetry topic and bag.
    pub(crate) fn telemetry(&self, message: &Message) -> String {
        let mut topic = self.telemetry.clone();
        write_bag(message, &mut topic);
        topic
    }

    /// Filter of messages to this identity.
    pub(crate) fn messages_filter(&self) -> String {
        format!("{}#", self.messages)
    }

    /// Sorts an incoming topic.
    pub(crate) fn incoming<'a>(&self, topic: &'a str) -> Incoming<'a> {
        if let Some(rest) = topic.strip_prefix(&self.messages) {
            return if self.is_module {
                let (input, bag) = rest.split_once('/').unwrap_or((rest, ""));
                Incoming::Message { input: Some(input), bag }
            } else {
                Incoming::Message { input: None, bag: rest }
            };
        }
        if let Some(rest) = topic.strip_prefix("$iothub/twin/res/") {
            return twin_answer(rest).unwrap_or(Incoming::Unknown);
        }
        if let Some(rest) = topic.strip_prefix("$iothub/twin/PATCH/properties/desired/") {
            return Incoming::Desired { version: query(rest, "$version").and_then(|v| v.parse().ok()) };
        }
        if let Some(rest) = topic.strip_prefix("$iothub/methods/POST/") {
            return match (rest.split_once('/'), query(rest, "$rid")) {
                (Some((name, _)), Some(rid)) => Incoming::Method { name, rid },
                _ => Incoming::Unknown,
            };
        }
        Incoming::Unknown
    }
}

fn twin_answer(rest: &str) -> Option<Incoming<'_>> {
    let (status, _) = rest.split_once('/')?;
    Some(Incoming::TwinAnswer {
        status: status.parse().ok()?,
        rid: query(rest, "$rid")?.parse().ok()?,
        version: query(rest, "$version").and_then(|v| v.parse().ok()),
    })
}

fn query<'a>(rest: &'a str, name: &str) -> Option<&'a str> {
    let (_, query) = rest.split_once('?')?;
    query.split('&').find_map(|item| item.split_once('=').filter(|(n, _)| *n == name).map(|(_, v)| v))
}

/// The topic of a twin read.
pub(crate) fn twin_get(rid: u64) -> String {
    format!("$iothub/twin/GET/?$rid={rid}")
}

/// The topic of a patch to reported properties.
pub(crate) fn twin_patch(rid: u64) -> String {
    format!("$iothub/twin/PATCH/properties/reported/?$rid={rid}")
}

/// The topic of a method's answer.
pub(crate) fn method_answer(status: i32, rid: &str) -> String {
    format!("$iothub/methods/res/{status}/?$rid={rid}")
}

/// Appends the property bag of a message.
fn write_bag(message: &Message, out: &mut String) {
    let system = message.system.iter().filter_map(|(p, v)| p.mqtt_key().map(|key| (key, v)));
    let custom = message.properties.iter().map(|(name, value)| (&**name, value));
    for (index, (key, value)) in system.chain(custom).enumerate() {
        if index > 0 {
            out.push('&');
        }
        // A raw `$.mid` is legal, but every stock client escapes it and some servers only know that form.
        out.push_str(&percent_encode(key));
        out.push('=');
        out.push_str(&percent_encode(value));
    }
}

/// Reads a property bag into a message. Pairs that are not UTF-8 after decoding are left out.
pub(crate) fn read_bag(bag: &str, message: &mut Message) {
    // Some servers close the bag with a slash.
    for pair in bag.trim_end_matches('/').split('&').filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(key), Some(value)) = (percent_decode(key), percent_decode(value)) else { continue };
        let value = ByteString::from(value.into_owned());
        match SystemProperty::from_mqtt_key(&key) {
            Some(property) => message.system.set(property, value),
            None => message.properties.set(key.into_owned(), value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_model::{DeviceId, ModuleId};

    fn device() -> Topics {
        Topics::new(&Identity::device(DeviceId::new("d#1").unwrap()))
    }

    #[test]
    fn a_bag_survives_the_way_there_and_back() {
        let mut message = Message::new("x");
        message.system.set(SystemProperty::ContentType, "application/json");
        message.system.set(SystemProperty::MessageId, "a&b=c");
        message.properties.set("temp alert", "true/x + grün");
        let topic = device().telemetry(&message);
        assert!(topic.starts_with("devices/d#1/messages/events/%24.ct=application%2Fjson&"), "{topic}");
        let mut back = Message::new("x");
        read_bag(topic.strip_prefix("devices/d#1/messages/events/").unwrap(), &mut back);
        assert_eq!(back, message);
    }

    #[test]
    fn incoming_topics_are_sorted() {
        let topics = device();
        assert_eq!(
            topics.incoming("devices/d#1/messages/devicebound/%24.mid=1"),
            Incoming::Message { input: None, bag: "%24.mid=1" }
        );
        assert_eq!(
            topics.incoming("$iothub/twin/res/204/?$rid=7&$version=3"),
            Incoming::TwinAnswer { status: 204, rid: 7, version: Some(3) }
        );
        assert_eq!(
            topics.incoming("$iothub/twin/PATCH/properties/desired/?$version=9"),
            Incoming::Desired { version: Some(9) }
        );
        assert_eq!(
            topics.incoming("$iothub/methods/POST/getStatus/?$rid=1f"),
            Incoming::Method { name: "getStatus", rid: "1f" }
        );
        assert_eq!(topics.incoming("devices/other/messages/devicebound/"), Incoming::Unknown);
        assert_eq!(topics.incoming("$iothub/twin/res/x/?$rid=7"), Incoming::Unknown);
    }

    #[test]
    fn a_module_has_inputs() {
        let module = Identity::module(DeviceId::new("d").unwrap(), ModuleId::new("m").unwrap());
        let topics = Topics::new(&module);
        assert_eq!(topics.messages_filter(), "devices/d/modules/m/inputs/#");
        assert_eq!(
            topics.incoming("devices/d/modules/m/inputs/in1/%24.cdid=x"),
            Incoming::Message { input: Some("in1"), bag: "%24.cdid=x" }
        );
    }
}
