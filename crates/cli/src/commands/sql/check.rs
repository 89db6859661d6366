//! `sql validate` and `sql explain`.

use super::{Language, Told, text};
use ironbrook_analytics::Query;
use std::path::{Path, PathBuf};

/// Options of `sql validate` and `sql explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    language: Language,
    /// An input of reference data. May be given several times.
    #[arg(long, value_name = "NAME")]
    reference: Vec<String>,
    /// The queries; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Compiles all files; says of each what is wrong or odd.
#[allow(clippy::print_stdout, reason = "what the command is asked for")]
pub(super) fn validate(args: &Args) -> anyhow::Result<()> {
    let mut wrong = false;
    for file in &args.files {
        match compile(args, file)? {
            Some(query) => println!("{}: the query can run; {}", file.display(), sides(&query)),
            None => wrong = true,
        }
    }
    if wrong { Err(Told.into()) } else { Ok(()) }
}

/// Prints the plan of each file.
#[allow(clippy::print_stdout, reason = "what the command is asked for")]
pub(super) fn explain(args: &Args) -> anyhow::Result<()> {
    for file in &args.files {
        let query = compile(args, file)?.ok_or(Told)?;
        print!("{}", query.explain());
    }
    Ok(())
}

#[allow(clippy::print_stderr, reason = "what people should know of their query")]
fn compile(args: &Args, file: &Path) -> anyhow::Result<Option<Query>> {
    let query = Query::compile(&text(file)?, &args.language.options(args.reference.clone())?);
    let file = file.display();
    match query {
        Ok(query) => {
            for note in query.diagnostics() {
                eprintln!("{file}: note: {} (line {}, column {})", note.message, note.line, note.column);
            }
            Ok(Some(query))
        }
        Err(errors) => {
            errors.iter().for_each(|error| eprintln!("{file}: {error}"));
            Ok(None)
        }
    }
}

fn sides(query: &Query) -> String {
    let inputs: Vec<&str> = query.inputs().iter().map(|input| &*input.name).collect();
    let outputs: Vec<&str> = query.outputs().iter().map(|name| &**name).collect();
    format!("it reads {} and writes {}", inputs.join(", "), outputs.join(", "))
}
