//! Queries with events and the rows they must give, from files.
//!
//! The project's own cases are in `tests/cases`, in the format of [`ironbrook_analytics::cases`]. A folder of further ones is
//! given by the environment variable `ASA_CASES`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use ironbrook_analytics::cases::{Case, Verdict};
use std::path::{Path, PathBuf};

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files
}

fn check(file: &Path) -> Verdict {
    let case = Case::parse(&std::fs::read_to_string(file).unwrap());
    case.unwrap_or_else(|error| panic!("{}: {error}", file.display())).check()
}

#[test]
fn own_cases_give_the_expected_rows() {
    let files = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases"));
    assert!(files.len() >= 35, "only {} cases were found", files.len());
    let mut failures = Vec::new();
    for file in files {
        if let Verdict::Failed(why) = check(&file) {
            failures.push(format!("{}: {why}", file.display()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn given_cases_give_the_expected_rows() {
    let Ok(folder) = std::env::var("ASA_CASES") else { return };
    let (mut passed, mut failures) = (0, Vec::new());
    for file in files(Path::new(&folder)) {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match check(&file) {
            Verdict::Passed => {
                passed += 1;
                println!("passed     {name}");
            }
            Verdict::Failed(why) => {
                println!("FAILED     {name}: {why}");
                failures.push(name);
            }
        }
    }
    println!("{passed} passed, {} failed", failures.len());
    assert!(failures.is_empty(), "{failures:?}");
}
