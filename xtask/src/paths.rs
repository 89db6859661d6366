//! Folders: the tree, the user's cache and cargo's target folder.

use anyhow::{Context as _, Result};
use serde_json::Value;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The root of the tree that cargo was called in. Asked for at run time: two clones that share a target folder share this program.
pub fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let manifest =
            std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        Path::new(&manifest).parent().map_or_else(|| ".".into(), Path::to_owned)
    });
    &ROOT
}

/// `ironbrook` in the user's cache folder: everything that tests install and that may be deleted.
pub fn cache() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?)
            .join(".cache"),
    };
    Ok(base.join("ironbrook"))
}

/// A folder in the cache named after what goes into it: when the contents change, so does the name.
pub fn keyed(name: &str, contents: &[impl AsRef<[u8]>]) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    for content in contents {
        content.as_ref().hash(&mut hasher);
    }
    Ok(cache()?.join(format!("{name}-{:016x}", hasher.finish())))
}

/// What cargo knows of the workspace.
pub fn metadata() -> Result<Value> {
    let text = crate::command::output(crate::command::cargo().args([
        "metadata",
        "--format-version=1",
        "--no-deps",
    ]))?;
    serde_json::from_str(&text).context("cargo metadata")
}

/// Cargo's target folder.
pub fn target() -> Result<PathBuf> {
    let metadata = metadata()?;
    let target = metadata["target_directory"].as_str().context("cargo metadata names no target folder")?;
    Ok(target.into())
}

/// Where cargo puts a binary of the given profile folder (`debug` or `release`).
pub fn binary(profile: &str) -> Result<PathBuf> {
    Ok(target()?.join(profile).join("ironbrook"))
}
