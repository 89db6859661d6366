//! What ARCHITECTURE.md says of the code is in the code: files that are named are there, and a function named `so()` in a row of a
//! table is in a file of the same row.

use super::File;

const DOCUMENT: &str = "ARCHITECTURE.md";

/// Findings in the document.
pub fn check(files: &[File]) -> Vec<String> {
    let Some(document) = files.iter().find(|file| file.path == DOCUMENT) else {
        return vec![format!("{DOCUMENT} is missing")];
    };
    let mut findings = Vec::new();
    for (number, line) in document.text.lines().enumerate() {
        let mut here = Vec::new();
        for path in codes(line).filter(|code| code.ends_with(".rs")) {
            match find(files, path) {
                Some(file) => here.push(file),
                None => findings.push(document.at(number, format_args!("there is no file `{path}`"))),
            }
        }
        for function in codes(line).filter_map(|code| code.strip_suffix("()")) {
            let is_in = |file: &&File| {
                file.text
                    .match_indices(&format!("fn {function}"))
                    .any(|(at, found)| file.text[at + found.len()..].starts_with(['(', '<']))
            };
            if !here.iter().any(is_in) {
                findings.push(
                    document.at(number, format_args!("`{function}` is in no file that this line names")),
                );
            }
        }
    }
    findings
}

/// Pieces of code in a line of Markdown.
fn codes(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// A file of the crates, named without their folder; any other from the root.
fn find<'a>(files: &'a [File], path: &str) -> Option<&'a File> {
    let in_crates = format!("crates/{path}");
    files.iter().find(|file| file.path == in_crates || file.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(document: &str) -> Vec<File> {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        vec![
            file(DOCUMENT, document),
            file("crates/hub/src/a.rs", "pub async fn send(&self) {}\nfn sending<T>() {}"),
        ]
    }

    #[test]
    fn named_files_and_functions_must_be_there() {
        assert_eq!(check(&tree("| x | `hub/src/a.rs` `send()` |\n")), Vec::<String>::new());
        assert_eq!(check(&tree("`hub/src/a.rs`, `sending()` and `a word`")), Vec::<String>::new());
        for wrong in
            ["`hub/src/b.rs`", "`hub/src/a.rs` `sen()`", "`send()` alone", "`hub/src/a.rs` `sendin()`"]
        {
            assert_eq!(check(&tree(wrong)).len(), 1, "{wrong}");
        }
        assert_eq!(check(&[]).len(), 1);
    }
}
