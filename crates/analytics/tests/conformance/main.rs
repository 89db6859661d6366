//! Queries with events and the rows they must give, from files.
//!
//! The project's own cases are in `tests/cases`, one JSON object per file: `name`, `query`, `inputs`, `expected`, and
//! optionally `compat`, `hosting`, `policies`, `reference`, `compare`. A folder of further cases in the same format is given
//! by the environment variable `ASA_CASES`. Every case is run straight, and once more with a snapshot and a new engine
//! between any two events, which must make no difference.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod case;
mod compare;

use case::{Case, Outcome};
use std::path::{Path, PathBuf};

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files
}

#[test]
fn own_cases_give_the_expected_rows() {
    let files = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases"));
    assert!(files.len() >= 15, "only {} cases were found", files.len());
    let mut failures = Vec::new();
    for file in files {
        match Case::read(&file).run() {
            Outcome::Passed => {}
            Outcome::NotBuilt(why) | Outcome::Failed(why) => {
                failures.push(format!("{}: {why}", file.display()))
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn given_cases_give_the_expected_rows() {
    let Ok(folder) = std::env::var("ASA_CASES") else { return };
    let (mut passed, mut not_built, mut failures) = (0, 0, Vec::new());
    for file in files(Path::new(&folder)) {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match Case::read(&file).run() {
            Outcome::Passed => {
                passed += 1;
                println!("passed     {name}");
            }
            Outcome::NotBuilt(why) => {
                not_built += 1;
                println!("not built  {name}: {}", why.lines().next().unwrap_or_default());
            }
            Outcome::Failed(why) => {
                println!("FAILED     {name}: {why}");
                failures.push(name);
            }
        }
    }
    println!("{passed} passed, {not_built} not built, {} failed", failures.len());
    assert!(failures.is_empty(), "{failures:?}");
}
