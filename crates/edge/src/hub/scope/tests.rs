use super::*;
use ironbrook_log::Memory;
use ironbrook_model::{AuthenticationType, IdentityStatus, SharedAccessKey, SymmetricKeys, Timestamp};
use ironbrook_testkit::TestClock;
use std::path::Path;

const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);

/// A hub with these identities; `None` is away.
#[derive(Default)]
struct Source {
    entries: Mutex<Option<Vec<IdentityRecord>>>,
    asked: Mutex<Vec<String>>,
}

impl Source {
    fn set(&self, entries: Option<&[IdentityRecord]>) {
        *lock(&self.entries) = entries.map(<[IdentityRecord]>::to_vec);
    }

    fn asked(&self) -> usize {
        lock(&self.asked).len()
    }
}

#[async_trait]
impl ScopeSource for Source {
    async fn page(&self, from: Option<&str>) -> Result<ScopePage, String> {
        let entries = lock(&self.entries).clone().ok_or("away")?;
        let at: usize = from.map_or(0, |from| from.parse().unwrap());
        let next = (at + 1 < entries.len()).then(|| (at + 1).to_string());
        Ok(ScopePage { records: entries.get(at).cloned().into_iter().collect(), next })
    }

    async fn one(&self, identity: &Identity) -> Result<ScopePage, String> {
        lock(&self.asked).push(identity.to_string());
        let entries = lock(&self.entries).clone().ok_or("away")?;
        let records = entries.into_iter().filter(|record| record.identity == *identity).collect();
        Ok(ScopePage { records, next: None })
    }
}

fn module(name: &str, key: &str) -> IdentityRecord {
    let key = SharedAccessKey::from_bytes(key.as_bytes());
    let keys = SymmetricKeys { primary: key.clone(), secondary: key };
    IdentityRecord {
        identity: id(name),
        generation_id: "1".to_owned(),
        status: IdentityStatus::Enabled,
        authentication: AuthenticationType::Sas(keys),
        is_gateway: false,
        parents: Vec::new(),
        status_updated: None,
    }
}

fn id(module: &str) -> Identity {
    Identity {
        device: DeviceId::new("e").unwrap(),
        module: Some(ironbrook_model::ModuleId::new(module.to_owned()).unwrap()),
    }
}

struct World {
    storage: Memory,
    clock: TestClock,
    scope: Scope,
    changed: Arc<Mutex<Vec<String>>>,
}

async fn world(storage: Memory, source: Arc<Source>) -> World {
    let clock = TestClock::new(NOW);
    let store = Store::open(Arc::new(storage.clone()), Path::new("hub.redb")).unwrap();
    let device = DeviceId::new("e").unwrap();
    let scope = Scope::open(device, store, source.clone(), Arc::new(clock.clone())).await.unwrap();
    let changed = Arc::new(Mutex::new(Vec::new()));
    let heard = changed.clone();
    scope.listen(Box::new(move |identity| lock(&heard).push(identity.to_string())));
    World { storage, clock, scope, changed }
}

fn take(changed: &Mutex<Vec<String>>) -> Vec<String> {
    let mut taken = std::mem::take(&mut *lock(changed));
    taken.sort();
    taken
}

