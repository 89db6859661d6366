//! Power cuts.

use super::inode::{Inode, InodeRef};
use super::{Memory, State};
use std::collections::BTreeMap;
use std::path::PathBuf;

impl Memory {
    /// Cuts the power and returns the storage as found afterwards: all that was synced is there, each unsynced write
    /// is there, lost or torn, each unsynced creation, rename and removal is there or lost, by the seed. The old
    /// value and its files refuse every further call.
    pub fn power_cut(&self, seed: u64) -> Self {
        self.cut(seed, Inode::after_power_cut)
    }

    /// The same where a write does not end at some byte but is torn by blocks of this many bytes, 1 or more: any of them may be
    /// there, later ones without earlier ones too.
    pub fn power_cut_by_block(&self, seed: u64, block: usize) -> Self {
        self.cut(seed, |inode, random| inode.after_power_cut_by_block(random, block.max(1)))
    }

    fn cut(&self, seed: u64, left: impl Fn(&Inode, &mut Random) -> Vec<u8>) -> Self {
        let mut old = self.lock();
        old.power = false;
        let mut random = Random(seed);
        let mut names = old.synced_names.clone();
        for change in &old.unsynced {
            if random.below(2) == 0 {
                change.apply(&mut names);
            }
        }
        let found: BTreeMap<_, _> = names
            .into_iter()
            .map(|(path, inode)| {
                let contents = left(&inode.lock(), &mut random);
                (path, InodeRef::new(Inode::found(contents)))
            })
            .collect();
        Self::holding(found, &old)
    }

    /// The same contents, all of them synced, in storage of its own. The old one goes on.
    pub fn copy(&self) -> Self {
        let old = self.lock();
        let names = old.names.iter().map(|(path, inode)| {
            (path.clone(), InodeRef::new(Inode::found(inode.lock().contents().to_vec())))
        });
        Self::holding(names.collect(), &old)
    }

    fn holding(found: BTreeMap<PathBuf, InodeRef>, old: &State) -> Self {
        let new = Self::new();
        {
            let mut state = new.lock();
            let State { names, synced_names, folders, .. } = &mut *state;
            names.clone_from(&found);
            *synced_names = found;
            folders.clone_from(&old.folders);
        }
        new
    }

    /// Whether the power is off.
    pub fn is_off(&self) -> bool {
        !self.lock().power
    }

    /// Lets `operations` more changing calls succeed; at the next one the power goes off and every call fails from
    /// then on. [`power_cut`](Self::power_cut) then gives what is found.
    pub fn power_off_after(&self, operations: u64) {
        let mut state = self.lock();
        state.last_operation = Some(state.operations + operations);
    }
}

/// SplitMix64: small, seeded, the same everywhere.
pub(super) struct Random(u64);

impl Random {
    /// A number from 0 up to and without `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        usize::try_from(z % bound.max(1) as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Storage;
    use std::path::Path;

    fn contents(memory: &Memory, path: &str) -> Option<Vec<u8>> {
        let file = memory.open(Path::new(path), false).ok()?;
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
        Some(bytes)
    }

