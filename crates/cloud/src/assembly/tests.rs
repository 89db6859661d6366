use super::*;
use ironbrook_hub::seams::SystemClock;
use ironbrook_log::Memory;
use ironbrook_model::{DeviceId, ErrorCode, Identity, Message};
use std::time::Duration;

fn config(profile: Profile) -> Config {
    Config {
        hub_name: "hub".to_owned(),
        hosts: vec!["localhost".to_owned()],
        profile,
        partitions: 1,
        routes: Vec::new(),
        throttles: Throttles::default(),
        fallback_route: true,
        storage_endpoints: Vec::new(),
        routing: Routing::default(),
        consumer_groups: Vec::new(),
        log: LogConfig {
            segment_bytes: 1 << 20,
            retention: Duration::from_secs(60),
            retention_bytes: 1 << 20,
            ..LogConfig::default()
        },
        account_name: "account".to_owned(),
        file_upload: None,
        streaming: Default::default(),
    }
}

async fn open(config: Config) -> Result<Cloud, Error> {
    let seed = SeedFile::parse(r#"{"devices":[{"deviceId":"d"}]}"#).unwrap();
    let mut metrics = prometheus_client::registry::Registry::default();
    Cloud::open(Arc::new(Memory::new()), Arc::new(SystemClock), config, Some(&seed), &mut metrics).await
}

#[tokio::test]
async fn a_hub_makes_nothing_that_is_not_said_to_be_its_own() {
    let mut metrics = prometheus_client::registry::Registry::default();
    let storage = Arc::new(Memory::new());
    let config = config(Profile::Native);
    let cloud =
        Cloud::open(storage.clone(), Arc::new(SystemClock), config, None, &mut metrics).await.unwrap();
    cloud.account().ensure_container("box").await.unwrap();
    let made = storage.list(Path::new("")).unwrap();
    assert!(made.len() > 5, "{made:?}");
    for name in &made {
        let bare = UNFINISHED.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
        assert!(OWN.contains(&bare), "{name} stays behind when the hub is removed");
    }
}

fn endpoint(number: usize) -> StorageEndpointConfig {
    StorageEndpointConfig {
        name: format!("e{number}"),
        container: format!("container{number}"),
        encoding: Encoding::Json,
        file_name_format: "{iothub}/{partition}/{YYYY}/{MM}/{DD}/{HH}/{mm}".to_owned(),
        batch_frequency: Duration::from_secs(60),
        max_chunk_bytes: 10 << 20,
        target: StorageTarget::BuiltIn,
    }
}

#[tokio::test]
async fn the_azure_profile_has_ten_endpoints_and_a_hundred_routes() {
    let endpoints =
        |profile, n| Config { storage_endpoints: (0..n).map(endpoint).collect(), ..config(profile) };
    open(endpoints(Profile::Azure, 10)).await.unwrap();
    let refused = open(endpoints(Profile::Azure, 11)).await.err().unwrap();
    assert!(matches!(refused, Error::TooManyEndpoints(11, 10)), "{refused}");
    open(endpoints(Profile::Native, 11)).await.unwrap();

    let route = |n: usize| serde_json::json!({ "name": n.to_string(), "endpoints": ["events"] });
    let route = |n| serde_json::from_value(route(n)).unwrap();
    let routes = |profile, n| Config { routes: (0..n).map(route).collect(), ..config(profile) };
    open(routes(Profile::Azure, 100)).await.unwrap();
    let refused = open(routes(Profile::Azure, 101)).await.err().unwrap();
    assert!(refused.to_string().starts_with("101 routes are configured and 100 are allowed"), "{refused}");
    open(routes(Profile::Native, 101)).await.unwrap();
}

#[tokio::test]
async fn the_queue_of_a_device_takes_no_larger_message_than_the_hub_says() {
    for profile in [Profile::Azure, Profile::Native] {
        let cloud = open(config(profile)).await.unwrap();
        let device = Identity::device(DeviceId::new("d").unwrap());
        let message = |len| {
            let mut message = Message::new(vec![0; len]);
            // Properties of the system that the hub would add otherwise count too.
            message.system.set(ironbrook_model::SystemProperty::To, "/devices/d/messages/devicebound");
            message
        };
        let most = cloud.hub().limits().cloud_to_device_bytes - message(0).metered_len();
        let inbox = &cloud.hub().seams().inbox;
        inbox.enqueue(&device, message(most)).await.unwrap();
        let refused = inbox.enqueue(&device, message(most + 1)).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::MessageTooLarge);
    }
}

#[tokio::test]
async fn a_database_that_was_cut_short_is_named_with_a_cure() {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let open = || async {
        let mut metrics = prometheus_client::registry::Registry::default();
        let clock = Arc::new(SystemClock);
        Cloud::open(storage.clone(), clock, config(Profile::Native), None, &mut metrics).await
    };
    let cancel = CancellationToken::new();
    cancel.cancel();
    open().await.unwrap().run(cancel).await.unwrap();
    let file = storage.open(Path::new("registry/registry.redb"), false).unwrap();
    file.set_len(file.len().unwrap() / 2).unwrap();
    drop(file);
    let refused = open().await.err().unwrap().to_string();
    assert!(refused.contains("registry"), "{refused}");
    assert!(!refused.contains("stopped while starting"), "{refused}");
}

#[tokio::test]
async fn a_seed_file_with_a_wrong_route_makes_no_identity() {
    let storage: Arc<dyn Storage> = Arc::new(Memory::new());
    let wrong = r#"{"devices":[{"deviceId":"d"}],"routes":[{"name":"r","endpoints":["nowhere"]}]}"#;
    let open = |seed: &'static str| {
        let storage = storage.clone();
        async move {
            let mut metrics = prometheus_client::registry::Registry::default();
            let seed = SeedFile::parse(seed).unwrap();
            Cloud::open(storage, Arc::new(SystemClock), config(Profile::Native), Some(&seed), &mut metrics)
                .await
        }
    };
    let refused = open(wrong).await.err().unwrap();
    assert!(matches!(refused, Error::Route(_)), "{refused}");
    let cloud = open("{}").await.unwrap();
    assert_eq!(cloud.registry().list_devices(10).await.unwrap().len(), 0);
}
