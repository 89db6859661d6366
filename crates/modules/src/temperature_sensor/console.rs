//! Lines for people who follow the module's log. They go to a writer that is handed in: a library does not print.

use std::fmt;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

/// Longest body shown in a line, in characters.
const BODY_LEN_MAX: usize = 1024;

/// Where lines go.
pub(super) struct Console(Mutex<Box<dyn Write + Send>>);

impl Console {
    pub(super) fn new(lines: Box<dyn Write + Send>) -> Self {
        Self(Mutex::new(lines))
    }

    /// Writes a line at once.
    pub(super) fn line(&self, text: fmt::Arguments<'_>) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A log that nobody takes is no reason to stop measuring.
        let _ = writeln!(lines, "{text}").and_then(|()| lines.flush());
    }
}

/// A body as text that fits into a line.
pub(super) fn excerpt(body: &[u8]) -> String {
    let head = &body[..body.len().min(BODY_LEN_MAX * 4)];
    String::from_utf8_lossy(head).chars().filter(|c| !c.is_control()).take(BODY_LEN_MAX).collect()
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Console")
    }
}
