//! A compiled query and the settings it is compiled with.

use crate::error::{Diagnostic, Problem, QueryErrors};
use crate::plan::{self, Plan};
use crate::script::Functions;
use crate::syntax;
use crate::value::{DateTime, JsonOptions, Record};
use std::sync::Arc;

/// How much of the language is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// What jobs beside machines have in the original: no PARTITION BY, no metadata functions, no user functions, at most
    /// [`MAX_AGGREGATES`] aggregates in a step, names of fields in lower case (docs: "Stream Analytics on IoT Edge").
    #[default]
    Edge, // tidy: wire word, the hosting type of such jobs
    /// The whole language.
    Extended,
}

impl Level {
    pub(crate) fn is_limited(self) -> bool {
        self != Self::Extended
    }
}

/// How many aggregates one step may have at the limited level.
pub const MAX_AGGREGATES: usize = 14;

/// A compatibility level of the language (docs: "Compatibility level for Stream Analytics jobs").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Compatibility {
    /// 1.0: names of fields in lower case, texts that look like times become `datetime`.
    V1_0,
    /// 1.1: names keep their case, texts stay texts, booleans are numbers.
    V1_1,
    /// 1.2: booleans are `bit`.
    #[default]
    V1_2,
}

impl Compatibility {
    /// From `1.0`, `1.1` or `1.2`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "1.0" => Some(Self::V1_0),
            "1.1" => Some(Self::V1_1),
            "1.2" => Some(Self::V1_2),
            _ => None,
        }
    }
}

/// What a query is compiled with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// How much of the language.
    pub level: Level,
    /// Which edition of it.
    pub compatibility: Compatibility,
    /// Names of inputs that hold reference data instead of a stream, in any case.
    pub reference: Vec<String>,
    /// Functions that the user wrote. The limited level offers none.
    pub functions: Functions,
}

impl Options {
    /// Whether names of fields are in lower case throughout.
    pub(crate) fn lower_case_names(&self) -> bool {
        // rule SQL-07
        self.level.is_limited() || self.compatibility == Compatibility::V1_0
    }
}

/// An input that a query reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The name as first written.
    pub name: Arc<str>,
    /// Whether it is reference data.
    pub reference: bool,
}

/// A compiled query. Share it by `Arc`: engines only read it.
#[derive(Debug)]
pub struct Query {
    text: Arc<str>,
    options: Options,
    plan: Plan,
    diagnostics: Vec<Diagnostic>,
}

impl Query {
    /// Compiles a query text.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place: the first mistake where the text does not parse, otherwise
    /// all. What the language has but this engine has not built yet is such an error too.
    pub fn compile(text: &str, options: &Options) -> Result<Self, QueryErrors> {
        let script = syntax::parse(text).map_err(|problem| QueryErrors::new(text, vec![problem]))?;
        let (plan, notes) =
            plan::build(text, &script, options).map_err(|problems| QueryErrors::new(text, problems))?;
        let diagnostics = notes.into_iter().map(|note: Problem| Diagnostic::new(text, note)).collect();
        Ok(Self { text: text.into(), options: options.clone(), plan, diagnostics })
    }

    /// The text it was compiled from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it was compiled with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The inputs it reads, in the order of the text; [`Engine::push`](crate::engine::Engine::push) takes their indices.
    pub fn inputs(&self) -> &[Input] {
        &self.plan.inputs
    }

    /// The index of an input, by name in any case.
    pub fn input(&self, name: &str) -> Option<usize> {
        self.plan.inputs.iter().position(|input| input.name.eq_ignore_ascii_case(name))
    }

    /// The outputs it writes, in the order of the text; `output` where a SELECT has no INTO.
    pub fn outputs(&self) -> &[Arc<str>] {
        &self.plan.outputs
    }

    /// What is worth knowing about it although it runs.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// How events of its inputs are to be read from JSON, so that names and types are as it expects.
    pub fn json_options(&self) -> JsonOptions {
        JsonOptions {
            bits: self.options.compatibility >= Compatibility::V1_2,
            dates: self.options.compatibility == Compatibility::V1_0,
            lower_case_names: self.options.lower_case_names(),
        }
    }

    /// The time that TIMESTAMP BY gives an event of an input; `None` without TIMESTAMP BY or where it gives no time.
    ///
    /// For replays of stored events, whose arrival nobody knows: their event time then stands for it.
    pub fn event_time(&self, input: usize, event: &Arc<Record>) -> Option<DateTime> {
        let reader = self.plan.readers.iter().find(|reader| reader.input == input)?;
        crate::engine::event_time(reader, event)
    }

    /// Whether TIMESTAMP BY gives the events of an input their time; else it is their arrival.
    pub fn is_timed(&self, input: usize) -> bool {
        self.plan.readers.iter().any(|reader| reader.input == input && reader.timestamp.is_some())
    }

    /// What the query does step by step, for people: inputs with their times, nodes with their clauses, outputs.
    pub fn explain(&self) -> String {
        self.plan.explain(&self.text)
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }
}
