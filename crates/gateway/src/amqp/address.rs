//! Link addresses: text becomes an enum here and is never looked at again.

use crate::provisioning;
use ironbrook_model::{DeviceId, Identity, ModuleId, percent_decode};

/// What a device's link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Node {
    /// `messages/events`: telemetry up, a module's inputs down.
    Events,
    /// `messages/devicebound`.
    DeviceBound,
    /// `twin`.
    Twin,
    /// `methods/devicebound`.
    Methods,
}

/// Where a link leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// `$cbs`: tokens.
    Cbs,
    /// `$management` or `…/$management`: request and response.
    Management,
    /// A device's or module's own node. The identities that the spelling may mean, most likely first, one or two.
    Device(Vec<Identity>, Node),
    /// Id scope and registration id of a device that wants to be provisioned.
    Registration(String, String),
    /// Anything else, without scheme, authority and leading slash.
    Service(String),
}

impl Address {
    /// Reads an address; `None` where it names an impossible id.
    ///
    /// rule AMQP-06: plain or absolute (`amqps://host[:port]/…`), with or without a leading slash, fixed words in any case.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let path = match text.split_once("://") {
            Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
            None => text,
        };
        let path = path.trim_start_matches('/').trim_end_matches('/');
        let segments: Vec<&str> = path.split('/').collect();
        let last = segments.last().copied().unwrap_or_default();
        if segments.len() == 1 && last.eq_ignore_ascii_case("$cbs") {
            return Some(Self::Cbs);
        }
        if last.eq_ignore_ascii_case("$management") {
            // The assembly tells where the hub's own name for the events endpoint leads.
            let is_moved = matches!(segments[..], [a, b, _] if is(a, "messages") && is(b, "events"));
            return Some(if is_moved { Self::Service(path.to_owned()) } else { Self::Management });
        }
        if let Some((scope, id)) = provisioning::of_address(path) {
            return Some(Self::Registration(scope, id));
        }
        let (device, module, rest) = match segments.as_slice() {
            [devices, d, modules, m, rest @ ..] if is(devices, "devices") && is(modules, "modules") => {
                (*d, Some(*m), rest)
            }
            [devices, d, rest @ ..] if is(devices, "devices") => (*d, None, rest),
            _ => return Some(Self::Service(path.to_owned())),
        };
        let node = match rest {
            [a, b] if is(a, "messages") && is(b, "events") => Node::Events,
            [a, b] if is(a, "messages") && is(b, "devicebound") => Node::DeviceBound,
            [a, b] if is(a, "methods") && is(b, "devicebound") => Node::Methods,
            [a] if is(a, "twin") => Node::Twin,
            _ => return Some(Self::Service(path.to_owned())),
        };
        let identities = identities(device, module);
        (!identities.is_empty()).then_some(Self::Device(identities, node))
    }
}

fn is(segment: &str, word: &str) -> bool {
    segment.eq_ignore_ascii_case(word)
}

/// rule AMQP-07: Node writes ids raw, .NET percent-encodes them, and an id may hold a percent sign itself: raw first, then
/// decoded.
pub(super) fn identities(device: &str, module: Option<&str>) -> Vec<Identity> {
    let raw = identity(device, module);
    let decoded = percent_decode(device).and_then(|device| match module {
        Some(module) => identity(&device, Some(&*percent_decode(module)?)),
        None => identity(&device, None),
    });
    match (raw, decoded) {
        (Some(raw), Some(decoded)) if raw != decoded => vec![raw, decoded],
        (raw, decoded) => raw.or(decoded).into_iter().collect(),
    }
}

fn identity(device: &str, module: Option<&str>) -> Option<Identity> {
    let device = DeviceId::new(device).ok()?;
    match module {
        Some(module) => Some(Identity::module(device, ModuleId::new(module).ok()?)),
        None => Some(Identity::device(device)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(id: &str) -> Identity {
        Identity::device(DeviceId::new(id).unwrap())
    }

    /// rule AMQP-06
    #[test]
    fn addresses_are_read_in_both_spellings_and_any_case() {
        let wanted = Some(Address::Device(vec![device("d1")], Node::DeviceBound));
        for text in [
            "/devices/d1/messages/deviceBound",
            "devices/d1/messages/devicebound",
            "amqps://hub.test:5671/devices/d1/Messages/DeviceBound/",
        ] {
            assert_eq!(Address::parse(text), wanted, "{text}");
        }
        assert_eq!(Address::parse("$cbs"), Some(Address::Cbs));
        assert_eq!(Address::parse("amqps://hub/$cbs"), Some(Address::Cbs));
        assert_eq!(Address::parse("hub/$management"), Some(Address::Management));
        let events = "hub/ConsumerGroups/$Default/Partitions/0";
        for text in [events.to_owned(), format!("amqps://localhost:5672/{events}")] {
            assert_eq!(Address::parse(&text), Some(Address::Service(events.into())));
        }
        for path in ["messages/devicebound", "messages/events/$management"] {
            assert_eq!(
                Address::parse(&format!("amqps://localhost/{path}")),
                Some(Address::Service(path.into()))
            );
        }
    }

    #[test]
    fn modules_have_nodes_of_their_own() {
        let module = Identity::module(DeviceId::new("d").unwrap(), ModuleId::new("m").unwrap());
        assert_eq!(
            Address::parse("/devices/d/modules/m/twin"),
            Some(Address::Device(vec![module], Node::Twin))
        );
        assert_eq!(
            Address::parse("/devices/d/methods/devicebound"),
            Some(Address::Device(vec![device("d")], Node::Methods))
        );
    }

    /// rule AMQP-07
    #[test]
    fn an_encoded_id_may_mean_two_identities() {
        let Some(Address::Device(ids, Node::Twin)) = Address::parse("/devices/a%23b/twin") else { panic!() };
        assert_eq!(ids, [device("a%23b"), device("a#b")]);
        let Some(Address::Device(ids, _)) = Address::parse("/devices/100%/twin") else { panic!() };
        assert_eq!(ids, [device("100%")]);
    }

    #[test]
    fn an_impossible_id_is_no_address() {
        assert_eq!(Address::parse("/devices/grün/twin"), None);
        assert_eq!(Address::parse("/devices//twin"), None);
    }
}
