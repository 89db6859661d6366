//! Rules on single files: length, unfinished work, paths of one machine.

use super::File;

const MAX_LINES: usize = 500;

/// Longer files, and why.
const LONGER: &[(&str, &str)] = &[];

const SOURCES: &[&str] = &[".rs", ".py", ".mjs", ".js", ".ts"];

/// Written in two halves, so that this file does not find itself.
fn unfinished() -> [String; 6] {
    [
        ["todo", "!("].concat(),
        ["unimplemented", "!("].concat(),
        ["#[ig", "nore"].concat(),
        ["FIX", "ME"].concat(),
        ["pytest.mark.sk", "ip"].concat(),
        ["test.sk", "ip("].concat(),
    ]
}

/// Beginnings of paths that exist on one machine only, and hosts that only one network knows.
fn private_paths() -> [String; 4] {
    [["/ro", "ot/"].concat(), ["/ho", "me/"].concat(), ["/wo", "rk/"].concat(), ["/Us", "ers/"].concat()]
}

/// Findings in each file.
pub fn check(files: &[File]) -> Vec<String> {
    files.iter().flat_map(check_file).collect()
}

fn check_file(file: &File) -> Vec<String> {
    let mut findings = Vec::new();
    let source = file.is(SOURCES);
    let lines = file.text.lines().count();
    if source && lines > MAX_LINES && !LONGER.iter().any(|(path, _)| *path == file.path) {
        findings.push(format!("{}: {lines} lines, at most {MAX_LINES}: split it by meaning", file.path));
    }
    let (unfinished, paths) = (unfinished(), private_paths());
    for (number, line) in file.text.lines().enumerate() {
        if source && let Some(word) = unfinished.iter().find(|word| line.contains(*word)) {
            findings.push(file.at(number, format_args!("`{word}` is unfinished or switched off")));
        }
        if let Some(path) = paths.iter().find(|path| has_path(line, path)) {
            findings.push(file.at(number, format_args!("`{path}…` is a path of one machine")));
        }
        if file.is(&["package-lock.json"]) && line.trim_start().starts_with("\"resolved\"") {
            findings.push(file.at(number, "a lock file may not name a registry's host"));
        }
    }
    findings
}

/// Whether an absolute path begins here, rather than a part of a relative one or of a URL.
fn has_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        line[..at]
            .chars()
            .next_back()
            .is_none_or(|before| !before.is_alphanumeric() && !"./}*_-~".contains(before))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> usize {
        check_file(&File { path: path.into(), text: text.into() }).len()
    }

    #[test]
    fn long_files_and_unfinished_work_are_found() {
        assert_eq!(findings("a.rs", &"x\n".repeat(MAX_LINES)), 0);
        assert_eq!(findings("a.rs", &"x\n".repeat(MAX_LINES + 1)), 1);
        assert_eq!(findings("a.json", &"x\n".repeat(MAX_LINES + 1)), 0);
        assert_eq!(findings("a.rs", &unfinished()[0]), 1);
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        let path = private_paths()[2].clone() + "main";
        assert_eq!(findings("a.md", &format!("see `{path}`")), 1);
        assert_eq!(findings("a.md", &path), 1);
        assert_eq!(findings("a.md", &format!("see ${{X}}{path} and https://host{path}")), 0);
    }

    #[test]
    fn lock_files_name_no_registry() {
        assert_eq!(findings("tests/package-lock.json", "  \"resolved\": \"https://r/x.tgz\""), 1);
    }
}
