//! Job definitions as the service exports them: a query with its inputs, outputs, functions and settings.
//!
//! Three forms are read, with names of members in any case:
//!
//! | form | by |
//! |-|-|
//! | the resource `Microsoft.StreamAnalytics/streamingjobs`, as REST and `az stream-analytics job show --expand` give it | [`Job::parse`] |
//! | a template with it in `resources`, its parts inside or beside it | [`Job::parse`] |
//! | a project of Visual Studio Code: `asaproj.json`, query, `JobConfig.json`, `Inputs`, `Outputs`, `Functions` | [`Job::from_project`] |
//!
//! What the definition holds but nothing here knows (a datasource of another type, say) is kept under its name, and named in
//! [`Job::notes`]; whoever runs the job decides. Source: Azure REST reference, "Streaming Jobs"; Azure docs "Explore Azure
//! Stream Analytics jobs in Visual Studio Code".

mod datasource;
mod error;
mod node;
mod parse;
mod part;
mod project;
mod template;
#[cfg(test)]
mod tests;

pub use datasource::{BlobContainer, Datasource, DatasourceKind, Properties};
pub use error::JobError;
pub use part::{Batching, FunctionBinding, InputKind, JobFunction, JobInput, JobOutput, LocalFile};

use crate::engine::{OnError, OnViolation, Policies};
use crate::runner::InputFormats;
use crate::script::{FunctionError, FunctionKind, Functions};
use crate::{Compatibility, Level, Options};
use std::time::Duration;

/// How large a definition may be.
pub const MAX_BYTES: usize = 16 << 20;

/// A job.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its name; empty where the definition has none.
    pub name: String,
    /// The query text.
    pub query: String,
    /// Where it is made to run: the limited level for jobs of type `Edge`.
    pub level: Level,
    /// The edition of the language.
    pub compatibility: Compatibility,
    /// Language and country, such as `en-US`, after which CSV writes its numbers.
    pub locale: String,
    /// What happens to events that are late or out of order.
    pub ordering: Ordering,
    /// What happens to rows that an output cannot take.
    pub on_output_error: OnOutputError,
    /// Where events and reference data come from.
    pub inputs: Vec<JobInput>,
    /// Where rows go.
    pub outputs: Vec<JobOutput>,
    /// Functions of the user.
    pub functions: Vec<JobFunction>,
    /// What was kept but means nothing here, each with its place and what to do about it.
    pub notes: Vec<JobNote>,
}

/// The event ordering policies of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordering {
    /// `eventsLateArrivalMaxDelayInSeconds`; without limit it is the longest the service has, 20 days.
    pub late_arrival: Duration,
    /// `eventsOutOfOrderMaxDelayInSeconds`.
    pub out_of_order: Duration,
    /// `eventsOutOfOrderPolicy`.
    pub on_violation: OnViolation,
}

impl Default for Ordering {
    fn default() -> Self {
        let Policies { late_arrival, out_of_order, on_violation, .. } = Policies::default();
        Self { late_arrival, out_of_order, on_violation }
    }
}

/// `outputErrorPolicy`: what happens to a row that cannot be converted to what an output takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnOutputError {
    /// It is tried again until it succeeds; nothing behind it is written. Older definitions call it `Stop`.
    #[default]
    Retry,
    /// It is left out and counted.
    Drop,
}

/// Something of a definition that means nothing here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobNote {
    /// Where, as `inputs[0].properties.datasource`.
    pub path: String,
    /// What, and what to do about it.
    pub message: String,
}

impl std::fmt::Display for JobNote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl Job {
    /// Reads a resource, or a template with one job in it.
    ///
    /// # Errors
    /// [`JobError`], which names the place.
    pub fn parse(text: &str) -> Result<Self, JobError> {
        parse::job(text)
    }

    /// Reads a project. `root` is the text of its `asaproj.json`; `read` gives the text of a file by its path beside that,
    /// with `/` between folders, or why it cannot be read.
    ///
    /// # Errors
    /// [`JobError`], which names file and place.
    pub fn from_project(
        root: &str,
        mut read: impl FnMut(&str) -> Result<String, String>,
    ) -> Result<Self, JobError> {
        project::job(root, &mut read)
    }

    /// What its query is to be compiled with.
    ///
    /// # Errors
    /// [`FunctionError`] for a script that does not run. Functions that are no scripts are left out, as [`notes`](Self::notes) say.
    pub fn options(&self) -> Result<Options, FunctionError> {
        let mut functions = Functions::default();
        for function in &self.functions {
            let FunctionBinding::JavaScript { script } = &function.binding else { continue };
            match function.aggregate {
                Some(true) => functions.add(FunctionKind::Aggregate, &function.name, script)?,
                Some(false) => functions.add(FunctionKind::Scalar, &function.name, script)?,
                None => {
                    functions.add_script(&function.name, script)?;
                }
            }
        }
        let reference = self.inputs.iter().filter(|input| input.kind == InputKind::Reference);
        Ok(Options {
            level: self.level,
            compatibility: self.compatibility,
            reference: reference.map(|input| input.name.clone()).collect(),
            functions,
        })
    }

    /// What its engine is to be made with.
    pub fn policies(&self) -> Policies {
        let Ordering { late_arrival, out_of_order, on_violation } = self.ordering;
        Policies { late_arrival, out_of_order, on_violation, on_error: OnError::Stop, ..Policies::default() }
    }

    /// The formats of its inputs.
    pub fn formats(&self) -> InputFormats {
        self.inputs.iter().map(|input| (input.name.as_str().into(), input.format)).collect()
    }

    /// An input, by name in any case.
    pub fn input(&self, name: &str) -> Option<&JobInput> {
        self.inputs.iter().find(|input| input.name.eq_ignore_ascii_case(name))
    }

    /// An output, by name in any case.
    pub fn output(&self, name: &str) -> Option<&JobOutput> {
        self.outputs.iter().find(|output| output.name.eq_ignore_ascii_case(name))
    }
}
