//! Rows as messages: a JSON array of rows, with an id that says which rows they are.

use ironbrook_analytics::engine::OutputRow;
use ironbrook_analytics::value::DateTime;
use ironbrook_analytics::value::snapshot::{Reader, SnapshotError, Writer};
use ironbrook_client::{Message, SystemProperty};
use std::sync::Arc;

/// Largest body, in bytes; the hub takes messages of 256 KB with all their properties.
const BODY_LEN_MAX: usize = 200 * 1024;
/// Most rows in a message.
const ROWS_MAX: usize = 1000;
/// Longest part of the output's name in an id; ids have 128 characters at most.
const ID_NAME_LEN_MAX: usize = 64;

/// A message that waits to be sent. It is kept with the state before it is, so that it comes again as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outgoing {
    /// The output it leaves by.
    pub(super) output: Arc<str>,
    /// `{output}:{timestamp of the last row}:{number of the message on this output}`.
    pub(super) id: String,
    pub(super) body: Vec<u8>,
    pub(super) rows: u64,
}

impl Outgoing {
    /// The message, in the form that routes can look into.
    pub(super) fn message(&self) -> Message {
        let mut message = Message::new(self.body.clone());
        // rule ASA-01
        message.system.set(SystemProperty::MessageId, self.id.as_str());
        message.system.set(SystemProperty::ContentType, "application/json");
        message.system.set(SystemProperty::ContentEncoding, "utf-8");
        message
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.text(&self.output);
        out.text(&self.id);
        out.bytes(&self.body);
        out.unsigned(self.rows);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let (output, id) = (from.text()?.into(), from.text()?.to_owned());
        Ok(Self { output, id, body: from.bytes()?.to_vec(), rows: from.unsigned()? })
    }
}

/// Packs the rows of one output.
#[derive(Debug)]
pub(super) struct Packer {
    output: Arc<str>,
    /// Messages so far.
    number: u64,
    body: Vec<u8>,
    rows: usize,
    last: DateTime,
}

/// A row that no message can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge {
    /// Its length as JSON, in bytes.
    pub(super) len: usize,
}

impl Packer {
    /// For an output; `number` is how many messages left by it already.
    pub(super) fn new(output: Arc<str>, number: u64) -> Self {
        Self { output, number, body: Vec::new(), rows: 0, last: DateTime::MIN }
    }

    /// How many messages were made, those before included.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Adds a row; a message that is full goes to `out`.
    pub(super) fn add(&mut self, row: &OutputRow, out: &mut impl Extend<Outgoing>) -> Result<(), TooLarge> {
        let mut json = Vec::new();
        row.record.write_json(&mut json);
        if json.len() + 2 > BODY_LEN_MAX {
            return Err(TooLarge { len: json.len() });
        }
        if self.rows == ROWS_MAX || self.body.len() + json.len() + 2 > BODY_LEN_MAX {
            out.extend(self.flush());
        }
        self.body.push(if self.rows == 0 { b'[' } else { b',' });
        self.body.append(&mut json);
        self.rows += 1;
        self.last = row.timestamp;
        Ok(())
    }

    /// The message of the rows added since the last one, if there are any.
    pub(super) fn flush(&mut self) -> Option<Outgoing> {
        if self.rows == 0 {
            return None;
        }
        self.body.push(b']');
        self.number += 1;
        // Only characters that an id may have.
        let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let name: String = self.output.chars().filter(plain).take(ID_NAME_LEN_MAX).collect();
        Some(Outgoing {
            output: self.output.clone(),
            id: format!("{name}:{}:{}", self.last, self.number),
            body: std::mem::take(&mut self.body),
            rows: std::mem::take(&mut self.rows) as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbrook_analytics::value::{Record, Value};

    fn row(seconds: i64, text: &str) -> OutputRow {
        let record: Record = [(Arc::from("command"), Value::text(text))].into_iter().collect();
        let timestamp = DateTime::from_unix_millis(seconds * 1000).unwrap();
        OutputRow { output: 0, timestamp, record: Arc::new(record) }
    }

    #[test]
    fn rows_are_one_array_with_an_id_that_says_which_rule_asa_01() {
        let (mut packer, mut out) = (Packer::new("alert".into(), 6), Vec::new());
        packer.add(&row(0, "reset"), &mut out).unwrap();
        packer.add(&row(30, "reset"), &mut out).unwrap();
        out.extend(packer.flush());
        assert_eq!((packer.flush(), out.len(), packer.number()), (None, 1, 7));
        assert_eq!(out[0].body, br#"[{"command":"reset"},{"command":"reset"}]"#);
        assert_eq!((&*out[0].id, out[0].rows), ("alert:1970-01-01T00:00:30.0000000Z:7", 2));
        let message = out[0].message();
        assert!(message.has_json_body());
        assert_eq!(message.system.get(SystemProperty::MessageId).map(|id| &**id), Some(&*out[0].id));
    }

    #[test]
    fn messages_are_bounded_by_rows_and_by_bytes() {
        let (mut packer, mut out) = (Packer::new("[ö] x".into(), 0), Vec::new());
        for number in 0..=ROWS_MAX {
            packer.add(&row(number as i64, "x"), &mut out).unwrap();
        }
        assert_eq!((out.len(), out[0].rows), (1, ROWS_MAX as u64));
        assert!(out[0].id.starts_with("x:1970"), "{}", out[0].id);
        out.extend(packer.flush());
        let half = "y".repeat(BODY_LEN_MAX / 2);
        for _ in 0..3 {
            packer.add(&row(0, &half), &mut out).unwrap();
        }
        out.extend(packer.flush());
        assert_eq!(out.len(), 5);
        assert_eq!(
            packer.add(&row(0, &half.repeat(2)), &mut out),
            Err(TooLarge { len: half.len() * 2 + 14 })
        );
        assert!(packer.flush().is_none());
        for message in &out {
            assert!(message.body.len() <= BODY_LEN_MAX);
            let rows: Vec<serde_json::Value> = serde_json::from_slice(&message.body).unwrap();
            assert_eq!(rows.len() as u64, message.rows);
        }
    }
}
