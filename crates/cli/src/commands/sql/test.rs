//! `sql test`: cases of queries, from files.

use super::{Named, Told};
use anyhow::{Context as _, bail};
use ironbrook_analytics::cases::{Case, Verdict};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Options of `sql test`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Test files, or folders with such.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// A function in JavaScript that queries call as udf.NAME or uda.NAME, unless their test brings its own. May be given several times.
    /// Those in a folder `Functions` beside a test are known by the names of their files.
    #[arg(long, value_name = "NAME=FILE")]
    function: Vec<Named>,
}

/// Where functions stand in projects.
const FUNCTIONS: &str = "Functions";

/// Runs all cases; the last line tells how many passed.
#[allow(clippy::print_stdout, reason = "what the command is asked for")]
pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let mut files = Vec::new();
    for path in &args.paths {
        collect(path, true, &mut files)?;
    }
    if files.is_empty() {
        bail!("there are no .json files in what was given");
    }
    let given = args.function.iter().map(|named| Ok((named.name.clone(), super::text(&named.file)?)));
    let given = given.collect::<anyhow::Result<Functions>>()?;
    let (mut passed, mut failed) = (0, 0);
    for file in files {
        let mut functions = beside(&file)?;
        functions.extend(given.clone());
        let verdict = match Case::parse_with(&super::text(&file)?, &functions) {
            Ok(case) => case.check(),
            Err(error) => Verdict::Failed(error.to_string()),
        };
        match verdict {
            Verdict::Passed => passed += 1,
            Verdict::Failed(why) => {
                failed += 1;
                println!("FAILED {}\n{}", file.display(), indented(&why));
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { Ok(()) } else { Err(Told.into()) }
}

/// Scripts by name.
type Functions = BTreeMap<String, String>;

/// The functions in the folder beside a test.
fn beside(file: &Path) -> anyhow::Result<Functions> {
    let folder = file.with_file_name(FUNCTIONS);
    if !folder.is_dir() {
        return Ok(Functions::new());
    }
    let at = || folder.display().to_string();
    let mut functions = Functions::new();
    for entry in std::fs::read_dir(&folder).with_context(at)? {
        let path = entry.with_context(at)?.path();
        if path.extension().is_some_and(|extension| extension == "js")
            && let Some(name) = path.file_stem().and_then(|name| name.to_str())
        {
            functions.insert(name.to_owned(), super::text(&path)?);
        }
    }
    Ok(functions)
}

/// Files of a path, in order; of a folder those that end in `.json`, also further down.
fn collect(path: &Path, named: bool, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let at = || path.display().to_string();
    if path.is_dir() {
        let entries = std::fs::read_dir(path).with_context(at)?;
        let mut entries = entries.collect::<Result<Vec<_>, _>>().with_context(at)?;
        entries.sort_by_key(std::fs::DirEntry::path);
        entries.retain(|entry| entry.file_name() != FUNCTIONS);
        return entries.iter().try_for_each(|entry| collect(&entry.path(), false, files));
    }
    if named || path.extension().is_some_and(|extension| extension == "json") {
        files.push(path.to_owned());
    }
    Ok(())
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
