//! Throttles: how much a hub, an identity and an address may ask in a while.
//!
//! Each is a bucket without a lock: one number, the time at which it would be empty again, moved forward by what is taken (the
//! generic cell rate algorithm). On the way of a message the hub's bucket and the session's own are looked at, and only where
//! such a limit is set. Time is the hub's clock; one that is set back by hours costs nobody more than a full bucket.

use crate::limits::{Flapping, Limits, Tier, Units};
use crate::seams::Clock;
use ironbrook_model::{Cause, ErrorCode, Identity, Refusal, Timestamp};
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Addresses and identities that are watched at once; past it the one heard of longest ago is forgotten.
const WATCHED_MAX: usize = 16 * 1024;
/// Direct methods are counted in blocks of this many bytes.
const METHOD_BLOCK: u64 = 4 * 1024;

/// What is throttled. Source: Azure docs "IoT Hub quotas and throttling".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttle {
    /// Create, read, list, update, delete identities.
    Identities,
    /// New lasting connections.
    Connections,
    /// Telemetry messages.
    Telemetry,
    /// Messages sent to devices.
    CloudToDevice,
    /// Messages that devices fetch over HTTP.
    HttpReceives,
    /// File uploads begun and told of.
    FileUploads,
    /// Bytes of direct methods.
    Methods,
    /// Queries.
    Queries,
    /// Twins read.
    TwinReads,
    /// Twins changed.
    TwinUpdates,
    /// Jobs created, changed and listed.
    Jobs,
    /// What jobs do to devices.
    JobDevices,
    /// Configurations and deployments created, changed, listed and tested.
    Configurations,
}

/// How many kinds there are.
const KINDS: usize = Throttle::Configurations as usize + 1;

/// So many in such a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u64,
    /// In how long; a bucket holds as many.
    pub per: Duration,
}

impl Rate {
    const fn second(count: u64) -> Self {
        Self { count, per: Duration::from_secs(1) }
    }

    const fn minute(count: u64) -> Self {
        Self { count, per: Duration::from_secs(60) }
    }
}

