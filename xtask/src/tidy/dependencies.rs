//! Every outside dependency of the workspace says why it was chosen, in a comment on its line.

use super::File;

/// Findings in the workspace's Cargo.toml.
pub fn check(files: &[File]) -> Vec<String> {
    let Some(file) = files.iter().find(|file| file.path == "Cargo.toml") else { return Vec::new() };
    let mut findings = Vec::new();
    let mut inside = false;
    for (number, line) in file.text.lines().enumerate() {
        if line.starts_with('[') {
            inside = line == "[workspace.dependencies]";
            continue;
        }
        let Some((name, value)) = line.split_once('=').filter(|_| inside && !line.starts_with('#')) else {
            continue;
        };
        let reason = value.split_once('#').is_some_and(|(_, reason)| reason.trim().len() > 3);
        if !reason && !value.contains("path =") {
            findings.push(file.at(number, format_args!("`{}` does not say why it is used", name.trim())));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_without_a_reason_is_found() {
        let text = "[workspace.dependencies]\na = \"1\" # the codec\nb = \"1\"\nc = { path = \"c\" }\n[other]\nd = 1\n";
        let findings = check(&[File { path: "Cargo.toml".into(), text: text.into() }]);
        assert_eq!(findings, ["Cargo.toml:3: `b` does not say why it is used"]);
    }
}
