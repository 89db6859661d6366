//! The `Authorization: SharedKey account:signature` header: what is signed, and checking it.
//!
//! Source: Azure docs "Authorize with Shared Key" and the stock clients.

use super::super::Inner;
use super::super::error::Code;
use super::request::Request;
use super::time;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ironbrook_model::{SharedAccessKey, Timestamp};
use std::cmp::Ordering;
use std::time::Duration;

/// How far a request's date may be from ours. Source: Azure docs "Authorize with Shared Key".
const DATE_SKEW_MAX: Duration = Duration::from_secs(15 * 60);
/// Standard headers that are signed, in order.
const SIGNED_HEADERS: [&str; 11] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

impl Inner {
    /// Checks a request that is signed with an account key.
    pub(super) fn check_shared_key(&self, request: &Request, credential: &str) -> Result<(), Code> {
        let (account, signature) = credential.split_once(':').ok_or(Code::InvalidAuthenticationInfo)?;
        if account != self.config.name {
            return Err(Code::AuthenticationFailed);
        }
        check_date(request, self.clock.now())?;
        // rule BLOB-02: clients differ in how they sort headers, so both orders are tried.
        let good = [HeaderOrder::Words, HeaderOrder::Bytes].into_iter().any(|order| {
            let text = string_to_sign(request, account, order);
            self.is_signature(&text, signature)
        });
        if good { Ok(()) } else { Err(Code::AuthenticationFailed) }
    }

    /// Whether one of the keys gives this signature (base64) for a text.
    pub(super) fn is_signature(&self, text: &str, signature: &str) -> bool {
        let Ok(given) = STANDARD.decode(signature) else { return false };
        let keys = &self.config.keys;
        [&keys.primary, &keys.secondary]
            .into_iter()
            .any(|key| constant_time_eq(&key.hmac_sha256(text.as_bytes()), &given))
    }

    /// The signature of a text with the primary key.
    pub(in super::super) fn sign_primary(&self, text: &str) -> String {
        sign(&self.config.keys.primary, text)
    }
}

fn sign(key: &SharedAccessKey, text: &str) -> String {
    STANDARD.encode(key.hmac_sha256(text.as_bytes()))
}

/// Looks at every byte, so that the time tells nothing of the first wrong one.
fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

fn check_date(request: &Request, now: Timestamp) -> Result<(), Code> {
    let text = request.header("x-ms-date").or_else(|| request.header("date"));
    let date = text.and_then(time::parse_http).ok_or(Code::AuthenticationFailed)?;
    let difference = now.since(date).max(date.since(now));
    if difference > DATE_SKEW_MAX {
        return Err(Code::DateTooFar);
    }
    Ok(())
}

/// How `x-ms-` headers are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HeaderOrder {
    /// Hyphens count last, as words are sorted: stock Python and JavaScript clients.
    Words,
    /// Byte by byte, as the documentation says: `object_store`, Go, older clients.
    Bytes,
}

impl HeaderOrder {
    fn compare(self, a: &str, b: &str) -> Ordering {
        match self {
            Self::Words => letters(a).cmp(letters(b)).then_with(|| a.cmp(b)),
            Self::Bytes => a.cmp(b),
        }
    }
}

/// The rank of each character that counts in the first round; hyphens and the like do not.
fn letters(name: &str) -> impl Iterator<Item = usize> {
    name.bytes().filter_map(|b| {
        b"!#$%&*.^_`|~+0123456789abcdefghijklmnopqrstuvwxyz".iter().position(|known| *known == b)
    })
}

/// The text that is signed.
fn string_to_sign(request: &Request, account: &str, order: HeaderOrder) -> String {
    let mut text = request.method.as_str().to_owned();
    text.push('\n');
    for name in SIGNED_HEADERS {
        let value = match (name, request.header(name)) {
            // Since version 2015-02-21 an empty body has an empty length here.
            ("content-length", Some("0")) | (_, None) => "",
            // rule BLOB-03: where x-ms-date is given it is signed among its like, and the place of Date stays empty.
            ("date", Some(_)) if request.header("x-ms-date").is_some() => "",
            (_, Some(value)) => value,
        };
        text.push_str(value);
        text.push('\n');
    }
    let mut own: Vec<_> = request.headers().filter(|(name, _)| name.starts_with("x-ms-")).collect();
    own.sort_by(|(a, _), (b, _)| order.compare(a, b));
    for (name, value) in own {
        text.push_str(name);
        text.push(':');
        text.push_str(value);
        text.push('\n');
    }
    // rule BLOB-01: with path-style addresses the account stands twice, once for itself and once as part of the path.
    text.push('/');
    text.push_str(account);
    text.push_str(&request.raw_path);
    push_query(&mut text, request);
    text
}

/// Query parameters by name, in lower case; values decoded, those of one name sorted and joined.
fn push_query(text: &mut String, request: &Request) {
    let mut query: Vec<_> =
        request.query.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.as_str())).collect();
    query.sort();
    let mut last: Option<&str> = None;
    for (name, value) in &query {
        if last == Some(name) {
            text.push(',');
        } else {
            text.push('\n');
            text.push_str(name);
            text.push(':');
        }
        text.push_str(value);
        last = Some(name);
    }
}
