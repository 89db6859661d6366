//! Cuts what comes out of a pipe into lines.

/// Longest line in bytes; a longer one is cut.
pub(super) const LINE_LEN_MAX: usize = 16 * 1024;

/// The beginning of a line whose end has not come yet.
#[derive(Default)]
pub(super) struct Lines(Vec<u8>);

impl Lines {
    /// The lines that these bytes complete, without their ends.
    pub fn push(&mut self, mut bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        while !bytes.is_empty() {
            let room = LINE_LEN_MAX - self.0.len();
            let window = &bytes[..bytes.len().min(room)];
            let (taken, ended) = match window.iter().position(|&byte| byte == b'\n') {
                Some(end) => (end, true),
                None => (window.len(), false),
            };
            self.0.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken + usize::from(ended)..];
            if ended || self.0.len() == LINE_LEN_MAX {
                lines.push(self.take());
            }
        }
        lines
    }

    /// What is left when nothing more comes.
    pub fn finish(&mut self) -> Vec<String> {
        if self.0.is_empty() { Vec::new() } else { vec![self.take()] }
    }

    fn take(&mut self) -> String {
        let line = self.0.strip_suffix(b"\r").unwrap_or(&self.0);
        let line = String::from_utf8_lossy(line).into_owned();
        self.0.clear();
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
        let mut lines = Lines::default();
        let mut all: Vec<String> = pieces.flat_map(|piece| lines.push(piece)).collect();
        all.extend(lines.finish());
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn lines_are_the_same_whatever_the_pieces(text in "([a-zä ]{0,9}\r?\n){0,9}[a-z]{0,5}", size in 1_usize..9) {
            let expected: Vec<&str> = text.lines().collect();
            prop_assert_eq!(cut(text.as_bytes().chunks(size)), expected);
        }
    }

    #[test]
    fn a_line_without_end_is_cut_and_not_kept() {
        let bytes = vec![b'x'; 2 * LINE_LEN_MAX + 5];
        let lens: Vec<usize> = cut(bytes.chunks(1000)).iter().map(String::len).collect();
        assert_eq!(lens, [LINE_LEN_MAX, LINE_LEN_MAX, 5]);
    }
}
