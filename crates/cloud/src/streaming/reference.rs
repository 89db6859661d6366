//! Reference data of a job: blobs that are read when it starts, and again when they change.
//!
//! A name with `{date}` and `{time}` stands for a series of blobs, each of which is valid from the time in its name on. Rows of the
//! streams are looked up in the one of their time, so blobs may be there beforehand; each is read once. Source: Azure docs "Use reference data for
//! lookups in Stream Analytics".

use super::definition::{Definition, DefinitionError, Input};
use super::output::pattern::Pattern;
use crate::storage::account::{self, Account, Entry, Etag, ListBlobs};
use ironbrook_analytics::Query;
use ironbrook_analytics::format::InputFormat;
use ironbrook_analytics::value::{DateTime, Record};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most blobs of a series that are held at a time: those since the oldest event that is still to come, and the next one.
const SERIES_MAX: usize = 32;

/// Why reference data cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The blob.
    #[error("the blob {blob} in {container} for the input {input} cannot be read: {error}")]
    Blob { input: String, container: String, blob: String, error: account::Error },
    /// Too large.
    #[error("the blob {blob} for the input {input} has {len} bytes; {max} are allowed")]
    TooLarge { input: String, blob: String, len: u64, max: u64 },
    /// No rows.
    #[error("the blob {blob} for the input {input} cannot be used: {reason}")]
    Rows { input: String, blob: String, reason: String },
    /// No blob of a series.
    #[error("{container} has no blob for the input {input} whose name fits {pattern}")]
    None { input: String, container: String, pattern: String },
}

/// Rows, and from when on they are valid; `None` is from now on.
pub(super) type Version = (Option<DateTime>, Vec<Arc<Record>>);

/// One input of reference data.
#[derive(Debug)]
pub(super) struct Reference {
    /// Index in the query.
    pub(super) input: usize,
    name: String,
    container: String,
    /// As it was given.
    blob: String,
    /// Where the name stands for a series.
    series: Option<Pattern>,
    format: InputFormat,
    /// Largest blob, in bytes.
    max: u64,
    /// The blob that was read last, as it was then.
    read: Option<(String, Etag)>,
    /// Of a series, the time of the newest blob that was read and is valid.
    newest: Option<DateTime>,
    /// The time of the one that was read beforehand.
    ahead: Option<DateTime>,
}

impl Reference {
    /// Those of a query.
    pub(super) fn all(
        query: &Query,
        definition: &Definition,
        max: u64,
    ) -> Result<Vec<Self>, DefinitionError> {
        let mut all = Vec::new();
        for (number, known) in query.inputs().iter().enumerate().filter(|(_, input)| input.reference) {
            let Some(input) = definition.input(&known.name) else { continue };
            let Input::Reference { container, blob, .. } = input else { continue };
            all.push(Self {
                input: number,
                name: known.name.to_string(),
                container: container.clone(),
                blob: blob.clone(),
                series: input.series(&known.name)?,
                format: input.format(&known.name)?,
                max,
                read: None,
                newest: None,
                ahead: None,
            });
        }
        Ok(all)
    }

    /// What there is that was not read before: of a series the blob that is valid at `from` with those after it, up to the first
    /// behind `now`.
    pub(super) async fn read(
        &mut self,
        account: &Account,
        query: &Query,
        (from, now): (DateTime, DateTime),
    ) -> Result<Vec<Version>, Error> {
        let Some(series) = self.series.clone() else {
            let blob = self.blob.clone();
            let rows = self.changed(account, query, &blob).await?;
            return Ok(rows.into_iter().map(|rows| (None, rows)).collect());
        };
        let mut versions = Vec::new();
        if self.ahead.is_some_and(|ahead| ahead <= now) {
            self.newest = self.ahead.take();
        }
        for (time, blob) in self.due(account, &series, (from, now)).await? {
            match self.changed(account, query, &blob).await {
                Ok(rows) => versions.extend(rows.map(|rows| (Some(time), rows))),
                Err(error) if versions.is_empty() => return Err(error),
                // What was read is of use already; the error comes again the next time.
                Err(_) => break,
            }
            *(if time <= now { &mut self.newest } else { &mut self.ahead }) = Some(time);
        }
        Ok(versions)
    }

