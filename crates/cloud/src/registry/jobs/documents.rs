//! What jobs did to each of their devices, for queries of `devices.jobs`.

use super::super::error::Error;
use super::super::tables;
use super::row::{DeviceJob, Job};
use ironbrook_query::twin::{Equality, Literal};
use redb::ReadTransaction;
use serde_json::Value;
use std::collections::BTreeSet;

/// Between the two parts of a place in an answer; stands in neither.
const SEPARATOR: char = '\u{1}';
/// Above every key of an identity.
const LAST_KEY: &str = "\u{10ffff}";

/// Hands the records that may match to `show`, in the order of job and device, until it returns false.
pub(in super::super) fn documents(
    tx: &ReadTransaction,
    equalities: &[Equality<'_>],
    after: Option<&str>,
    mut show: impl FnMut(&str, Value) -> bool,
) -> Result<(), Error> {
    let (jobs, devices) = (tx.open_table(tables::JOBS)?, tx.open_table(tables::JOB_DEVICES)?);
    let wanted = equalities.iter().find_map(ids);
    let (after_job, after_key) = after.and_then(|after| after.split_once(SEPARATOR)).unwrap_or_default();
    for row in jobs.range(after_job..)? {
        let (id, bytes) = row?;
        let id = id.value();
        if wanted.as_ref().is_some_and(|wanted| !wanted.contains(id)) {
            continue;
        }
        let job: Job = tables::decode("job", bytes.value())?;
        // NUL follows a key and precedes every longer one.
        let from = if id == after_job { format!("{after_key}\0") } else { String::new() };
        for row in devices.range((id, from.as_str())..(id, LAST_KEY))? {
            let (key, bytes) = row?;
            let (_, key) = key.value();
            let record: DeviceJob = tables::decode("job record", bytes.value())?;
            let document = record.document(id, &job, &tables::identity(key)?);
            if !show(&format!("{id}{SEPARATOR}{key}"), document) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The jobs a condition names, where it names some.
fn ids<'q>(equality: &Equality<'q>) -> Option<BTreeSet<&'q str>> {
    let text = |value: &Literal<'q>| match value {
        Literal::Text(text) => Some(*text),
        Literal::Bool(_) | Literal::Number(_) => None,
    };
    (equality.path == ["jobId"]).then(|| equality.values.iter().filter_map(text).collect())
}
