//! Link addresses of the service side.

use super::not_found;
use ironbrook_log::PartitionId;
use ironbrook_model::{Permissions, Refusal};

/// What an address means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// A partition of the events endpoint, read in a consumer group.
    Events { group: String, partition: PartitionId },
    /// Sending messages to devices.
    ToDevices,
    /// Feedback about them.
    Feedback,
    /// Notices of files that devices uploaded.
    FileNotifications,
    /// Requests about the events endpoint.
    Management,
    /// The events endpoint by the name it has on the hub's own host: what follows that name.
    Moved(String),
}

impl Address {
    /// The right that opens links on it, and requests to it.
    pub(super) const fn right(&self) -> Permissions {
        match self {
            Self::Events { .. }
            | Self::ToDevices
            | Self::Feedback
            | Self::FileNotifications
            | Self::Management
            | Self::Moved(_) => Permissions::SERVICE_CONNECT,
        }
    }

    /// Reads an address, any case. The entity of the events endpoint is the hub's short name; a client that writes another name is
    /// told the right one.
    pub(super) fn parse(text: &str, hub_name: &str) -> Result<Self, Refusal> {
        let path = text.trim_matches('/');
        let is = |wanted: &str| path.eq_ignore_ascii_case(wanted);
        if is("messages/devicebound") {
            return Ok(Self::ToDevices);
        }
        if is("messages/servicebound/feedback") {
            return Ok(Self::Feedback);
        }
        if is("messages/servicebound/filenotifications") {
            return Ok(Self::FileNotifications);
        }
        if is("$management") {
            return Ok(Self::Management);
        }
        if let Some(rest) = strip_prefix(path, "messages/events") {
            return Ok(Self::Moved(rest.to_owned()));
        }
        let rest = strip_prefix(path, hub_name).ok_or_else(|| {
            not_found(format!(
                "there is no {text}; the events endpoint is {hub_name}/ConsumerGroups/<group>/Partitions/<n>"
            ))
        })?;
        if rest.eq_ignore_ascii_case("$management") {
            return Ok(Self::Management);
        }
        let mut parts = rest.split('/');
        let (groups, group, partitions, number) = (parts.next(), parts.next(), parts.next(), parts.next());
        let named = |part: Option<&str>, wanted: &str| part.is_some_and(|p| p.eq_ignore_ascii_case(wanted));
        match (group, number.and_then(|n| n.parse().ok()), parts.next()) {
            (Some(group), Some(number), None)
                if named(groups, "ConsumerGroups") && named(partitions, "Partitions") =>
            {
                Ok(Self::Events { group: group.to_owned(), partition: PartitionId(number) })
            }
            _ => Err(not_found(format!(
                "{text} names no partition; the form is {hub_name}/ConsumerGroups/<group>/Partitions/<n>"
            ))),
        }
    }
}

/// The rest of a path after a leading entity, without the slash between them.
fn strip_prefix<'a>(path: &'a str, entity: &str) -> Option<&'a str> {
    let (head, rest) = path.split_at_checked(entity.len())?;
    head.eq_ignore_ascii_case(entity).then_some(rest)?.strip_prefix('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_events_endpoint_has_the_hub_s_name_in_any_case_and_moved_there() {
        let wanted = Address::Events { group: "$Default".into(), partition: PartitionId(3) };
        for text in ["hub/ConsumerGroups/$Default/Partitions/3", "/HUB/consumergroups/$Default/partitions/3"]
        {
            assert_eq!(Address::parse(text, "Hub").unwrap(), wanted);
        }
        let moved = Address::Moved("ConsumerGroups/g/Partitions/0".to_owned());
        assert_eq!(Address::parse("/Messages/Events/ConsumerGroups/g/Partitions/0", "hub").unwrap(), moved);
    }

    #[test]
    fn service_addresses_have_any_case() {
        assert_eq!(Address::parse("/messages/deviceBound", "h").unwrap(), Address::ToDevices);
        assert_eq!(Address::parse("messages/serviceBound/Feedback", "h").unwrap(), Address::Feedback);
        assert_eq!(
            Address::parse("/messages/serviceBound/filenotifications", "h").unwrap(),
            Address::FileNotifications
        );
        assert_eq!(Address::parse("h/$management", "h").unwrap(), Address::Management);
    }

    #[test]
    fn anything_else_is_not_found_and_the_right_form_is_named() {
        for text in [
            "",
            "other/ConsumerGroups/g/Partitions/0",
            "h/ConsumerGroups/g/Partitions/x",
            "h/ConsumerGroups/g",
            "é",
        ] {
            let refusal = Address::parse(text, "h").unwrap_err();
            assert_eq!(refusal.code.http_status(), 404, "{text}");
            assert!(refusal.message.contains("h/ConsumerGroups/"), "{refusal}");
        }
    }
}