impl Throttle {
    /// What is refused, for people.
    const fn words(self) -> &'static str {
        match self {
            Self::Identities => "operations on identities",
            Self::Connections => "new connections",
            Self::Telemetry => "telemetry messages",
            Self::CloudToDevice => "messages to devices",
            Self::HttpReceives => "messages fetched over HTTP",
            Self::FileUploads => "file uploads",
            Self::Methods => "bytes of direct methods",
            Self::Queries => "queries",
            Self::TwinReads => "reads of twins",
            Self::TwinUpdates => "changes of twins",
            Self::Jobs => "operations on jobs",
            Self::JobDevices => "operations of jobs on devices",
            Self::Configurations => "operations on configurations",
        }
    }

    /// The documented rate of a hub of this size.
    ///
    /// rule HUB-20
    pub fn rate(self, units: Units) -> Rate {
        let Units { tier, units } = units;
        let n = u64::from(units.max(1));
        let small = |least: u64, each: u64| least.max(each * n);
        let (s1, s2, s3) = match self {
            Self::Identities | Self::CloudToDevice | Self::FileUploads | Self::Jobs => {
                (Rate::minute(100 * n), Rate::minute(100 * n), Rate::minute(5000 * n))
            }
            Self::Connections | Self::Telemetry => {
                (Rate::second(small(100, 12)), Rate::second(120 * n), Rate::second(6000 * n))
            }
            Self::HttpReceives => (Rate::minute(1000 * n), Rate::minute(1000 * n), Rate::minute(50_000 * n)),
            Self::Methods => (
                Rate::second(160 * 1024 * n),
                Rate::second(480 * 1024 * n),
                Rate::second(24 * 1024 * 1024 * n),
            ),
            Self::Queries => (Rate::minute(20 * n), Rate::minute(20 * n), Rate::minute(1000 * n)),
            Self::TwinReads => (Rate::second(100), Rate::second(small(100, 10)), Rate::second(500 * n)),
            Self::TwinUpdates => (Rate::second(50), Rate::second(small(50, 5)), Rate::second(250 * n)),
            Self::JobDevices => (Rate::second(10), Rate::second(small(10, 1)), Rate::second(50 * n)),
            Self::Configurations => (Rate::minute(20 * n), Rate::minute(20 * n), Rate::minute(20 * n)),
        };
        match tier {
            Tier::S1 => s1,
            Tier::S2 => s2,
            Tier::S3 => s3,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// Nanoseconds that one takes.
    each: i64,
    /// Nanoseconds that a full bucket is worth.
    full: i64,
    /// When it is full again, in nanoseconds since 1970.
    full_at: AtomicI64,
}

impl Bucket {
    pub(crate) fn new(rate: Rate) -> Self {
        let full = i64::try_from(rate.per.as_nanos()).unwrap_or(i64::MAX / 4);
        let count = i64::try_from(rate.count.max(1)).unwrap_or(i64::MAX);
        Self { each: (full / count).max(1), full, full_at: AtomicI64::new(i64::MIN) }
    }

    /// Takes `count` out, or tells how long to wait until they are in.
    pub(crate) fn take(&self, now: Timestamp, count: u64) -> Result<(), Duration> {
        let now = now.as_millis().saturating_mul(1_000_000);
        let cost = self.each.saturating_mul(i64::try_from(count).unwrap_or(i64::MAX));
        let mut seen = self.full_at.load(Ordering::Relaxed);
        loop {
            // Never further ahead than an empty bucket: the clock may have been set back.
            let from = seen.clamp(now, now.saturating_add(self.full));
            let then = from.saturating_add(cost);
            let wait = then.saturating_sub(now).saturating_sub(self.full);
            // What is more than a whole bucket is taken from a full one.
            if wait > 0 && from > now {
                if seen > from {
                    // So that it fills from now on; where somebody else moved it meanwhile, that stands.
                    let _ = self.full_at.compare_exchange(seen, from, Ordering::Relaxed, Ordering::Relaxed);
                }
                return Err(Duration::from_nanos(u64::try_from(wait.min(from - now)).unwrap_or_default()));
            }
            match self.full_at.compare_exchange_weak(seen, then, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => seen = other,
            }
        }
    }
}

impl Bucket {
    /// How long until one can be taken; `None` where it can be now.
    fn wait(&self, now: Timestamp) -> Option<Duration> {
        let now = now.as_millis().saturating_mul(1_000_000);
        let from = self.full_at.load(Ordering::Relaxed).clamp(now, now.saturating_add(self.full));
        let wait = from.saturating_add(self.each).saturating_sub(now).saturating_sub(self.full);
        (wait > 0 && from > now).then(|| Duration::from_nanos(u64::try_from(wait).unwrap_or_default()))
    }
}

/// Something kept for each of many keys, of which only so many are kept.
struct Watched<K, V> {
    all: Mutex<(HashMap<K, V>, VecDeque<K>)>,
}

impl<K: Clone + Eq + Hash, V> Watched<K, V> {
    fn new() -> Self {
        Self { all: Mutex::new((HashMap::new(), VecDeque::new())) }
    }

    fn with<T>(&self, key: &K, make: impl FnOnce() -> V, work: impl FnOnce(&mut V) -> T) -> T {
        let mut all: MutexGuard<'_, _> = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, order) = &mut *all;
        if let Some(value) = known.get_mut(key) {
            return work(value);
        }
        if known.len() >= WATCHED_MAX
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
        order.push_back(key.clone());
        work(known.entry(key.clone()).or_insert_with(make))
    }
}

/// How often an identity connected of late, and until when it is shut out.
#[derive(Default)]
struct Flaps {
    connects: VecDeque<Timestamp>,
    banned_until: Option<Timestamp>,
}

/// The throttles of a hub.
pub struct Throttles {
    clock: Arc<dyn Clock>,
    hub: Option<[Bucket; KINDS]>,
    units: Option<Units>,
    addresses: Option<(Rate, Watched<IpAddr, Bucket>)>,
    identities: Option<(Rate, Watched<Identity, Bucket>)>,
    flapping: Option<(Flapping, Watched<Identity, Flaps>)>,
    messages: Option<Rate>,
}

const ALL: [Throttle; KINDS] = [
    Throttle::Identities,
    Throttle::Connections,
    Throttle::Telemetry,
    Throttle::CloudToDevice,
    Throttle::HttpReceives,
    Throttle::FileUploads,
    Throttle::Methods,
    Throttle::Queries,
    Throttle::TwinReads,
    Throttle::TwinUpdates,
    Throttle::Jobs,
    Throttle::JobDevices,
    Throttle::Configurations,
];

impl Throttles {
    pub(crate) fn new(limits: &Limits, clock: Arc<dyn Clock>) -> Self {
        let per_second = |count: Option<u32>| count.map(|count| Rate::second(u64::from(count)));
        Self {
            clock,
            hub: limits.throttling.map(|units| ALL.map(|throttle| Bucket::new(throttle.rate(units)))),
            units: limits.throttling,
            addresses: per_second(limits.address_connections_per_second).map(|rate| (rate, Watched::new())),
            identities: per_second(limits.identity_connections_per_second).map(|rate| (rate, Watched::new())),
            flapping: limits.flapping.map(|flapping| (flapping, Watched::new())),
            messages: per_second(limits.identity_messages_per_second),
        }
    }

    /// Takes one from a hub-wide throttle. 429001 where it is empty.
    pub fn take(&self, throttle: Throttle) -> Result<(), Refusal> {
        self.take_many(throttle, 1)
    }

    /// Takes several.
    pub fn take_many(&self, throttle: Throttle, count: u64) -> Result<(), Refusal> {
        let Some(buckets) = &self.hub else { return Ok(()) };
        buckets[throttle as usize].take(self.clock.now(), count).map_err(|wait| {
            let rate = self.units.map(|units| throttle.rate(units)).unwrap_or(Rate::second(0));
            refuse(format!(
                "more {} than the {} in {} s that this hub takes; try again in {} s, or give the hub more units",
                throttle.words(),
                rate.count,
                rate.per.as_secs(),
                wait.as_secs() + 1
            ))
        })
    }

    /// Waits until one can be taken from a hub-wide throttle, and takes it: for work that nobody waits for at a door. Cancel-safe.
    pub async fn wait(&self, throttle: Throttle) {
        let Some(buckets) = &self.hub else { return };
        while let Err(wait) = buckets[throttle as usize].take(self.clock.now(), 1) {
            // The clock counts in milliseconds.
            self.clock.sleep(wait.max(Duration::from_millis(1))).await;
        }
    }

    /// Takes what a direct method of this many bytes costs.
    pub(crate) fn take_method(&self, bytes: usize) -> Result<(), Refusal> {
        let blocks = (bytes as u64).div_ceil(METHOD_BLOCK).max(1);
        self.take_many(Throttle::Methods, blocks * METHOD_BLOCK)
    }

    /// Whether an address may open another connection; asked before anything is spent on it.
    pub fn admits(&self, address: IpAddr) -> bool {
        let Some((rate, watched)) = &self.addresses else { return true };
        watched.with(&address, || Bucket::new(*rate), |bucket| bucket.take(self.clock.now(), 1).is_ok())
    }

    /// Checks what a lasting connection of a proven identity costs.
    pub(crate) fn connect(&self, identity: &Identity) -> Result<(), Refusal> {
        let now = self.clock.now();
        if let Some((flapping, watched)) = &self.flapping {
            watched.with(identity, Flaps::default, |flaps| flaps.connect(flapping, now))?;
        }
        if let Some((rate, watched)) = &self.identities {
            let taken = watched.with(identity, || Bucket::new(*rate), |bucket| bucket.take(now, 1));
            taken.map_err(|_| {
                refuse(format!("this identity connects more often than {} times a second; wait", rate.count))
            })?;
        }
        self.take(Throttle::Connections)
    }

    /// The bucket of a session's own messages, where there is such a limit.
    pub(crate) fn of_session(&self) -> Option<Bucket> {
        self.messages.map(Bucket::new)
    }

    /// Takes a telemetry message from the hub's bucket and the session's. No lock. 429001: wait for [`room`](Self::room).
    pub(crate) fn telemetry(&self, own: Option<&Bucket>, now: Timestamp) -> Result<(), Refusal> {
        // The session's own first: who is too fast takes nothing from the others.
        if let Some(own) = own
            && own.take(now, 1).is_err()
        {
            return Err(refuse("this identity sends more messages than it may; slow down"));
        }
        let Some(buckets) = &self.hub else { return Ok(()) };
        buckets[Throttle::Telemetry as usize]
            .take(now, 1)
            .map_err(|_| refuse("more telemetry than this hub takes; slow down, or give the hub more units"))
    }

    /// Waits as long as telemetry is throttled: a message that was refused is to be offered again then.
    pub(crate) async fn room(&self, own: Option<&Bucket>) {
        let now = self.clock.now();
        let hub = self.hub.as_ref().map(|buckets| &buckets[Throttle::Telemetry as usize]);
        let wait = [own, hub].into_iter().flatten().filter_map(|bucket| bucket.wait(now)).max();
        if let Some(wait) = wait {
            // The clock counts in milliseconds.
            self.clock.sleep(wait.max(Duration::from_millis(1))).await;
        }
    }
}

impl Flaps {
    fn connect(&mut self, flapping: &Flapping, now: Timestamp) -> Result<(), Refusal> {
        if let Some(until) = self.banned_until {
            if now < until {
                let left = until.since(now).as_secs() + 1;
                return Err(Refusal::new(
                    ErrorCode::DeviceThrottlingLimitExceeded,
                    format!(
                        "this identity connected {} times within {} s and is shut out for {left} s more; find out why its connections end",
                        flapping.connections,
                        flapping.within.as_secs()
                    ),
                )
                .because(Cause::Banned));
            }
            self.banned_until = None;
            self.connects.clear();
        }
        while self.connects.front().is_some_and(|first| now.since(*first) >= flapping.within) {
            self.connects.pop_front();
        }
        self.connects.push_back(now);
        if self.connects.len() > flapping.connections as usize {
            self.banned_until = Some(now.plus(flapping.ban));
            self.connects.clear();
            return self.connect(flapping, now);
        }
        Ok(())
    }
}

fn refuse(text: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(ErrorCode::ThrottlingException, text).because(Cause::Throttled)
}

impl std::fmt::Debug for Throttles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Throttles").field("units", &self.units).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
