//! CONNECT: who the client says it is, its proof, and what it asks for.

use super::convert::{will_v4, will_v5};
use super::enhanced::{self, Proven};
use super::speech::{Speech, V5};
use super::{Denied, Topics};
use crate::packet_io::Io;
use crate::{Peer, mqtt, provisioning};
use bytes::Bytes;
use bytestring::ByteString;
use ironbrook_model::Timestamp;
use ironbrook_pubsub::{ClientInfo, Reason, Version};
use ironbrook_wire::mqtt::first::First;
use ironbrook_wire::mqtt::v5::{self, AuthData, PeerLimits};
use ironbrook_wire::mqtt::{Sender, v4};
use std::num::NonZeroU16;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// A CONNECT that is let in, as far as the door can tell.
pub(super) struct Login {
    pub(super) client: ClientInfo,
    pub(super) speech: Speech,
    /// How long the client may be silent.
    pub(super) silence: Option<Duration>,
    /// The keep-alive it is told to use.
    pub(super) server_keep_alive: Option<NonZeroU16>,
    /// Whether it asks for response information.
    pub(super) wants_response: bool,
    /// When what it proved itself with ends.
    pub(super) until: Option<Timestamp>,
    /// How it proved itself by an enhanced authentication, and what CONNACK then carries.
    pub(super) proven: Option<(Proven, Bytes)>,
}

/// What both versions ask for.
struct Wishes {
    client: ClientInfo,
    password: Option<Bytes>,
    keep_alive: u16,
    wants_response: bool,
    /// Method and first data of an enhanced authentication.
    method: Option<(ByteString, Bytes)>,
}

/// The client id and how to speak to a client that may not be let in.
pub(super) fn who(first: &First, topics: &Topics) -> (ByteString, Speech) {
    match first {
        First::V4(connect) => (connect.client_id.clone(), Speech::V4),
        First::V5(connect) => {
            let (limits, tells_why) = (PeerLimits::of_client(connect), topics.settings.explain_refusals);
            (connect.client_id.clone(), Speech::V5(V5 { limits, tells_why }))
        }
    }
}

/// Whether a client says that it is an identity of the hub.
///
/// rule TOPIC-03: `{hub}/{client id}`, then nothing or a slash and more, is a user name of the hub namespace.
pub(super) fn is_hub_user(first: &First) -> bool {
    match first {
        First::V4(connect) => is_hub_name(connect.username.as_deref(), &connect.client_id),
        First::V5(connect) => is_hub_name(connect.username.as_deref(), &connect.client_id),
    }
}

fn is_hub_name(user: Option<&str>, client_id: &str) -> bool {
    // rule DPS-01: who wants to be provisioned is none of the ordinary topics' either.
    if user.is_some_and(|user| provisioning::of_user_name(user, client_id).is_some()) {
        return true;
    }
    let Some((hub, rest)) = user.and_then(|user| user.split_once('/')) else { return false };
    let tail = rest.strip_prefix(client_id).filter(|_| !hub.is_empty() && !client_id.is_empty());
    tail.is_some_and(|tail| tail.is_empty() || tail.starts_with('/'))
}

/// Reads a CONNECT and checks who it is from.
pub(super) async fn read<S: AsyncRead + AsyncWrite + Unpin>(
    first: First,
    topics: &Topics,
    peer: &Peer,
    io: &mut Io<S>,
) -> Result<Login, Denied> {
    let speech = who(&first, topics).1;
    let wishes = match first {
        First::V4(connect) => wishes_v4(*connect)?,
        First::V5(connect) => wishes_v5(*connect)?,
    };
    let Wishes { mut client, password, keep_alive, wants_response, method } = wishes;
    let (mut until, mut proven) = (None, None);
    if let (Some(method), Speech::V5(v5)) = (method, speech) {
        let (by, data) = enhanced::authenticate(io, topics, method, v5).await?;
        if client.user.as_ref().is_some_and(|user| *user != by.user) {
            return Err(Reason::NotAuthorized.into());
        }
        client.user = Some(by.user.clone());
        proven = Some((by, data));
    } else if is_hub_name(client.user.as_deref(), &client.client_id) {
        until = hub_identity(topics, &client, password.as_ref(), peer).await?;
        client.user = Some(client.client_id.clone());
    } else if !is_known(topics, client.user.clone(), password).await {
        return Err(Reason::BadUserNameOrPassword.into());
    }
    let server_keep_alive = topics.settings.keep_alive_max.filter(|max| {
        // [MQTT-3.2.2-21], [MQTT-3.2.2-22]
        matches!(speech, Speech::V5(_)) && (keep_alive == 0 || keep_alive > max.get())
    });
    let keep_alive = server_keep_alive.map_or(keep_alive, NonZeroU16::get);
    // [MQTT-3.1.2-24] of 3.1.1, [MQTT-3.1.2-22] of 5.0: one and a half times.
    let silence = (keep_alive > 0).then(|| Duration::from_millis(u64::from(keep_alive) * 1500));
    Ok(Login { client, speech, silence, server_keep_alive, wants_response, until, proven })
}

