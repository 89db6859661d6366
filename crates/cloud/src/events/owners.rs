//! Who reads a partition in a consumer group: one owner with the highest level, or up to five readers without one.
//!
//! Source: Event Hubs docs "Partition ownership" (epoch receivers) and "Quotas" (five concurrent readers).

use ironbrook_log::PartitionId;
use ironbrook_model::{ErrorCode, Refusal};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// Readers without owner level at the same time.
const READERS_MAX: usize = 5;

type Place = (String, PartitionId);

/// All readers of all partitions.
#[derive(Default)]
pub(super) struct Owners {
    places: Arc<Mutex<HashMap<Place, Vec<Reader>>>>,
    next: std::sync::atomic::AtomicU64,
}

struct Reader {
    number: u64,
    level: Option<i64>,
    displaced: CancellationToken,
}

/// A reader's stay; ends when dropped.
pub(super) struct Claim {
    places: Arc<Mutex<HashMap<Place, Vec<Reader>>>>,
    place: Place,
    number: u64,
    /// Cancelled when a reader with at least this owner level took over.
    pub(super) displaced: CancellationToken,
}

impl Owners {
    /// Takes a place. A level at least as high as the owner's displaces it and every reader without level; a lower one, or none while
    /// there is an owner, is refused.
    pub(super) fn claim(
        &self,
        group: &str,
        partition: PartitionId,
        level: Option<i64>,
    ) -> Result<Claim, Refusal> {
        let place = (group.to_ascii_lowercase(), partition);
        let number = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let readers = places.entry(place.clone()).or_default();
        let owner = readers.iter().filter_map(|r| r.level).max();
        match (level, owner) {
            (Some(level), Some(owner)) if level < owner => {
                return Err(conflict(format!(
                    "a reader with owner level {owner} holds the partition; {level} is lower"
                )));
            }
            (None, Some(owner)) => {
                return Err(conflict(format!("a reader with owner level {owner} holds the partition")));
            }
            (None, None) if readers.len() >= READERS_MAX => {
                return Err(Refusal::new(
                    ErrorCode::IotHubQuotaExceeded,
                    "five readers of this partition and consumer group are connected; close one or use another consumer group",
                ));
            }
            (Some(_), _) => readers.drain(..).for_each(|r| r.displaced.cancel()),
            (None, None) => {}
        }
        let displaced = CancellationToken::new();
        readers.push(Reader { number, level, displaced: displaced.clone() });
        Ok(Claim { places: self.places.clone(), place, number, displaced })
    }
}

impl Claim {
    /// What a displaced reader is told.
    pub(super) fn why_displaced() -> Refusal {
        conflict("a reader with an owner level took over the partition".to_owned())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(readers) = places.get_mut(&self.place) {
            readers.retain(|r| r.number != self.number);
            if readers.is_empty() {
                places.remove(&self.place);
            }
        }
    }
}

fn conflict(why: String) -> Refusal {
    Refusal::new(ErrorCode::LinkCreationConflict, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: PartitionId = PartitionId(0);

    #[test]
    fn a_higher_level_displaces_and_a_lower_one_is_refused() {
        let owners = Owners::default();
        let reader = owners.claim("$Default", P, None).unwrap();
        let owner = owners.claim("$default", P, Some(1)).unwrap();
        assert!(reader.displaced.is_cancelled());
        assert!(owners.claim("$Default", P, Some(0)).is_err());
        assert!(owners.claim("$Default", P, None).is_err());
        assert!(owners.claim("other", P, None).is_ok());
        let again = owners.claim("$Default", P, Some(1)).unwrap();
        assert!(owner.displaced.is_cancelled() && !again.displaced.is_cancelled());
        drop((reader, owner, again));
        assert!(owners.claim("$Default", P, None).is_ok());
        assert!(owners.places.lock().unwrap().is_empty());
    }

    #[test]
    fn a_sixth_reader_is_refused_until_one_leaves() {
        let owners = Owners::default();
        let mut readers: Vec<_> = (0..READERS_MAX).map(|_| owners.claim("g", P, None).unwrap()).collect();
        assert!(owners.claim("g", P, None).is_err());
        readers.pop();
        assert!(owners.claim("g", P, None).is_ok());
    }
}
