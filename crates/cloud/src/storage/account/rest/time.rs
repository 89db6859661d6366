//! Times as HTTP headers and signatures write them.

use ironbrook_model::Timestamp;
use jiff::fmt::rfc2822::{DateTimeParser, DateTimePrinter};

/// `Sun, 22 Nov 2026 12:32:41 GMT`.
pub fn http(time: Timestamp) -> String {
    let stamp = jiff::Timestamp::from_second(time.as_secs()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    DateTimePrinter::new().timestamp_to_rfc9110_string(&stamp).unwrap_or_default()
}

/// The other way round.
pub fn parse_http(text: &str) -> Option<Timestamp> {
    let stamp = DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Timestamp::from_millis(stamp.as_millisecond()))
}

/// The forms a signature's start and end may have: `2026-11-22`, with `T12:32Z`, `T12:32:41Z` or a fraction.
pub fn parse_signed(text: &str) -> Option<Timestamp> {
    match text.len() {
        10 => Timestamp::parse(&format!("{text}T00:00:00Z")),
        17 => Timestamp::parse(&format!("{}:00Z", text.strip_suffix('Z')?)),
        _ => Timestamp::parse(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_times_read_back() {
        let t = Timestamp::from_secs(1_795_351_961);
        assert_eq!(http(t), "Sun, 22 Nov 2026 12:52:41 GMT");
        assert_eq!(parse_http(&http(t)), Some(t));
        // The day of the month may lack its zero.
        assert!(parse_http("Mon, 2 Nov 2026 12:32:41 GMT").is_some());
        assert_eq!(parse_http("yesterday"), None);
    }

    #[test]
    fn signed_times_have_four_forms() {
        let day = Timestamp::parse("2026-11-22T00:00:00Z");
        for text in
            ["2026-11-22", "2026-11-22T00:00Z", "2026-11-22T00:00:00Z", "2026-11-22T00:00:00.0000000Z"]
        {
            assert_eq!(parse_signed(text), day, "{text}");
        }
        assert_eq!(parse_signed("soon"), None);
    }
}
