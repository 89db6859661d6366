//! Direct methods as services call them.

use crate::hub::Core;
use crate::operation::{MethodAnswer, MethodCall};
use ironbrook_model::{ErrorCode, Identity, Refusal};
use std::time::Duration;

/// Longest method name in characters.
const NAME_LEN_MAX: usize = 128;

/// Calls a method and counts how it ended.
pub(crate) async fn invoke(
    core: &Core,
    target: &Identity,
    call: MethodCall,
) -> Result<MethodAnswer, Refusal> {
    let result = call_checked(core, target, call).await;
    match &result {
        Ok(_) => core.metrics.methods_succeeded.inc(),
        Err(_) => core.metrics.methods_failed.inc(),
    };
    result
}

async fn call_checked(core: &Core, target: &Identity, call: MethodCall) -> Result<MethodAnswer, Refusal> {
    check(core, &call)?;
    if core.seams.identities.find(target).await?.is_none() {
        return Err(crate::auth::not_found(target));
    }
    core.throttles.take_method(call.payload.get().len())?;
    let answer = core.seams.fabric.call(target, call).await?;
    let (len, most) = (answer.payload.get().len(), core.limits.method_payload_bytes);
    if len > most {
        return Err(Refusal::new(
            ErrorCode::GenericBadGateway,
            format!("the device answered with {len} bytes; {most} are allowed"),
        ));
    }
    Ok(answer)
}

/// rule METHOD-01: response timeout 5 to 300 s, connect timeout 0 to 300 s.
fn check(core: &Core, call: &MethodCall) -> Result<(), Refusal> {
    let invalid = |message: String| Err(Refusal::new(ErrorCode::ArgumentInvalid, message));
    // Printable ASCII without what topics and queries use as marks: clients take the name raw out of a topic.
    let plain = |c: u8| c.is_ascii_graphic() && !b"/?#+%&".contains(&c);
    if call.name.is_empty() || call.name.len() > NAME_LEN_MAX || !call.name.bytes().all(plain) {
        return invalid(format!(
            "a method name has 1 to {NAME_LEN_MAX} printable ASCII characters without / ? # + % &"
        ));
    }
    let within = |value: Duration, least: u64| {
        (Duration::from_secs(least)..=Duration::from_secs(300)).contains(&value)
    };
    if !within(call.response_timeout, 5) {
        return invalid("responseTimeoutInSeconds must lie within [5; 300]".to_owned());
    }
    if !within(call.connect_timeout, 0) {
        return invalid("connectTimeoutInSeconds must lie within [0; 300]".to_owned());
    }
    let (len, most) = (call.payload.get().len(), core.limits.method_payload_bytes);
    if len > most {
        return Err(Refusal::new(
            ErrorCode::GenericRequestEntityTooLarge,
            format!("a method payload of {len} bytes; {most} are allowed"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
