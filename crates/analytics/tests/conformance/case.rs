//! One case: read, run, judged.

use crate::compare::{Compare, same_rows};
use ironbrook_analytics::engine::{Engine, OnViolation, OutputRow, Policies};
use ironbrook_analytics::value::{DateTime, JsonReader, Record};
use ironbrook_analytics::{Compatibility, Level, Options, Query};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A case as its file has it.
#[derive(serde::Deserialize)]
pub struct Case {
    query: String,
    #[serde(default)]
    compat: Option<String>,
    #[serde(default)]
    hosting: Option<String>,
    #[serde(default)]
    policies: Option<CasePolicies>,
    inputs: BTreeMap<String, Vec<Event>>,
    #[serde(default)]
    reference: BTreeMap<String, Vec<Box<RawValue>>>,
    expected: BTreeMap<String, Vec<Value>>,
    #[serde(default)]
    compare: Compare,
}

#[derive(serde::Deserialize)]
struct Event {
    arrival: Option<String>,
    event: Box<RawValue>,
}

#[derive(serde::Deserialize)]
struct CasePolicies {
    late_arrival_s: Option<f64>,
    out_of_order_s: Option<f64>,
    early_arrival_s: Option<f64>,
    on_violation: Option<String>,
}

/// What became of a case.
pub enum Outcome {
    Passed,
    /// It needs a part of the language that is refused as not supported yet.
    NotBuilt(String),
    Failed(String),
}

/// An event on its way in.
struct Arriving {
    input: usize,
    arrival: DateTime,
    record: Arc<Record>,
}

impl Case {
    pub fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }

    pub fn run(&self) -> Outcome {
        let query = match Query::compile(&self.query, &self.options()) {
            Ok(query) => Arc::new(query),
            Err(errors) if errors.iter().all(|error| error.message.contains("not supported yet")) => {
                return Outcome::NotBuilt(errors.to_string());
            }
            Err(errors) => return Outcome::Failed(errors.to_string()),
        };
        match self.judge(&query) {
            Ok(()) => Outcome::Passed,
            Err(why) => Outcome::Failed(why),
        }
    }

    fn judge(&self, query: &Arc<Query>) -> Result<(), String> {
        let events = self.events(query)?;
        let straight = self.straight(query, &events)?;
        let mut outputs: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for row in &straight {
            let mut json = Vec::new();
            row.record.write_json(&mut json);
            let value = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
            outputs.entry(&query.outputs()[row.output]).or_default().push(value);
        }
        for (output, expected) in &self.expected {
            let found = outputs.iter().find(|(name, _)| name.eq_ignore_ascii_case(output));
            let found = found.map(|(_, rows)| rows.as_slice()).unwrap_or_default();
            same_rows(expected, found, &self.compare).map_err(|why| format!("output {output}: {why}"))?;
        }
        for (output, rows) in outputs {
            if !self.expected.keys().any(|name| name.eq_ignore_ascii_case(output)) {
                return Err(format!("{} rows for output {output}, which is not expected", rows.len()));
            }
        }
        if self.interrupted(query, &events)? != straight {
            return Err("snapshots between events change the rows".to_owned());
        }
        Ok(())
    }

    fn straight(&self, query: &Arc<Query>, events: &[Arriving]) -> Result<Vec<OutputRow>, String> {
        let mut engine = Engine::new(query.clone(), self.policies());
        for event in events {
            push(&mut engine, event)?;
        }
        engine.flush().map_err(|error| error.to_string())?;
        Ok(engine.rows().collect())
    }

    fn interrupted(&self, query: &Arc<Query>, events: &[Arriving]) -> Result<Vec<OutputRow>, String> {
        let mut engine = Engine::new(query.clone(), self.policies());
        let mut rows = Vec::new();
        for event in events {
            push(&mut engine, event)?;
            rows.extend(engine.rows());
            let snapshot = engine.snapshot();
            engine = Engine::restore(query.clone(), self.policies(), &snapshot)
                .map_err(|error| error.to_string())?;
            if engine.snapshot() != snapshot {
                return Err("the snapshot of a restored engine differs".to_owned());
            }
        }
        engine.flush().map_err(|error| error.to_string())?;
        rows.extend(engine.rows());
        Ok(rows)
    }

    fn options(&self) -> Options {
        Options {
            level: match self.hosting.as_deref() {
                None | Some("cloud") => Level::Extended, // tidy: wire word, of the case format
                Some(_) => Level::default(),
            },
            compatibility: self.compat.as_deref().map_or(Compatibility::V1_2, |text| {
                Compatibility::parse(text).expect("a known compatibility level")
            }),
            reference: self.reference.keys().cloned().collect(),
        }
    }

    fn policies(&self) -> Policies {
        let seconds = |value: Option<f64>, default: f64| Duration::from_secs_f64(value.unwrap_or(default));
        // Without arrivals nothing is late; a long tolerance says so.
        let mut policies = Policies { late_arrival: Duration::from_secs(20 * 86_400), ..Policies::default() };
        if let Some(given) = &self.policies {
            policies.late_arrival = seconds(given.late_arrival_s, 5.0);
            policies.out_of_order = seconds(given.out_of_order_s, 0.0);
            policies.early_arrival = seconds(given.early_arrival_s, 300.0);
            if given.on_violation.as_deref() == Some("drop") {
                policies.on_violation = OnViolation::Drop;
            }
        }
        policies
    }

    /// The events of all inputs in the order in which they come.
    fn events(&self, query: &Query) -> Result<Vec<Arriving>, String> {
        let mut reader = JsonReader::new(query.json_options());
        let mut queues = Vec::new();
        for (name, events) in &self.inputs {
            let Some(input) = query.input(name) else {
                return Err(format!("the query reads no input {name}"));
            };
            let mut arrival = DateTime::MIN;
            let mut queue = std::collections::VecDeque::new();
            for event in events {
                let mut record = None;
                reader.read(event.event.get().as_bytes(), &mut |read| record = read.ok());
                // What does not convert never becomes an event.
                let Some(record) = record else { continue };
                arrival = match &event.arrival {
                    Some(text) => DateTime::parse(text).ok_or("an arrival that is no time")?,
                    None => query.event_time(input, &record).map_or(arrival, |time| time.max(arrival)),
                };
                queue.push_back(Arriving { input, arrival, record });
            }
            queues.push(queue);
        }
        let mut merged = Vec::new();
        while let Some(next) =
            queues.iter_mut().filter(|queue| !queue.is_empty()).min_by_key(|queue| queue[0].arrival)
        {
            merged.extend(next.pop_front());
        }
        Ok(merged)
    }
}

fn push(engine: &mut Engine, event: &Arriving) -> Result<(), String> {
    engine.push(event.input, event.arrival, event.record.clone()).map_err(|error| error.to_string())
}
