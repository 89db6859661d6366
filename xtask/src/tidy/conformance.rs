//! `docs/mqtt-conformance.md`: every normative statement of both MQTT standards is there, with tests that exist and name it.

use super::File;
use std::collections::{BTreeMap, BTreeSet};

const TABLE: &str = "docs/mqtt-conformance.md";
/// How a line begins that lists statements without a test.
const CLIENTS: &str = "For clients only: ";

/// A version: the heading of its table, and its sections with their first and last statement.
struct Standard {
    heading: &'static str,
    statements: &'static [(&'static str, u32, u32)],
}

const STANDARDS: [Standard; 2] = [
    Standard { heading: "## MQTT 3.1.1", statements: V4 },
    Standard { heading: "## MQTT 5.0", statements: V5 },
];

/// Of MQTT 3.1.1, appendix B.
#[rustfmt::skip]
const V4: &[(&str, u32, u32)] = &[
    ("1.5.3", 1, 3), ("2.2.2", 1, 2), ("2.3.1", 1, 7), ("3.1.0", 1, 2), ("3.1.2", 1, 24),
    ("3.1.3", 1, 11), ("3.1.4", 1, 5), ("3.2.0", 1, 1), ("3.2.2", 1, 6), ("3.3.1", 1, 12),
    ("3.3.2", 1, 3), ("3.3.4", 1, 1), ("3.3.5", 1, 2), ("3.6.1", 1, 1), ("3.8.1", 1, 1),
    ("3.8.3", 1, 4), ("3.8.4", 1, 6), ("3.9.3", 1, 2), ("3.10.1", 1, 1), ("3.10.3", 1, 2),
    ("3.10.4", 1, 6), ("3.12.4", 1, 1), ("3.14.1", 1, 1), ("3.14.4", 1, 3), ("4.1.0", 1, 2),
    ("4.2.0", 1, 1), ("4.3.1", 1, 1), ("4.3.2", 1, 2), ("4.3.3", 1, 2), ("4.4.0", 1, 1),
    ("4.5.0", 1, 2), ("4.6.0", 1, 6), ("4.7.1", 1, 3), ("4.7.2", 1, 1), ("4.7.3", 1, 4),
    ("4.8.0", 1, 2), ("6.0.0", 1, 4), ("7.0.0", 1, 2), ("7.1.1", 1, 1), ("7.1.2", 1, 1),
];
/// Of MQTT 5.0, appendix B, and chapter 7.
#[rustfmt::skip]
const V5: &[(&str, u32, u32)] = &[
    ("1.5.4", 1, 3), ("1.5.5", 1, 1), ("1.5.7", 1, 1), ("2.1.3", 1, 1), ("2.2.1", 2, 6),
    ("2.2.2", 1, 1), ("3.1.0", 1, 2), ("3.1.2", 1, 30), ("3.1.3", 1, 12), ("3.1.4", 1, 6),
    ("3.2.0", 1, 2), ("3.2.2", 1, 22), ("3.3.1", 1, 13), ("3.3.2", 1, 20), ("3.3.4", 1, 10),
    ("3.4.2", 1, 3), ("3.5.2", 1, 3), ("3.6.1", 1, 1), ("3.6.2", 1, 3), ("3.7.2", 1, 3),
    ("3.8.1", 1, 1), ("3.8.3", 1, 5), ("3.8.4", 1, 8), ("3.9.2", 1, 2), ("3.9.3", 1, 2),
    ("3.10.1", 1, 1), ("3.10.3", 1, 2), ("3.10.4", 1, 6), ("3.11.2", 1, 2), ("3.11.3", 1, 2),
    ("3.12.4", 1, 1), ("3.14.0", 1, 1), ("3.14.1", 1, 1), ("3.14.2", 1, 4), ("3.14.4", 1, 3),
    ("3.15.1", 1, 1), ("3.15.2", 1, 3), ("4.1.0", 1, 2), ("4.2.0", 1, 1), ("4.3.1", 1, 1),
    ("4.3.2", 1, 5), ("4.3.3", 1, 13), ("4.4.0", 1, 2), ("4.5.0", 1, 2), ("4.6.0", 1, 6),
    ("4.7.0", 1, 1), ("4.7.1", 1, 2), ("4.7.2", 1, 1), ("4.7.3", 1, 4), ("4.8.2", 1, 6),
    ("4.9.0", 1, 3), ("4.12.0", 1, 7), ("4.12.1", 1, 2), ("4.13.1", 1, 1), ("4.13.2", 1, 1),
    ("6.0.0", 1, 4), ("7.1.1", 1, 1), ("7.1.2", 1, 1),
];

/// Findings in the table.
pub fn check(files: &[File]) -> Vec<String> {
    let Some(table) = files.iter().find(|file| file.path == TABLE) else {
        return vec![format!("{TABLE}: missing")];
    };
    let tests = tests(files);
    let mut findings = Vec::new();
    for standard in &STANDARDS {
        let mut listed = BTreeSet::new();
        for (number, line) in lines_under(&table.text, standard.heading) {
            let (ids, row) = match line.strip_prefix(CLIENTS) {
                Some(rest) => (ids(rest), None),
                None => (ids(line.split('|').nth(1).unwrap_or_default()), Some(line)),
            };
            for id in &ids {
                if !listed.insert(id.clone()) {
                    findings.push(table.at(number, format_args!("{id} is there twice")));
                }
            }
            if let (Some(row), Some(id)) = (row, ids.first()) {
                let found = row_findings(row, id, &tests, files);
                findings.extend(found.into_iter().map(|finding| table.at(number, finding)));
            }
        }
        let known: BTreeSet<String> = statements(standard).collect();
        let missing = known.difference(&listed).map(|id| format!("{id} is missing"));
        let unknown = listed.difference(&known).map(|id| format!("{id} is no statement"));
        findings.extend(missing.chain(unknown).map(|what| format!("{TABLE}: {}: {what}", standard.heading)));
    }
    // The rest, such as what the hub namespace leaves out, names tests as well.
    for (number, line) in table.text.lines().enumerate().filter(|(_, line)| line.starts_with('|')) {
        for name in last_cell(line).filter(|name| !tests.contains_key(name)) {
            findings.push(table.at(number, format_args!("no test is called {name}")));
        }
    }
    findings
}

