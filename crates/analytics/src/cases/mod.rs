//! Tests of queries: a query, events, and the rows they must give, as one JSON object.
//!
//! | member | meaning |
//! |-|-|
//! | `query` | the text |
//! | `inputs` | `{name: [{"event": {…}, "arrival": time}]}` in the order of arrival; without `arrival` the event arrives at its own time, but not before those ahead of it |
//! | `expected` | `{output: [rows]}`; outputs that are not named give no rows |
//! | `reference` | `{name: [rows]}`: inputs of reference data |
//! | `functions` | `{name: script}`: functions that the query calls as `udf.name` or, where they accumulate, `uda.name` |
//! | `compat` | `"1.0"`, `"1.1"`, `"1.2"` (the default) |
//! | `hosting` | `"cloud"` (the default): the whole language; `"limited"`, also called `"edge"`: what jobs beside machines have |
//! | `policies` | `late_arrival_s` (5), `out_of_order_s` (0), `early_arrival_s` (300), `on_violation` (`"adjust"` or `"drop"`); without it nothing is late |
//! | `compare` | `order` (`"any"` or `"exact"`), `float_tol`, `float_rel_tol`, `multiset_fields`: members whose arrays may be in any order |
//!
//! Other members (`name`, `notes`, `source`, …) are for people. Rows are compared as a multiset, numbers by value, and a
//! missing member is not a null one. At the end of the events every window closes.
//!
//! Every case is run twice: straight, and with a snapshot and a new engine between any two events. [`Case::parse`], then
//! [`Case::check`].

mod compare;
mod run;

use crate::engine::{OnViolation, Policies};
use crate::script::{FunctionError, Functions};
use crate::{Compatibility, Level, Options};
use compare::Compare;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::Duration;

/// A test of a query.
#[derive(Debug)]
pub struct Case {
    /// What people call it; empty if it has no name.
    pub name: String,
    query: String,
    options: Options,
    policies: Policies,
    inputs: Vec<(String, Vec<Event>)>,
    reference: Vec<(String, Vec<Box<RawValue>>)>,
    expected: BTreeMap<String, Vec<Value>>,
    compare: Compare,
}

#[derive(Debug)]
struct Event {
    arrival: Option<String>,
    event: Box<RawValue>,
}

/// Why a text is no case.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// It is no JSON of the shape of a case.
    #[error("{part} cannot be read: {error}")]
    Json {
        /// Which member.
        part: &'static str,
        /// Why.
        error: serde_json::Error,
    },
    /// A member that there must be.
    #[error("the case has no {0}")]
    Missing(&'static str),
    /// A script that is no function.
    #[error(transparent)]
    Function(FunctionError),
    /// A value that a member does not take.
    #[error("{part} is {found}; it is one of {allowed}")]
    Unknown {
        /// Which member.
        part: &'static str,
        /// What stands there.
        found: String,
        /// What could.
        allowed: &'static str,
    },
}

/// What a case says of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The rows are the expected ones.
    Passed,
    /// They are not, or the query does not run; for people, rows that are missing behind `-`, rows too many behind `+`.
    Failed(String),
}

type Members = BTreeMap<String, Box<RawValue>>;

fn read<T: serde::de::DeserializeOwned>(part: &'static str, text: &RawValue) -> Result<T, CaseError> {
    serde_json::from_str(text.get()).map_err(|error| CaseError::Json { part, error })
}

impl Case {
    /// Reads a case.
    ///
    /// # Errors
    /// [`CaseError`].
    pub fn parse(text: &str) -> Result<Self, CaseError> {
        Self::parse_with(text, &BTreeMap::new())
    }

