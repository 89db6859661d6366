//! MQTT of the provisioning service: two things to ask on topics that begin with `$dps`, and their answers.
//!
//! A connection does one thing after the other and is soon over, so it is a plain loop.

use super::io::{Event, Io};
use super::login::silence;
use super::{Refused, farewell};
use crate::http::error_json;
use crate::provisioning::{Provisioning, Registrant, nowhere, of_user_name};
use crate::{Peer, Protocol, RegistrationAnswer, Services};
use bytes::Bytes;
use ironbrook_hub::auth::refusals;
use ironbrook_hub::seams::{Clock as _, SystemClock};
use ironbrook_model::{ErrorCode, Refusal, percent_decode};
use ironbrook_wire::mqtt::v4::{
    ConnAck, Connect, ConnectReturnCode, Packet, Publish, QoS, SubAck, SubAckCode,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The filter of answers; there is no other.
const ANSWERS: &str = "$dps/registrations/res/#";
const REGISTER: &str = "$dps/registrations/PUT/iotdps-register/";
const OPERATION: &str = "$dps/registrations/GET/iotdps-get-operationstatus/";
/// Largest packet, in bytes: a request with its payload.
const PACKET_LEN_MAX: usize = 64 * 1024;
/// How long the client may take to read an answer.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// Seconds after which a client may ask again where the service is busy.
const BUSY_SECONDS: u32 = 5;

/// Whether a CONNECT is for the provisioning service.
pub(super) fn is_for(connect: &Connect) -> bool {
    connect.username.as_deref().is_some_and(|name| of_user_name(name, &connect.client_id).is_some())
}

/// Serves a device that wants to be provisioned, to its end.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut io: Io<S>,
    connect: Connect,
    services: &Services,
    peer: &Peer,
    cancel: &CancellationToken,
) {
    let client_id = connect.client_id.clone();
    let silence = silence(connect.keep_alive);
    let (service, registrant) = match enter(connect, services, peer).await {
        Ok(entered) => entered,
        Err(refusal) => {
            let refused = Refused::new(refusal, false);
            refused.log(peer, &client_id);
            services.metrics.refused(Protocol::mqtt, refused.refusal.code);
            return farewell(io, refused.code).await;
        }
    };
    let accepted = ConnAck { session_present: false, code: ConnectReturnCode::Accepted };
    if io.put(&Packet::ConnAck(accepted)).is_err() {
        return;
    }
    io.set_packet_max(PACKET_LEN_MAX);
    let mut door = Door { io, service, registrant, peer, listens: false };
    let reason = tokio::select! {
        () = cancel.cancelled() => "the server stops",
        reason = door.run(silence) => reason,
    };
    tracing::debug!(peer = %peer.addr, registration = %client_id, reason, "left the provisioning service");
    let _ = timeout(WRITE_TIME, door.io.shutdown()).await;
}

async fn enter(
    connect: Connect,
    services: &Services,
    peer: &Peer,
) -> Result<(Arc<dyn Provisioning>, Registrant), Refusal> {
    let service = services.provisioning.clone().ok_or_else(nowhere)?;
    let user_name = connect.username.as_deref().unwrap_or_default();
    let (id_scope, registration_id) = of_user_name(user_name, &connect.client_id).unwrap_or_default();
    let credential = super::credential(connect.password.as_ref(), peer)?;
    let registrant = Registrant { id_scope, registration_id, credential };
    refusals::from(peer.origin("mqtt"), service.authenticate(&registrant)).await?;
    Ok((service, registrant))
}

