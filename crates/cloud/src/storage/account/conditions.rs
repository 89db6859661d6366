//! Conditional headers: do something only if the blob is, or is not, as the client knows it.
//!
//! Source: Azure docs "Specifying conditional headers for Blob service operations".

use super::error::Code;
use super::record::Etag;
use ironbrook_model::Timestamp;

/// Conditions of a request. The default has none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conditions {
    /// `If-Match`: a list of versions, or `*` for any.
    pub if_match: Option<String>,
    /// `If-None-Match`: a list of versions, or `*` for any.
    pub if_none_match: Option<String>,
    /// `If-Modified-Since`.
    pub if_modified_since: Option<Timestamp>,
    /// `If-Unmodified-Since`.
    pub if_unmodified_since: Option<Timestamp>,
    /// The caller may create but not replace (a shared access signature with `c` and without `w`).
    pub create_only: bool,
}

/// What is there now.
pub(super) type Current = Option<(Etag, Timestamp)>;

impl Conditions {
    /// Only if there is no blob of that name.
    pub fn if_absent() -> Self {
        Self { if_none_match: Some("*".into()), ..Self::default() }
    }

    /// Whether a write may go on.
    pub(super) fn check_write(&self, current: Current) -> Result<(), Code> {
        if self.create_only && current.is_some() {
            return Err(Code::AuthorizationPermissionMismatch);
        }
        let Some((etag, modified)) = current else {
            // Without a blob there is nothing to match or to be unmodified.
            return if self.if_match.is_some() { Err(Code::ConditionNotMet) } else { Ok(()) };
        };
        if let Some(list) = &self.if_none_match
            && matches(list, etag)
        {
            let any = list.trim() == "*";
            return Err(if any { Code::BlobAlreadyExists } else { Code::ConditionNotMet });
        }
        let failed = self.if_match.as_ref().is_some_and(|list| !matches(list, etag))
            || self.if_modified_since.is_some_and(|since| !later(modified, since))
            || self.if_unmodified_since.is_some_and(|since| later(modified, since));
        if failed { Err(Code::ConditionNotMet) } else { Ok(()) }
    }

    /// Whether a read may go on.
    pub(super) fn check_read(&self, etag: Etag, modified: Timestamp) -> Result<(), Code> {
        if self.if_match.as_ref().is_some_and(|list| !matches(list, etag))
            || self.if_unmodified_since.is_some_and(|since| later(modified, since))
        {
            return Err(Code::ConditionNotMet);
        }
        let same = match &self.if_none_match {
            // RFC 9110, 13.1.3: the time is ignored where a version is given.
            Some(list) => matches(list, etag),
            None => self.if_modified_since.is_some_and(|since| !later(modified, since)),
        };
        if same { Err(Code::NotModified) } else { Ok(()) }
    }
}

/// Whether a header's list names a version. Quotes are optional, weak marks are ignored.
fn matches(list: &str, etag: Etag) -> bool {
    let etag = etag.to_string();
    list.split(',').any(|one| {
        let one = one.trim();
        let one = one.strip_prefix("W/").unwrap_or(one);
        one == "*" || one.trim_matches('"').eq_ignore_ascii_case(&etag)
    })
}

/// Header times have whole seconds, so that is how times are compared.
fn later(time: Timestamp, than: Timestamp) -> bool {
    time.as_secs() > than.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETAG: Etag = Etag(7);
    const MODIFIED: Timestamp = Timestamp::from_millis(1_000_500);

    fn none_match(list: &str) -> Conditions {
        Conditions { if_none_match: Some(list.into()), ..Conditions::default() }
    }

    #[test]
    fn star_means_any_blob() {
        assert_eq!(none_match("*").check_write(None), Ok(()));
        assert_eq!(none_match("*").check_write(Some((ETAG, MODIFIED))), Err(Code::BlobAlreadyExists));
        assert_eq!(none_match("*").check_read(ETAG, MODIFIED), Err(Code::NotModified));
        let any = Conditions { if_match: Some("*".into()), ..Conditions::default() };
        assert_eq!(any.check_write(None), Err(Code::ConditionNotMet));
        assert_eq!(any.check_write(Some((ETAG, MODIFIED))), Ok(()));
    }

    #[test]
    fn versions_match_with_and_without_quotes() {
        for list in ["\"0x8D0000000000007\"", "0x8D0000000000007", "\"0x1\", \"0x8D0000000000007\""] {
            assert_eq!(none_match(list).check_read(ETAG, MODIFIED), Err(Code::NotModified), "{list}");
            assert_eq!(
                none_match(list).check_write(Some((ETAG, MODIFIED))),
                Err(Code::ConditionNotMet),
                "{list}"
            );
        }
        assert_eq!(none_match("\"0x1\"").check_read(ETAG, MODIFIED), Ok(()));
    }

    #[test]
    fn times_are_compared_in_whole_seconds() {
        let since = |millis| Conditions {
            if_modified_since: Some(Timestamp::from_millis(millis)),
            ..Conditions::default()
        };
        assert_eq!(since(1_000_000).check_read(ETAG, MODIFIED), Err(Code::NotModified));
        assert_eq!(since(999_000).check_read(ETAG, MODIFIED), Ok(()));
        let until =
            Conditions { if_unmodified_since: Some(Timestamp::from_secs(999)), ..Conditions::default() };
        assert_eq!(until.check_read(ETAG, MODIFIED), Err(Code::ConditionNotMet));
    }
}
