//! Rules of the tree that no compiler checks. Each rule is a function from the tree to findings.

mod conformance;
mod dependencies;
mod layers;
mod links;
mod rules;
mod text;
mod ways;
mod words;

use crate::{command, paths};
use anyhow::{Result, bail};
use std::process::Command;

/// A tracked text file: path from the root, and text.
pub struct File {
    /// Path from the root, with `/`.
    pub path: String,
    /// The whole text.
    pub text: String,
}

impl File {
    /// Whether the name ends in one of these.
    pub fn is(&self, endings: &[&str]) -> bool {
        endings.iter().any(|ending| self.path.ends_with(ending))
    }

    /// A finding at a line, counted from 0.
    pub fn at(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{}: {what}", self.path, line + 1)
    }
}

/// Checks all rules; an error if there is any finding.
pub fn run() -> Result<()> {
    let files = tracked()?;
    let mut findings = layers::check(&paths::metadata()?);
    findings.extend(words::check(&files));
    findings.extend(text::check(&files));
    findings.extend(rules::check(&files));
    findings.extend(conformance::check(&files));
    findings.extend(dependencies::check(&files));
    findings.extend(links::check(&files));
    findings.extend(ways::check(&files));
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} findings", findings.len());
    }
    println!("{} files, no findings", files.len());
    Ok(())
}

/// Every text file git tracks or would track.
fn tracked() -> Result<Vec<File>> {
    let list = command::output(
        Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(paths::root()),
    )?;
    let mut files = Vec::new();
    for path in list.split('\0').filter(|path| !path.is_empty()) {
        // A file that is deleted but not yet committed, and one that is not text, have nothing to check.
        if let Ok(text) = std::fs::read_to_string(paths::root().join(path)) {
            files.push(File { path: path.into(), text });
        }
    }
    Ok(files)
}