    /// The blobs of a series that are to be read, by their times.
    async fn due(
        &self,
        account: &Account,
        series: &Pattern,
        (from, now): (DateTime, DateTime),
    ) -> Result<BTreeMap<DateTime, String>, Error> {
        let mut due: BTreeMap<DateTime, String> = BTreeMap::new();
        let start = self.newest.filter(|_| series.is_sorted());
        let mut next = start.map(|newest| series.path(newest, &Record::default()));
        loop {
            let what = ListBlobs { prefix: series.start().to_owned(), from: next, ..ListBlobs::default() };
            let page = account.list_blobs(&self.container, what).await;
            let page = page.map_err(|error| self.failed(series.start(), error))?;
            for entry in page.entries {
                let Entry::Blob(name, _) = entry else { continue };
                let is_new = |time: &DateTime| {
                    self.newest.is_none_or(|newest| *time > newest) && self.ahead != Some(*time)
                };
                if let Some(time) = series.time_of(&name).filter(is_new) {
                    due.insert(time, name);
                    self.only_needed(&mut due, (from, now));
                }
            }
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        if due.is_empty() && self.newest.is_none() && self.ahead.is_none() {
            let (input, container) = (self.name.clone(), self.container.clone());
            return Err(Error::None { input, container, pattern: self.blob.clone() });
        }
        Ok(due)
    }

    /// Leaves the blob that is valid at `from`, and those behind it up to the first behind `now`; of too many the newest.
    fn only_needed(&self, due: &mut BTreeMap<DateTime, String>, (from, now): (DateTime, DateTime)) {
        let valid = due.range(..=from).next_back().map(|(time, _)| *time);
        if let Some(valid) = valid.filter(|_| self.newest.is_none()) {
            due.retain(|time, _| *time >= valid);
        }
        if let Some(first) = due.keys().find(|time| **time > now).copied() {
            due.retain(|time, _| *time <= first);
        }
        while due.len() > SERIES_MAX {
            due.pop_first();
        }
    }

    /// The rows of a blob, where it is another than the one read last.
    async fn changed(
        &mut self,
        account: &Account,
        query: &Query,
        blob: &str,
    ) -> Result<Option<Vec<Arc<Record>>>, Error> {
        let found = account.open_blob(&self.container, blob).await;
        let found = found.map_err(|error| self.failed(blob, error))?;
        let etag = found.blob.etag;
        if self.read.as_ref().is_some_and(|(known, read)| known == blob && *read == etag) {
            return Ok(None);
        }
        if found.blob.len > self.max {
            let (input, blob) = (self.name.clone(), blob.to_owned());
            return Err(Error::TooLarge { input, blob, len: found.blob.len, max: self.max });
        }
        let bytes = account.get(&self.container, blob).await.map_err(|error| self.failed(blob, error))?;
        let (mut rows, mut bad) = (Vec::new(), None);
        self.format.reader(query.json_options()).read(&bytes, &mut |row| match row {
            Ok(row) => rows.push(row),
            Err(error) => bad = Some(error),
        });
        if let Some(error) = bad {
            let (input, blob) = (self.name.clone(), blob.to_owned());
            return Err(Error::Rows { input, blob, reason: error.to_string() });
        }
        self.read = Some((blob.to_owned(), etag));
        Ok(Some(rows))
    }

    fn failed(&self, blob: &str, error: account::Error) -> Error {
        let (input, container) = (self.name.clone(), self.container.clone());
        Error::Blob { input, container, blob: blob.to_owned(), error }
    }
}
