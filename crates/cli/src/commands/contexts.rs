//! `ironbrook context`: hubs by name, in a file of the user's that only the user reads.
//!
//! The file is `ironbrook/contexts.toml` in `XDG_CONFIG_HOME`, else in `~/.config`. It holds keys.

use super::connection::Connection;
use super::{Global, OutputFormat};
use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Only the user reads and writes.
const MODE: u32 = 0o600;

/// Options of `ironbrook context`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Remember a hub under a name.
    Set(SetArgs),
    /// Take a hub where a command names none.
    Use {
        /// Its name.
        name: String,
    },
    /// List the hubs; the one in use has a star.
    List,
    /// Forget a hub.
    Remove {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, clap::Args)]
struct SetArgs {
    /// The name.
    name: String,
    /// Take what an `ironbrook dev` of this data folder announces.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["hub", "events", "blobs", "ca"])]
    data_dir: Option<PathBuf>,
    /// Connection string of the service.
    #[arg(long, value_name = "TEXT", required_unless_present = "data_dir")]
    hub: Option<String>,
    /// Connection string of the events endpoint.
    #[arg(long, value_name = "TEXT")]
    events: Option<String>,
    /// Connection string of the storage account.
    #[arg(long, value_name = "TEXT")]
    blobs: Option<String>,
    /// PEM file with the authorities to trust; else the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// A hub with a name. `Debug` hides the connection strings.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    pub hub: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blobs: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

impl std::fmt::Debug for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Named").field("host", &host(&self.hub)).field("ca", &self.ca).finish_non_exhaustive()
    }
}

/// The file.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Contexts {
    /// The name in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    contexts: BTreeMap<String, Named>,
}

impl Contexts {
    /// Where the file is; `None` without a home.
    fn path() -> Option<PathBuf> {
        let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = named("XDG_CONFIG_HOME").or_else(|| named("HOME").map(|home| home.join(".config")))?;
        Some(folder.join("ironbrook").join("contexts.toml"))
    }

    /// Reads the user's file; nothing where there is none.
    pub fn load() -> anyhow::Result<Self> {
        Self::path().map_or_else(|| Ok(Self::default()), |path| Self::read(&path))
    }

    fn read(path: &Path) -> anyhow::Result<Self> {
        match std::fs::read_to_string(path) {
            // The parser's own text quotes a line, which may hold a key.
            Ok(text) => toml::from_str(&text).map_err(|error: toml::de::Error| {
                anyhow::anyhow!("{} cannot be used: {}; mend or remove it", path.display(), error.message())
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// Writes the file whole, or leaves the old one.
    fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = toml::to_string_pretty(self)?;
        let with_path = || path.display().to_string();
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(with_path)?;
        }
        let new = path.with_extension("new");
        let mut options = std::fs::OpenOptions::new();
        // A leftover might be readable by others.
        let _ = std::fs::remove_file(&new);
        let mut file = options.write(true).create_new(true).mode(MODE).open(&new).with_context(with_path)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(with_path)?;
        std::fs::rename(&new, path).with_context(with_path)
    }

    /// A hub by name.
    pub fn get(&self, name: &str) -> anyhow::Result<&Named> {
        self.contexts.get(name).with_context(|| {
            let known: Vec<_> = self.contexts.keys().map(String::as_str).collect();
            match known[..] {
                [] => {
                    format!("there is no context {name:?}, nor any other; `ironbrook context set` makes one")
                }
                _ => format!("there is no context {name:?}; there are: {}", known.join(", ")),
            }
        })
    }

    /// The one in use.
    pub fn current(&self) -> Option<&Named> {
        self.contexts.get(self.current.as_ref()?)
    }

    fn rows(&self) -> Vec<(bool, &str, &str)> {
        let is_current = |name: &str| self.current.as_deref() == Some(name);
        self.contexts
            .iter()
            .map(|(name, named)| (is_current(name), name.as_str(), host(&named.hub)))
            .collect()
    }
}

/// The host of a connection string, which is no secret.
fn host(connection_string: &str) -> &str {
    connection_string.split(';').find_map(|part| part.strip_prefix("HostName=")).unwrap_or("?")
}

impl SetArgs {
    fn named(&self) -> anyhow::Result<Named> {
        if let Some(folder) = &self.data_dir {
            return Ok(Connection::load(folder)?.named());
        }
        let Some(hub) = self.hub.clone() else { bail!("say which hub with --hub or --data-dir") };
        ironbrook_client::ServiceClient::builder(&hub).context("--hub")?;
        let ca = self.ca.as_ref().map(std::path::absolute).transpose()?;
        Ok(Named { hub, events: self.events.clone(), blobs: self.blobs.clone(), ca })
    }
}

/// Runs the command.
#[allow(clippy::print_stdout, reason = "what the command is asked for")]
pub fn run(args: Args, global: &Global) -> anyhow::Result<()> {
    let path = Contexts::path()
        .context("neither XDG_CONFIG_HOME nor HOME is set, so there is no place for contexts")?;
    let mut all = Contexts::read(&path)?;
    match args.command {
        Command::Set(set) => {
            all.contexts.insert(set.name.clone(), set.named()?);
            all.current.get_or_insert(set.name);
        }
        Command::Use { name } => {
            all.get(&name)?;
            all.current = Some(name);
        }
        Command::Remove { name } => {
            all.get(&name)?;
            all.contexts.remove(&name);
            all.current = all.current.filter(|current| *current != name);
        }
        Command::List => {
            for (current, name, host) in all.rows() {
                match global.output {
                    OutputFormat::Table => println!("{} {name:<20} {host}", if current { '*' } else { ' ' }),
                    OutputFormat::Json => {
                        println!("{}", json!({"name": name, "host": host, "current": current}));
                    }
                }
            }
            return Ok(());
        }
    }
    all.write(&path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn named(host: &str) -> Named {
        let hub = format!("HostName={host};SharedAccessKeyName=p;SharedAccessKey=c2VjcmV0");
        Named { hub, events: None, blobs: None, ca: None }
    }

    #[test]
    fn the_file_is_the_users_alone_and_comes_back_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ironbrook/contexts.toml");
        let mut all = Contexts::read(&path).unwrap();
        assert_eq!(all, Contexts::default());
        all.contexts.insert("plant".to_owned(), named("a"));
        all.current = Some("plant".to_owned());
        all.write(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert_eq!(Contexts::read(&path).unwrap(), all);
        assert_eq!(all.current(), Some(&named("a")));
        assert_eq!(all.rows(), [(true, "plant", "a")]);
    }

    #[test]
    fn an_unknown_name_is_told_the_known_ones_and_no_secret_is_shown() {
        let mut all = Contexts::default();
        assert!(all.get("x").unwrap_err().to_string().contains("context set"));
        all.contexts.insert("plant".to_owned(), named("a"));
        assert!(all.get("x").unwrap_err().to_string().ends_with("there are: plant"));
        assert!(!format!("{all:?}").contains("c2Vj"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("contexts.toml");
        std::fs::write(&path, "[contexts.a]\nhub = \"SharedAccessKey=c2VjcmV0\nx").unwrap();
        let error = Contexts::read(&path).unwrap_err().to_string();
        assert!(error.contains("contexts.toml") && !error.contains("c2Vj"), "{error}");
    }
}
