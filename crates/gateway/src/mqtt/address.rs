//! Topics become an enum here, once, and are never strings again.
//!
//! Ids stand in topics as they are, not escaped, and may hold `%`, `+`, `#`, `$` and `?`; so topics are compared with the
//! session's own prefixes and not taken apart.

use bytestring::ByteString;
use ironbrook_model::{ErrorCode, Identity, Refusal};

/// What a topic to the hub means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// Telemetry, with its property bag.
    Telemetry { bag: ByteString },
    /// Read the twin.
    GetTwin { rid: ByteString },
    /// Change reported properties.
    PatchReported { rid: ByteString },
    /// Answer a direct method.
    MethodAnswer { status: i32, rid: ByteString },
}

/// What a topic filter asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    CloudToDevice,
    Inputs,
    TwinAnswers,
    DesiredProperties,
    Methods,
}

const TWIN_GET: &str = "$iothub/twin/GET/";
const TWIN_PATCH: &str = "$iothub/twin/PATCH/properties/reported/";
const METHOD_ANSWER: &str = "$iothub/methods/res/";

/// The topics of one session.
#[derive(Debug)]
pub(super) struct Addresses {
    telemetry: String,
    cloud_to_device: String,
    /// For modules.
    inputs: Option<String>,
    /// `/devices/d1/messages/deviceBound`: the address of the session in `$.to`.
    default_to: String,
}

impl Addresses {
    pub(super) fn new(identity: &Identity) -> Self {
        let own = identity.resource();
        Self {
            telemetry: format!("{own}/messages/events"),
            cloud_to_device: format!("{own}/messages/devicebound/"),
            inputs: identity.module.is_some().then(|| format!("{own}/inputs/")),
            default_to: format!("/{own}/messages/deviceBound"),
        }
    }

    /// Reads the topic of a PUBLISH.
    pub(super) fn of_publish(&self, topic: &ByteString) -> Result<Address, Refusal> {
        if let Some(bag) = self.telemetry_bag(topic) {
            return Ok(Address::Telemetry { bag: topic.slice_ref(bag) });
        }
        let text: &str = topic;
        let address = if let Some(query) = text.strip_prefix(TWIN_GET) {
            rid(query).map(|rid| Address::GetTwin { rid: topic.slice_ref(rid) })
        } else if let Some(query) = text.strip_prefix(TWIN_PATCH) {
            rid(query).map(|rid| Address::PatchReported { rid: topic.slice_ref(rid) })
        } else if let Some(rest) = text.strip_prefix(METHOD_ANSWER) {
            rest.split_once('/').and_then(|(status, query)| {
                let rid = topic.slice_ref(rid(query)?);
                Some(Address::MethodAnswer { status: status.parse().ok()?, rid })
            })
        } else {
            None
        };
        address.ok_or_else(|| self.refuse(text, "publish to"))
    }