fn statements(standard: &Standard) -> impl Iterator<Item = String> {
    standard.statements.iter().flat_map(|(section, first, last)| {
        (*first..=*last).map(move |number| format!("MQTT-{section}-{number}"))
    })
}

/// What is wrong with a row but names of tests that are none.
fn row_findings(row: &str, id: &str, tests: &BTreeMap<&str, Vec<usize>>, files: &[File]) -> Option<String> {
    let mut places = last_cell(row).filter_map(|name| tests.get(name)).flatten().peekable();
    if places.peek().is_none() {
        return Some(format!("{id} has no test"));
    }
    let named = format!("[{id}]");
    let is_named = places.any(|place| files[*place].text.contains(&named));
    (!is_named).then(|| format!("no file with a test of {id} names {named}"))
}

/// The lines of a section, numbered from 0.
fn lines_under<'a>(text: &'a str, heading: &str) -> impl Iterator<Item = (usize, &'a str)> {
    let lines = text.lines().enumerate();
    lines
        .skip_while(move |(_, line)| *line != heading)
        .skip(1)
        .take_while(|(_, line)| !line.starts_with("## "))
}

/// Ids of statements in a text.
fn ids(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '.'));
    let ids = words.map(|word| word.trim_end_matches('.')).filter(|word| {
        word.strip_prefix("MQTT-").is_some_and(|rest| rest.contains('.') && rest.contains('-'))
    });
    ids.map(str::to_owned).collect()
}

/// Names in code quotes in the last cell of a row.
fn last_cell(row: &str) -> impl Iterator<Item = &str> {
    let cell = row.trim_end().trim_end_matches('|').rsplit('|').next().unwrap_or_default();
    let names = cell.split('`').skip(1).step_by(2);
    names.filter(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

/// Tests by name, with the files they stand in.
fn tests(files: &[File]) -> BTreeMap<&str, Vec<usize>> {
    let mut tests: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, file) in files.iter().enumerate().filter(|(_, file)| file.is(&[".rs"])) {
        let mut is_test = false;
        for line in file.text.lines().map(str::trim_start) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if let Some(rest) = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn ")) {
                if let (true, Some((name, _))) = (is_test, rest.split_once('(')) {
                    tests.entry(name).or_default().push(place);
                }
                is_test = false;
            }
        }
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.into(), text: text.into() }
    }

    /// A table that is whole, and what the check says of it and a test.
    fn findings(change: impl Fn(String) -> String, test: &str) -> Vec<String> {
        let mut text = String::new();
        let mut names = String::new();
        for standard in &STANDARDS {
            text += &format!("{}\n\n| statement | what | tests |\n| --- | --- | --- |\n", standard.heading);
            for id in statements(standard) {
                text += &format!("| {id} | it holds | `it_holds` |\n");
                names += &format!("// [{id}]\n");
            }
        }
        check(&[file(TABLE, &change(text)), file("crates/x/src/tests.rs", &format!("{names}{test}"))])
    }

    #[test]
    fn each_statement_has_a_test_that_exists_and_names_it() {
        let test = "#[test]\nfn it_holds() {}";
        assert_eq!(findings(|text| text, test), [""; 0]);
        let first = "| MQTT-1.5.3-1 | it holds | `it_holds` |\n";
        for (change, expected) in [
            ("", "MQTT-1.5.3-1 is missing"),
            ("| MQTT-1.5.3-1 | it holds | |\n", "MQTT-1.5.3-1 has no test"),
            ("| MQTT-1.5.3-9 | it holds | `it_holds` |\n", "MQTT-1.5.3-9 is no statement"),
            ("| MQTT-1.5.3-1 | it holds | `it_holds`, `none` |\n", "no test is called none"),
            ("| MQTT-1.5.3-1 | it | `it_holds` |\n| MQTT-1.5.3-1 | it | `it_holds` |\n", "is there twice"),
        ] {
            let found = findings(|text| text.replace(first, change), test);
            assert!(found.iter().any(|finding| finding.contains(expected)), "{expected}: {found:?}");
        }
        let for_clients = findings(|text| text.replace(first, "For clients only: MQTT-1.5.3-1.\n"), test);
        assert_eq!(for_clients, [""; 0]);
        assert!(findings(|text| text, "fn it_holds() {}").len() > 300, "a function that is no test");
    }

    #[test]
    fn a_statement_that_its_tests_do_not_name_is_found() {
        let table = "## MQTT 3.1.1\n| MQTT-1.5.3-1 | it | `it_holds` |\n";
        let found =
            check(&[file(TABLE, table), file("tests/a.rs", "#[test]\nfn it_holds() {} // [MQTT-1.5.3-10]")]);
        assert!(found.iter().any(|finding| finding.contains("names [MQTT-1.5.3-1]")), "{found:?}");
    }
}
