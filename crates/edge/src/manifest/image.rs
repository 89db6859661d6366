//! The form of an image's name.

/// Longest name in bytes.
const IMAGE_LEN_MAX: usize = 1024;
/// Longest tag in bytes.
const TAG_LEN_MAX: usize = 128;

/// Checks `repository[:tag][@digest]`; what is wrong otherwise.
pub(super) fn check(image: &str) -> Result<(), &'static str> {
    if image.is_empty() {
        return Err("is empty; name an image");
    }
    if image.len() > IMAGE_LEN_MAX {
        return Err("is longer than 1024 bytes");
    }
    if image.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("holds white space");
    }
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    if digest.is_some_and(|digest| {
        digest.split_once(':').is_none_or(|(kind, hex)| kind.is_empty() || hex.is_empty())
    }) {
        return Err("has a digest that is not of the form sha256:…");
    }
    // A colon before the last slash belongs to the registry's port.
    let start = name.rfind('/').map_or(0, |slash| slash + 1);
    let (last, tag) = match name[start..].split_once(':') {
        Some((last, tag)) => (last, Some(tag)),
        None => (&name[start..], None),
    };
    if last.is_empty() || name[..start].split('/').rev().skip(1).any(str::is_empty) {
        return Err("has an empty part; write repository[:tag][@digest]");
    }
    let tag_character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if tag.is_some_and(|tag| tag.is_empty() || tag.len() > TAG_LEN_MAX || !tag.chars().all(tag_character)) {
        return Err("has a tag that is none: letters, digits, _ . and -");
    }
    Ok(())
}
