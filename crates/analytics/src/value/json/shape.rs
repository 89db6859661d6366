//! What the objects at one place of a source's events look like.
//!
//! Events of one source mostly have the same fields in the same order. So the name that stood behind the last one the last
//! time is compared first, and its shared form, what is wanted of it and the memory of its value are at hand then.

use super::Wanted;
use crate::value::{Record, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// How many names are kept for one reader; further ones are made anew each time.
pub(super) const MAX_NAMES: usize = 1024;
/// How many of them at one place.
pub(super) const MAX_SLOTS: usize = 256;
/// Longer names are not kept.
const MAX_LENGTH: usize = 128;

/// The objects at one place.
#[derive(Debug)]
pub(super) struct Shape {
    wanted: Wanted,
    slots: Vec<Slot>,
    places: HashMap<Box<[u8]>, usize>,
    /// The record given out last, of events: when nobody holds it any more, its memory is used again.
    pub(super) last: Option<Arc<Record>>,
}

/// A field of them.
#[derive(Debug)]
pub(super) struct Slot {
    lead: Lead,
    pub(super) name: Arc<str>,
    /// The first slot with this name; names can be spelt in several ways.
    pub(super) first: usize,
    pub(super) wanted: Wanted,
    /// What objects in it look like.
    pub(super) inner: Option<Box<Shape>>,
}

/// A name as it mostly stands in the text, from quote to colon.
#[derive(Debug)]
pub(super) struct Lead {
    text: Box<[u8]>,
    /// Its first 16 bytes, and which of them there are: most names are compared without a look at the rest.
    words: [u64; 2],
    masks: [u64; 2],
}

/// The fields of an object that were met.
#[derive(Debug, Default)]
pub(super) struct Met([u64; MAX_SLOTS / 64]);

impl Shape {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self { wanted, slots: Vec::new(), places: HashMap::new(), last: None }
    }

    pub(super) fn slot(&mut self, place: usize) -> &mut Slot {
        &mut self.slots[place]
    }

    /// What is wanted of a field that has no place.
    pub(super) fn wanted_of(&self, name: &str) -> Wanted {
        self.wanted.of(name)
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.wanted != Wanted::Nothing
    }

    /// The name that is expected at a place, with its colon.
    #[inline]
    pub(super) fn expected(&self, place: usize) -> Option<&Lead> {
        self.slots.get(place).map(|slot| &slot.lead)
    }

    /// The place of a name as it stands in the text.
    pub(super) fn place(&self, quoted: &[u8]) -> Option<usize> {
        self.places.get(quoted).copied()
    }

    /// The place of a name by its meaning; takes time linear in the number of fields.
    pub(super) fn place_of_name(&self, name: &str) -> Option<usize> {
        self.slots.iter().position(|slot| *slot.name == *name)
    }

    /// Makes a place for a name if there is room; `left` counts down over all shapes of a reader.
    pub(super) fn add(&mut self, quoted: &[u8], name: &Arc<str>, left: &mut usize) -> Option<usize> {
        if *left == 0 || self.slots.len() == MAX_SLOTS || quoted.len() > MAX_LENGTH {
            return None;
        }
        *left -= 1;
        let place = self.slots.len();
        let known = self.place_of_name(name);
        // The query's own, where it has one: its expressions find their fields quicker by it.
        let own = known.map(|known| &self.slots[known].name).or_else(|| self.wanted.name(name));
        let name = own.unwrap_or(name).clone();
        let (first, wanted) = (known.unwrap_or(place), self.wanted.of(&name));
        self.slots.push(Slot { lead: Lead::new([quoted, b":"].concat()), name, first, wanted, inner: None });
        self.places.insert(quoted.into(), place);
        Some(place)
    }

    /// A record for the next fields, which nobody else holds: the one before if that is so of it.
    pub(super) fn memory(&self, before: Option<Arc<Record>>) -> Arc<Record> {
        let fresh = || Arc::new(Record::from_distinct(Vec::with_capacity(self.slots.len())));
        before.filter(|before| Arc::strong_count(before) == 1).unwrap_or_else(fresh)
    }
}

/// The fields of a record that is being read, over those of the one before: a field with the name of its predecessor at
/// that place costs no more than its value.
pub(super) struct Fields {
    list: Vec<(Arc<str>, Value)>,
    filled: usize,
}

impl Fields {
    pub(super) fn over(before: Vec<(Arc<str>, Value)>) -> Self {
        Self { list: before, filled: 0 }
    }

    /// The place of the next field. What stood there before is still in it, so that its memory can be used.
    #[inline]
    pub(super) fn place(&mut self, name: &Arc<str>) -> &mut Value {
        let filled = self.filled;
        self.filled += 1;
        match self.list.get_mut(filled) {
            Some((known, _)) if Arc::ptr_eq(known, name) => {}
            Some((known, _)) => *known = name.clone(),
            None => self.list.push((name.clone(), Value::Null)),
        }
        &mut self.list[filled].1
    }

    pub(super) fn finish(mut self) -> Vec<(Arc<str>, Value)> {
        self.list.truncate(self.filled);
        self.list
    }
}

impl Lead {
    fn new(text: Vec<u8>) -> Self {
        let mut lead = Self { text: text.into(), words: [0; 2], masks: [0; 2] };
        for (place, byte) in lead.text.iter().take(16).enumerate() {
            lead.words[place / 8] |= u64::from(*byte) << (place % 8 * 8);
            lead.masks[place / 8] |= 0xff << (place % 8 * 8);
        }
        lead
    }

    /// How many bytes it takes up at the beginning of a text; 0 if that begins otherwise.
    #[inline]
    pub(super) fn begins(&self, text: &[u8]) -> usize {
        let found = match text.as_chunks::<8>().0 {
            [first, second, ..] => {
                let differs = |word: &[u8; 8], place: usize| {
                    (u64::from_le_bytes(*word) ^ self.words[place]) & self.masks[place]
                };
                differs(first, 0) | differs(second, 1) == 0
                    && (self.text.len() <= 16 || text.starts_with(&self.text))
            }
            _ => text.starts_with(&self.text),
        };
        if found { self.text.len() } else { 0 }
    }
}

impl Met {
    /// Takes down a place; `true` if it was met before.
    pub(super) fn again(&mut self, place: usize) -> bool {
        let (word, bit) = (&mut self.0[place / 64 % (MAX_SLOTS / 64)], 1 << (place % 64));
        let again = *word & bit != 0;
        *word |= bit;
        again
    }
}
