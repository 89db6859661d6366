//! Section `[file_upload]`: where files of devices go.

use ironbrook_cloud::uploads::{self, Target};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Files that devices upload. `Debug` hides the key.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileUpload {
    /// The container for them; empty where devices may upload none. In the built-in account it is made, and served by the HTTPS
    /// door as `https://{hub}/{container}/`; in another account it must be there already.
    pub container: String,
    /// An other Azure Blob account, as connection string with a key; the built-in account where empty.
    pub connection_string: String,
    /// Minutes a device may take for a file, 1 to 1440.
    pub sas_minutes: u32,
    /// Whether services get a notice of each file (AMQP, `/messages/serviceBound/filenotifications`).
    pub notifications: bool,
}

impl std::fmt::Debug for FileUpload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileUpload")
            .field("container", &self.container)
            .field("sas_minutes", &self.sas_minutes)
            .field("notifications", &self.notifications)
            .finish_non_exhaustive()
    }
}

impl Default for FileUpload {
    fn default() -> Self {
        Self {
            container: "device-files".into(),
            connection_string: String::new(),
            sas_minutes: 60,
            notifications: true,
        }
    }
}

impl FileUpload {
    /// Whether the time of a device is within Azure's bounds.
    pub fn has_time(&self) -> bool {
        uploads::TTL_SECONDS.contains(&self.ttl().as_secs())
    }

    fn ttl(&self) -> Duration {
        Duration::from_secs(u64::from(self.sas_minutes) * 60)
    }

    /// The assembly's settings; nothing where no file may come.
    pub fn settings(&self, https_port: u16) -> Option<uploads::Config> {
        let target = match self.connection_string.as_str() {
            "" => Target::BuiltIn,
            text => Target::ConnectionString(text.to_owned()),
        };
        (!self.container.is_empty()).then(|| uploads::Config {
            container: self.container.clone(),
            target,
            ttl: self.ttl(),
            notifications: self.notifications,
            https_port,
        })
    }
}
