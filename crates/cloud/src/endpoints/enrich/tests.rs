use super::*;
use bytes::Bytes;
use ironbrook_hub::seams::{DesiredChange, Twins};
use ironbrook_log::Offset;
use ironbrook_model::{Message, MessageSource, SystemProperty as P, Timestamp};
use serde_json::json;
use std::sync::Mutex;

/// Every identity has the same twin.
struct OneTwin(Value);

#[async_trait]
impl Twins for OneTwin {
    async fn device_view(&self, _: &Identity) -> Result<Bytes, Refusal> {
        Ok(Bytes::new())
    }

    async fn patch_reported(&self, _: &Identity, _: &[u8]) -> Result<u64, Refusal> {
        Ok(1)
    }

    async fn service_view(&self, _: &Identity) -> Result<Arc<Value>, Refusal> {
        Ok(Arc::new(self.0.clone()))
    }

    fn listen(&self, _: Box<dyn Fn(&DesiredChange) + Send + Sync>) {}
}

/// Keeps what it is given, and refuses the second message of a batch.
struct Picky(Mutex<Vec<Routed>>);

#[async_trait]
impl Endpoint for Picky {
    fn name(&self) -> &str {
        "picky"
    }

    fn batching(&self) -> Batching {
        super::super::Gather::default().batching()
    }

    async fn send(&self, _: PartitionId, batch: &[Routed]) -> Sent {
        self.0.lock().unwrap().extend_from_slice(batch);
        if batch.len() > 1 { Sent::Reject(vec![(1, "picky".to_owned())]) } else { Sent::Done }
    }
}

fn routed(body: usize) -> Routed {
    let mut message = Message::new(vec![0; body]);
    message.system.set(P::ConnectionDeviceId, "d1");
    message.properties.set("site", "as sent");
    let (offset, enqueued) = (Offset(0), Timestamp::from_millis(0));
    Routed { offset, event_sequence: None, enqueued, source: MessageSource::DeviceMessages, message }
}

fn enrichment(key: &str, value: &str) -> Enrichment {
    Enrichment { key: key.to_owned(), value: value.to_owned(), endpoints: vec!["picky".to_owned()] }
}

fn enricher(enrichments: &[Enrichment]) -> Enricher {
    let twin = json!({
        "tags": {"site": "north", "floor": 3, "rooms": ["a"]},
        "properties": {"desired": {"on": true}, "reported": {"none": null}},
    });
    let twins = TwinCache::new(Arc::new(OneTwin(twin)), &twin_paths(enrichments).unwrap());
    Enricher::new("picky", enrichments, "hub", &twins, 1000).unwrap().unwrap()
}

#[tokio::test]
async fn values_are_texts_names_and_places_in_twins_rule_route_10() {
    let enricher = enricher(&[
        enrichment("static", "a text"),
        enrichment("hub", "$iothubname"),
        enrichment("site", "$twin.tags.site"),
        enrichment("floor", "$twin.tags.floor"),
        enrichment("rooms", "$twin.tags.rooms"),
        enrichment("on", "$twin.properties.desired.on"),
        enrichment("none", "$twin.properties.reported.none"),
        enrichment("missing", "$twin.tags.nothing.at.all"),
    ]);
    let mut batch = [routed(1)];
    enricher.apply(&mut batch).await.unwrap();
    let found: Vec<_> = batch[0].message.properties.iter().map(|(n, v)| (&**n, &**v)).collect();
    assert_eq!(
        found,
        [
            ("site", "north"),
            ("static", "a text"),
            ("hub", "hub"),
            ("floor", "3"),
            ("rooms", "[\"a\"]"),
            ("on", "true"),
            ("none", "$twin.properties.reported.none"),
            ("missing", "$twin.tags.nothing.at.all"),
        ]
    );
}

#[test]
fn only_known_values_and_plain_keys_are_taken_rule_route_10() {
    for (key, value) in [
        ("", "x"),
        ("a b", "x"),
        ("a", "$nothing"),
        ("a", "$twin"),
        ("a", "$twin.tags"),
        ("a", "$twin.properties.desired"),
        ("a", "$twin.tags..x"),
    ] {
        assert!(twin_paths(&[enrichment(key, value)]).is_err(), "{key} {value}");
    }
    let twins = TwinCache::new(Arc::new(OneTwin(json!({}))), &[]);
    assert!(Enricher::new("other", &[enrichment("a", "x")], "hub", &twins, 1).unwrap().is_none());
}

#[tokio::test]
async fn what_grows_too_long_is_refused_and_the_endpoint_s_own_refusals_keep_their_places() {
    let picky = Arc::new(Picky(Mutex::default()));
    let endpoint = Enriched::new(picky.clone(), enricher(&[enrichment("k", "v")]));
    let batch = [routed(10), routed(1000), routed(10), routed(10)];
    let sent = endpoint.send(PartitionId(0), &batch).await;
    let Sent::Reject(refused) = sent else { panic!("{sent:?}") };
    assert_eq!(refused.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 2]);
    assert!(refused[0].1.contains("1000 are allowed") && refused[1].1 == "picky", "{refused:?}");
    let given = picky.0.lock().unwrap();
    assert_eq!(given.len(), 3);
    assert!(given.iter().all(|routed| routed.message.properties.get("k").is_some()));
}
