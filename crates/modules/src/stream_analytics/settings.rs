//! Settings from environment variables.

use super::Error;
use ironbrook_client::Trust;
use std::ffi::OsString;
use std::path::PathBuf;

/// The module's own folder.
const STATE_DIR: &str = "IRONBROOK_STATE_DIR";
/// A file with the authorities that signed the certificate of the storage account.
const DOWNLOAD_CA: &str = "IRONBROOK_DOWNLOAD_CA_FILE";

/// How the module runs.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `IRONBROOK_STATE_DIR`: the folder for the query and the state of its windows. Without one nothing outlives the process.
    pub state_dir: Option<PathBuf>,
    /// `IRONBROOK_DOWNLOAD_CA_FILE`: whose certificates are believed where a package is fetched; default the system's.
    pub downloads: Trust,
}

impl Settings {
    /// From variables by name.
    pub fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, Error> {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        let downloads = match variable(DOWNLOAD_CA) {
            None => Trust::System,
            Some(path) => Trust::file(path)
                .map_err(|error| Error::Setting { name: DOWNLOAD_CA, reason: error.to_string() })?,
        };
        Ok(Self { state_dir: variable(STATE_DIR).map(PathBuf::from), downloads })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_comes_from_the_environment_and_a_bad_file_is_named() {
        let read = |name: &'static str, value: &'static str| {
            Settings::from_variables(move |asked| (asked == name).then(|| value.into()))
        };
        assert_eq!(read(STATE_DIR, "/s").unwrap().state_dir, Some(PathBuf::from("/s")));
        assert_eq!(read(STATE_DIR, "").unwrap().state_dir, None);
        assert!(read(DOWNLOAD_CA, "/no/such/file").unwrap_err().to_string().contains(DOWNLOAD_CA));
    }
}
