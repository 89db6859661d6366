//! `mqtt://` and `mqtts://` addresses.

use super::{Error, Result};
use ironbrook_model::percent_decode;

/// An address, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub tls: bool,
    pub user: Option<String>,
    /// `host[:port]`
    pub authority: String,
}

impl Address {
    /// The registered ports of MQTT (IANA).
    pub(super) fn default_port(&self) -> u16 {
        if self.tls { 8883 } else { 1883 }
    }
}

/// Takes an address apart. Errors do not repeat it, as it may hold a password.
pub(super) fn parse(url: &str) -> Result<Address> {
    let wrong = |reason: &str| Err(Error::Url(reason.to_owned()));
    let (tls, rest) = match url.split_once("://") {
        Some(("mqtt", rest)) => (false, rest),
        Some(("mqtts", rest)) => (true, rest),
        _ => return wrong("it begins neither with mqtt:// nor with mqtts://"),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#']) {
        return wrong("something stands behind the host and the port");
    }
    let (user, authority) = match rest.rsplit_once('@') {
        Some((user, authority)) => (Some(user), authority),
        None => (None, rest),
    };
    if authority.is_empty() || authority.starts_with(':') {
        return wrong("there is no host");
    }
    let user = match user {
        // Others can see a program's arguments, and addresses get into logs.
        Some(user) if user.contains(':') => {
            return wrong("a password has no place in it, give it by itself");
        }
        Some(user) => match percent_decode(user) {
            Some(user) => Some(user.into_owned()),
            None => return wrong("the user name is not valid percent-encoding"),
        },
        None => None,
    };
    Ok(Address { tls, user, authority: authority.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_scheme_a_user_a_host_and_a_port() {
        let address = parse("mqtts://line%207@[::1]:18883").unwrap();
        let authority = "[::1]:18883".to_owned();
        assert_eq!(address, Address { tls: true, user: Some("line 7".to_owned()), authority });
        let address = parse("mqtt://localhost/").unwrap();
        assert_eq!((address.default_port(), &*address.authority), (1883, "localhost"));
    }

    #[test]
    fn what_is_no_address_is_told_without_repeating_it() {
        for url in [
            "localhost",
            "http://h",
            "mqtt://",
            "mqtt://:1",
            "mqtt://h/topic",
            "mqtt://u:canary@h",
            "mqtt://%ff@h",
        ] {
            let error = parse(url).unwrap_err().to_string();
            assert!(error.contains("mqtts://user@host:port") && !error.contains("canary"), "{error}");
        }
    }
}
