//! The section `[log]`: the message log.

use ironbrook_log::{KeyFileError, Keys, SyncPolicy};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// The message log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Days a message is kept for readers, 1 to 7 on Azure.
    pub retention_days: u16,
    /// Bytes kept at most per partition.
    pub retention_bytes: u64,
    /// Bytes of a segment file.
    pub segment_bytes: u64,
    /// When messages are synced to the disk. A message is acknowledged after that, never before; with `never` it is when the
    /// operating system has it, so that a power cut, not the end of the process, loses what was acknowledged.
    pub sync: Sync,
    /// `group`: how many milliseconds the first message of a group waits for others, 0 to 1000. With 0, what comes in while the
    /// disk is busy is one group, as with `always`; only while many more keep coming it waits for them, up to 8 ms. More saves syncs
    /// and answers later.
    pub group_max_ms: u64,
    /// `group`: at how many gathered bytes, over all partitions, a group waits no longer.
    pub group_max_bytes: u64,
    /// A file with keys: messages in the log are encrypted with the first one. `docs/log-format.md` says what that covers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption_key_file: Option<PathBuf>,
}

/// When messages are synced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sync {
    /// As soon as the disk is free, whatever has come in until then.
    Always,
    /// The same after waiting for others, as long and as much as `group_max_ms` and `group_max_bytes` say.
    Group,
    /// When a segment is finished and at the end.
    Never,
}

/// The longest a message may wait for others: clients take a longer silence for a fault.
pub(super) const GROUP_MAX_MS: u64 = 1000;

impl Default for Log {
    fn default() -> Self {
        Self {
            retention_days: 1,
            retention_bytes: 4 << 30,
            segment_bytes: 16 << 20,
            sync: Sync::Group,
            group_max_ms: 0,
            group_max_bytes: 1 << 20,
            encryption_key_file: None,
        }
    }
}

impl Log {
    /// When messages are synced.
    pub fn sync_policy(&self) -> SyncPolicy {
        match self.sync {
            Sync::Always => SyncPolicy::Always,
            Sync::Group => SyncPolicy::Group {
                max_delay: Duration::from_millis(self.group_max_ms),
                max_bytes: usize::try_from(self.group_max_bytes).unwrap_or(usize::MAX),
            },
            Sync::Never => SyncPolicy::Never,
        }
    }

    /// The keys of the file, if one is named.
    pub fn keys(&self) -> Result<Keys, KeyFileError> {
        self.encryption_key_file.as_deref().map_or_else(|| Ok(Keys::default()), Keys::from_file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_log_is_told_is_what_it_does() {
        let log = |text| toml::from_str::<Log>(text).unwrap();
        assert_eq!(log("").sync_policy(), SyncPolicy::default());
        assert_eq!(log("sync = 'always'").sync_policy(), SyncPolicy::Always);
        assert_eq!(log("sync = 'never'").sync_policy(), SyncPolicy::Never);
        let group = log("sync = 'group'\ngroup_max_ms = 5\ngroup_max_bytes = 4096").sync_policy();
        assert_eq!(group, SyncPolicy::Group { max_delay: Duration::from_millis(5), max_bytes: 4096 });
        let error = log("encryption_key_file = '/nowhere/log.key'").keys().unwrap_err().to_string();
        assert!(error.contains("/nowhere/log.key"), "{error}");
        assert!(log("").keys().unwrap().current().is_none());
        assert!(toml::from_str::<Log>("sync = 'often'").is_err());
    }
}
