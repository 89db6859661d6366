//! Functions of the user, written in JavaScript: `udf.name(…)` gives a value for its arguments, `uda.name(…)` one for all
//! events of a window (docs: "JavaScript user-defined functions", "JavaScript user-defined aggregates").
//!
//! Each function runs alone in a [`sandbox`], which has no way to the outside and ends it when it takes too long
//! ([`MAX_STEPS`]), too much memory ([`MAX_MEMORY`]) or goes too deep. The limit on time counts steps, not seconds, so the
//! same events always give the same rows. What a script does wrong is an error of the query ([`EvalError::Script`]) that
//! names function and line.
//!
//! Values go over as the service says:
//!
//! | query | script | and back |
//! |-|-|-|
//! | `bigint`, `float` | number | `bigint` if it is whole and fits, else `float`; `NaN` and infinities are `NULL` |
//! | `bit` | boolean | `bit` |
//! | `nvarchar(max)` | string | `nvarchar(max)` |
//! | `datetime` | `Date`, in milliseconds | `datetime` |
//! | `record`, `array` | object, array | `record`, `array` |
//! | `NULL` | null | `NULL` for null and undefined |
//!
//! The state of an aggregate is what `this` has when `init()` or `accumulate()` is done, taken out of the sandbox after every
//! event. So it is in every snapshot, and costs memory for what is in it alone. Windows that overlap keep the events instead,
//! since a script cannot put two states together. `deaccumulate()` and `deaccumulateState()`, which scripts may have, are not
//! called: nothing is ever subtracted, so no float drifts.

mod convert;
mod sandbox;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use state::State;

use crate::value::{DateTime, EvalError, Value};
use sandbox::Sandbox;
use std::sync::Arc;

/// How many functions a query may have; the service has 60.
pub const MAX_FUNCTIONS: usize = 100;
/// How many bytes a script may have.
pub const MAX_SCRIPT: usize = 1 << 20;
/// How many bytes the values of one function may take, with the engine's own.
pub const MAX_MEMORY: usize = 64 << 20;
/// How many steps, calls and turns of loops, one call of a function may take: about a second.
pub const MAX_STEPS: u32 = 50_000_000;

/// What a function is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FunctionKind {
    /// `udf.name(…)`: a value for its arguments.
    Scalar,
    /// `uda.name(…)`: a value for all events of a window.
    Aggregate,
}

impl FunctionKind {
    /// What stands before its name in a query.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Scalar => "udf",
            Self::Aggregate => "uda",
        }
    }
}

/// Why a script is no function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FunctionError {
    /// A name that cannot stand in a query.
    #[error(
        "{0:?} is no name of a function: it begins with a letter or underscore and goes on with those and digits"
    )]
    Name(String),
    /// Two of one name.
    #[error("there are two functions {0}; names are equal ignoring case: rename one")]
    SameName(String),
    /// More than [`MAX_FUNCTIONS`].
    #[error("a query has at most {MAX_FUNCTIONS} functions")]
    TooMany,
    /// Longer than [`MAX_SCRIPT`].
    #[error("{name}: the script has {bytes} bytes, {MAX_SCRIPT} are allowed")]
    TooLong {
        /// The function.
        name: String,
        /// How many.
        bytes: usize,
    },
    /// The script does not run, or does not have what the service asks for.
    #[error("{name}{}: {message}", at_line(*.line))]
    Script {
        /// The function.
        name: String,
        /// Where in the script, from 1, if that is known.
        line: Option<u32>,
        /// What is wrong, and what would be right.
        message: String,
    },
}

fn at_line(line: Option<u32>) -> String {
    line.map(|line| format!(", line {line}")).unwrap_or_default()
}

/// The functions that a query can call. Cheap to clone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Functions(Arc<Vec<Arc<Function>>>);

/// A function, ready to be called.
pub struct Function {
    name: Arc<str>,
    kind: FunctionKind,
    script: Arc<str>,
    sandbox: Sandbox,
    /// The state behind `init()`, of an aggregate.
    initial: State,
}

