//! Lines for people who follow the module's log. They go to a writer that is handed in: a library does not print.

use ironbrook_model::Timestamp;
use std::fmt;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The pause between two lines about data errors.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);

/// Where lines go.
pub(super) struct Console(Mutex<Box<dyn Write + Send>>);

impl Console {
    pub(super) fn new(lines: Box<dyn Write + Send>) -> Self {
        Self(Mutex::new(lines))
    }

    /// Writes a line at once.
    pub(super) fn line(&self, text: fmt::Arguments<'_>) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A log that nobody takes is no reason to stop counting.
        let _ = writeln!(lines, "{text}").and_then(|()| lines.flush());
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Console")
    }
}

/// Lets one line through now and then, and counts what it stands for.
#[derive(Debug, Default)]
pub(super) struct Sampled {
    last: Option<Timestamp>,
    held_back: u64,
}

impl Sampled {
    /// Notes so many occurrences; gives how many a line written now stands for, if one is due.
    pub(super) fn note(&mut self, count: u64, now: Timestamp) -> Option<u64> {
        self.held_back += count;
        if self.held_back == 0 || self.last.is_some_and(|last| now.since(last) < SAMPLE_EVERY && now >= last)
        {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_ten_seconds_stands_for_all_before_it() {
        let at = Timestamp::from_secs;
        let mut sampled = Sampled::default();
        assert_eq!(sampled.note(0, at(0)), None);
        assert_eq!(sampled.note(2, at(1)), Some(2));
        assert_eq!(sampled.note(3, at(5)), None);
        assert_eq!(sampled.note(1, at(11)), Some(4));
        // A clock that was set back holds nothing up.
        assert_eq!(sampled.note(1, at(2)), Some(1));
    }
}
