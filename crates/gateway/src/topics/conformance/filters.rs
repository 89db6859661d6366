//! Filters and what they match.

use super::packet::subscribe;
use super::*;

#[tokio::test(start_paused = true)]
async fn filters_match_as_the_standard_says() {
    // `$…` by rules of its own: section 4.7.2.
    let rule = |access, filter| ironbrook_pubsub::acl::Rule::new(None, true, access, filter).unwrap();
    let acl = [Access::Publish, Access::Subscribe]
        .into_iter()
        .fold(Acl::open(), |acl, access| acl.rule(rule(access, "$app/#")));
    let door = Door::with(Config::default(), acl, TopicsSettings::default()).await;
    let names = [
        "sport",
        "sport/",
        "sport/tennis",
        "sport/tennis/player1",
        "/finance",
        "finance",
        "$app/monitor",
        "Sport",
    ];
    for v in BOTH {
        let mut publisher = door.client(v, "publisher").await;
        for (filter, expected) in [
            // 3.1.1: [MQTT-4.7.1-2]; 5.0: [MQTT-4.7.1-1]
            ("sport/#", &["sport", "sport/", "sport/tennis", "sport/tennis/player1"][..]),
            // 3.1.1: [MQTT-4.7.1-3]; 5.0: [MQTT-4.7.1-2]
            ("sport/+", &["sport/", "sport/tennis"]),
            ("+", &["sport", "finance", "Sport"]),
            ("+/+", &["sport/", "sport/tennis", "/finance"]),
            ("/+", &["/finance"]),
            ("sport/+/player1", &["sport/tennis/player1"]),
            // [MQTT-4.7.2-1]
            (
                "#",
                &["sport", "sport/", "sport/tennis", "sport/tennis/player1", "/finance", "finance", "Sport"],
            ),
            ("+/monitor", &[]),
            ("$app/+", &["$app/monitor"]),
        ] {
            let mut client = door.client(v, "client").await;
            assert_eq!(client.subscribe(filter, 0).await, 0, "{filter}");
            for name in names {
                publisher.publish(0, false, name, name).await;
            }
            assert_eq!(client.payloads().await, expected, "{filter}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn wildcards_in_wrong_places_are_refused() {
    let door = Door::open().await;
    for v in BOTH {
        // 3.1.1: [MQTT-3.8.3-2] (wildcards are served), [MQTT-4.7.1-2], [MQTT-4.7.1-3]; 5.0: [MQTT-4.7.1-1], [MQTT-4.7.1-2]
        for filter in ["a#", "#/a", "a/#/b", "a+", "+a/b", "a/b+/c", "a/#b"] {
            let code = door.client(v, "client").await.violates(subscribe(v, 1, &[], &[(filter, 0)])).await;
            assert!(matches!(code, 0x80..=0x82 | 0x8f), "{filter}: {code:#x}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_publishes_below_sys() {
    let door = Door::open().await;
    for v in BOTH {
        let mut client = door.client(v, "client").await;
        let refused = client.publish(1, false, "$SYS/broker/uptime", "forged").await;
        assert_eq!(refused, if v == V::V5 { 0x87 } else { 0 });
    }
}
