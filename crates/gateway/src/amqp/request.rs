//! Requests and answers on `$cbs` and `$management`.

use super::door::{Done, Door};
use super::failure;
use super::link::Kind;
use super::token;
use crate::Protocol;
use bytestring::ByteString;
use futures_util::FutureExt as _;
use ironbrook_hub::auth::refusals;
use ironbrook_model::{ErrorCode, Permissions, Refusal, SasToken};
use ironbrook_wire::amqp::{Delivery, LinkId, Message, Value};
use std::sync::Arc;

/// Where an answer goes and what it answers.
pub(super) struct Answer {
    request: LinkId,
    len: usize,
    reply_to: Option<ByteString>,
    correlation_id: Option<Value>,
}

impl Answer {
    /// rule AMQP-15: the correlation id is the request's message id in its very type; uamqp uses ulong, pyamqp uuid, rhea string.
    fn to(delivery: &Delivery, message: &Message) -> Self {
        let p = &message.properties;
        Self {
            request: delivery.link,
            len: delivery.payload.len(),
            reply_to: p.reply_to.clone(),
            correlation_id: p.message_id.clone().or_else(|| p.correlation_id.clone()),
        }
    }
}

impl Door {
    pub(super) fn on_token(&mut self, delivery: &Delivery) {
        let Some(message) = self.accept_request(delivery) else { return };
        let answer = Answer::to(delivery, &message);
        match put_token(&message) {
            Ok(Some(token)) => {
                let (services, origin) = (Arc::clone(&self.services), self.peer.origin("amqp"));
                self.jobs.push(
                    async move {
                        let result = refusals::from(origin, token::check(&services, &token)).await;
                        Done::Token(token, answer, result)
                    }
                    .boxed(),
                );
            }
            Ok(None) => self.answer_token(&answer, Ok(())),
            Err(refusal) => {
                tracing::warn!(peer = %self.peer.addr, code = %refusal.code, reason = %refusal.message, "token refused");
                self.answer_token(&answer, Err(refusal));
            }
        }
    }

    pub(super) fn on_token_checked(
        &mut self,
        token: SasToken,
        answer: &Answer,
        result: Result<Permissions, Refusal>,
    ) {
        let kept = result.and_then(|rights| self.tokens.insert(token.clone(), rights, self.now()));
        if kept.is_ok() {
            self.proven = true;
            self.renew_devices(&token);
            self.expire_service_links();
        }
        self.answer_token(answer, kept);
    }

    fn answer_token(&mut self, answer: &Answer, result: Result<(), Refusal>) {
        let mut message = Message::value(Value::Null);
        match result {
            // rule AMQP-16: 200 and nothing else; Node takes 202 for a refusal.
            Ok(()) => status(&mut message, 200, "OK"),
            Err(refusal) => {
                self.services.metrics.refused(Protocol::amqp, refusal.code);
                self.refused(&mut message, &refusal);
            }
        }
        self.reply(answer, message, |kind| matches!(kind, Kind::TokenAnswers));
    }

    pub(super) fn on_management(&mut self, delivery: &Delivery) {
        let Some(message) = self.accept_request(delivery) else { return };
        let answer = Answer::to(delivery, &message);
        let Some(service) = self.services.amqp.clone() else { return };
        let tokens = self.tokens.all();
        self.jobs
            .push(async move { Done::Management(answer, service.request(&tokens, message).await) }.boxed());
    }

    pub(super) fn on_management_answer(&mut self, answer: &Answer, result: Result<Message, Refusal>) {
        let message = result.unwrap_or_else(|refusal| {
            let mut message = Message::value(Value::Null);
            self.refused(&mut message, &refusal);
            message
        });
        self.reply(answer, message, |kind| matches!(kind, Kind::ManagementAnswers));
    }

    /// No `error-condition`, although the original may send one: azure-eventhub then forgets the status and the description.
    fn refused(&self, message: &mut Message, refusal: &Refusal) {
        let text = failure::describe(refusal.code, &refusal.message, self.now());
        status(message, i32::from(refusal.code.http_status()), text);
    }

    /// Sends an answer on the link that the request names, else on the one of the same session, else on any.
    fn reply(&mut self, answer: &Answer, mut message: Message, fits: impl Fn(&Kind) -> bool) {
        message.properties.correlation_id.clone_from(&answer.correlation_id);
        let session = answer.request.session();
        let rank = |id: &LinkId, at: &Option<ByteString>| {
            let named = at.is_some() && *at == answer.reply_to;
            (id.session() == session, named)
        };
        let link = self
            .links
            .iter()
            .filter(|(_, link)| fits(&link.kind))
            .max_by_key(|(id, link)| rank(id, &link.answers_at))
            .map(|(id, _)| *id);
        match link {
            Some(link) => self.send(link, &message),
            None => tracing::debug!(peer = %self.peer.addr, "an answer has no link to go on"),
        }
        self.answered(answer.request, answer.len);
    }
}

fn status(message: &mut Message, code: i32, text: impl Into<Value>) {
    message.set_property("status-code", code);
    message.set_property("status-description", text);
}

/// The token of a put-token; `None` for a delete-token, which is only agreed to.
fn put_token(message: &Message) -> Result<Option<SasToken>, Refusal> {
    let property = |name| message.application_property(name).and_then(Value::as_str).unwrap_or_default();
    let malformed = |text| Err(Refusal::new(ErrorCode::IotHubUnauthorized, text));
    match property("operation") {
        "put-token" => {}
        "delete-token" => return Ok(None),
        _ => return malformed("$cbs knows the operations put-token and delete-token"),
    }
    let kind = property("type");
    if !kind.is_empty() && !kind.eq_ignore_ascii_case("servicebus.windows.net:sastoken") {
        return malformed("$cbs takes tokens of type servicebus.windows.net:sastoken only");
    }
    let body = message.body_bytes();
    let text = std::str::from_utf8(&body).unwrap_or_default();
    SasToken::parse(text)
        .map(Some)
        .map_err(|error| Refusal::new(ErrorCode::IotHubUnauthorized, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shared_access_signatures_are_taken() {
        let mut jwt = Message::value("e30.e30.x");
        jwt.set_property("operation", "put-token");
        jwt.set_property("type", "jwt");
        let refusal = put_token(&jwt).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::IotHubUnauthorized);
        let mut delete = Message::value(Value::Null);
        delete.set_property("operation", "delete-token");
        assert!(put_token(&delete).unwrap().is_none());
    }
}
