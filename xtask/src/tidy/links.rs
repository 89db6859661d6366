//! Links between the documents lead somewhere.

use super::File;
use crate::paths;
use std::path::Path;

/// Findings in all Markdown files: relative links whose file is not there.
pub fn check(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is(&[".md"])) {
        let folder = paths::root().join(&file.path);
        let folder = folder.parent().unwrap_or(Path::new("."));
        for (number, target) in targets(&file.text) {
            if !folder.join(&target).exists() {
                findings.push(file.at(number, format_args!("`{target}` leads nowhere")));
            }
        }
    }
    findings
}

/// Line numbers and targets of relative links, without their anchors. Code is not looked at.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut code = false;
    for (number, line) in text.lines().enumerate() {
        code ^= line.trim_start().starts_with("```");
        if code || line.starts_with("    ") {
            continue;
        }
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for part in prose.split("](").skip(1) {
            let target = part.split([')', ' ', '#']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains(':') {
                found.push((number, target.to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_links_are_found() {
        let text = "[a](b.md) and [c](d/e.md#part)\n[f](https://g) [h](#i) `[j](k)`\n```\n[l](m)\n```\n";
        assert_eq!(targets(text), [(0, "b.md".into()), (0, "d/e.md".into())]);
    }
}
