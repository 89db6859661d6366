//! Where the query of a command comes from: a file of its own, or the definition of a job.

use super::{Language, Told, text};
use anyhow::Context as _;
use ironbrook_analytics::job::Job;
use ironbrook_analytics::script::FunctionError;
use ironbrook_analytics::{Options, Query};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The file that a project of Visual Studio Code has in its folder.
const PROJECT: &str = "asaproj.json";

/// A query with what it is compiled with.
pub(super) struct Definition {
    text: String,
    /// The file that errors name.
    label: String,
    options: Options,
    pub(super) job: Option<Job>,
    /// Where the paths of the job begin.
    pub(super) folder: PathBuf,
}

impl Definition {
    /// Of a query in a file; `-` is standard input.
    pub(super) fn of_query(language: &Language, file: &Path, reference: Vec<String>) -> anyhow::Result<Self> {
        Ok(Self {
            text: text(file)?,
            label: file.display().to_string(),
            options: language.options(reference)?,
            job: None,
            folder: PathBuf::new(),
        })
    }

    /// Of a job: the resource as exported, a template with it, or a project's folder.
    #[allow(clippy::print_stderr, reason = "what people should know of their job")]
    pub(super) fn of_job(language: &Language, path: &Path, reference: Vec<String>) -> anyhow::Result<Self> {
        let (mut job, label, folder) = load(path)?;
        job.notes.iter().for_each(|note| eprintln!("{}: note: {note}", path.display()));
        let scripts = language.functions()?;
        // A function on the command line stands for the job's.
        job.functions
            .retain(|function| !scripts.keys().any(|name| name.eq_ignore_ascii_case(&function.name)));
        let of_job = |error: FunctionError| anyhow::anyhow!("{}: function {error}", path.display());
        let mut options = job.options().map_err(of_job)?;
        for (name, script) in &scripts {
            options.functions.add_script(name, script).with_context(|| format!("--function {name}"))?;
        }
        options.reference.extend(reference);
        Ok(Self { text: job.query.clone(), label, options, job: Some(job), folder })
    }

    /// The query, or all that is wrong with it on standard error.
    #[allow(clippy::print_stderr, reason = "what is wrong with the query")]
    pub(super) fn compile(&self) -> Result<Query, Told> {
        Query::compile(&self.text, &self.options).map_err(|errors| {
            errors.iter().for_each(|error| eprintln!("{}: {error}", self.label));
            Told
        })
    }

    /// The file that errors name.
    pub(super) fn label(&self) -> &str {
        &self.label
    }
}

/// The job, what to call its query, and its folder.
fn load(path: &Path) -> anyhow::Result<(Job, String, PathBuf)> {
    let at = || path.display().to_string();
    let is_project = path.file_name().is_some_and(|name| name.eq_ignore_ascii_case(PROJECT));
    let root = if path.is_dir() { path.join(PROJECT) } else { path.to_owned() };
    if !path.is_dir() && !is_project {
        let job = Job::parse(&text(path)?).with_context(at)?;
        return Ok((job, format!("{}, its query", path.display()), PathBuf::new()));
    }
    let project = text(&root)?;
    let folder = root.parent().map(Path::to_owned).unwrap_or_default();
    let read = |file: &str| bounded(&folder.join(file)).map_err(|error| error.to_string());
    let job = Job::from_project(&project, read).with_context(|| root.display().to_string())?;
    let start = serde_json::from_str::<serde_json::Value>(project.trim_start_matches('\u{feff}')).ok();
    let start = start.as_ref().and_then(|project| project["startFile"].as_str());
    let label = start.map_or_else(at, |start| folder.join(start).display().to_string());
    Ok((job, label, folder))
}

/// A file of a project, which is no larger than a definition.
fn bounded(file: &Path) -> std::io::Result<String> {
    let limit = ironbrook_analytics::job::MAX_BYTES as u64;
    let mut text = String::new();
    std::fs::File::open(file)?.take(limit + 1).read_to_string(&mut text)?;
    match text.len() as u64 > limit {
        true => Err(std::io::Error::other(format!("it has more than {limit} bytes"))),
        false => Ok(text),
    }
}
