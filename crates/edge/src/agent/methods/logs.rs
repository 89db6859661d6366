//! `GetModuleLogs`.

use super::filter::{Item, LogRequest};
use super::{Methods, Outcome, checked, is_built_in, wrong};
use crate::runtime::{LogLine, LogQuery, RuntimeError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use ironbrook_model::Timestamp;
use serde_json::{Value, json};
use std::io::Write as _;

/// Bytes of an answer; what is longer has to be narrowed.
const ANSWER_LEN_MAX: usize = 127_000;
/// Lines read of one module at most, the last ones.
const LINES_MAX: usize = 20_000;
/// The severity of a line that names none: informational.
const LEVEL_DEFAULT: u8 = 6;
/// What stands in the logs of the modules inside this process.
const BUILT_IN: &str =
    "this module is built into the ironbrook process, and its log is that process's standard error\n";

/// A line, taken apart as far as it follows the format of stock modules: `<6> 2026-01-01 00:00:00.000 +00:00 [INF] - text`.
#[derive(Debug, PartialEq)]
pub(super) struct Parsed<'a> {
    pub(super) level: u8,
    pub(super) time: Option<Timestamp>,
    pub(super) text: &'a str,
}

impl<'a> Parsed<'a> {
    pub(super) fn read(line: &'a str) -> Self {
        let prefix = line.strip_prefix('<').and_then(|rest| {
            let level = rest.bytes().next().filter(|byte| (b'0'..=b'7').contains(byte))?;
            Some((level - b'0', rest.get(1..)?.strip_prefix('>')?.trim_start()))
        });
        let (level, rest) = prefix.unwrap_or((LEVEL_DEFAULT, line));
        // `yyyy-mm-dd hh:mm:ss.fff +hh:mm`
        let stamp = rest.get(..30).and_then(|stamp| {
            let (day, rest) = stamp.split_at_checked(10)?;
            let (time, zone) = rest.trim_start().split_once(' ')?;
            Timestamp::parse(&format!("{day}T{time}{zone}"))
        });
        let text = if stamp.is_some() { rest[30..].trim_start() } else { rest };
        Self { level, time: stamp, text }
    }
}

impl Methods {
    pub(super) async fn module_logs(&self, payload: &Value) -> Outcome {
        let request = LogRequest::read(checked(payload)?, self.clock.now())?;
        let mut names: Vec<String> =
            self.handle.status().modules.into_iter().map(|module| module.name).collect();
        names.dedup();
        let (mut answers, mut len) = (Vec::new(), 0);
        for name in names {
            // The first entry that means a module decides.
            let Some(item) = request.items.iter().find(|item| item.means(&name)) else { continue };
            let text = self.text(&name, item, request.json).await?;
            let answer = if request.gzip {
                json!({"id": name, "payloadBytes": STANDARD.encode(zipped(&text)?)})
            } else {
                json!({"id": name, "payload": text})
            };
            len += answer.to_string().len();
            if len > ANSWER_LEN_MAX {
                return Err(wrong(format!(
                    "the logs have more than {ANSWER_LEN_MAX} bytes; narrow them by id, tail, since or until"
                )));
            }
            answers.push(answer);
        }
        Ok(Value::Array(answers))
    }

    async fn text(&self, name: &str, item: &Item, as_json: bool) -> Result<String, (i32, String)> {
        let query =
            LogQuery { tail: Some(item.query.tail.unwrap_or(LINES_MAX).min(LINES_MAX)), ..item.query };
        let lines = match self.logs.lines(name, query).await {
            Ok(lines) => lines,
            Err(RuntimeError::NotFound(_)) if is_built_in(name) => {
                return Ok(if as_json { "[]".to_owned() } else { BUILT_IN.to_owned() });
            }
            // Deployed, and not there yet.
            Err(RuntimeError::NotFound(_)) => Vec::new(),
            Err(error) => return Err((500, error.to_string())),
        };
        let mut text = String::new();
        let mut records = Vec::new();
        for line in &lines {
            let parsed = Parsed::read(&line.text);
            let wanted = item.level.is_none_or(|level| level == parsed.level)
                && item.pattern.as_ref().is_none_or(|pattern| pattern.is_match(parsed.text));
            if wanted && as_json {
                records.push(self.record(name, line, &parsed));
            } else if wanted {
                text.push_str(&line.text);
                text.push('\n');
            }
        }
        Ok(if as_json { Value::Array(records).to_string() } else { text })
    }

    fn record(&self, name: &str, line: &LogLine, parsed: &Parsed<'_>) -> Value {
        json!({
            "iothub": self.hub_host,
            "device": self.device,
            "id": name,
            // The runtime keeps both in the order they came, and not which was which.
            "stream": "stdout",
            "loglevel": parsed.level,
            "text": parsed.text,
            "timestamp": parsed.time.unwrap_or(line.time).to_string(),
        })
    }
}

fn zipped(text: &str) -> Result<Vec<u8>, (i32, String)> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let done = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
    done.map_err(|error| (500, format!("the logs could not be packed: {error}")))
}
