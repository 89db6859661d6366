//! CONNECT: who the client says it is, and its proof.

use super::address::Addresses;
use crate::Peer;
use bytes::Bytes;
use bytestring::ByteString;
use ironbrook_hub::{ConnectRequest, Credential};
use ironbrook_model::{Cause, DeviceId, ErrorCode, Identity, ModuleId, Refusal, SasToken, percent_decode};
use ironbrook_wire::mqtt::v4::Connect;
use std::time::Duration;

/// Longest silence that is waited for, whatever the client asks.
const SILENCE_MAX: Duration = Duration::from_secs(1767);

/// Bag and payload of a will.
pub(super) type Will = (ByteString, Bytes);

/// A CONNECT that makes sense.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) request: ConnectRequest,
    pub(super) addresses: Addresses,
    pub(super) will: Option<Will>,
    /// How long the client may be silent.
    pub(super) silence: Duration,
}

impl Login {
    /// Reads a CONNECT. The refusal's code tells the return code.
    pub(super) fn read(connect: Connect, peer: &Peer) -> Result<Self, Refusal> {
        let identity = identity(&connect.client_id)?;
        let username = connect.username.as_ref().ok_or_else(|| {
            malformed("there is no user name; it must be '{hub host}/{client id}/?api-version=2021-04-12'")
        })?;
        let model_id = model_id(query(username, &connect.client_id)?);
        let credential = credential(connect.password.as_ref(), peer)?;
        let addresses = Addresses::new(&identity);
        let will = match connect.will {
            None => None,
            // rule MQTT-12: a will goes to the client's own telemetry topic or the connection is refused; its quality and retain
            // flag do not matter.
            Some(will) => match addresses.telemetry_bag(&will.topic) {
                Some(bag) => Some((will.topic.slice_ref(bag), will.payload)),
                None => {
                    return Err(addresses.of_publish(&will.topic).err().unwrap_or_else(|| {
                        Refusal::new(
                            ErrorCode::InvalidOperation,
                            "the will may only be telemetry of the client",
                        )
                    }));
                }
            },
        };
        let clean_session = connect.clean_session;
        let request = ConnectRequest { identity, credential, model_id, clean_session, lasting: true };
        Ok(Self { request, addresses, will, silence: silence(connect.keep_alive) })
    }
}

/// `device` or `device/module`.
pub(crate) fn identity(client_id: &str) -> Result<Identity, Refusal> {
    let invalid = |error: ironbrook_model::IdError| {
        Refusal::new(ErrorCode::ArgumentInvalid, format!("the client id is not a valid identity: {error}"))
    };
    let (device, module) = match client_id.split_once('/') {
        None => (client_id, None),
        Some((device, module)) => (device, Some(module)),
    };
    let device = DeviceId::new(device.to_owned()).map_err(invalid)?;
    Ok(match module {
        None => Identity::device(device),
        Some(module) => Identity::module(device, ModuleId::new(module.to_owned()).map_err(invalid)?),
    })
}

/// What follows the ids in a user name, without its question mark.
///
/// rule MQTT-13: `{hub}/{client id}`, then nothing, `/`, `/?{query}` or `/api-version={…}`. Ids are not escaped and may hold `?`, so
/// the client id tells where they end.
fn query<'a>(username: &'a str, client_id: &str) -> Result<&'a str, Refusal> {
    let (hub, rest) = username.split_once('/').ok_or_else(|| {
        malformed("the user name has no slash; it must be '{hub host}/{client id}/?api-version=2021-04-12'")
    })?;
    if hub.is_empty() {
        return Err(malformed("the user name does not begin with the hub's host name"));
    }
    let tail = rest.strip_prefix(client_id).and_then(|tail| match tail.strip_prefix('/') {
        None => tail.is_empty().then_some(""),
        Some("") => Some(""),
        Some(query) => query.strip_prefix('?').or_else(|| query.starts_with("api-version=").then_some(query)),
    });
    // rule MQTT-14: the ids in user name and client id must be the same.
    tail.ok_or_else(|| {
        Refusal::new(
            ErrorCode::IotHubUnauthorized,
            "user name and client id name different identities; the user name must be '{hub host}/{client id}/?api-version=2021-04-12'",
        )
    })
}

fn model_id(query: &str) -> Option<String> {
    let value = query.split('&').find_map(|item| item.strip_prefix("model-id="))?;
    percent_decode(value).map(|id| id.into_owned()).filter(|id| !id.is_empty())
}

