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
    places: HashMap<Box<str>, usize>,
    /// The record given out last, of events: when nobody holds it any more, its memory is used again.
    pub(super) last: Option<Arc<Record>>,
}

/// A field of them.
#[derive(Debug)]
pub(super) struct Slot {
    /// The name as it mostly stands in the text, from quote to colon.
    lead: Box<str>,
    pub(super) name: Arc<str>,
    /// The first slot with this name; names can be spelt in several ways.
    pub(super) first: usize,
    pub(super) wanted: Wanted,
    /// What objects in it look like.
    pub(super) inner: Option<Box<Shape>>,
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
    pub(super) fn expected(&self, place: usize) -> Option<&str> {
        self.slots.get(place).map(|slot| &*slot.lead)
    }

    /// The place of a name as it stands in the text.
    pub(super) fn place(&self, quoted: &str) -> Option<usize> {
        self.places.get(quoted).copied()
    }

    /// The place of a name by its meaning; takes time linear in the number of fields.
    pub(super) fn place_of_name(&self, name: &str) -> Option<usize> {
        self.slots.iter().position(|slot| *slot.name == *name)
    }

    /// Makes a place for a name if there is room; `left` counts down over all shapes of a reader.
    pub(super) fn add(&mut self, quoted: &str, name: &Arc<str>, left: &mut usize) -> Option<usize> {
        if *left == 0 || self.slots.len() == MAX_SLOTS || quoted.len() > MAX_LENGTH {
            return None;
        }
        *left -= 1;
        let place = self.slots.len();
        let known = self.place_of_name(name);
        let name = known.map_or(name, |known| &self.slots[known].name).clone();
        let (first, wanted) = (known.unwrap_or(place), self.wanted.of(&name));
        self.slots.push(Slot { lead: format!("{quoted}:").into(), name, first, wanted, inner: None });
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

    /// The object of the record before that stands where the next field comes, so that its memory can be used for this one.
    pub(super) fn object_before(&mut self) -> Option<Arc<Record>> {
        let (_, old) = self.list.get_mut(self.filled)?;
        match std::mem::replace(old, Value::Null) {
            Value::Record(record) => Some(record),
            _ => None,
        }
    }

    pub(super) fn push(&mut self, name: &Arc<str>, value: Value) {
        match self.list.get_mut(self.filled) {
            Some((known, old)) if Arc::ptr_eq(known, name) => *old = value,
            Some(old) => *old = (name.clone(), value),
            None => self.list.push((name.clone(), value)),
        }
        self.filled += 1;
    }

    pub(super) fn finish(mut self) -> Vec<(Arc<str>, Value)> {
        self.list.truncate(self.filled);
        self.list
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
