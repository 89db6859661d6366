//! What a condition can ask about a message.

use super::members::Members;
use ironbrook_model::{Identity, Message, MessageSource, SystemProperty, Timestamp};
use ironbrook_query::Operands;
use serde_json::Value;
use std::borrow::Cow;
use std::cell::{Cell, OnceCell};

/// A message on its way into the log, with what the hub knows about it.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) auth_method: &'a str,
    pub(crate) source: MessageSource,
    /// Its properties; the body counts less than the one below.
    pub(crate) message: &'a Message,
    pub(crate) body: &'a [u8],
    pub(crate) enqueued: Timestamp,
    pub(crate) twin: Option<&'a Value>,
}

impl<'a> Facts<'a> {
    /// A message of a sender, without its twin.
    pub fn new(
        identity: &'a Identity,
        auth_method: &'a str,
        source: MessageSource,
        message: &'a Message,
        enqueued: Timestamp,
    ) -> Self {
        Self { identity, auth_method, source, message, body: &message.body, enqueued, twin: None }
    }

    /// With the sender's twin: `{"tags": …, "properties": {"desired": …, "reported": …}}`.
    pub fn with_twin(self, twin: Option<&'a Value>) -> Self {
        Self { twin, ..self }
    }
}

/// A message as the conditions of one table see it.
pub(super) struct Sight<'a> {
    facts: &'a Facts<'a>,
    /// The members of the body that conditions name; `None` where one looks at the whole.
    members: Option<&'a [String]>,
    /// Parsed when the first condition asks for it, then kept for the others.
    body: OnceCell<Option<Value>>,
    found: OnceCell<Option<Members>>,
    /// A condition did.
    asked_body_or_time: Cell<bool>,
}

impl<'a> Sight<'a> {
    pub(super) fn new(facts: &'a Facts<'a>, members: Option<&'a [String]>) -> Self {
        Self {
            facts,
            members,
            body: OnceCell::new(),
            found: OnceCell::new(),
            asked_body_or_time: Cell::new(false),
        }
    }

    /// Whether a condition asked for them. What comes out without is the same for every body at any time.
    pub(super) fn asked_body_or_time(&self) -> bool {
        self.asked_body_or_time.get()
    }
}

impl Operands for Sight<'_> {
    fn property(&self, name: &str) -> Option<&str> {
        // rule ROUTE-04: names of application properties are compared without case.
        self.facts.message.properties.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| &**v)
    }

    fn system(&self, name: &str) -> Option<Cow<'_, str>> {
        let facts = self.facts;
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        if is("enqueuedTime") || is("iothub-enqueuedtime") {
            self.asked_body_or_time.set(true);
            return Some(Cow::Owned(facts.enqueued.to_string()));
        }
        if is("iothub-message-source") {
            return Some(Cow::Borrowed(facts.source.wire_name()));
        }
        match SystemProperty::from_routing_name(name)? {
            SystemProperty::ConnectionDeviceId => Some(Cow::Borrowed(facts.identity.device.as_str())),
            SystemProperty::ConnectionModuleId => {
                facts.identity.module.as_ref().map(|module| Cow::Borrowed(module.as_str()))
            }
            SystemProperty::ConnectionAuthMethod => {
                Some(Cow::Borrowed(facts.auth_method)).filter(|method| !method.is_empty())
            }
            SystemProperty::OutputName => facts.output().map(Cow::Borrowed),
            property => facts.message.system.get(property).map(|value| Cow::Borrowed(&**value)),
        }
    }

    fn body(&self) -> Option<&Value> {
        self.asked_body_or_time.set(true);
        self.body.get_or_init(|| read(self.facts, |text| serde_json::from_str(text).ok())).as_ref()
    }

    // rule ROUTE-09: the twin of the sender itself, a module's own where it is a module.
    fn twin(&self) -> Option<&Value> {
        // It may change between messages, as a body does.
        self.asked_body_or_time.set(true);
        self.facts.twin
    }

    fn body_member(&self, name: &str) -> Option<&Value> {
        self.asked_body_or_time.set(true);
        let Some(wanted) = self.members else { return self.body()?.as_object()?.get(name) };
        let found = self.found.get_or_init(|| read(self.facts, |text| Members::read(text, wanted)));
        found.as_ref()?.get(wanted.iter().position(|member| member == name)?)
    }
}

/// Reads a body.
///
/// rule ROUTE-05: only a body that says it is JSON, in a known encoding, is looked into.
fn read<T>(facts: &Facts<'_>, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    if !facts.message.has_json_body() {
        return None;
    }
    let encoding = facts.message.system.get(SystemProperty::ContentEncoding)?.trim();
    let body = facts.body;
    if encoding.eq_ignore_ascii_case("utf-8") {
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        return parse(std::str::from_utf8(body).ok()?);
    }
    let text = if encoding.eq_ignore_ascii_case("utf-16") { utf16(body) } else { utf32(body) };
    parse(&text?)
}

/// UTF-16, little-endian where no byte order mark says otherwise.
fn utf16(bytes: &[u8]) -> Option<String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let swap = bytes.starts_with(&[0xfe, 0xff]);
    let unit = |pair: &[u8; 2]| if swap { u16::from_be_bytes(*pair) } else { u16::from_le_bytes(*pair) };
    let text: String = char::decode_utf16(pairs.iter().map(unit)).collect::<Result<_, _>>().ok()?;
    rest.is_empty().then(|| text.trim_start_matches('\u{feff}').to_owned())
}

/// UTF-32, little-endian where no byte order mark says otherwise.
fn utf32(bytes: &[u8]) -> Option<String> {
    let (units, rest) = bytes.as_chunks::<4>();
    let swap = bytes.starts_with(&[0, 0, 0xfe, 0xff]);
    let unit = |unit: &[u8; 4]| if swap { u32::from_be_bytes(*unit) } else { u32::from_le_bytes(*unit) };
    let text: String = units.iter().map(|u| char::from_u32(unit(u))).collect::<Option<_>>()?;
    rest.is_empty().then(|| text.trim_start_matches('\u{feff}').to_owned())
}