    /// The property bag if the topic is the session's own telemetry topic.
    ///
    /// rule MQTT-05: the topic ends with or without a slash, and one slash after the bag is not part of it (Node).
    pub(super) fn telemetry_bag<'a>(&self, topic: &'a str) -> Option<&'a str> {
        let rest = topic.strip_prefix(self.telemetry.as_str())?;
        if rest.is_empty() {
            return Some(rest);
        }
        let bag = rest.strip_prefix('/')?;
        Some(bag.strip_suffix('/').unwrap_or(bag))
    }

    /// Reads a filter of a SUBSCRIBE or UNSUBSCRIBE.
    pub(super) fn of_filter(&self, filter: &str) -> Result<&'static [Wish], Refusal> {
        let wishes: &[Wish] = match filter {
            "$iothub/twin/res/#" => &[Wish::TwinAnswers],
            "$iothub/twin/PATCH/properties/desired/#"
            | "$iothub/twin/PATCH/properties/#"
            | "$iothub/twin/PATCH/#" => &[Wish::DesiredProperties],
            "$iothub/methods/POST/#" | "$iothub/methods/#" => &[Wish::Methods],
            "$iothub/twin/#" => &[Wish::TwinAnswers, Wish::DesiredProperties],
            "$iothub/#" => &[Wish::TwinAnswers, Wish::DesiredProperties, Wish::Methods],
            _ => return self.of_own_filter(filter),
        };
        Ok(wishes)
    }

    fn of_own_filter(&self, filter: &str) -> Result<&'static [Wish], Refusal> {
        if filter.strip_prefix(self.cloud_to_device.as_str()) == Some("#") {
            return Ok(&[Wish::CloudToDevice]);
        }
        if let Some(inputs) = &self.inputs {
            // rule MQTT-06: .NET and C modules subscribe to everything below them and mean their inputs; their own telemetry is
            // never given back.
            let own = inputs.strip_suffix("inputs/").unwrap_or(inputs);
            if filter.strip_suffix('#').is_some_and(|base| base == inputs || base == own) {
                return Ok(&[Wish::Inputs]);
            }
        }
        Err(self.refuse(filter, "subscribe to"))
    }

    fn refuse(&self, topic: &str, verb: &str) -> Refusal {
        let shown: String = topic.chars().take(200).collect();
        // rule MQTT-07: a topic of another identity is refused and ends the connection.
        if topic.starts_with("devices/") {
            return Refusal::new(
                ErrorCode::IotHubUnauthorizedAccess,
                format!(
                    "it may not {verb} topic '{shown}'; it may only use its own topics, which begin with '{}'",
                    self.telemetry.strip_suffix("messages/events").unwrap_or(&self.telemetry)
                ),
            );
        }
        // rule MQTT-08: any other topic ends the connection.
        Refusal::new(
            ErrorCode::InvalidOperation,
            format!("it may not {verb} topic '{shown}', which the hub does not have"),
        )
    }

    /// The topic of a cloud-to-device message, bag to be appended.
    pub(super) fn cloud_to_device(&self) -> &str {
        &self.cloud_to_device
    }

    /// The topic of a message to an input, bag to be appended; `None` for devices, which have none.
    ///
    /// rule MQTT-09: the slash after the input's name stands even where no bag follows (Node).
    pub(super) fn input(&self, name: &str) -> Option<String> {
        self.inputs.as_ref().map(|inputs| format!("{inputs}{name}/"))
    }

    /// The value of `$.to` where the sender gave none.
    pub(super) fn default_to(&self) -> &str {
        &self.default_to
    }
}

/// The request id in `?$rid=…`, as it stands.
fn rid(query: &str) -> Option<&str> {
    query.strip_prefix('?')?.split('&').find_map(|item| item.strip_prefix("$rid="))
}

/// The topic of a twin answer.
///
/// rule MQTT-10: `$rid` comes first and as received (the C client compares the prefix and reads digits).
pub(super) fn twin_answer(status: u16, rid: &str, version: Option<u64>) -> ByteString {
    match version {
        None => format!("$iothub/twin/res/{status}/?$rid={rid}"),
        Some(version) => format!("$iothub/twin/res/{status}/?$rid={rid}&$version={version}"),
    }
    .into()
}

/// The topic of a change of desired properties.
pub(super) fn desired(version: u64) -> ByteString {
    format!("$iothub/twin/PATCH/properties/desired/?$version={version}").into()
}

