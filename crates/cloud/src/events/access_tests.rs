//! Who may open which service link: one table over all addresses, with a policy for each right.

use super::address::Address;
use crate::service_api::access_tests::{SINGLE, with_single_rights};
use ironbrook_gateway::Attach;
use ironbrook_log::PartitionId;
use ironbrook_model::{ErrorCode, Permissions, Refusal, SasToken};
use ironbrook_wire::amqp::Message;

/// What the documentation asks for. A kind of address that is added does not compile until it has a line here.
fn documented(address: &Address) -> (&'static str, Permissions) {
    match address {
        Address::Events { .. } => ("hub/ConsumerGroups/$Default/Partitions/0", Permissions::SERVICE_CONNECT),
        Address::ToDevices => ("messages/devicebound", Permissions::SERVICE_CONNECT),
        Address::Feedback => ("messages/serviceBound/feedback", Permissions::SERVICE_CONNECT),
        Address::FileNotifications => {
            ("messages/serviceBound/filenotifications", Permissions::SERVICE_CONNECT)
        }
        Address::Management => ("$management", Permissions::SERVICE_CONNECT),
        Address::Moved(_) => ("messages/events/$management", Permissions::SERVICE_CONNECT),
    }
}

fn attach(address: &str, tokens: Vec<SasToken>) -> Attach {
    Attach {
        address: address.to_owned(),
        tokens,
        filters: Vec::new(),
        properties: Vec::new(),
        desired_capabilities: Vec::new(),
    }
}

fn refused<T>(result: Result<T, Refusal>) -> Option<ErrorCode> {
    result.err().map(|refusal| refusal.code).filter(|code| code.http_status() == 401)
}

// AUTH-20
#[tokio::test]
async fn auth_20_every_service_link_opens_for_who_has_its_right_and_nobody_else() {
    let hub = with_single_rights().await;
    let links = hub.cloud.amqp();
    let events = Address::Events { group: "$Default".to_owned(), partition: PartitionId(0) };
    let moved = Address::Moved("$management".to_owned());
    for address in [
        events,
        Address::ToDevices,
        Address::Feedback,
        Address::FileNotifications,
        Address::Management,
        moved,
    ] {
        let (text, right) = documented(&address);
        assert_eq!(Address::parse(text, "hub").unwrap(), address);
        let no_token = Some(ErrorCode::IotHubUnauthorizedAccess);
        assert_eq!(refused(links.attach_source(attach(text, Vec::new())).await), no_token, "{text}");
        assert_eq!(refused(links.attach_sink(attach(text, Vec::new())).await), no_token, "{text}");
        for (policy, has) in SINGLE {
            let token = SasToken::parse(&hub.token(policy)).unwrap();
            let wanted = (!has.contains(right)).then_some(ErrorCode::IotHubUnauthorizedAccess);
            let source = links.attach_source(attach(text, vec![token.clone()])).await;
            assert_eq!(refused(source), wanted, "receive from {text} as {policy}");
            let sink = links.attach_sink(attach(text, vec![token.clone()])).await;
            assert_eq!(refused(sink), wanted, "send to {text} as {policy}");
            let moved = links.elsewhere(&attach(text, vec![token.clone()])).await;
            assert_eq!(refused(moved), wanted, "be sent on from {text} as {policy}");
            if address == Address::Management {
                let request = links.request(&[token], Message::default()).await;
                assert_eq!(refused(request), wanted, "request to {text} as {policy}");
            }
        }
    }
    // An address that is not there is no secret, but only for who may ask.
    let nowhere = links.attach_source(attach("nowhere", Vec::new())).await;
    assert_eq!(refused(nowhere), Some(ErrorCode::IotHubUnauthorizedAccess));
}