struct Door<'a, S> {
    io: Io<S>,
    service: Arc<dyn Provisioning>,
    registrant: Registrant,
    peer: &'a Peer,
    /// Whether the client subscribed to answers: without that there are none.
    listens: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Door<'_, S> {
    /// Serves until the connection has to end, and says why.
    async fn run(&mut self, silence: Duration) -> &'static str {
        loop {
            match self.io.packet() {
                Ok(Some(packet)) => {
                    if let Err(reason) = self.on_packet(packet).await {
                        return reason;
                    }
                    continue;
                }
                Ok(None) => {}
                Err(_) => return "it breaks the protocol",
            }
            if !self.io.is_flushed() {
                match timeout(WRITE_TIME, self.io.drive(false)).await {
                    Ok(Ok(_)) => continue,
                    Ok(Err(_)) => return "the connection failed",
                    Err(_) => return "it takes nothing of what is sent to it",
                }
            }
            match timeout(silence, self.io.drive(true)).await {
                Ok(Ok(Event::Read(0)) | Err(_)) => return "the connection was closed",
                Ok(Ok(_)) => {}
                Err(_) => return "nothing was heard for one and a half keep-alive intervals",
            }
        }
    }

    async fn on_packet(&mut self, packet: Packet) -> Result<(), &'static str> {
        match packet {
            Packet::Publish(publish) => self.on_publish(&publish).await,
            Packet::Subscribe(subscribe) => {
                let mut codes = Vec::new();
                for asked in &subscribe.filters {
                    // rule MQTT-08 holds here as well.
                    if &*asked.filter != ANSWERS {
                        return Err("it subscribed to another filter than $dps/registrations/res/#");
                    }
                    self.listens = true;
                    // Answers go out once; the client asks again where one is lost.
                    codes.push(SubAckCode::Granted(asked.qos.min(QoS::AtLeastOnce)));
                }
                self.put(&Packet::SubAck(SubAck { packet_id: subscribe.packet_id, codes }))
            }
            Packet::Unsubscribe(unsubscribe) => {
                self.listens &= !unsubscribe.filters.iter().any(|filter| &**filter == ANSWERS);
                self.put(&Packet::UnsubAck(unsubscribe.packet_id))
            }
            Packet::PingReq => self.put(&Packet::PingResp),
            Packet::PubAck(_) => Ok(()),
            Packet::Disconnect => Err("the client said goodbye"),
            _ => Err("it sent a packet that has no place here"),
        }
    }

    async fn on_publish(&mut self, publish: &Publish) -> Result<(), &'static str> {
        match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, Some(id)) => self.put(&Packet::PubAck(id))?,
            (QoS::ExactlyOnce, _) => return Err("it sent with quality of service 2"),
            _ => {}
        }
        let (request, query) = publish.topic.split_once('?').ok_or("it published to a topic without $rid")?;
        let rid = value_of(query, "$rid").ok_or("it published to a topic without $rid")?;
        let origin = self.peer.origin("mqtt");
        let done = match request {
            REGISTER => {
                refusals::from(origin, self.service.register(&self.registrant, &publish.payload)).await
            }
            OPERATION => {
                let operation = value_of(query, "operationId").and_then(percent_decode).unwrap_or_default();
                refusals::from(origin, self.service.operation(&self.registrant, &operation)).await
            }
            _ => return Err("it published to a topic that the provisioning service does not have"),
        };
        if !self.listens {
            return Ok(());
        }
        let (topic, payload) = answer(rid, done);
        let answer = Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: topic.into(),
            packet_id: None,
            payload,
        };
        self.put(&Packet::Publish(answer))
    }

    fn put(&mut self, packet: &Packet) -> Result<(), &'static str> {
        self.io.put(packet).map_err(|_| "an answer cannot be written")
    }
}

/// The value of a parameter as it stands.
fn value_of<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// Topic and body of an answer.
///
/// rule DPS-03: `$dps/registrations/res/{status}/?$rid={as it came}[&retry-after={seconds}]`; Python splits it at `$` and takes the
/// third piece.
fn answer(rid: &str, done: Result<RegistrationAnswer, Refusal>) -> (String, Bytes) {
    let (status, retry_after, body) = match done {
        Ok(RegistrationAnswer { status, retry_after, body }) => {
            (status, retry_after, body.to_string().into())
        }
        Err(refusal) => {
            let status = refusal.code.http_status();
            let busy = refusal.code == ErrorCode::ThrottlingException || status >= 500;
            (status, busy.then_some(BUSY_SECONDS), error_json(&refusal, SystemClock.now()).into())
        }
    };
    let retry_after = retry_after.map(|seconds| format!("&retry-after={seconds}")).unwrap_or_default();
    (format!("$dps/registrations/res/{status}/?$rid={rid}{retry_after}"), body)
}
