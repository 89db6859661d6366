//! AMQP of the provisioning service: a pair of links on `{scope}/registrations/{id}`, one for requests and one for answers.

use super::door::{Done, Door};
use super::failure;
use super::link::Kind;
use crate::provisioning::{Registrant, nowhere};
use crate::{Protocol, RegistrationAnswer};
use futures_util::FutureExt as _;
use ironbrook_hub::Credential;
use ironbrook_hub::auth::refusals;
use ironbrook_model::{Cause, ErrorCode, Refusal};
use ironbrook_wire::amqp::{Delivery, DeliveryState, LinkId, Message, SaslCode, Value};
use std::sync::Arc;

/// Requests that may wait for their answers.
const WINDOW: u32 = 10;

/// A request that is being worked on.
pub(super) struct Asked {
    link: LinkId,
    number: u32,
    len: usize,
    settled: bool,
    correlation_id: Option<Value>,
}

impl Door {
    /// SASL PLAIN with the user name `{scope}/registrations/{id}` and a token as password.
    pub(super) fn on_plain_registrant(
        &mut self,
        id_scope: String,
        registration_id: String,
        credential: Credential,
    ) {
        let registrant = Arc::new(Registrant { id_scope, registration_id, credential });
        let (service, origin) = (self.services.provisioning.clone(), self.peer.origin("amqp"));
        let checking = async move {
            let checked = match service {
                Some(service) => refusals::from(origin, service.authenticate(&registrant)).await,
                None => Err(nowhere()),
            };
            Done::Registrant(checked.map(|()| registrant))
        };
        self.jobs.push(checking.boxed());
    }

    pub(super) fn on_registrant(&mut self, result: Result<Arc<Registrant>, Refusal>) {
        match result {
            Ok(registrant) => {
                self.proven = true;
                self.registrant = Some(registrant);
                self.conn.sasl_outcome(SaslCode::Ok);
            }
            Err(refusal) => {
                tracing::debug!(peer = %self.peer.addr, code = %refusal.code, "SASL PLAIN refused");
                self.services.metrics.refused(Protocol::amqp, refusal.code);
                self.conn.sasl_outcome(SaslCode::Auth);
            }
        }
    }

    /// Attaches one of the two links. Who came with a certificate proves itself with each request.
    pub(super) fn attach_registration(&mut self, link: LinkId, scope: String, id: String, from_client: bool) {
        if self.services.provisioning.is_none() {
            return self.refuse(link, &nowhere());
        }
        let known =
            self.registrant.as_ref().filter(|known| known.id_scope == scope && known.registration_id == id);
        let registrant = match known {
            Some(known) => Arc::clone(known),
            None if !self.peer.certificates.is_empty() => {
                let credential = Credential::Certificate(self.peer.certificates.clone());
                Arc::new(Registrant { id_scope: scope, registration_id: id, credential })
            }
            None => {
                let text = "no credential for this registration: log in with SASL PLAIN, its user name the address of the link and its password a token, or present a client certificate";
                let refusal = Refusal::new(ErrorCode::IotHubUnauthorized, text);
                return self.refuse(link, &refusal.because(Cause::NoCredential));
            }
        };
        if from_client {
            self.accept(link, Kind::RegistrationRequests(registrant), WINDOW);
        } else {
            self.accept(link, Kind::RegistrationAnswers, 0);
        }
    }

    pub(super) fn on_registration(&mut self, registrant: Arc<Registrant>, delivery: &Delivery) {
        let (Some(service), Ok(message)) =
            (self.services.provisioning.clone(), Message::decode(&delivery.payload))
        else {
            let refusal = Refusal::new(ErrorCode::IotHubFormatError, "the request is no AMQP message");
            return self.settle_registration(
                delivery.link,
                delivery.id,
                delivery.settled,
                delivery.payload.len(),
                Err(&refusal),
            );
        };
        let asked = Asked {
            link: delivery.link,
            number: delivery.id,
            len: delivery.payload.len(),
            settled: delivery.settled,
            correlation_id: message
                .properties
                .correlation_id
                .clone()
                .or_else(|| message.properties.message_id.clone()),
        };
        let origin = self.peer.origin("amqp");
        let work = async move {
            let property =
                |name| message.application_property(name).and_then(Value::as_str).unwrap_or_default();
            match property("iotdps-operation-type") {
                "iotdps-register" => service.register(&registrant, &message.body_bytes()).await,
                "iotdps-get-operationstatus" => {
                    service.operation(&registrant, property("iotdps-operation-id")).await
                }
                other => Err(Refusal::new(
                    ErrorCode::ArgumentInvalid,
                    format!(
                        "iotdps-operation-type is iotdps-register or iotdps-get-operationstatus, not '{}'",
                        other.escape_debug()
                    ),
                )),
            }
        };
        let work = async move { Done::Registration(asked, refusals::from(origin, work).await) };
        self.jobs.push(work.boxed());
    }

    pub(super) fn on_registration_done(&mut self, asked: Asked, result: Result<RegistrationAnswer, Refusal>) {
        // rule DPS-04: what is refused is rejected; what is done is accepted, and answered on the other link.
        let Asked { link, number, len, settled, correlation_id } = asked;
        self.settle_registration(link, number, settled, len, result.as_ref().map(drop));
        let Ok(RegistrationAnswer { status, retry_after, body }) = result else { return };
        self.proven = true;
        let mut message = Message::data(body.to_string());
        message.properties.correlation_id = correlation_id;
        message.set_property("iotdps-status", i32::from(status));
        if let Some(seconds) = retry_after {
            message.set_property("retry-after", i32::try_from(seconds).unwrap_or(i32::MAX));
        }
        let answers = self
            .links
            .iter()
            .filter(|(_, link)| matches!(link.kind, Kind::RegistrationAnswers))
            .max_by_key(|(id, _)| id.session() == link.session())
            .map(|(id, _)| *id);
        match answers {
            Some(answers) => self.send(answers, &message),
            None => tracing::debug!(peer = %self.peer.addr, "an answer has no link to go on"),
        }
    }

    fn settle_registration(
        &mut self,
        link: LinkId,
        number: u32,
        settled: bool,
        len: usize,
        result: Result<(), &Refusal>,
    ) {
        if !settled {
            let state = match result {
                Ok(()) => DeliveryState::Accepted,
                Err(refusal) => DeliveryState::Rejected(Some(failure::error(refusal, self.now()))),
            };
            self.conn.settle(link, number, number, state);
        }
        self.answered(link, len);
    }
}
