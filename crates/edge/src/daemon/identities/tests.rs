use super::*;
use crate::daemon::testing::{CANARY, World, config};
use tokio_util::sync::CancellationToken;

fn ensured(module: &str, generation: &str, managed_by: &str) -> ModuleIdentity {
    ModuleIdentity {
        module_id: ModuleId::new(module.to_owned()).unwrap(),
        generation_id: generation.to_owned(),
        managed_by: managed_by.to_owned(),
    }
}

// rule IDENTITY-01
#[tokio::test]
async fn keys_follow_from_the_devices_key_and_the_generation_rule_identity_01() {
    let world = World::new();
    let made = world.daemon.ensure_identity("m").await.unwrap();
    assert_eq!(made, ensured("m", "g3", "iotedge"));
    assert_eq!(world.registry.take_calls(), ["get m", "put m new", "put m *"]);
    let device = SharedAccessKey::from_base64(CANARY).unwrap();
    let key = |text: &str| SharedAccessKey::from_bytes(&device.hmac_sha256(text.as_bytes())).to_base64();
    let keys = json!({"primaryKey": key("m:g3:primary"), "secondaryKey": key("m:g3:secondary")});
    assert_eq!(world.registry.keys("m"), keys);
    assert_eq!(world.daemon.module_key("m").unwrap().to_base64(), key("m:g3:primary"));
    // Once more there is nothing to do.
    assert_eq!(world.daemon.ensure_identity("m").await.unwrap(), made);
    assert_eq!(world.registry.take_calls(), ["get m"]);
}

#[tokio::test]
async fn system_modules_get_keys_and_stay_what_they_are() {
    let world = World::new();
    for name in ["edgeHub", "$edgeHub"] {
        assert_eq!(world.daemon.ensure_identity(name).await.unwrap(), ensured("$edgeHub", "g2", "IotEdge"));
    }
    assert_eq!(world.registry.take_calls(), ["get $edgeHub", "put $edgeHub *", "get $edgeHub"]);
    assert_eq!(
        world.registry.keys("$edgeHub")["primaryKey"],
        world.daemon.module_key("edgeHub").unwrap().to_base64()
    );
    assert!(world.daemon.known_identity("edgeHub").unwrap().is_managed_here());
}

#[tokio::test]
async fn without_the_hub_known_modules_start_and_new_ones_wait() {
    let World { daemon, registry, folder, .. } = World::new();
    let made = daemon.ensure_identity("m").await.unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    daemon.run(stop).await;
    registry.away();
    let World { daemon, registry, clock, folder: _folder } = World::in_folder(folder, registry);
    registry.take_calls();
    assert_eq!(daemon.ensure_identity("m").await.unwrap(), made);
    assert_eq!(daemon.identities().await.unwrap(), [made]);
    daemon.module_key("m").unwrap();
    // The second question found the hub away a moment ago and did not wait for it again.
    assert_eq!(registry.take_calls(), ["get m"]);
    assert!(matches!(daemon.ensure_identity("new").await, Err(Error::NoIdentity(_))));
    registry.fail(None);
    clock.advance(AWAY_TIME);
    registry.take_calls();
    daemon.ensure_identity("m").await.unwrap();
    assert_eq!(registry.take_calls(), ["get m"]);
}

/// A hub that takes connections and never answers.
struct Silent;

#[async_trait]
impl ModuleRegistry for Silent {
    async fn module(&self, _: &ModuleId) -> Result<Option<ModuleRecord>, RegistryError> {
        std::future::pending().await
    }

    async fn modules(&self) -> Result<Vec<ModuleRecord>, RegistryError> {
        std::future::pending().await
    }

    async fn put_module(&self, _: &ModuleId, _: &Value, _: bool) -> Result<ModuleRecord, RegistryError> {
        std::future::pending().await
    }

    async fn delete_module(&self, _: &ModuleId) -> Result<(), RegistryError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_says_nothing_keeps_known_modules_waiting_once_and_shortly() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let mut kept = Kept::open(folder.path(), &config.hub_host, &config.device).unwrap();
    for module in ["a", "b"] {
        kept.insert(ensured(module, "1", "iotedge"));
    }
    kept.write().unwrap();
    let clock = Arc::new(ironbrook_hub::seams::SystemClock);
    let identities = Identities::open(folder.path(), &config, Arc::new(Silent), clock).unwrap();
    let began = tokio::time::Instant::now();
    for module in ["a", "b"] {
        assert_eq!(identities.ensure(module).await.unwrap(), ensured(module, "1", "iotedge"));
    }
    assert_eq!(began.elapsed(), KNOWN_TIME);
    assert!(matches!(identities.ensure("new").await, Err(Error::NoIdentity(_))));
    assert_eq!(began.elapsed(), KNOWN_TIME + REGISTRY_TIME);
}

#[tokio::test]
async fn a_refused_credential_is_said_and_no_cache_hides_it() {
    let world = World::new();
    world.daemon.ensure_identity("m").await.unwrap();
    world.registry.fail(Some(RegistryError::Unauthorized("401002".to_owned())));
    let error = world.daemon.ensure_identity("m").await.unwrap_err().to_string();
    assert!(error.contains("refuses the device's credential") && !error.contains(CANARY), "{error}");
    assert!(matches!(world.daemon.identities().await, Err(Error::Registry(RegistryError::Unauthorized(_)))));
}

#[tokio::test]
async fn a_module_made_anew_or_removed_in_the_hub_loses_its_old_key() {
    let world = World::new();
    world.daemon.ensure_identity("m").await.unwrap();
    let old = world.daemon.module_key("m").unwrap();
    world.registry.create("m", "IotEdge");
    let identities = world.daemon.identities().await.unwrap();
    assert_eq!(identities.len(), 3);
    assert!(matches!(world.daemon.module_key("m"), Err(Error::NoIdentity(_))));
    world.daemon.ensure_identity("m").await.unwrap();
    assert!(world.daemon.module_key("m").unwrap() != old);
    world.daemon.remove_identity("m").await.unwrap();
    world.daemon.remove_identity("m").await.unwrap();
    assert_eq!(world.daemon.known_identity("m"), None);
    assert_eq!(world.daemon.identities().await.unwrap().len(), 2);
}

#[tokio::test]
async fn no_key_is_on_disk_or_in_debug() {
    let world = World::new();
    world.daemon.ensure_identity("m").await.unwrap();
    let path = world.folder.path().join("edge/identities.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let key = world.daemon.module_key("m").unwrap().to_base64();
    assert!(text.contains("\"m\"") && !text.contains(&key) && !text.contains(CANARY), "{text}");
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!format!("{:?}", config(world.folder.path())).contains(CANARY));
}

#[tokio::test]
async fn what_was_kept_for_another_device_or_is_damaged_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let mut kept = Kept::open(folder.path(), "hub", &DeviceId::new("d").unwrap()).unwrap();
    kept.insert(ensured("m", "1", ""));
    kept.write().unwrap();
    let open = |hub: &str, device: &'static str| {
        Kept::open(folder.path(), hub, &DeviceId::new(device).unwrap()).unwrap().all().len()
    };
    assert_eq!((open("hub", "d"), open("hub", "e"), open("other", "d")), (1, 0, 0));
    std::fs::write(folder.path().join("identities.json"), b"{").unwrap();
    assert_eq!(open("hub", "d"), 0);
}

#[tokio::test]
async fn a_wrong_name_is_no_module() {
    let world = World::new();
    assert!(matches!(world.daemon.ensure_identity("a/b").await, Err(Error::Id { .. })));
    assert!(world.registry.take_calls().is_empty());
}