/// The topic of a direct method.
///
/// rule MQTT-11: nothing follows the request id (.NET takes the rest of the topic for it); the name is not escaped.
pub(super) fn method(name: &str, rid: &str) -> ByteString {
    format!("$iothub/methods/POST/{name}/?$rid={rid}").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_model::{DeviceId, ModuleId};
    use proptest::prelude::*;

    fn device(id: &str) -> Addresses {
        Addresses::new(&Identity::device(DeviceId::new(id).unwrap()))
    }

    fn module() -> Addresses {
        Addresses::new(&Identity::module(DeviceId::new("d1").unwrap(), ModuleId::new("m1").unwrap()))
    }

    fn publish(addresses: &Addresses, topic: &str) -> Result<Address, ErrorCode> {
        addresses.of_publish(&ByteString::from(topic)).map_err(|refusal| refusal.code)
    }

    fn telemetry(bag: &str) -> Result<Address, ErrorCode> {
        Ok(Address::Telemetry { bag: bag.into() })
    }

    #[test]
    fn mqtt_05_the_eight_forms_of_telemetry_topics() {
        for (addresses, own) in [(device("d1"), "devices/d1"), (module(), "devices/d1/modules/m1")] {
            for (tail, bag) in [("", ""), ("/", ""), ("/a=b", "a=b"), ("/%24.on=output1/", "%24.on=output1")]
            {
                let topic = format!("{own}/messages/events{tail}");
                assert_eq!(publish(&addresses, &topic), telemetry(bag), "{topic}");
            }
        }
    }

    #[test]
    fn ids_are_not_escaped() {
        let id = "a+b#%41?$=;c";
        assert_eq!(publish(&device(id), &format!("devices/{id}/messages/events/x=1")), telemetry("x=1"));
    }

    #[test]
    fn mqtt_07_mqtt_08_other_topics_are_refused() {
        let foreign = Err(ErrorCode::IotHubUnauthorizedAccess);
        for topic in [
            "devices/d2/messages/events/",
            "devices/d1/modules/m1/messages/events/",
            "devices/d1/messages/events2",
            "devices/d1/messages/devicebound/",
        ] {
            assert_eq!(publish(&device("d1"), topic), foreign, "{topic}");
        }
        assert_eq!(publish(&module(), "devices/d1/messages/events/"), foreign);
        for topic in
            ["home/kitchen", "$iothub/streams/x", "$iothub/twin/GET/", "$iothub/methods/res/ok/?$rid=1"]
        {
            assert_eq!(publish(&device("d1"), topic), Err(ErrorCode::InvalidOperation), "{topic}");
        }
        let refusal = device("d1").of_filter("devices/d2/messages/devicebound/#").unwrap_err();
        assert_eq!(refusal.code, ErrorCode::IotHubUnauthorizedAccess);
        assert_eq!(device("d1").of_filter("#").unwrap_err().code, ErrorCode::InvalidOperation);
    }

    #[test]
    fn twin_and_method_topics() {
        let d = device("d1");
        assert_eq!(publish(&d, "$iothub/twin/GET/?$rid=4a-b"), Ok(Address::GetTwin { rid: "4a-b".into() }));
        assert_eq!(
            publish(&d, "$iothub/twin/PATCH/properties/reported/?$rid=7&$version=3"),
            Ok(Address::PatchReported { rid: "7".into() })
        );
        assert_eq!(
            publish(&d, "$iothub/methods/res/-200/?$rid=1"),
            Ok(Address::MethodAnswer { status: -200, rid: "1".into() })
        );
    }

    #[test]
    fn mqtt_06_filters() {
        let d = device("d+1");
        assert_eq!(d.of_filter("devices/d+1/messages/devicebound/#"), Ok(&[Wish::CloudToDevice][..]));
        assert_eq!(d.of_filter("$iothub/twin/PATCH/#"), Ok(&[Wish::DesiredProperties][..]));
        assert!(d.of_filter("$iothub/methods/POST/reboot/#").is_err());
        assert_eq!(module().of_filter("devices/d1/modules/m1/#"), Ok(&[Wish::Inputs][..]));
        assert_eq!(module().of_filter("devices/d1/modules/m1/inputs/#"), Ok(&[Wish::Inputs][..]));
        assert!(module().of_filter("devices/d1/modules/m2/#").is_err());
    }

    #[test]
    fn mqtt_09_mqtt_10_mqtt_11_topics_to_devices() {
        assert_eq!(module().input("in1").as_deref(), Some("devices/d1/modules/m1/inputs/in1/"));
        assert_eq!(twin_answer(204, "9%2F", Some(5)), "$iothub/twin/res/204/?$rid=9%2F&$version=5");
        assert_eq!(method("reboot", "1f"), "$iothub/methods/POST/reboot/?$rid=1f");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_topic_is_read_without_panic(topic in "(devices/d1|\\$iothub/(twin|methods)/)?\\PC{0,60}") {
            let _ = publish(&device("d1"), &topic);
            let _ = module().of_filter(&topic);
        }

        #[test]
        fn no_other_identity_has_our_telemetry_topic(id in "[a-z+#%$/]{1,6}") {
            prop_assume!(id != "d1");
            let topic = format!("devices/{id}/messages/events/");
            prop_assert!(publish(&device("d1"), &topic).is_err());
        }
    }
}
