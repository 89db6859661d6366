//! Names of images: `[registry[:port]/]path[:tag][@digest]`.

/// The repository of an image: the name without tag and digest.
pub(super) fn repository(image: &str) -> &str {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    // A colon before the last slash is a registry's port.
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    name[last..].find(':').map_or(name, |colon| &name[..last + colon])
}

/// Whether a repository ends with `suffix`, by whole segments.
pub(super) fn ends_with(repository: &str, suffix: &str) -> bool {
    let suffix = suffix.trim_matches('/');
    let Some(start) = repository.len().checked_sub(suffix.len()) else { return false };
    let same = repository.as_bytes()[start..].eq_ignore_ascii_case(suffix.as_bytes());
    same && !suffix.is_empty() && (start == 0 || repository.as_bytes()[start - 1] == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_of_all_forms() {
        for (image, expected) in [
            ("a", "a"),
            ("a:1", "a"),
            ("r:5000/a", "r:5000/a"),
            ("r:5000/a/b:1.5", "r:5000/a/b"),
            ("r/a:1@sha256:00", "r/a"),
            ("r/a@sha256:00", "r/a"),
            ("", ""),
            (":", ""),
        ] {
            assert_eq!(repository(image), expected, "{image}");
        }
    }

    // rule PROCESS-01
    #[test]
    fn stock_images_are_known_by_their_end_whatever_registry_and_tag_rule_process_01() {
        let asa = "azure-stream-analytics/azureiotedge";
        assert!(ends_with(
            repository("mcr.microsoft.com/azure-stream-analytics/azureiotedge:1.0.9-linux-amd64"),
            asa
        ));
        assert!(ends_with(repository("localhost:5000/azure-stream-analytics/azureiotedge"), asa));
        assert!(ends_with(asa, asa));
        assert!(!ends_with(repository("mcr.microsoft.com/not-azure-stream-analytics/azureiotedge:1"), asa));
        assert!(!ends_with(repository("mcr.microsoft.com/azureiotedge"), asa));
        assert!(!ends_with("evil/xsensor", "sensor"));
        assert!(!ends_with("sensor", ""));
        assert!(!ends_with("größe", "e/größe"));
    }
}
