//! Names of fields, shared between events.

use std::collections::HashMap;
use std::sync::Arc;

/// How many names are kept; further ones are made anew each time.
const MAX_NAMES: usize = 1024;
/// Longer names are not kept.
const MAX_LENGTH: usize = 128;

/// A bounded set of names. Events of one source mostly have the same fields in the same order, so the name after the last
/// one is tried before the map.
#[derive(Debug)]
pub struct Names {
    lower_case: bool,
    /// As it came, and as it is used.
    known: Vec<(Arc<str>, Arc<str>)>,
    places: HashMap<Arc<str>, usize>,
    next: usize,
}

impl Names {
    /// No names yet.
    pub fn new(lower_case: bool) -> Self {
        Self { lower_case, known: Vec::new(), places: HashMap::new(), next: 0 }
    }

    /// The shared form of a name.
    pub fn get(&mut self, name: &str) -> Arc<str> {
        let place = match self.known.get(self.next) {
            Some((raw, _)) if **raw == *name => Some(self.next),
            _ => self.places.get(name).copied(),
        };
        if let Some(place) = place {
            self.next = (place + 1) % self.known.len();
            return self.known[place].1.clone();
        }
        let used: Arc<str> = if self.lower_case { name.to_lowercase().into() } else { name.into() };
        if self.known.len() < MAX_NAMES && name.len() <= MAX_LENGTH {
            let raw = if self.lower_case { Arc::from(name) } else { used.clone() };
            self.places.insert(raw.clone(), self.known.len());
            self.known.push((raw, used.clone()));
        }
        used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shared_in_any_order() {
        let mut names = Names::new(false);
        let first: Vec<_> = ["a", "b", "c"].map(|name| names.get(name)).into();
        for order in [["a", "b", "c"], ["c", "b", "a"], ["b", "a", "c"]] {
            for name in order {
                let again = names.get(name);
                assert_eq!(&*again, name);
                assert!(first.iter().any(|known| Arc::ptr_eq(known, &again)));
            }
        }
    }

    #[test]
    fn the_set_is_bounded() {
        let mut names = Names::new(true);
        for number in 0..2 * MAX_NAMES {
            assert_eq!(&*names.get(&format!("N{number}")), format!("n{number}"));
        }
        names.get(&"x".repeat(MAX_LENGTH + 1));
        assert_eq!((names.known.len(), names.places.len()), (MAX_NAMES, MAX_NAMES));
    }
}
