//! Which fields of events are to be read.

use std::sync::Arc;

/// What of a value is read. The rest is checked as strictly, and then passed over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Wanted {
    /// Nothing.
    Nothing,
    /// Everything.
    #[default]
    Whole,
    /// Everything, and of a text only the time it stands for, if it stands for one.
    Time,
    /// Of an object these fields, whatever else it has; another value is read as a whole.
    Fields(Vec<(Arc<str>, Wanted)>),
}

impl Wanted {
    /// What is wanted of a field of an object.
    pub(super) fn of(&self, name: &str) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::Whole | Self::Time => Self::Whole,
            Self::Fields(fields) => {
                let known = fields.iter().find(|(field, _)| **field == *name);
                known.map_or(Self::Nothing, |(_, wanted)| wanted.clone())
            }
        }
    }

    /// The name of a wanted field as the query shares it.
    pub(super) fn name(&self, name: &str) -> Option<&Arc<str>> {
        match self {
            Self::Fields(fields) => fields.iter().map(|(field, _)| field).find(|field| ***field == *name),
            _ => None,
        }
    }

    /// Adds a field of a field …, with everything in it; without names everything.
    pub(crate) fn add(&mut self, path: &[Arc<str>]) {
        let Some((name, rest)) = path.split_first() else {
            *self = Self::Whole;
            return;
        };
        match self {
            Self::Nothing => *self = Self::Fields(Vec::new()),
            Self::Time => *self = Self::Whole,
            Self::Whole | Self::Fields(_) => {}
        }
        let Self::Fields(fields) = self else { return };
        let place = fields.iter().position(|(field, _)| field == name).unwrap_or_else(|| {
            fields.push((name.clone(), Self::Nothing));
            fields.len() - 1
        });
        fields[place].1.add(rest);
    }

    /// Adds a field of a field … that is looked at as a time.
    pub(crate) fn add_time(&mut self, path: &[Arc<str>]) {
        let known = path.iter().fold(self.clone(), |wanted, name| wanted.of(name));
        if known == Self::Time {
            return;
        }
        self.add(path);
        let fresh = known == Self::Nothing && !path.is_empty();
        let place = path.iter().try_fold(self, |wanted, name| match wanted {
            Self::Fields(fields) => {
                fields.iter_mut().find(|(field, _)| field == name).map(|(_, inner)| inner)
            }
            _ => None,
        });
        if let Some(place) = place.filter(|_| fresh) {
            *place = Self::Time;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_together() {
        let path = |text: &str| text.split('.').map(Arc::from).collect::<Vec<Arc<str>>>();
        let mut wanted = Wanted::Nothing;
        for text in ["a.b", "a.c.d", "e", "e.f"] {
            wanted.add(&path(text));
        }
        assert_eq!(wanted.of("a").of("b"), Wanted::Whole);
        assert_eq!(wanted.of("a").of("c").of("x"), Wanted::Nothing);
        assert_eq!(wanted.of("e").of("g"), Wanted::Whole);
        assert_eq!(wanted.of("x"), Wanted::Nothing);
        wanted.add(&[]);
        assert_eq!(wanted, Wanted::Whole);
    }

    #[test]
    fn a_time_is_one_only_where_nobody_wants_its_text() {
        let path = |text: &str| text.split('.').map(Arc::from).collect::<Vec<Arc<str>>>();
        let mut wanted = Wanted::Nothing;
        for _ in 0..2 {
            wanted.add_time(&path("a.at"));
            assert_eq!(wanted.of("a").of("at"), Wanted::Time);
        }
        wanted.add(&path("a.at"));
        assert_eq!(wanted.of("a").of("at"), Wanted::Whole);
        wanted.add_time(&path("a.at"));
        assert_eq!(wanted.of("a").of("at"), Wanted::Whole);
        wanted.add_time(&path("b"));
        wanted.add(&path("b.c"));
        assert_eq!(wanted.of("b"), Wanted::Whole);
        wanted.add(&path("c.d"));
        wanted.add_time(&path("c"));
        assert_eq!(wanted.of("c"), Wanted::Whole);
    }
}
