//! Twins for conditions: what routes name of a twin, kept by sender, because a message on its way to the log cannot wait for
//! a database.

use crate::seams::Twins;
use ironbrook_model::{ErrorCode, Identity, Refusal};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Shards; a change of a twin makes only reads of its own shard begin anew.
const SHARDS: usize = 64;
/// Twins in each of the two halves of a shard.
const HALF_MAX: usize = 512;
/// How often a read is begun anew because something changed meanwhile.
const READS_MAX: usize = 16;

/// A place in a twin: the names that lead there.
pub type TwinPath = Vec<String>;

/// Twins as far as routes or enrichments look into them. What is not there, or of an identity that is gone, is missing.
///
/// Kept until the twin changes; bounded, the least used go first.
pub struct TwinCache {
    twins: Arc<dyn Twins>,
    shards: [Mutex<Shard>; SHARDS],
}

/// Two halves: new entries go into the young one; when it is full it becomes the old one, whose entries are forgotten.
#[derive(Default)]
struct Shard {
    young: HashMap<Identity, Arc<Value>>,
    old: HashMap<Identity, Arc<Value>>,
    paths: Arc<[TwinPath]>,
    /// Counts changes: what was read before one must not be put in after it.
    age: u64,
}

impl TwinCache {
    /// Empty, for these places in twins.
    pub fn new(twins: Arc<dyn Twins>, paths: &[TwinPath]) -> Arc<Self> {
        let cache = Arc::new(Self { twins, shards: std::array::from_fn(|_| Mutex::default()) });
        cache.set_paths(paths);
        let weak = Arc::downgrade(&cache);
        cache.twins.watch(Box::new(move |identity| {
            if let Some(cache) = weak.upgrade() {
                cache.forget(identity);
            }
        }));
        cache
    }

    /// Looks at other places from now on.
    pub fn set_paths(&self, paths: &[TwinPath]) {
        let paths: Arc<[TwinPath]> = paths.into();
        for shard in &self.shards {
            let mut shard = lock(shard);
            *shard = Shard { age: shard.age + 1, paths: Arc::clone(&paths), ..Shard::default() };
        }
    }

    /// What is kept of a twin.
    pub fn get(&self, identity: &Identity) -> Option<Arc<Value>> {
        let mut shard = self.shard(identity);
        if let Some(twin) = shard.young.get(identity) {
            return Some(Arc::clone(twin));
        }
        let twin = shard.old.remove(identity)?;
        shard.insert(identity, Arc::clone(&twin));
        Some(twin)
    }

    /// The same, read where it is not kept. An error only where it cannot be known.
    pub async fn load(&self, identity: &Identity) -> Result<Arc<Value>, Refusal> {
        for _ in 0..READS_MAX {
            if let Some(twin) = self.get(identity) {
                return Ok(twin);
            }
            let (age, paths) = {
                let shard = self.shard(identity);
                (shard.age, Arc::clone(&shard.paths))
            };
            let twin = match self.twins.service_view(identity).await {
                Ok(whole) => Arc::new(project(&whole, &paths)),
                Err(refusal) if is_gone(refusal.code) => Arc::default(),
                Err(refusal) => return Err(refusal),
            };
            let mut shard = self.shard(identity);
            if shard.age == age {
                shard.insert(identity, Arc::clone(&twin));
                return Ok(twin);
            }
        }
        Err(busy())
    }

    fn forget(&self, identity: &Identity) {
        let mut shard = self.shard(identity);
        shard.age += 1;
        shard.young.remove(identity);
        shard.old.remove(identity);
    }

    fn shard(&self, identity: &Identity) -> MutexGuard<'_, Shard> {
        let hash = crate::telemetry::stable_hash(identity.device.as_str());
        // The remainder is below SHARDS.
        lock(&self.shards[(hash % SHARDS as u64) as usize])
    }
}

