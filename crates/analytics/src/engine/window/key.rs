//! By what rows are told apart: the values of the key columns.

use crate::value::GroupKey;
use crate::value::snapshot::{Reader, SnapshotError, Writer};
use std::borrow::Borrow;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// The values of the key columns; cheap to clone. There can be millions, mostly of one column: such a key stands where it is
/// kept, without memory of its own.
#[derive(Debug, Clone)]
pub(crate) enum Key {
    One(GroupKey),
    /// None or several.
    Others(Arc<[GroupKey]>),
}

impl Deref for Key {
    type Target = [GroupKey];

    fn deref(&self) -> &[GroupKey] {
        match self {
            Self::One(key) => std::slice::from_ref(key),
            Self::Others(keys) => keys,
        }
    }
}

impl Borrow<[GroupKey]> for Key {
    fn borrow(&self) -> &[GroupKey] {
        self
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

/// As that of the slice, by which keys are looked up.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl From<&[GroupKey]> for Key {
    fn from(keys: &[GroupKey]) -> Self {
        match keys {
            [key] => Self::One(key.clone()),
            keys => Self::Others(keys.into()),
        }
    }
}

impl From<Vec<GroupKey>> for Key {
    fn from(mut keys: Vec<GroupKey>) -> Self {
        match keys.pop() {
            Some(key) if keys.is_empty() => Self::One(key),
            last => {
                keys.extend(last);
                Self::Others(keys.into())
            }
        }
    }
}

impl FromIterator<GroupKey> for Key {
    fn from_iter<I: IntoIterator<Item = GroupKey>>(keys: I) -> Self {
        keys.into_iter().collect::<Vec<_>>().into()
    }
}

/// About how many bytes the values hold.
pub(crate) fn key_weight(key: &[GroupKey]) -> usize {
    key.iter().map(|key| key.0.weight()).sum()
}

pub(crate) fn write_key(key: &[GroupKey], out: &mut Writer) {
    out.size(key.len());
    key.iter().for_each(|key| out.value(&key.0));
}

pub(crate) fn read_key(from: &mut Reader<'_>) -> Result<Key, SnapshotError> {
    Ok(from.values()?.into_iter().map(GroupKey).collect())
}
