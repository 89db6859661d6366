//! A case at work.

use super::{Case, Verdict};
use crate::Query;
use crate::engine::{Decoder, Engine, OutputRow};
use crate::value::{DateTime, JsonReader, Record};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// An event on its way in.
struct Arriving {
    input: usize,
    arrival: DateTime,
    record: Arc<Record>,
}

impl Case {
    /// Runs the case.
    pub fn check(&self) -> Verdict {
        let result = match Query::compile(&self.query, &self.options) {
            Ok(query) => self.judge(&Arc::new(query)),
            Err(errors) => Err(errors.to_string()),
        };
        result.map_or_else(Verdict::Failed, |()| Verdict::Passed)
    }

    fn judge(&self, query: &Arc<Query>) -> Result<(), String> {
        let events = self.events(query)?;
        let straight = self.run(query, &events, false)?;
        let mut outputs: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for row in &straight {
            let mut json = Vec::new();
            row.record.write_json(&mut json);
            let value = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
            outputs.entry(query.outputs()[row.output].to_lowercase()).or_default().push(value);
        }
        let mut differences = Vec::new();
        for (output, expected) in &self.expected {
            let found = outputs.remove(&output.to_lowercase()).unwrap_or_default();
            differences.extend(self.compare.difference(output, expected, &found));
        }
        differences
            .extend(outputs.iter().filter_map(|(name, rows)| self.compare.difference(name, &[], rows)));
        if !differences.is_empty() {
            return Err(differences.join("\n"));
        }
        if self.run(query, &events, true)? != straight {
            return Err("a snapshot and a new engine between events change the rows".to_owned());
        }
        Ok(())
    }

    /// Runs the events, straight or with a new engine behind each.
    fn run(
        &self,
        query: &Arc<Query>,
        events: &[Arriving],
        interrupted: bool,
    ) -> Result<Vec<OutputRow>, String> {
        let mut engine = self.loaded(Engine::new(query.clone(), self.policies.clone()))?;
        let mut rows = Vec::new();
        for event in events {
            engine
                .push(event.input, event.arrival, event.record.clone())
                .map_err(|error| error.to_string())?;
            rows.extend(engine.rows());
            if interrupted {
                let snapshot = engine.snapshot();
                engine = Engine::restore(query.clone(), self.policies.clone(), &snapshot)
                    .map_err(|error| error.to_string())?;
                if engine.snapshot() != snapshot {
                    return Err("the snapshot of a restored engine differs".to_owned());
                }
                engine = self.loaded(engine)?;
            }
        }
        engine.flush().map_err(|error| error.to_string())?;
        rows.extend(engine.rows());
        Ok(rows)
    }

    /// The engine with all reference data.
    fn loaded(&self, mut engine: Engine) -> Result<Engine, String> {
        let query = engine.query().clone();
        let mut reader = JsonReader::new(query.json_options());
        for (name, rows) in &self.reference {
            let Some(input) = query.input(name) else { continue };
            let mut records = Vec::new();
            for row in rows {
                reader.read(row.get().as_bytes(), &mut |read| records.extend(read));
            }
            engine.load_reference(input, DateTime::MIN, &records).map_err(|error| error.to_string())?;
        }
        Ok(engine)
    }

    /// The events of all inputs in the order in which they come.
    fn events(&self, query: &Arc<Query>) -> Result<Vec<Arriving>, String> {
        let mut queues = Vec::new();
        for (name, events) in &self.inputs {
            let Some(input) = query.input(name) else {
                return Err(format!("the query reads no input {name}"));
            };
            let mut reader = Decoder::new(query, input, &self.policies);
            let mut arrival = DateTime::MIN;
            let mut queue = VecDeque::new();
            for event in events {
                let mut record = None;
                reader.read(event.event.get().as_bytes(), &mut |read| record = read.ok());
                // What does not convert never becomes an event.
                let Some(record) = record else { continue };
                arrival = match &event.arrival {
                    Some(text) => {
                        DateTime::parse(text).ok_or_else(|| format!("the arrival {text} is no time"))?
                    }
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
