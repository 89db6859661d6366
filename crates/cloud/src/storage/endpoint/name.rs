//! Names of blobs: a format with seven tokens. Source: Azure docs "IoT Hub message routing endpoints", storage container.

use ironbrook_model::Timestamp;

/// The tokens a format must have. The hub, the partition, and year, month, day, hour, minute in UTC.
// rule BLOB-06: all of them are needed.
const TOKENS: [&str; 7] = ["{iothub}", "{partition}", "{YYYY}", "{MM}", "{DD}", "{HH}", "{mm}"];
/// Longest format: names have at most 1024 characters, and tokens grow when they are filled in.
const FORMAT_CHARS_MAX: usize = 512;

/// A format that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A token is missing.
    #[error(
        "the file name format '{format}' lacks {token}; it needs all of {{iothub}} {{partition}} {{YYYY}} {{MM}} {{DD}} {{HH}} {{mm}}"
    )]
    Missing {
        /// As given.
        format: String,
        /// The token.
        token: &'static str,
    },
    /// Something in braces that is not a token.
    #[error("the file name format '{0}' has braces around something else than its seven tokens")]
    Unknown(String),
    /// Too long, or empty parts between slashes.
    #[error("the file name format '{0}' is too long, or begins or ends with a slash")]
    Form(String),
}

/// A format of blob names, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameFormat(String);

impl NameFormat {
    /// What Azure takes if nothing is said.
    pub const DEFAULT: &str = "{iothub}/{partition}/{YYYY}/{MM}/{DD}/{HH}/{mm}";

    /// Checks a format: all seven tokens, in any order, with anything between them.
    pub fn parse(format: &str) -> Result<Self, NameError> {
        if format.chars().count() > FORMAT_CHARS_MAX || format.starts_with('/') || format.ends_with('/') {
            return Err(NameError::Form(format.into()));
        }
        let mut rest = format.to_owned();
        for token in TOKENS {
            if !rest.contains(token) {
                return Err(NameError::Missing { format: format.into(), token });
            }
            rest = rest.replace(token, "");
        }
        if rest.contains(['{', '}']) {
            return Err(NameError::Unknown(format.into()));
        }
        Ok(Self(format.into()))
    }

    /// The name of a blob whose first message was enqueued at `time`. The partition has two digits at least.
    pub fn render(&self, hub: &str, partition: u16, time: Timestamp) -> String {
        let t = time.to_utc();
        self.0
            .replace("{partition}", &format!("{partition:02}"))
            .replace("{YYYY}", &format!("{:04}", t.year()))
            .replace("{MM}", &format!("{:02}", t.month()))
            .replace("{DD}", &format!("{:02}", t.day()))
            .replace("{HH}", &format!("{:02}", t.hour()))
            .replace("{mm}", &format!("{:02}", t.minute()))
            // Last, so that a hub's name is never taken for a token.
            .replace("{iothub}", hub)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stock_name_has_two_digits_everywhere() {
        let time = Timestamp::parse("2026-01-02T03:04:05Z").unwrap();
        let format = NameFormat::parse(NameFormat::DEFAULT).unwrap();
        assert_eq!(format.render("hub", 3, time), "hub/03/2026/01/02/03/04");
        let format = NameFormat::parse("{YYYY}-{MM}-{DD}_{mm}{HH}/p{partition}.{iothub}").unwrap();
        assert_eq!(format.render("{MM}", 12, time), "2026-01-02_0403/p12.{MM}");
    }

    #[test]
    fn all_seven_tokens_are_needed_blob_06() {
        for token in TOKENS {
            let format = NameFormat::DEFAULT.replace(token, "x");
            assert!(
                matches!(NameFormat::parse(&format), Err(NameError::Missing { token: t, .. }) if t == token)
            );
        }
        let unknown = format!("{}{{ss}}", NameFormat::DEFAULT);
        assert_eq!(NameFormat::parse(&unknown), Err(NameError::Unknown(unknown.clone())));
        assert!(matches!(NameFormat::parse(&format!("/{}", NameFormat::DEFAULT)), Err(NameError::Form(_))));
    }
}