    #[test]
    fn synced_bytes_survive_and_unsynced_ones_are_kept_lost_or_torn() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let memory = Memory::new();
            let file = memory.open(Path::new("x"), true).unwrap();
            memory.sync_folder(Path::new("")).unwrap();
            file.write_at(b"base", 0).unwrap();
            file.sync_data().unwrap();
            file.write_at(b"tail", 4).unwrap();
            let found = memory.power_cut(seed);
            assert!(file.write_at(b"late", 0).is_err());
            let text = String::from_utf8(contents(&found, "x").unwrap()).unwrap();
            assert!("basetail".starts_with(&text) && text.starts_with("base"), "{text}");
            seen.insert(text);
        }
        assert_eq!(seen.len(), 5, "{seen:?}");
    }

    #[test]
    fn blocks_of_an_unsynced_write_are_there_in_any_order() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let memory = Memory::new();
            let file = memory.open(Path::new("x"), true).unwrap();
            memory.sync_folder(Path::new("")).unwrap();
            file.write_at(b"ab", 0).unwrap();
            file.sync_data().unwrap();
            file.write_at(b"cdefgh", 2).unwrap();
            seen.insert(contents(&memory.power_cut_by_block(seed, 4), "x").unwrap());
        }
        let all = [&b"ab"[..], b"abcd", b"ab\0\0efgh", b"abcdefgh"];
        assert_eq!(seen, all.map(<[u8]>::to_vec).into());
    }

    #[test]
    fn a_chosen_call_fails_once_and_a_bit_flips_for_readers_and_disk() {
        let memory = Memory::new();
        let file = memory.open(Path::new("x"), true).unwrap();
        memory.sync_folder(Path::new("")).unwrap();
        memory.fail_operation(2);
        file.write_at(b"abcd", 0).unwrap();
        assert!(file.write_at(b"efgh", 4).is_err());
        assert_eq!(contents(&memory, "x").unwrap(), b"abcdef", "half done");
        memory.fail_operation(1);
        assert!(file.sync_data().is_err());
        file.write_at(b"ABCD", 0).unwrap();
        file.sync_data().unwrap();
        memory.flip_bit(Path::new("x"), 1, 5);
        memory.flip_bit(Path::new("x"), 99, 5);
        memory.flip_bit(Path::new("y"), 1, 5);
        assert_eq!(contents(&memory, "x").unwrap(), b"AbCDef");
        assert_eq!(
            contents(&memory.power_cut(1), "x").unwrap(),
            b"AbCD",
            "what the failed sync lost stays lost"
        );
    }

    #[test]
    fn names_need_their_folder_synced() {
        let (mut new, mut old, mut both, mut none) = (0, 0, 0, 0);
        for seed in 0..200 {
            let memory = Memory::new();
            memory.create_folder(Path::new("a")).unwrap();
            memory.open(Path::new("a/old"), true).unwrap();
            memory.sync_folder(Path::new("a")).unwrap();
            memory.open(Path::new("a/new"), true).unwrap();
            memory.remove(Path::new("a/old")).unwrap();
            let found = memory.power_cut(seed).list(Path::new("a")).unwrap();
            match found.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                ["new"] => new += 1,
                ["old"] => old += 1,
                [] => none += 1,
                _ => both += 1,
            }
        }
        assert!([new, old, both, none].iter().all(|count| *count > 20), "{new} {old} {both} {none}");
    }

    #[test]
    fn a_failed_sync_is_not_made_good_by_a_later_one_but_by_writing_again() {
        let memory = Memory::new();
        let file = memory.open(Path::new("x"), true).unwrap();
        memory.sync_folder(Path::new("")).unwrap();
        file.write_at(b"abcdef", 0).unwrap();
        memory.fail_sync(1);
        assert!(file.sync_data().is_err());
        file.write_at(b"abc", 0).unwrap();
        file.sync_data().unwrap();
        assert_eq!(contents(&memory, "x").unwrap(), b"abcdef");
        assert_eq!(contents(&memory.power_cut(1), "x").unwrap(), b"abc");
    }

    #[test]
    fn a_full_disk_takes_a_part_and_heals() {
        let memory = Memory::new();
        let file = memory.open(Path::new("x"), true).unwrap();
        memory.set_capacity(Some(6));
        file.write_at(b"1234", 0).unwrap();
        let error = file.write_at(b"5678", 4).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        assert_eq!(contents(&memory, "x").unwrap(), b"123456");
        file.write_at(b"ab", 0).unwrap();
        memory.set_capacity(None);
        file.write_at(b"5678", 4).unwrap();
        assert_eq!(contents(&memory, "x").unwrap(), b"ab345678");
    }

    #[test]
    fn the_power_goes_off_at_a_chosen_call() {
        let memory = Memory::new();
        let file = memory.open(Path::new("x"), true).unwrap();
        memory.power_off_after(1);
        file.write_at(b"1", 0).unwrap();
        assert!(file.write_at(b"2", 1).is_err());
        assert!(file.len().is_err());
    }
}
