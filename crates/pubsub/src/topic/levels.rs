//! Texts of levels as small numbers, and a quick hash for pairs of such numbers.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

/// The number of a level's text.
pub(super) type LevelId = u32;

/// Each text once, with the count of its users, so that names that come and go leave nothing behind.
#[derive(Default)]
pub(super) struct Levels {
    // The standard hash: texts are chosen by others, who must not be able to make them collide.
    ids: HashMap<Arc<str>, LevelId>,
    texts: Vec<(Arc<str>, u32)>,
    free: Vec<LevelId>,
    bytes: usize,
}

impl Levels {
    pub fn find(&self, text: &str) -> Option<LevelId> {
        self.ids.get(text).copied()
    }

    /// The number of a text, which has one user more from now on.
    pub fn hold(&mut self, text: &str) -> LevelId {
        if let Some(id) = self.ids.get(text) {
            self.texts[*id as usize].1 += 1;
            return *id;
        }
        let text: Arc<str> = text.into();
        self.bytes += text.len();
        let id = match self.free.pop() {
            Some(id) => {
                self.texts[id as usize] = (text.clone(), 1);
                id
            }
            None => {
                self.texts.push((text.clone(), 1));
                u32::try_from(self.texts.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.ids.insert(text, id);
        id
    }

    /// One user less.
    pub fn release(&mut self, id: LevelId) {
        let (text, users) = &mut self.texts[id as usize];
        *users -= 1;
        if *users == 0 {
            let text = std::mem::replace(text, Arc::from(""));
            self.bytes -= text.len();
            self.ids.remove(&text);
            self.free.push(id);
        }
    }

    /// Gives back the memory of numbers that are free; gives the new number of each old one, in the same order.
    pub fn shrink(&mut self) -> Vec<LevelId> {
        let mut map = vec![LevelId::MAX; self.texts.len()];
        let mut texts = Vec::with_capacity(self.ids.len());
        for ((text, users), new) in std::mem::take(&mut self.texts).into_iter().zip(&mut map) {
            if users > 0 {
                *new = u32::try_from(texts.len()).unwrap_or(u32::MAX);
                texts.push((text, users));
            }
        }
        for id in self.ids.values_mut() {
            *id = map.get(*id as usize).copied().unwrap_or(*id);
        }
        self.ids.shrink_to_fit();
        (self.texts, self.free) = (texts, Vec::new());
        map
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.bytes == 0
    }

    /// About how much memory they take.
    pub fn bytes(&self) -> usize {
        // The map's entry and control byte, the vector's entry, two counts of the shared text.
        self.bytes + self.ids.capacity() * 25 + self.texts.capacity() * 24 + self.ids.len() * 16
    }
}

/// Multiplies once and folds: enough for pairs of numbers that we hand out ourselves. The seed is random, so that nobody
/// can prepare names whose numbers collide.
#[derive(Clone)]
pub(super) struct Quick(u64);

impl Default for Quick {
    fn default() -> Self {
        Self(RandomState::new().hash_one(0_u8))
    }
}

impl BuildHasher for Quick {
    type Hasher = Fold;
    fn build_hasher(&self) -> Fold {
        Fold { state: self.0 }
    }
}

pub(super) struct Fold {
    state: u64,
}

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // The golden ratio's fraction: odd, and its bits are spread.
        let wide = u128::from(number ^ self.state) * 0x9E37_79B9_7F4A_7C15;
        #[allow(clippy::cast_possible_truncation)] // folding is the point
        {
            self.state = (wide >> 64) as u64 ^ wide as u64;
        }
    }

    fn finish(&self) -> u64 {
        self.state
    }
}