/// The proof of a client: its password, or the certificate of its connection.
pub(crate) fn credential(password: Option<&Bytes>, peer: &Peer) -> Result<Credential, Refusal> {
    match password.filter(|password| !password.is_empty()) {
        Some(password) => {
            let token = std::str::from_utf8(password).ok().and_then(|text| SasToken::parse(text).ok());
            token.map(Credential::Sas).ok_or_else(|| {
                malformed("the password is not of the form 'SharedAccessSignature sr=…&sig=…&se=…'")
                    .because(Cause::Malformed)
            })
        }
        None if !peer.certificates.is_empty() => Ok(Credential::Certificate(peer.certificates.clone())),
        None => Err(Refusal::new(
            ErrorCode::IotHubUnauthorized,
            "no password and no client certificate; send a SAS token as password",
        )
        .because(Cause::NoCredential)),
    }
}

/// rule MQTT-15: one and a half times the keep-alive interval, 1767 s at most, also where the client turned it off.
pub(super) fn silence(keep_alive: u16) -> Duration {
    match keep_alive {
        0 => SILENCE_MAX,
        seconds => (Duration::from_secs(u64::from(seconds)) * 3 / 2).min(SILENCE_MAX),
    }
}

fn malformed(text: &'static str) -> Refusal {
    Refusal::new(ErrorCode::IotHubFormatError, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_model::MqttAction;
    use ironbrook_wire::mqtt::v4::{QoS, Will};

    const TOKEN: &str = "SharedAccessSignature sr=h&sig=AAAA&se=1";

    fn read(client_id: &str, username: &str, password: Option<&'static str>) -> Result<Login, Refusal> {
        read_with_will(client_id, username, password, None)
    }

    fn read_with_will(
        client_id: &str,
        username: &str,
        password: Option<&'static str>,
        will: Option<&str>,
    ) -> Result<Login, Refusal> {
        let connect = Connect {
            client_id: client_id.into(),
            keep_alive: 60,
            clean_session: false,
            will: will.map(|topic| Will {
                topic: topic.into(),
                payload: Bytes::from_static(b"gone"),
                qos: QoS::ExactlyOnce,
                retain: true,
            }),
            username: Some(username.into()),
            password: password.map(|p| Bytes::from_static(p.as_bytes())),
        };
        let peer = Peer { addr: "127.0.0.1:1".parse().unwrap(), certificates: Vec::new(), tls: true };
        Login::read(connect, &peer)
    }

    fn code(result: Result<Login, Refusal>) -> u8 {
        match result.unwrap_err().code.mqtt_action(true) {
            MqttAction::Refuse(code) => code,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn mqtt_13_user_names_of_all_clients() {
        for tail in [
            "",
            "/",
            "/?api-version=2019-10-01&DeviceClientType=x%2F1",
            "/api-version=2016-11-14",
            "/?model-id=dtmi%3Ax%3B1&api-version=2021-04-12",
        ] {
            for id in ["d1", "d1/m1", "a?b%2F+#", "api-version=1"] {
                let login = read(id, &format!("localhost:18883/{id}{tail}"), Some(TOKEN)).unwrap();
                assert_eq!(login.request.identity.to_string(), id, "{tail}");
            }
        }
        let login = read("d1", "h/d1/?a=b&model-id=dtmi%3Ax%3B1", Some(TOKEN)).unwrap();
        assert_eq!(login.request.model_id.as_deref(), Some("dtmi:x;1"));
    }

    #[test]
    fn mqtt_14_ids_must_agree() {
        for username in ["h/d2/?api-version=1", "h/d1/m1/?api-version=1", "h/d12", "h/d1?x"] {
            assert_eq!(code(read("d1", username, Some(TOKEN))), 5, "{username}");
        }
        assert_eq!(code(read("d1/m1", "h/d1/?api-version=1", Some(TOKEN))), 5);
    }

    #[test]
    fn mqtt_16_return_codes_of_malformed_connects() {
        assert_eq!(code(read("", "h/", Some(TOKEN))), 2);
        assert_eq!(code(read("a b", "h/a b/", Some(TOKEN))), 2);
        assert_eq!(code(read("d1", "nonsense", Some(TOKEN))), 4);
        assert_eq!(code(read("d1", "h/d1/", Some("password"))), 4);
        assert_eq!(code(read("d1", "h/d1/", None)), 5);
    }

    #[test]
    fn mqtt_12_wills() {
        let will = |topic| read_with_will("d1", "h/d1/", Some(TOKEN), Some(topic));
        let (bag, payload) = will("devices/d1/messages/events/a=b").unwrap().will.unwrap();
        assert_eq!((&*bag, &payload[..]), ("a=b", &b"gone"[..]));
        assert_eq!(code(will("devices/d2/messages/events/")), 5);
        assert_eq!(code(will("$iothub/twin/GET/?$rid=1")), 2);
    }

    #[test]
    fn mqtt_15_silence_is_one_and_a_half_intervals_and_capped() {
        assert_eq!(silence(60), Duration::from_secs(90));
        assert_eq!(silence(0), SILENCE_MAX);
        assert_eq!(silence(1177), Duration::from_millis(1_765_500));
        assert_eq!(silence(u16::MAX), SILENCE_MAX);
    }
}
