//! The section `[throttles]`: what the hub, an identity and an address may ask in a while.

use ironbrook_cloud::assembly::Throttles as Settings;
use ironbrook_hub::{Flapping, Tier, Units};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What the hub, an identity and an address may ask in a while. With profile `azure` the hub is throttled as one unit of S1 unless
/// this says otherwise; with `native` nothing is throttled unless this says so.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Throttles {
    /// Units of the hub: its throttles are so many times the documented ones of a unit. 0 for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units: Option<u32>,
    /// The size of a unit.
    pub tier: Size,
    /// Lasting connections of one identity in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_connections_per_second: Option<u32>,
    /// Telemetry messages of one connection in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_messages_per_second: Option<u32>,
    /// Connections from one address in a second, whatever is spoken on them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_connections_per_second: Option<u32>,
    /// An identity that connects more often than this within `flap_seconds` is shut out for `ban_seconds`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flap_connections: Option<u32>,
    /// See `flap_connections`; 60 where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flap_seconds: Option<u32>,
    /// See `flap_connections`; 300 where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ban_seconds: Option<u32>,
}

/// A size of a hub, as Azure sells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// Also F1 and B1.
    #[default]
    S1,
    /// Twelve times the messages.
    S2,
    /// A thousand times.
    S3,
}

impl Throttles {
    /// As the hub takes them; `azure` tells whether its profile is on.
    pub fn settings(&self, azure: bool) -> Settings {
        let tier = match self.tier {
            Size::S1 => Tier::S1,
            Size::S2 => Tier::S2,
            Size::S3 => Tier::S3,
        };
        let units = self.units.unwrap_or(u32::from(azure));
        let seconds = |given: Option<u32>, usual| Duration::from_secs(u64::from(given.unwrap_or(usual)));
        Settings {
            units: (units > 0).then_some(Units { tier, units }),
            identity_connections_per_second: self.identity_connections_per_second,
            identity_messages_per_second: self.identity_messages_per_second,
            address_connections_per_second: self.address_connections_per_second,
            flapping: self.flap_connections.map(|connections| Flapping {
                connections,
                within: seconds(self.flap_seconds, 60),
                ban: seconds(self.ban_seconds, 300),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_decides_where_nothing_is_said() {
        let unsaid = Throttles::default();
        assert_eq!(unsaid.settings(true).units, Some(Units { tier: Tier::S1, units: 1 }));
        assert_eq!(unsaid.settings(false).units, None);
        let off = Throttles { units: Some(0), ..Throttles::default() };
        assert_eq!(off.settings(true).units, None);
        let text = "units = 4\ntier = 's2'\nflap_connections = 10\nban_seconds = 60";
        let given = toml::from_str::<Throttles>(text).unwrap().settings(false);
        assert_eq!(given.units, Some(Units { tier: Tier::S2, units: 4 }));
        let flapping = given.flapping.unwrap();
        assert_eq!((flapping.within, flapping.ban), (Duration::from_secs(60), Duration::from_secs(60)));
    }
}
