//! What one asks a hub's registry, with the nouns and verbs of `az iot hub`: identities, twins, configurations, jobs, queries,
//! methods, import and export. Works with any hub, an Azure one too.

pub mod configuration;
pub mod identity;
pub mod job;
pub mod method;
pub mod query;
pub mod transfer;
pub mod twin;

use super::connection::Where;
use super::{Global, OutputFormat};
use anyhow::Context as _;
use ironbrook_client::{DeviceId, Identity, ModuleId, ServiceClient};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;

/// Longest cell of a table, in characters.
const CELL_MAX: usize = 60;

/// A client of the service side.
pub(super) fn client(at: &Where) -> anyhow::Result<ServiceClient> {
    let target = at.service()?;
    let mut builder = ServiceClient::builder(&target.connection_string)?;
    if let Some(ca) = &target.ca {
        builder = builder.ca_file(ca)?;
    }
    if let Some(address) = target.address {
        builder = builder.address(address);
    }
    Ok(builder.build()?)
}

/// Which device.
#[derive(Debug, Clone, clap::Args)]
pub struct Device {
    /// The device.
    #[arg(long, short, value_name = "ID", value_parser = device_id)]
    device_id: DeviceId,
}

/// Which device, or which of its modules.
#[derive(Debug, Clone, clap::Args)]
pub struct Target {
    #[command(flatten)]
    device: Device,
    /// The module; the device itself where left out.
    #[arg(long, short, value_name = "ID", value_parser = module_id)]
    module_id: Option<ModuleId>,
}

impl Target {
    fn identity(&self) -> Identity {
        Identity { device: self.device.device_id.clone(), module: self.module_id.clone() }
    }
}

fn device_id(text: &str) -> Result<DeviceId, String> {
    DeviceId::new(text).map_err(|error| error.to_string())
}

fn module_id(text: &str) -> Result<ModuleId, String> {
    ModuleId::new(text).map_err(|error| error.to_string())
}

/// JSON given as text, or as `@file`.
fn json(text: &str) -> Result<Value, String> {
    let content = match text.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?,
        None => text.to_owned(),
    };
    serde_json::from_str(&content).map_err(|error| format!("not JSON: {error}; a file is given as @path"))
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}

/// Prints one thing: its members for people, one line of JSON for programs.
#[allow(clippy::print_stdout, reason = "what the command is asked for")]
pub(super) fn show(global: &Global, value: &Value) {
    match (global.output, value) {
        (OutputFormat::Json, value) => println!("{value}"),
        (OutputFormat::Table, Value::Object(members)) => {
            let width = members.keys().map(|name| name.chars().count()).max().unwrap_or_default();
            for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
                match value {
                    Value::Object(inner) if !inner.is_empty() => {
                        println!("{name:width$}  {}", indented(value, width + 2));
                    }
                    value => println!("{name:width$}  {}", text(value)),
                }
            }
        }
        (OutputFormat::Table, value) => println!("{}", text(value)),
    }
}

/// JSON on several lines, those after the first moved to the right.
fn indented(value: &Value, by: usize) -> String {
    let whole = serde_json::to_string_pretty(value).unwrap_or_default();
    whole.replace('\n', &format!("\n{:by$}", ""))
}

/// Prints many things: a table with these columns for people, a line of JSON each for programs. A column is a head and the
/// path to its value.
#[allow(clippy::print_stdout, reason = "what the command is asked for")]
pub(super) fn list(global: &Global, items: &[Value], columns: &[(&str, &str)]) {
    match global.output {
        OutputFormat::Json => items.iter().for_each(|item| println!("{item}")),
        OutputFormat::Table => print!("{}", table(items, columns)),
    }
}

fn table(items: &[Value], columns: &[(&str, &str)]) -> String {
    let cell = |item: &Value, path: &str| {
        let value = path.split('.').try_fold(item, |value, name| value.get(name));
        value.map(text).unwrap_or_default().chars().take(CELL_MAX).collect::<String>()
    };
    let head: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    let rows = items.iter().map(|item| columns.iter().map(|(_, path)| cell(item, path)).collect::<Vec<_>>());
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default())
        .collect();
    let mut table = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        // Writing to a text cannot fail.
        let _ = writeln!(table, "{}", cells.join("  ").trim_end());
    }
    table
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_is_as_wide_as_its_cells_and_leaves_out_what_is_missing() {
        let items =
            [json!({"id": "a", "in": {"n": 1}}), json!({"id": "longer", "in": {"n": true}}), json!({})];
        let table = table(&items, &[("ID", "id"), ("N", "in.n")]);
        assert_eq!(table, "ID      N\na       1\nlonger  true\n\n");
    }

    #[test]
    fn json_is_given_as_text_or_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        std::fs::write(&path, "{\"a\": 1}").unwrap();
        assert_eq!(super::json(&format!("@{}", path.display())).unwrap(), json!({"a": 1}));
        assert_eq!(super::json("[1]").unwrap(), json!([1]));
        assert!(super::json("{").unwrap_err().contains("@path"));
    }
}