/// What a sender is told while its twin is read; it comes again once there is room.
pub(crate) fn busy() -> Refusal {
    Refusal::new(ErrorCode::ServerBusy, "the sender's twin, which a route names, is being read")
}

fn is_gone(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::DeviceNotFound | ErrorCode::ModuleNotFound)
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    fn insert(&mut self, identity: &Identity, twin: Arc<Value>) {
        if self.young.len() >= HALF_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(identity.clone(), twin);
    }
}

/// The parts of a twin that paths lead to.
fn project(whole: &Value, paths: &[TwinPath]) -> Value {
    let mut part = Value::Object(Map::new());
    for path in paths {
        let Some(found) = path.iter().try_fold(whole, |value, name| value.get(name)) else { continue };
        let mut place = &mut part;
        for name in path {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            place = &mut place[name];
        }
        // A longer path into the same place must not be lost, nor hide what is beside it.
        merge(place, found);
    }
    part
}

fn merge(place: &mut Value, found: &Value) {
    match (place, found) {
        (Value::Object(object), Value::Object(more)) => {
            for (name, value) in more {
                object.insert(name.clone(), value.clone());
            }
        }
        (place, found) => *place = found.clone(),
    }
}

impl std::fmt::Debug for TwinCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TwinCache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeTwins, device};
    use serde_json::json;

    fn paths(texts: &[&str]) -> Vec<TwinPath> {
        texts.iter().map(|text| text.split('.').map(str::to_owned).collect()).collect()
    }

    #[test]
    fn only_what_is_named_is_kept() {
        let whole =
            json!({"tags": {"a": {"b": 1, "c": 2}, "d": 3}, "properties": {"desired": {"x": [1, {"y": 2}]}}});
        let kept = |texts: &[&str]| project(&whole, &paths(texts));
        assert_eq!(kept(&["tags.a.b", "tags.nothing"]), json!({"tags": {"a": {"b": 1}}}));
        assert_eq!(kept(&["tags.a.b", "tags.a"]), json!({"tags": {"a": {"b": 1, "c": 2}}}));
        assert_eq!(kept(&["tags.a", "tags.a.b"]), json!({"tags": {"a": {"b": 1, "c": 2}}}));
        let list = json!({"properties": {"desired": {"x": [1, {"y": 2}]}}});
        assert_eq!(kept(&["properties.desired.x"]), list);
        assert_eq!(project(&whole, &[Vec::new()]), whole);
    }

    #[tokio::test]
    async fn a_change_is_seen_at_once_and_what_is_gone_is_missing() {
        let twins = Arc::new(FakeTwins::default());
        let cache = TwinCache::new(twins.clone(), &paths(&["tags.site"]));
        let d1 = device("d1");
        assert_eq!(cache.get(&d1), None);
        twins.put(&d1, json!({"tags": {"site": "north", "other": 1}}));
        assert_eq!(*cache.load(&d1).await.unwrap(), json!({"tags": {"site": "north"}}));
        assert!(cache.get(&d1).is_some());
        twins.put(&d1, json!({"tags": {"site": "south"}}));
        assert_eq!(cache.get(&d1), None);
        assert_eq!(*cache.load(&d1).await.unwrap(), json!({"tags": {"site": "south"}}));
        assert_eq!(*cache.load(&device("gone")).await.unwrap(), Value::Null);
        cache.set_paths(&paths(&["tags"]));
        assert_eq!(cache.get(&d1), None);
    }

    #[tokio::test]
    async fn it_stays_bounded() {
        let twins = Arc::new(FakeTwins::default());
        let cache = TwinCache::new(twins, &[]);
        for n in 0..4 * SHARDS * HALF_MAX {
            cache.shard(&device(&format!("d{n}"))).insert(&device(&format!("d{n}")), Arc::default());
        }
        for shard in &cache.shards {
            let shard = lock(shard);
            assert!(shard.young.len() + shard.old.len() <= 2 * HALF_MAX);
        }
    }
}
