//! `createOptions`: text in pieces, because a twin's text has a limit, or an object.

use super::error::Findings;
use super::node::{Node, kind};
use ironbrook_model::twin::Object;
use serde_json::{Map, Value};

const KEY: &str = "createOptions";
/// Pieces at most: `createOptions`, `createOptions01` to `createOptions99`.
const PIECES_MAX: usize = 100;
/// Characters of a piece when it is written.
const PIECE_LEN: usize = 512;

/// Reads the options of a module's `settings`; an empty object where there are none.
pub(super) fn read(settings: &Node<'_>, findings: &mut Findings) -> Value {
    let empty = Value::Object(Map::new());
    let text = match settings.get(KEY) {
        None => return empty,
        Some(Value::String(first)) => joined(settings, first, findings),
        // Tolerated: not what a twin should hold, but its meaning is plain.
        Some(object @ Value::Object(_)) => return object.clone(),
        Some(other) => {
            findings.add(
                settings.at(KEY),
                format!("must be a text that holds an object, and is {}", kind(other)),
            );
            return empty;
        }
    };
    if text.trim().is_empty() {
        return empty;
    }
    match serde_json::from_str(&text) {
        Ok(Value::Null) => empty,
        Ok(object @ Value::Object(_)) => object,
        Ok(other) => {
            findings.add(settings.at(KEY), format!("must hold a JSON object, and holds {}", kind(&other)));
            empty
        }
        Err(error) => {
            findings.add(settings.at(KEY), format!("does not hold JSON: {error}"));
            empty
        }
    }
}

/// All pieces in order, up to the first that is missing.
fn joined(settings: &Node<'_>, first: &str, findings: &mut Findings) -> String {
    let mut text = first.to_owned();
    // rule AGENT-03
    for number in 1..PIECES_MAX {
        let key = format!("{KEY}{number:02}");
        match settings.get(&key) {
            None => break,
            Some(Value::String(piece)) => text.push_str(piece),
            Some(other) => findings.add(settings.at(&key), format!("must be a text, and is {}", kind(other))),
        }
    }
    text
}

/// Writes the options into a module's reported `settings`.
pub(super) fn write(options: &Value, settings: &mut Object) {
    let text = options.to_string();
    let characters: Vec<char> = text.chars().collect();
    let piece_len = PIECE_LEN.max(characters.len().div_ceil(PIECES_MAX));
    for (number, piece) in characters.chunks(piece_len).enumerate() {
        let key = if number == 0 { KEY.to_owned() } else { format!("{KEY}{number:02}") };
        settings.insert(key, Value::String(piece.iter().collect()));
    }
}