    /// Reads a case that may call functions which stand elsewhere: scripts by name. Those that it brings itself go before them,
    /// and those that its query does not name are left alone.
    ///
    /// # Errors
    /// [`CaseError`].
    pub fn parse_with(text: &str, shared: &BTreeMap<String, String>) -> Result<Self, CaseError> {
        let members: Members =
            serde_json::from_str(text).map_err(|error| CaseError::Json { part: "the case", error })?;
        let member = |name: &'static str| members.get(name).ok_or(CaseError::Missing(name));
        let text_of = |name: &'static str| members.get(name).map(|text| read(name, text)).transpose();
        let reference: BTreeMap<String, Vec<Box<RawValue>>> = match members.get("reference") {
            Some(text) => read("reference", text)?,
            None => BTreeMap::new(),
        };
        let level = match text_of("hosting")?.as_deref() {
            None | Some("cloud") => Level::Extended, // tidy: wire word, of the case format
            Some("limited" | "edge") => Level::default(), // tidy: wire word, of the case format
            Some(found) => return Err(unknown("hosting", found, "cloud, limited, edge")), // tidy: wire word, of the case format
        };
        let compatibility = match text_of("compat")? {
            None => Compatibility::V1_2,
            Some(found) => {
                let found: String = found;
                Compatibility::parse(&found).ok_or_else(|| unknown("compat", &found, "1.0, 1.1, 1.2"))?
            }
        };
        let query: String = read("query", member("query")?)?;
        let own =
            members.get("functions").map_or_else(|| Ok(BTreeMap::new()), |text| read("functions", text))?;
        let functions = functions(&query, own, shared)?;
        Ok(Self {
            name: text_of("name")?.unwrap_or_default(),
            query,
            options: Options {
                level,
                compatibility,
                reference: reference.keys().cloned().collect(),
                functions,
            },
            policies: members.get("policies").map_or_else(|| Ok(never_late()), |text| policies(text))?,
            inputs: inputs(member("inputs")?)?,
            reference: reference.into_iter().collect(),
            expected: read("expected", member("expected")?)?,
            compare: members.get("compare").map_or_else(
                || Ok(Compare::default()),
                |text| Ok(Compare::new(&read::<Map<String, Value>>("compare", text)?)),
            )?,
        })
    }
}

fn functions(
    query: &str,
    own: BTreeMap<String, String>,
    shared: &BTreeMap<String, String>,
) -> Result<Functions, CaseError> {
    let text = query.to_lowercase();
    let is_own = |name: &str| own.keys().any(|known| known.eq_ignore_ascii_case(name));
    let wanted = |name: &str| text.contains(&name.to_lowercase()) && !is_own(name);
    let shared = shared.iter().filter(|(name, _)| wanted(name));
    let mut functions = Functions::default();
    for (name, script) in own.iter().chain(shared) {
        functions.add_script(name, script).map_err(CaseError::Function)?;
    }
    Ok(functions)
}

fn unknown(part: &'static str, found: &str, allowed: &'static str) -> CaseError {
    CaseError::Unknown { part, found: found.to_owned(), allowed }
}

fn inputs(text: &RawValue) -> Result<Vec<(String, Vec<Event>)>, CaseError> {
    let inputs: BTreeMap<String, Vec<Members>> = read("inputs", text)?;
    let event = |mut members: Members| {
        let arrival = members.get("arrival").map(|text| read("an arrival", text)).transpose()?;
        let event = members.remove("event").ok_or(CaseError::Missing("event in one of its inputs"))?;
        Ok(Event { arrival: arrival.flatten(), event })
    };
    inputs
        .into_iter()
        .map(|(name, events)| Ok((name, events.into_iter().map(event).collect::<Result<_, _>>()?)))
        .collect()
}

/// Without arrivals nothing is late; a long tolerance says so.
fn never_late() -> Policies {
    Policies { late_arrival: Duration::from_secs(20 * 86_400), ..Policies::default() }
}

fn policies(text: &RawValue) -> Result<Policies, CaseError> {
    let given: Map<String, Value> = read("policies", text)?;
    let seconds = |name: &str, default: f64| {
        let number = given.get(name).and_then(Value::as_f64).unwrap_or(default);
        Duration::try_from_secs_f64(number).unwrap_or_default()
    };
    Ok(Policies {
        late_arrival: seconds("late_arrival_s", 5.0),
        out_of_order: seconds("out_of_order_s", 0.0),
        early_arrival: seconds("early_arrival_s", 300.0),
        on_violation: match given.get("on_violation").and_then(Value::as_str) {
            None | Some("adjust") => OnViolation::Adjust,
            Some("drop") => OnViolation::Drop,
            Some(found) => return Err(unknown("on_violation", found, "adjust, drop")),
        },
        ..Policies::default()
    })
}

#[cfg(test)]
mod tests;
