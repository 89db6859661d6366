//! The identities on disk, for a start without the hub. No key is in it.

use super::ModuleIdentity;
use crate::daemon::{Error, files};
use ironbrook_model::{DeviceId, ModuleId};
use std::path::{Path, PathBuf};

const FILE: &str = "identities.json";

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Document {
    /// Whose modules these are: after a change of either nothing of it holds.
    hub: String,
    device: DeviceId,
    modules: Vec<ModuleIdentity>,
}

/// What is kept, sorted by module id.
#[derive(Clone)]
pub(super) struct Kept {
    path: PathBuf,
    document: Document,
}

impl Kept {
    pub fn open(home: &Path, hub: &str, device: &DeviceId) -> Result<Self, Error> {
        let path = home.join(FILE);
        let empty = || Document { hub: hub.to_owned(), device: device.clone(), modules: Vec::new() };
        let document = match files::read(&path)? {
            None => empty(),
            Some(bytes) => match serde_json::from_slice::<Document>(&bytes) {
                Ok(document) if document.hub == hub && document.device == *device => document,
                Ok(_) => {
                    tracing::info!("identities kept for another hub or device are dropped");
                    empty()
                }
                // The hub has all of it, so a damaged file is no reason not to start.
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "identities on disk are damaged and dropped");
                    empty()
                }
            },
        };
        Ok(Self { path, document })
    }

    pub fn write(&self) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(&self.document)
            .map_err(|error| Error::File { path: self.path.clone(), source: error.into() })?;
        files::write(&self.path, &bytes, 0o600)
    }

    pub fn get(&self, id: &ModuleId) -> Option<ModuleIdentity> {
        self.document.modules.iter().find(|module| module.module_id == *id).cloned()
    }

    pub fn all(&self) -> Vec<ModuleIdentity> {
        self.document.modules.clone()
    }

    /// Whether that changed anything, as all of the following.
    pub fn insert(&mut self, identity: ModuleIdentity) -> bool {
        let modules = &mut self.document.modules;
        if modules.contains(&identity) {
            return false;
        }
        modules.retain(|module| module.module_id != identity.module_id);
        modules.push(identity);
        modules.sort_by(|a, b| a.module_id.cmp(&b.module_id));
        true
    }

    pub fn remove(&mut self, id: &ModuleId) -> bool {
        self.retain_if(|module| module.module_id != *id)
    }

    /// Drops what the hub no longer has, or has made anew: its keys do not hold any more.
    pub fn retain(&mut self, hub: &[ModuleIdentity]) -> bool {
        let same = |module: &ModuleIdentity, other: &ModuleIdentity| {
            module.module_id == other.module_id && module.generation_id == other.generation_id
        };
        self.retain_if(|module| hub.iter().any(|other| same(module, other)))
    }

    fn retain_if(&mut self, keep: impl Fn(&ModuleIdentity) -> bool) -> bool {
        let before = self.document.modules.len();
        self.document.modules.retain(keep);
        self.document.modules.len() != before
    }
}
