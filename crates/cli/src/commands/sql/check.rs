//! `sql validate` and `sql explain`.

use super::definition::Definition;
use super::{Language, Told};
use ironbrook_analytics::Query;
use std::path::PathBuf;

/// Options of `sql validate` and `sql explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    language: Language,
    /// An input of reference data. May be given several times.
    #[arg(long, value_name = "NAME")]
    reference: Vec<String>,
    /// A job of Stream Analytics with its query: the resource as exported, a template with it, or the folder of a project.
    #[arg(long, value_name = "PATH", conflicts_with = "files")]
    job: Option<PathBuf>,
    /// The queries; `-` is standard input.
    #[arg(required_unless_present = "job", value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Args {
    fn definitions(&self) -> anyhow::Result<Vec<Definition>> {
        let (language, reference) = (&self.language, &self.reference);
        if let Some(job) = &self.job {
            return Ok(vec![Definition::of_job(language, job, reference.clone())?]);
        }
        self.files.iter().map(|file| Definition::of_query(language, file, reference.clone())).collect()
    }
}

/// Compiles all queries; says of each what is wrong or odd.
#[allow(clippy::print_stdout, reason = "what the command is asked for")]
pub(super) fn validate(args: &Args) -> anyhow::Result<()> {
    let mut wrong = false;
    for definition in args.definitions()? {
        match compile(&definition) {
            Ok(query) => println!("{}: the query can run; {}", definition.label(), sides(&query)),
            Err(Told) => wrong = true,
        }
    }
    if wrong { Err(Told.into()) } else { Ok(()) }
}

/// Prints the plan of each query.
#[allow(clippy::print_stdout, reason = "what the command is asked for")]
pub(super) fn explain(args: &Args) -> anyhow::Result<()> {
    for definition in args.definitions()? {
        print!("{}", compile(&definition)?.explain());
    }
    Ok(())
}

#[allow(clippy::print_stderr, reason = "what people should know of their query")]
fn compile(definition: &Definition) -> Result<Query, Told> {
    let query = definition.compile()?;
    for note in query.diagnostics() {
        eprintln!(
            "{}: note: {} (line {}, column {})",
            definition.label(),
            note.message,
            note.line,
            note.column
        );
    }
    Ok(query)
}

fn sides(query: &Query) -> String {
    let inputs: Vec<&str> = query.inputs().iter().map(|input| &*input.name).collect();
    let outputs: Vec<&str> = query.outputs().iter().map(|name| &**name).collect();
    format!("it reads {} and writes {}", inputs.join(", "), outputs.join(", "))
}
