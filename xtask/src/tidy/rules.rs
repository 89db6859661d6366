//! Every wire rule in `docs/wire-rules.md` has a test that names it, and every id in the code has a line there.
//!
//! An id is capitals, a hyphen and digits, such as MQTT-07. A test names it in a comment (`MQTT-07`) or in its name (`mqtt_07_…`).

use super::File;
use std::collections::BTreeSet;

const TABLE: &str = "docs/wire-rules.md";

/// Findings between the table and the tests.
pub fn check(files: &[File]) -> Vec<String> {
    let Some(table) = files.iter().find(|file| file.path == TABLE) else {
        return vec![format!("{TABLE}: missing")];
    };
    let listed: Vec<(usize, String)> = table
        .text
        .lines()
        .enumerate()
        .filter_map(|(number, line)| Some((number, id(line.strip_prefix('|')?.split('|').next()?.trim())?)))
        .collect();
    let tests: Vec<String> = files.iter().filter_map(test_text).collect();
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for (number, id) in &listed {
        if !seen.insert(id) {
            findings.push(table.at(*number, format_args!("{id} is there twice")));
        }
        let name = id.to_lowercase().replace('-', "_");
        if !tests.iter().any(|text| names(text, id) || names(text, &name)) {
            findings.push(table.at(*number, format_args!("no test names {id}")));
        }
    }
    for file in files.iter().filter(|file| file.is(&[".rs"]) && !file.path.starts_with("xtask/")) {
        for (number, line) in file.text.lines().enumerate() {
            let Some(id) = line.split_once("// rule ").and_then(|(_, rest)| id(rest)) else { continue };
            if !seen.contains(&id) {
                findings.push(file.at(number, format_args!("{id} has no line in {TABLE}")));
            }
        }
    }
    findings
}

/// The id at the beginning of a text.
fn id(text: &str) -> Option<String> {
    let capitals =
        text.len() - text.trim_start_matches(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit()).len();
    let digits = text[capitals..].strip_prefix('-')?;
    let digits = digits.len() - digits.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    (capitals >= 2 && digits >= 1).then(|| text[..capitals + 1 + digits].to_owned())
}

/// Whether a text holds a name that does not go on with another digit: MQTT-1 is not MQTT-12.
fn names(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| !text[at + name.len()..].starts_with(|c: char| c.is_ascii_digit()))
}

/// The part of a file that is tests.
fn test_text(file: &File) -> Option<String> {
    let whole = file.path.contains("/tests/")
        || file.path.starts_with("tests/")
        || file.is(&["tests.rs", "_test.rs"]);
    if whole {
        return Some(file.text.clone());
    }
    let start = file.text.find("#[cfg(test)]").filter(|_| file.is(&[".rs"]))?;
    Some(file.text[start..].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(test: &str) -> Vec<String> {
        let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
        let code = format!("fn f() {{}} // rule AB-01\n#[cfg(test)]\nmod tests {{ {test} }}");
        check(&[
            file(TABLE, "| id | rule |\n|---|---|\n| AB-01 | it holds |\n"),
            file("crates/x/src/lib.rs", &code),
        ])
    }

    #[test]
    fn a_rule_needs_a_test_that_names_it() {
        assert_eq!(tree("fn ab_01_holds() {}").len(), 0);
        assert_eq!(tree("// AB-01").len(), 0);
        assert_eq!(tree("// AB-012").len(), 1);
        assert_eq!(tree("").len(), 1);
    }

    #[test]
    fn ids() {
        assert_eq!(id("MQTT-07 and"), Some("MQTT-07".into()));
        assert_eq!(id("id"), None);
        assert_eq!(id("A-1"), None);
    }
}
