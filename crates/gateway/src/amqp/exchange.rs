//! Questions and answers of a device: its twin, and the methods it is called for.

use super::device::Then;
use super::door::Door;
use super::link::Key;
use super::twin;
use bytestring::ByteString;
use ironbrook_hub::{MethodAnswer, MethodCall, Operation};
use ironbrook_model::{ErrorCode, Refusal};
use ironbrook_wire::amqp::{self, DeliveryState, Message, Value};
use serde_json::value::RawValue;
use uuid::Uuid;

/// Method calls whose answers are waited for; beyond it the oldest is forgotten, which then times out.
const CALLS_MAX: usize = 256;

impl Door {
    pub(super) fn on_twin_request(&mut self, key: Key, delivery: &amqp::Delivery) {
        let len = delivery.payload.len();
        let Some(message) = self.accept_request(delivery) else { return };
        let correlation_id =
            message.properties.correlation_id.clone().or(message.properties.message_id.clone());
        let then = Then::Twin { request: delivery.link, len, correlation_id };
        match twin::request(&message) {
            Ok(operation) => self.operate(key, operation, then),
            Err(refusal) => self.on_refused_twin(key, then, refusal),
        }
    }

    fn on_refused_twin(&mut self, key: Key, then: Then, refusal: Refusal) {
        let Then::Twin { request, len, correlation_id } = then else { return };
        let answer = twin::answer(correlation_id, &Err(refusal), self.now());
        if let Some(link) = self.device_mut(key).and_then(|d| d.twin) {
            self.send(link, &answer);
        }
        self.answered(request, len);
    }

    /// Reads a request and accepts its delivery: what becomes of it is told in an answer. `None` where it is no message.
    pub(super) fn accept_request(&mut self, delivery: &amqp::Delivery) -> Option<Message> {
        let read = Message::decode(&delivery.payload);
        if !delivery.settled {
            let state = match &read {
                Ok(_) => DeliveryState::Accepted,
                Err(error) => DeliveryState::Rejected(Some(amqp::AmqpError::new(
                    "amqp:decode-error",
                    error.to_string(),
                ))),
            };
            self.conn.settle(delivery.link, delivery.id, delivery.id, state);
        }
        if read.is_err() {
            self.answered(delivery.link, delivery.payload.len());
        }
        read.ok()
    }

    pub(super) fn send_call(&mut self, key: Key, request: ByteString, call: &MethodCall) {
        let Some(device) = self.device_mut(key) else { return };
        let Some(link) = device.methods else { return };
        // rule AMQP-14: the correlation id of a method is a uuid; .NET and Node parse it as a GUID.
        let id = Uuid::new_v4();
        if device.calls.len() >= CALLS_MAX {
            device.calls.pop_front();
        }
        device.calls.push_back((id, request));
        let mut message = Message::data(call.payload.get().to_owned());
        message.properties.correlation_id = Some(Value::Uuid(id));
        message.set_property("IoThub-methodname", call.name.clone());
        self.send(link, &message);
    }

    pub(super) fn on_method_answer(&mut self, key: Key, delivery: &amqp::Delivery) {
        let Some(message) = self.accept_request(delivery) else { return };
        self.answered(delivery.link, delivery.payload.len());
        let id = match &message.properties.correlation_id {
            Some(Value::Uuid(id)) => Some(*id),
            Some(other) => other.as_str().and_then(|text| Uuid::parse_str(text).ok()),
            None => None,
        };
        let Some(device) = self.device_mut(key) else { return };
        let known = id.and_then(|id| device.calls.iter().position(|(other, _)| *other == id));
        // Late and unknown answers are dropped.
        let Some((_, request)) = known.and_then(|at| device.calls.remove(at)) else { return };
        let status = message.application_property("IoThub-status").and_then(Value::as_i64);
        let status = status.and_then(|n| i32::try_from(n).ok()).unwrap_or(500);
        let Some(payload) = json(&message) else {
            tracing::warn!(peer = %self.peer.addr, code = %ErrorCode::ArgumentInvalid,
                reason = "the answer to a direct method is not JSON", "method answer dropped");
            return;
        };
        let answer = MethodAnswer { status, payload };
        self.operate(key, Operation::AnswerMethod { request, answer }, Then::Nothing);
    }
}

/// The body as a JSON value, `null` where it is empty.
fn json(message: &Message) -> Option<Box<RawValue>> {
    let body = message.body_bytes();
    let text = std::str::from_utf8(&body).ok()?.trim();
    RawValue::from_string(if text.is_empty() { "null".to_owned() } else { text.to_owned() }).ok()
}
