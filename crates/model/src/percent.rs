//! Percent-encoding as the SDKs use it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use std::borrow::Cow;

/// Everything but RFC 3986 unreserved characters is escaped, with upper-case hex.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Escapes everything that is not an unreserved character.
pub fn percent_encode(text: &str) -> Cow<'_, str> {
    percent_encoding::utf8_percent_encode(text, UNRESERVED).into()
}

/// Decodes `%xx`; a plus stays a plus. `None` where the result is not UTF-8.
pub fn percent_decode(text: &str) -> Option<Cow<'_, str>> {
    percent_encoding::percent_decode_str(text).decode_utf8().ok()
}
