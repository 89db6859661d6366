//! A query that can run, and why one cannot.

use super::package::Package;
use super::policies::OrderingPolicies;
use super::reference::{self, Table};
use aws_lc_rs::digest::{SHA256, digest};
use ironbrook_analytics::engine::{EngineError, Policies};
use ironbrook_analytics::runner::InputFormats;
use ironbrook_analytics::script::Functions;
use ironbrook_analytics::{Diagnostic, Level, Options, Query};
use serde::Serialize;
use std::sync::Arc;

/// Longest text of a fault that is reported, in characters.
const MESSAGE_LEN_MAX: usize = 512;

/// A compiled query with what is told about it.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) query: Arc<Query>,
    pub(super) policies: OrderingPolicies,
    /// How the bodies of its inputs are written.
    pub(super) formats: InputFormats,
    /// Its reference data.
    pub(super) tables: Vec<Table>,
    /// First digits of the SHA-256 of the text.
    pub(super) digest: String,
    /// The etag of the job, where it came as a package.
    pub(super) etag: Option<String>,
    /// What is worth knowing although it runs, such as what of it the original's module would refuse.
    pub(super) note: Option<String>,
}

/// Why a query does not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Fault {
    /// From 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<usize>,
    /// In characters, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) column: Option<usize>,
    pub(super) message: String,
}

impl Fault {
    /// A fault that has no place in a text.
    pub(super) fn new(message: impl std::fmt::Display) -> Self {
        Self { line: None, column: None, message: shortened(&message.to_string()) }
    }

    /// What stopped a query.
    pub(super) fn of_engine(error: &EngineError) -> Self {
        match error {
            EngineError::Evaluation { line, column, .. } => {
                let message = format!(
                    "{error}; the query has stopped and its inputs wait, mend it or set policies.onError to skip"
                );
                Self { line: Some(*line), column: Some(*column), message: shortened(&message) }
            }
            _ => Self::new(error),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "line {line}, column {column}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl Program {
    /// Compiles a job and reads its reference data.
    pub(super) async fn load(package: &Package) -> Result<Self, Fault> {
        let mut program = Self::compile(package)?;
        program.tables = reference::read(&program.query, &package.reference).await?;
        Ok(program)
    }

    /// Compiles a job. What only the whole language has runs too, and is noted.
    pub(super) fn compile(package: &Package) -> Result<Self, Fault> {
        let mut functions = Functions::default();
        for (name, script) in &package.functions {
            functions.add_script(name, script).map_err(Fault::new)?;
        }
        let at = |level| {
            let (functions, reference) = (functions.clone(), package.reference.keys().cloned().collect());
            Query::compile(&package.query, &Options { level, functions, reference, ..Options::default() })
        };
        let mut notes = Vec::new();
        let query = match at(Level::Edge) {
            Ok(query) => query,
            Err(limited) => {
                let query = at(Level::Extended).map_err(|errors| {
                    let error = errors.first();
                    Fault { line: Some(error.line), column: Some(error.column), message: message(error) }
                })?;
                let first = limited.first();
                notes.push(format!(
                    "only this module runs it, not the original: {} (line {}, column {})",
                    first.message, first.line, first.column
                ));
                query
            }
        };
        let note = |d: &Diagnostic| format!("{} (line {}, column {})", d.message, d.line, d.column);
        notes.extend(query.diagnostics().iter().map(note));
        Ok(Self {
            query: Arc::new(query),
            policies: package.policies,
            formats: package
                .inputs
                .iter()
                .map(|(name, settings)| (name.as_str().into(), settings.to_format()))
                .collect(),
            tables: Vec::new(),
            digest: text_digest(&package.query),
            etag: (!package.etag.is_empty()).then(|| package.etag.clone()),
            note: (!notes.is_empty()).then(|| shortened(&notes.join("; "))),
        })
    }

    /// Settings for the engine.
    pub(super) fn engine_policies(&self) -> Policies {
        self.policies.to_engine()
    }
}

/// The whole complaint but for its place.
fn message(error: &ironbrook_analytics::QueryError) -> String {
    let mut text = error.message.clone();
    if !error.expected.is_empty() {
        text += &format!("; expected {}", error.expected.join(", "));
    }
    if let Some(hint) = &error.hint {
        text += &format!("; did you mean {hint}?");
    }
    shortened(&text)
}

/// The digest that reports name a text by.
pub(super) fn text_digest(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn shortened(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MESSAGE_LEN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(query: &str) -> Result<Program, Fault> {
        Program::compile(&Package::new("job", "e", query))
    }

    #[test]
    fn a_query_of_the_whole_language_runs_with_a_note() {
        let plain = compile("SELECT a INTO o FROM i").unwrap();
        assert_eq!((plain.note, plain.etag.as_deref(), plain.digest.len()), (None, Some("e"), 16));
        let sums: Vec<String> = (0..15).map(|field| format!("SUM(a{field})")).collect();
        let query = format!("SELECT {} INTO o FROM i GROUP BY TumblingWindow(second, 1)", sums.join(", "));
        assert!(compile(&query).unwrap().note.unwrap().contains("line 1"));
    }

    #[test]
    fn functions_of_a_package_are_called_and_one_that_is_none_is_a_fault() {
        let mut package = Package::new("job", "e", "SELECT udf.twice(a) AS a INTO o FROM i");
        assert!(Program::compile(&package).is_err());
        package.functions.insert("twice".to_owned(), "function main(a) { return 2 * a; }".to_owned());
        assert!(Program::compile(&package).unwrap().note.unwrap().contains("not the original"));
        package.functions.insert("twice".to_owned(), "function main( {".to_owned());
        let fault = Program::compile(&package).unwrap_err().to_string();
        assert!(fault.contains("twice, line 1"), "{fault}");
    }

    #[test]
    fn a_fault_has_line_column_and_cause() {
        let fault = compile("SELECT a INTO o\nFROM i WERE a > 1").unwrap_err();
        assert_eq!(fault.line, Some(2), "{fault}");
        assert!(fault.column.is_some() && !fault.message.is_empty());
        assert!(!fault.to_string().contains('\n'));
    }
}
