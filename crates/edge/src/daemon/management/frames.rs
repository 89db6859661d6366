//! Logs on the wire: frames as container engines send them. One byte says the stream, three are zero, four are the length.

/// Bytes before each frame.
pub(super) const HEADER_LEN: usize = 8;
/// Standard output; both streams of a module are one here, in the order they came.
const STDOUT: u8 = 1;

/// One line as a frame.
pub(super) fn write(line: &str, out: &mut Vec<u8>) {
    let len = u32::try_from(line.len() + 1).unwrap_or(u32::MAX);
    out.extend([STDOUT, 0, 0, 0]);
    out.extend(len.to_be_bytes());
    out.extend(line.as_bytes());
    out.push(b'\n');
}

/// Takes frames apart that come in pieces.
#[derive(Debug, Default)]
pub(super) struct Reader {
    header: Vec<u8>,
    left: usize,
}

impl Reader {
    /// The text in the next bytes, whatever frames it belongs to.
    pub fn read(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        while !bytes.is_empty() {
            if self.left > 0 {
                let (head, rest) = bytes.split_at(self.left.min(bytes.len()));
                text.extend_from_slice(head);
                self.left -= head.len();
                bytes = rest;
                continue;
            }
            let (head, rest) = bytes.split_at((HEADER_LEN - self.header.len()).min(bytes.len()));
            self.header.extend_from_slice(head);
            bytes = rest;
            if let Some(len) = self.header.get(4..HEADER_LEN).and_then(|len| len.try_into().ok()) {
                self.left = u32::from_be_bytes(len) as usize;
                self.header.clear();
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn lines_come_out_whole_whatever_the_pieces(lines: Vec<String>, size in 1_usize..40) {
            let mut bytes = Vec::new();
            lines.iter().for_each(|line| write(line, &mut bytes));
            let mut reader = Reader::default();
            let text: Vec<u8> = bytes.chunks(size).flat_map(|piece| reader.read(piece)).collect();
            let expected: String = lines.iter().map(|line| format!("{line}\n")).collect();
            prop_assert_eq!(text, expected.into_bytes());
        }
    }
}