impl Functions {
    /// Adds a function. Its script is run once, which defines it: as `main`, under its own name, or as one function without
    /// a name.
    ///
    /// # Errors
    /// [`FunctionError`].
    pub fn add(&mut self, kind: FunctionKind, name: &str, script: &str) -> Result<(), FunctionError> {
        let sandbox = self.sandbox(name, script)?;
        self.keep(Function::new(kind, name, script, sandbox)?);
        Ok(())
    }

    /// Adds a function of which only the script says what it is for: an aggregate has a method `accumulate`.
    ///
    /// # Errors
    /// [`FunctionError`].
    pub fn add_script(&mut self, name: &str, script: &str) -> Result<FunctionKind, FunctionError> {
        let sandbox = self.sandbox(name, script)?;
        let kind = if sandbox.has_accumulate() { FunctionKind::Aggregate } else { FunctionKind::Scalar };
        self.keep(Function::new(kind, name, script, sandbox)?);
        Ok(kind)
    }

    fn sandbox(&self, name: &str, script: &str) -> Result<Sandbox, FunctionError> {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        if !name.chars().all(word) || name.chars().next().is_none_or(|first| first.is_ascii_digit()) {
            return Err(FunctionError::Name(name.to_owned()));
        }
        if self.0.iter().any(|function| function.name.eq_ignore_ascii_case(name)) {
            return Err(FunctionError::SameName(name.to_owned()));
        }
        if self.0.len() == MAX_FUNCTIONS {
            return Err(FunctionError::TooMany);
        }
        if script.len() > MAX_SCRIPT {
            return Err(FunctionError::TooLong { name: name.to_owned(), bytes: script.len() });
        }
        Sandbox::new(name, script).map_err(|failure| failure.of_script(name))
    }

    fn keep(&mut self, function: Function) {
        Arc::make_mut(&mut self.0).push(Arc::new(function));
    }

    /// A function by name, the exact one before one that differs in case.
    pub fn get(&self, name: &str) -> Option<&Arc<Function>> {
        let exact = self.0.iter().find(|function| *function.name == *name);
        exact.or_else(|| self.0.iter().find(|function| function.name.eq_ignore_ascii_case(name)))
    }

    /// All of them, in the order in which they were added.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Function>> {
        self.0.iter()
    }
}

impl std::fmt::Debug for Functions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Function {
    fn new(kind: FunctionKind, name: &str, script: &str, sandbox: Sandbox) -> Result<Self, FunctionError> {
        let initial = match kind {
            FunctionKind::Scalar => State::default(),
            FunctionKind::Aggregate => sandbox.begin().map_err(|failure| failure.of_script(name))?,
        };
        Ok(Self { name: name.into(), kind, script: script.into(), sandbox, initial })
    }

    /// Its name, without prefix.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is for.
    pub fn kind(&self) -> FunctionKind {
        self.kind
    }

    /// Its text.
    pub fn script(&self) -> &str {
        &self.script
    }

    /// The value for some arguments.
    pub(crate) fn call(&self, arguments: &[Value]) -> Result<Value, EvalError> {
        self.sandbox.call(arguments).map_err(|failure| failure.of_event(self))
    }

    /// The state of an aggregate before any event.
    pub(crate) fn initial(&self) -> State {
        self.initial.clone()
    }

    /// Adds an event to a state.
    pub(crate) fn accumulate(
        &self,
        state: &mut State,
        value: &Value,
        time: DateTime,
    ) -> Result<(), EvalError> {
        *state = self.sandbox.accumulate(state, value, time).map_err(|failure| failure.of_event(self))?;
        Ok(())
    }

    /// The result for a state and the events behind it.
    pub(crate) fn result(&self, state: &State, events: &[(Value, DateTime)]) -> Result<Value, EvalError> {
        self.sandbox.result(state, events).map_err(|failure| failure.of_event(self))
    }
}

/// Functions are equal that do the same under the same name.
impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.name == other.name && self.script == other.script
    }
}

impl Eq for Function {}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.kind.prefix(), self.name)
    }
}
