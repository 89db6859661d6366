//! What the module says of itself in its reported properties.

use super::job::Job;
use super::link::Link;
use super::program::Fault;
use ironbrook_client::{Error, Result};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tokio::sync::watch;

/// Inputs and outputs that are reported, each; a twin has 32 KB at most.
const LISTED_MAX: usize = 48;
/// Longest name of an input or output, in characters.
const NAME_LEN_MAX: usize = 64;
/// The members that are ours.
const MEMBERS: [&str; 4] = ["query", "inputs", "outputs", ETAG];
const ETAG: &str = "ASAJobEtag";

/// What is with the query that the twin asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Status {
    /// It runs.
    Running,
    /// It cannot run; what ran before goes on.
    Refused,
    /// There is none, or it is being fetched.
    Waiting,
    /// It ran and was stopped by an error.
    Failed,
}

/// Counts by name, as they are reported.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Counts {
    inputs: Map<String, Value>,
    outputs: Map<String, Value>,
}

impl Counts {
    pub(super) fn of(job: &Job) -> Self {
        let input = |(name, counts): (&str, super::job::InputCounts)| {
            (plain(name), json!({ "events": counts.events, "dataErrors": counts.data_errors }))
        };
        let output = |(name, rows): (&str, u64)| (plain(name), json!({ "rows": rows }));
        Self {
            inputs: job.input_counts().take(LISTED_MAX).map(input).collect(),
            outputs: job.output_counts().take(LISTED_MAX).map(output).collect(),
        }
    }
}

/// All that is reported.
pub(super) fn report(
    status: Status,
    version: u64,
    fault: Option<&Fault>,
    job: Option<&Job>,
    counts: &Counts,
) -> Value {
    let mut query = json!({ "status": status, "version": version });
    if let Some(fault) = fault {
        query["error"] = json!(fault);
    }
    let mut report = json!({ "inputs": counts.inputs, "outputs": counts.outputs });
    if let Some(program) = job.map(Job::program) {
        query["digest"] = json!(program.digest);
        if let Some(note) = &program.note {
            query["note"] = json!(note);
        }
        if let Some(etag) = &program.etag {
            query["etag"] = json!(etag);
            report[ETAG] = json!(etag);
        }
    }
    report["query"] = query;
    report
}

/// What of the hub's reported properties is ours.
pub(super) fn own(reported: Map<String, Value>) -> Value {
    reported.into_iter().filter(|(name, _)| MEMBERS.contains(&name.as_str())).collect::<Map<_, _>>().into()
}

/// The change that makes `new` of `old`, both objects; `None` where they are equal.
pub(super) fn change(old: &Value, new: &Value) -> Option<Value> {
    let none = Map::new();
    let (old, new) = (old.as_object().unwrap_or(&none), new.as_object().unwrap_or(&none));
    let mut patch = Map::new();
    for (name, _) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, value) in new {
        match old.get(name) {
            Some(before) if before == value => {}
            Some(before @ Value::Object(_)) if value.is_object() => {
                patch.extend(change(before, value).map(|inner| (name.clone(), inner)));
            }
            _ => drop(patch.insert(name.clone(), value.clone())),
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Tells the hub what `reports` says, until its other end is gone.
pub(super) async fn tell<L: Link>(link: Arc<L>, mut reports: watch::Receiver<Value>) -> Result<()> {
    let mut told = None;
    while reports.changed().await.is_ok() {
        let report = reports.borrow_and_update().clone();
        let before = match told.take() {
            Some(before) => before,
            // What an earlier run reported is still there.
            None => match link.reported().await {
                Ok(reported) => own(reported),
                Err(Error::Closed) => return Err(Error::Closed),
                Err(error) => {
                    tracing::warn!(%error, "reported properties cannot be read");
                    Value::Null
                }
            },
        };
        told = Some(match change(&before, &report) {
            None => before,
            Some(patch) => match link.report(&patch).await {
                Ok(()) => report,
                Err(Error::Closed) => return Err(Error::Closed),
                Err(error) => {
                    tracing::warn!(%error, "reported properties refused");
                    before
                }
            },
        });
    }
    Ok(())
}

/// A name that a twin may have.
fn plain(name: &str) -> String {
    let plain = |c: char| if c.is_control() || matches!(c, '.' | '$' | '#' | ' ') { '_' } else { c };
    name.chars().map(plain).take(NAME_LEN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream_analytics::package::Package;
    use crate::stream_analytics::program::Program;

    fn job(query: &str) -> Job {
        Job::new(Program::compile(&Package::new("n", "e1", query)).unwrap())
    }

    #[test]
    fn a_running_job_is_told_with_its_etag_and_counts() {
        let job = job("SELECT a INTO [o.1 $] FROM i");
        let counts = Counts::of(&job);
        let told = report(Status::Running, 7, None, Some(&job), &counts);
        assert_eq!(
            told,
            json!({
                "query": { "status": "running", "version": 7, "digest": job.program().digest, "etag": "e1" },
                "inputs": { "i": { "events": 0, "dataErrors": 0 } },
                "outputs": { "o_1__": { "rows": 0 } },
                "ASAJobEtag": "e1",
            })
        );
        let fault = Fault { line: Some(2), column: Some(3), message: "no".to_owned() };
        let told = report(Status::Refused, 8, Some(&fault), None, &Counts::default());
        let error = json!({ "line": 2, "column": 3, "message": "no" });
        assert_eq!(told["query"], json!({ "status": "refused", "version": 8, "error": error }));
    }

    #[test]
    fn many_long_names_stay_below_the_limit_of_a_twin() {
        let name = |kind: char, number: usize| format!("{kind}{number}{}", "x".repeat(80));
        let select =
            |number: usize| format!("SELECT a INTO {} FROM {}", name('o', number), name('i', number));
        let query: Vec<String> = (0..100).map(select).collect();
        let job = job(&query.join("\n"));
        let fault = Fault::new("é".repeat(2000));
        let told = report(Status::Refused, u64::MAX, Some(&fault), Some(&job), &Counts::of(&job));
        assert!(told.to_string().len() < 16 * 1024, "{}", told.to_string().len());
    }

    #[test]
    fn only_changes_are_sent_and_what_is_gone_is_removed() {
        let old = own(json!({ "query": { "a": 1, "b": { "c": 1 } }, "inputs": { "x": {} }, "foreign": 1 })
            .as_object()
            .unwrap()
            .clone());
        let new = json!({ "query": { "a": 1, "b": { "c": 2, "d": 3 } }, "outputs": 5 });
        assert_eq!(
            change(&old, &new),
            Some(json!({ "query": { "b": { "c": 2, "d": 3 } }, "inputs": null, "outputs": 5 }))
        );
        assert_eq!(change(&new, &new.clone()), None);
    }
}