#[tokio::test]
async fn the_scope_is_read_in_pages_kept_and_known_without_the_hub() {
    let source = Arc::new(Source::default());
    source.set(Some(&[module("a", "1"), module("b", "1"), module("c", "1")]));
    let world = world(Memory::new(), source.clone()).await;
    assert_eq!(world.scope.read_all().await, Ok(3));
    assert_eq!(take(&world.changed), ["e/a", "e/b", "e/c"]);

    source.set(Some(&[module("a", "1"), module("b", "2")]));
    assert_eq!(world.scope.read_all().await, Ok(2));
    // Told within the same moment, so it may have been made after the reading began.
    assert!(world.scope.admits(&id("c")));
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.scope.read_all().await, Ok(2));
    assert_eq!(take(&world.changed), ["e/b", "e/c"], "changed keys, gone");

    source.set(None);
    assert!(world.scope.read_all().await.is_err());
    let again = super::tests::world(world.storage.power_cut(1), source).await;
    assert_eq!(*again.scope.find(&id("b")).await.unwrap().unwrap(), module("b", "2"));
    assert!(again.scope.find(&id("c")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_new_identity_is_asked_for_at_once_and_strangers_not_too_often() {
    let source = Arc::new(Source::default());
    source.set(Some(&[module("new", "1")]));
    let world = world(Memory::new(), source.clone()).await;
    assert!(world.scope.find(&id("new")).await.unwrap().is_some());
    assert_eq!(take(&world.changed), ["e/new"]);
    for _ in 0..5 {
        assert!(world.scope.find(&id("stranger")).await.unwrap().is_none());
    }
    assert_eq!(source.asked(), 2);
    for number in 0..2 * ASKED_MAX {
        assert!(world.scope.find(&id(&format!("s{number}"))).await.unwrap().is_none());
    }
    assert_eq!(source.asked(), ASKED_MAX);
    world.clock.advance(ASK_EVERY);
    assert!(world.scope.find(&id("stranger")).await.unwrap().is_none());
    assert_eq!(source.asked(), ASKED_MAX + 1);
}

#[tokio::test]
async fn who_comes_again_meets_keys_changed_at_the_hub_rule_edgehub_02() {
    let source = Arc::new(Source::default());
    source.set(Some(&[module("m", "old")]));
    let world = world(Memory::new(), source.clone()).await;
    let old = world.scope.find(&id("m")).await.unwrap().unwrap();
    let cancel = CancellationToken::new();
    let running = tokio::spawn(world.scope.clone().run(cancel.clone()));
    source.set(Some(&[module("m", "new")]));
    world.clock.advance(ASK_EVERY);
    assert_eq!(world.scope.find(&id("m")).await.unwrap().unwrap(), old);
    tokio::time::timeout(Duration::from_secs(60), async {
        while world.scope.find(&id("m")).await.unwrap().unwrap() == old {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the new key is known");
    cancel.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_module_made_just_now_is_known_at_once_and_its_device_without_the_hub() {
    let world = world(Memory::new(), Arc::new(Source::default())).await;
    world.scope.learn(module("m", "1")).await.unwrap();
    assert!(world.scope.find(&id("m")).await.unwrap().is_some());
    let device = Identity::device(DeviceId::new("e").unwrap());
    assert!(world.scope.find(&device).await.unwrap().unwrap().is_gateway);
    world.scope.forget(&id("m")).await.unwrap();
    assert!(!world.scope.admits(&id("m")));
    assert_eq!(take(&world.changed), ["e/m", "e/m"]);
    assert!(world.scope.policy("iothubowner").await.unwrap().is_none());
}

#[tokio::test]
async fn a_key_set_just_now_holds_against_what_was_read_before() {
    let source = Arc::new(Source::default());
    let world = world(Memory::new(), source.clone()).await;
    source.set(Some(&[module("m", "made by the hub")]));
    world.scope.read_all().await.unwrap();
    world.scope.learn(module("m", "set here")).await.unwrap();
    assert_eq!(world.scope.find(&id("m")).await.unwrap().as_deref(), Some(&module("m", "set here")));
    // A reading that began before must not bring the old key back; one that begins later tells the truth.
    let (before, mut old) = (world.scope.cache().learned() - 1, vec![module("m", "made by the hub")]);
    world.scope.drop_older(&mut old, before);
    assert_eq!(old, []);
    source.set(Some(&[module("m", "newer at the hub")]));
    world.scope.read_all().await.unwrap();
    assert_eq!(world.scope.find(&id("m")).await.unwrap().as_deref(), Some(&module("m", "newer at the hub")));
}
