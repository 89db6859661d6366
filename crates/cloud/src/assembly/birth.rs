//! What is decided when a hub is made and never changes: its age and the keys of the built-in storage account.

use ironbrook_log::Storage;
use ironbrook_model::{SharedAccessKey, SymmetricKeys, Timestamp};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// The file, and its part while it is written.
pub(super) const FILE: &str = "hub.json";
pub(super) const PART: &str = "hub.json.part";
/// Longest file that is read.
const FILE_LEN_MAX: usize = 4096;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Stored {
    created_at: Timestamp,
    account_primary_key: SharedAccessKey,
    account_secondary_key: SharedAccessKey,
}

/// What was decided when the hub was made.
pub(super) struct Birth {
    /// When it was made.
    pub(super) created_at: Timestamp,
    /// The built-in account's keys.
    pub(super) account_keys: SymmetricKeys,
}

/// Reads `hub.json` in a folder, or makes it.
pub(super) fn load_or_create(storage: &dyn Storage, folder: &Path, now: Timestamp) -> io::Result<Birth> {
    let path = folder.join(FILE);
    let stored = match storage.open(&path, false) {
        Ok(file) => {
            let mut bytes = vec![0; FILE_LEN_MAX];
            let read = file.read_at(&mut bytes, 0)?;
            // The parser's own words could quote the file: they are left out.
            serde_json::from_slice(&bytes[..read]).map_err(|_| {
                let what = format!(
                    "{} is damaged; restore it, or remove it to get new account keys",
                    path.display()
                );
                io::Error::new(io::ErrorKind::InvalidData, what)
            })?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(storage, folder, &path, now)?,
        Err(error) => return Err(error),
    };
    let account_keys =
        SymmetricKeys { primary: stored.account_primary_key, secondary: stored.account_secondary_key };
    Ok(Birth { created_at: stored.created_at, account_keys })
}

/// Whole or not at all: written beside, synced, renamed.
fn create(storage: &dyn Storage, folder: &Path, path: &Path, now: Timestamp) -> io::Result<Stored> {
    let stored = Stored {
        created_at: now,
        account_primary_key: SharedAccessKey::generate(),
        account_secondary_key: SharedAccessKey::generate(),
    };
    let part = folder.join(PART);
    let file = storage.open(&part, true)?;
    file.set_len(0)?;
    file.write_at(&serde_json::to_vec(&stored)?, 0)?;
    file.sync_data()?;
    storage.rename(&part, path)?;
    storage.sync_folder(folder)?;
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_log::Memory;

    const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);

    #[test]
    fn keys_are_made_once_and_survive_a_power_cut() {
        let storage = Memory::new();
        let first = load_or_create(&storage, Path::new(""), NOW).unwrap();
        let storage = storage.power_cut(7);
        let second =
            load_or_create(&storage, Path::new(""), NOW.plus(std::time::Duration::from_secs(9))).unwrap();
        assert_eq!(second.account_keys, first.account_keys);
        assert_eq!(second.created_at, NOW);
    }

    #[test]
    fn a_damaged_file_is_named_and_its_content_is_not() {
        let storage = Memory::new();
        let file = storage.open(Path::new("hub.json"), true).unwrap();
        file.write_at(b"{\"accountPrimaryKey\": \"c2VjcmV0\"", 0).unwrap();
        let error = load_or_create(&storage, Path::new(""), NOW).err().unwrap().to_string();
        assert!(error.contains("hub.json") && !error.contains("c2Vj"), "{error}");
    }
}
