//! The core serves both assemblies, so it may not name either: no word *cloud* and no word *edge* in its crates.
//!
//! Words are parts of identifiers too (`iotEdge`, `EDGE_HUB`), but not parts of words (`knowledge`). The exceptions are the
//! message kind cloud-to-device, in any spelling, and a line that says why with the marker `tidy: wire word`.

use super::File;

const CORE: &[&str] = &["model", "wire", "query", "log", "hub", "gateway", "client"];
const WORDS: &[&str] = &["cloud", "edge"];
const KIND: &[&str] = &["cloudtodevice", "cloud-to-device", "cloud_to_device", "cloud to device"];
const MARKER: &str = "tidy: wire word";

/// Findings in the core crates.
pub fn check(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files {
        let Some(name) = file.path.strip_prefix("crates/").and_then(|rest| rest.split('/').next()) else {
            continue;
        };
        if !CORE.contains(&name) {
            continue;
        }
        if let Some(word) = named(&file.path) {
            findings.push(format!("{}: the core may not name `{word}`", file.path));
        }
        for (number, line) in file.text.lines().enumerate() {
            if let Some(word) = named(line).filter(|_| !line.contains(MARKER)) {
                findings.push(file.at(number, format_args!("the core may not name `{word}`")));
            }
        }
    }
    findings
}

fn named(line: &str) -> Option<&'static str> {
    WORDS.iter().copied().find(|word| contains_word(line, word))
}

fn contains_word(line: &str, word: &str) -> bool {
    // ASCII lower case keeps every byte in its place.
    let lower = line.to_ascii_lowercase();
    let bytes = line.as_bytes();
    lower.match_indices(word).any(|(at, _)| {
        let end = at + word.len();
        let first = bytes[at];
        let before = at.checked_sub(1).map(|index| bytes[index]);
        let after = match bytes.get(end) {
            // Plurals are the same word.
            Some(b's' | b'S') => bytes.get(end + 1),
            other => other,
        };
        let starts = match before {
            Some(byte) if byte.is_ascii_alphabetic() => {
                first.is_ascii_uppercase() && byte.is_ascii_lowercase()
            }
            _ => true,
        };
        let ends = after.is_none_or(|byte| {
            !byte.is_ascii_alphabetic() || (byte.is_ascii_uppercase() && bytes[end - 1].is_ascii_lowercase())
        });
        starts && ends && !KIND.iter().any(|kind| lower[at..].starts_with(kind))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_and_parts_of_words_are_not() {
        for line in
            ["the edge", "iotEdge", "Edge", "EDGE_HUB", "edges", "\"edgeHub\"", "cloud.rs", "the Cloud"]
        {
            assert!(named(line).is_some(), "{line}");
        }
        for line in [
            "acknowledge",
            "Knowledge",
            "ACKNOWLEDGED",
            "ledger",
            "hedged",
            "cloud-to-device",
            "CloudToDevice",
        ] {
            assert_eq!(named(line), None, "{line}");
        }
    }

    #[test]
    fn only_the_core_is_looked_at_and_the_marker_excuses() {
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        assert_eq!(check(&[file("crates/hub/src/a.rs", "// the edge")]).len(), 1);
        assert_eq!(check(&[file("crates/hub/src/edge.rs", "")]).len(), 1);
        assert_eq!(check(&[file("crates/hub/src/a.rs", "x // tidy: wire word `iotEdge`")]).len(), 0);
        assert_eq!(check(&[file("crates/cloud/src/a.rs", "// the edge")]).len(), 0);
    }
}
