//! Finding logs below a folder.

use anyhow::{Context as _, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// How deep below a folder logs are looked for.
const DEPTH: usize = 4;
/// Digits of a partition's folder.
const DIGITS: usize = 5;

/// A log, and the only partition asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub folder: PathBuf,
    pub partition: Option<u16>,
}

/// All logs at a path.
pub(super) fn logs(path: &Path) -> anyhow::Result<Vec<Found>> {
    fs::read_dir(path).with_context(|| path.display().to_string())?;
    let path = &fs::canonicalize(path).with_context(|| path.display().to_string())?;
    if let (Some(partition), Some(folder)) = (partition_of(path), path.parent())
        && has_segments(path)
    {
        return Ok(vec![Found { folder: folder.to_owned(), partition: Some(partition) }]);
    }
    let mut found = Vec::new();
    search(path, DEPTH, &mut found);
    found.sort_unstable();
    if found.is_empty() {
        bail!("there is no message log in {}; give a data folder, or the folder `log` in it", path.display());
    }
    Ok(found.into_iter().map(|folder| Found { folder, partition: None }).collect())
}

fn search(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    // A folder that may not be read holds nothing of ours.
    let Ok(entries) = fs::read_dir(folder) else { return };
    let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let folders: Vec<_> = folders.map(|entry| entry.path()).collect();
    if folders.iter().any(|inner| partition_of(inner).is_some() && has_segments(inner)) {
        return found.push(folder.to_owned());
    }
    if depth > 0 {
        folders.iter().for_each(|inner| search(inner, depth - 1, found));
    }
}

fn partition_of(folder: &Path) -> Option<u16> {
    let name = folder.file_name()?.to_str()?;
    (name.len() == DIGITS && name.bytes().all(|byte| byte.is_ascii_digit())).then(|| name.parse().ok())?
}

fn has_segments(folder: &Path) -> bool {
    let is_segment = |name: &str| {
        name.strip_suffix(".log")
            .is_some_and(|base| base.len() == 20 && base.bytes().all(|b| b.is_ascii_digit()))
    };
    fs::read_dir(folder).is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_str().is_some_and(is_segment))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_log_of_a_data_folder_is_found_and_one_partition_where_it_is_named() {
        let data = tempfile::tempdir().unwrap();
        let data = fs::canonicalize(data.path()).unwrap();
        for folder in ["log/00000", "log/00001", "edge/log/00000", "account/00007", "topics/00000"] {
            fs::create_dir_all(data.join(folder)).unwrap();
        }
        for segment in ["log/00000", "log/00001", "edge/log/00000"] {
            fs::write(data.join(segment).join("00000000000000000000.log"), "").unwrap();
        }
        fs::write(data.join("topics/00000/readme.log"), "").unwrap();
        let found = |path: &str| {
            let found = logs(&data.join(path)).unwrap();
            found.into_iter().map(|log| (log.folder, log.partition)).collect::<Vec<_>>()
        };
        assert_eq!(found(""), [(data.join("edge/log"), None), (data.join("log"), None)]);
        assert_eq!(found("log"), [(data.join("log"), None)]);
        assert_eq!(found("log/00001"), [(data.join("log"), Some(1))]);
        let error = logs(&data.join("account")).unwrap_err().to_string();
        assert!(error.contains("no message log"), "{error}");
        assert!(logs(&data.join("nowhere")).is_err());
    }
}
