//! The naming rules. Source: Azure docs "Naming and referencing containers, blobs, and metadata".

use super::error::Code;
use super::record::Metadata;

/// Longest blob name in characters.
const BLOB_NAME_CHARS_MAX: usize = 1024;
/// Most parts of a blob name between slashes.
const BLOB_NAME_SEGMENTS_MAX: usize = 254;
/// All metadata of one thing in bytes.
const METADATA_BYTES_MAX: usize = 8 * 1024;

/// Account: 3 to 24 lower-case letters and digits.
pub(super) fn check_account(name: &str) -> Result<(), Code> {
    let good =
        (3..=24).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if good { Ok(()) } else { Err(Code::InvalidResourceName) }
}

/// Container: 3 to 63 lower-case letters, digits and single hyphens, none of them first or last.
pub(super) fn check_container(name: &str) -> Result<(), Code> {
    let good = (3..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    if good { Ok(()) } else { Err(Code::InvalidResourceName) }
}

/// Blob: 1 to 1024 characters, any, in up to 254 parts.
pub(super) fn check_blob(name: &str) -> Result<(), Code> {
    let good = !name.is_empty()
        && name.chars().count() <= BLOB_NAME_CHARS_MAX
        && name.split('/').count() <= BLOB_NAME_SEGMENTS_MAX;
    if good { Ok(()) } else { Err(Code::InvalidResourceName) }
}

/// Metadata: names are identifiers, all of it is at most 8 KiB.
pub(super) fn check_metadata(metadata: &Metadata) -> Result<(), Code> {
    let mut bytes = 0;
    for (name, value) in metadata {
        let mut chars = name.chars();
        let good = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
            && value.chars().all(|c| !c.is_control());
        if !good {
            return Err(Code::InvalidMetadata);
        }
        bytes += name.len() + value.len();
    }
    if bytes > METADATA_BYTES_MAX { Err(Code::MetadataTooLarge) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_names_follow_the_rules() {
        for good in ["abc", "telemetry-json", "0-1-2", &"a".repeat(63)] {
            assert_eq!(check_container(good), Ok(()), "{good}");
        }
        for bad in ["ab", "Abc", "-abc", "abc-", "a--b", "a.b", "a/b", "..", "", &"a".repeat(64)] {
            assert_eq!(check_container(bad), Err(Code::InvalidResourceName), "{bad}");
        }
    }

    #[test]
    fn metadata_names_are_identifiers() {
        let one = |name: &str, value: &str| Metadata::from([(name.to_owned(), value.to_owned())]);
        assert_eq!(check_metadata(&one("unit_1", "°C")), Ok(()));
        assert_eq!(check_metadata(&one("1unit", "x")), Err(Code::InvalidMetadata));
        assert_eq!(check_metadata(&one("a-b", "x")), Err(Code::InvalidMetadata));
        assert_eq!(check_metadata(&one("a", &"x".repeat(9000))), Err(Code::MetadataTooLarge));
    }
}
