//! The way a message came, as routes name it.

use ironbrook_model::{Identity, MessageSource, SystemProperty};

use super::Facts;

/// The path of a route, ready to be compared.
///
/// rule ROUTE-06: what is at the end of stars, blanks and slashes does not count; a star anywhere else is a star.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Path(String);

impl Path {
    pub(super) fn parse(text: &str) -> Self {
        Self(format!("{}/", text.trim_end_matches(['*', ' ', '/'])))
    }

    /// Whether a message came this way. No allocation: this stands on the path of every message.
    pub(super) fn matches(&self, facts: &Facts<'_>) -> bool {
        let mut rest = self.0.as_bytes();
        // Each piece ends where the next begins; the route must end within them.
        for piece in pieces(facts) {
            let (len, piece) = (rest.len().min(piece.len()), piece.as_bytes());
            if !rest[..len].eq_ignore_ascii_case(&piece[..len]) {
                return false;
            }
            rest = &rest[len..];
        }
        rest.is_empty()
    }
}

/// The pieces of a message's path with a slash at its end.
fn pieces<'a>(facts: &'a Facts<'_>) -> [&'a str; 5] {
    match facts.source {
        MessageSource::DeviceMessages => telemetry(facts.identity, facts.output()),
        MessageSource::TwinChangeEvents => ["/twinChangeNotifications/", "", "", "", ""],
        MessageSource::DeviceLifecycleEvents
        | MessageSource::DeviceConnectionStateEvents
        | MessageSource::DeviceJobLifecycleEvents
        | MessageSource::DigitalTwinChangeEvents => ["/", "", "", "", ""],
    }
}

fn telemetry<'a>(identity: &'a Identity, output: Option<&'a str>) -> [&'a str; 5] {
    match (&identity.module, output) {
        (None, _) => ["/messages/", "", "", "", ""],
        (Some(module), None) => ["/messages/modules/", module.as_str(), "/", "", ""],
        (Some(module), Some(output)) => ["/messages/modules/", module.as_str(), "/outputs/", output, "/"],
    }
}

impl Facts<'_> {
    /// The output a module sent by; devices have none, whatever they say.
    pub(super) fn output(&self) -> Option<&str> {
        self.identity.module.as_ref()?;
        self.message.system.get(SystemProperty::OutputName).map(|output| &**output)
    }
}