fn wishes_v4(connect: v4::Connect) -> Result<Wishes, Denied> {
    let packet = v4::Packet::Connect(Box::new(connect));
    packet.check(Sender::Client).map_err(|violation| Denied {
        reason: Reason::TopicNameInvalid,
        code: None,
        text: violation.to_string(),
    })?;
    let v4::Packet::Connect(connect) = packet else { return Err(Reason::ProtocolError.into()) };
    let v4::Connect { client_id, keep_alive, clean_session, will, username, password } = *connect;
    let client = ClientInfo {
        user: username.map(|name| ByteString::from(&*name)),
        clean_start: clean_session,
        session_expiry: if clean_session { 0 } else { u32::MAX },
        will: will.map(will_v4),
        ..ClientInfo::new(client_id, Version::V3)
    };
    Ok(Wishes { client, password, keep_alive, wants_response: false, method: None })
}

fn wishes_v5(connect: v5::Connect) -> Result<Wishes, Denied> {
    let packet = v5::Packet::Connect(Box::new(connect));
    packet.check(Sender::Client).map_err(|violation| Denied {
        reason: Reason::ProtocolError,
        code: Some(violation.reason()),
        text: violation.to_string(),
    })?;
    let v5::Packet::Connect(connect) = packet else { return Err(Reason::ProtocolError.into()) };
    let v5::Connect { client_id, keep_alive, clean_start, will, username, password, properties } = *connect;
    let first_data = properties.authentication_data.map_or_else(Bytes::new, |AuthData(data)| data);
    let method = properties.authentication_method.map(|name| (name, first_data));
    let client = ClientInfo {
        user: username.map(|name| ByteString::from(&*name)),
        // A name that the broker makes up has no earlier session.
        clean_start: clean_start || client_id.is_empty(),
        session_expiry: properties.session_expiry_interval.unwrap_or(0),
        receive_maximum: properties.receive_maximum.map_or(u16::MAX, NonZeroU16::get),
        maximum_packet: properties.maximum_packet_size.map(std::num::NonZeroU32::get),
        topic_alias_maximum: properties.topic_alias_maximum.unwrap_or(0),
        will: will.map(will_v5),
        ..ClientInfo::new(client_id, Version::V5)
    };
    let wants_response = properties.request_response_information.unwrap_or(false);
    Ok(Wishes { client, password, keep_alive, wants_response, method })
}

/// Whether a user name and password are right.
async fn is_known(topics: &Topics, user: Option<ByteString>, password: Option<Bytes>) -> bool {
    let acl = topics.broker.acl();
    if user.is_none() || password.is_none() {
        // Nothing is hashed.
        return acl.authenticate(user.as_deref(), password.as_deref());
    }
    let Ok(_permit) = topics.checks.acquire().await else { return false };
    let check = move || acl.authenticate(user.as_deref(), password.as_deref());
    tokio::task::spawn_blocking(check).await.unwrap_or(false)
}

/// Checks an identity of the hub, and gives until when its proof holds.
///
/// rule TOPIC-04: identities of the hub use ordinary topics only where the settings allow it.
async fn hub_identity(
    topics: &Topics,
    client: &ClientInfo,
    password: Option<&Bytes>,
    peer: &Peer,
) -> Result<Option<Timestamp>, Denied> {
    let denied = |text: &str| Denied { reason: Reason::NotAuthorized, code: None, text: text.to_owned() };
    let Some(hub) = topics.identities.as_ref().filter(|_| topics.settings.hub_identities) else {
        let text = "identities of the hub may not use ordinary topics; set topics.hub_identities";
        return Err(denied(text));
    };
    let identity = mqtt::identity(&client.client_id).map_err(|refusal| denied(&refusal.message))?;
    let credential = mqtt::credential(password, peer).map_err(|refusal| denied(&refusal.message))?;
    let authenticated = hub.auth().device(&identity, &credential).await;
    authenticated.map(|found| found.refused_from).map_err(|refusal| denied(&refusal.message))
}
